//! Which model comes after which.

use std::collections::{BTreeMap, VecDeque};

use super::Overrides;
use crate::routing::policy::{FailureClass, FallbackPolicy, RoutingPolicy};

/// `max_fallbacks` of LiteLLM.
const DEPTH_DEFAULT: u32 = 5;

/// Stands for every model in a fallback list.
const EVERY_MODEL: &str = "*";

/// Models of one request: those that were asked, and those that are still to come.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// In the order in which they were asked; the first is the client's.
    asked: Vec<String>,
    current: String,
    /// Fallbacks of the models that were asked; nearest first.
    waiting: VecDeque<String>,
    /// Whose fallbacks `waiting` has, and for what.
    listed: Vec<(String, FailureClass)>,
}

impl Chain {
    pub(super) fn new(group: String) -> Self {
        Self {
            asked: vec![group.clone()],
            current: group,
            waiting: VecDeque::new(),
            listed: Vec::new(),
        }
    }

    pub(super) fn current(&self) -> &str {
        &self.current
    }

    /// Models asked after the first.
    pub(super) fn depth(&self) -> u32 {
        u32::try_from(self.asked.len() - 1).unwrap_or(u32::MAX)
    }

    /// Whether this kind of failure has fallbacks of its own here, which come before retries.
    pub(super) fn special(
        &self,
        class: FailureClass,
        overrides: &Overrides,
        policy: &RoutingPolicy,
    ) -> bool {
        let own = own_list(class, &self.current, overrides, &policy.fallbacks);
        own.is_some_and(|list| !list.is_empty()) && !overrides.disable_fallbacks
    }

    /// The next model that was not asked yet. The fallbacks of the model that just failed come
    /// before those of the ones before it.
    pub(super) fn next(
        &mut self,
        class: FailureClass,
        overrides: &Overrides,
        policy: &RoutingPolicy,
    ) -> Option<String> {
        let fallbacks = &policy.fallbacks;
        let source = (self.current.clone(), class);
        if !self.listed.contains(&source) {
            let own = own_list(class, &self.current, overrides, fallbacks);
            let general = || general_list(&self.current, overrides, fallbacks);
            let list = own.or_else(general).unwrap_or_default();
            list.iter()
                .rev()
                .for_each(|name| self.waiting.push_front(name.clone()));
            self.listed.push(source);
        }
        let most = match fallbacks.depth_max {
            0 => DEPTH_DEFAULT,
            depth => depth,
        };
        if self.depth() >= most {
            return None;
        }
        while let Some(name) = self.waiting.pop_front() {
            if !self.asked.contains(&name) {
                return Some(name);
            }
        }
        None
    }

    pub(super) fn enter(&mut self, group: &str) {
        group.clone_into(&mut self.current);
        if !self.asked.iter().any(|asked| asked == group) {
            self.asked.push(group.to_owned());
        }
    }
}

/// Fallbacks for this kind of failure alone.
fn own_list<'a>(
    class: FailureClass,
    group: &str,
    overrides: &'a Overrides,
    policy: &'a FallbackPolicy,
) -> Option<&'a [String]> {
    let (asked, configured) = match class {
        FailureClass::ContextWindow => (&overrides.context_window, &policy.context_window),
        FailureClass::ContentPolicy => (&overrides.content_policy, &policy.content_policy),
        _ => return None,
    };
    asked.as_deref().or_else(|| find(configured, group))
}

fn general_list<'a>(
    group: &str,
    overrides: &'a Overrides,
    policy: &'a FallbackPolicy,
) -> Option<&'a [String]> {
    let asked = overrides.fallbacks.as_deref();
    asked.or_else(|| find(&policy.general, group))
}

/// By name, then by name without its provider, then those of every model.
fn find<'a>(lists: &'a BTreeMap<String, Vec<String>>, group: &str) -> Option<&'a [String]> {
    let bare = || group.split_once('/').and_then(|(_, bare)| lists.get(bare));
    let list = lists.get(group).or_else(bare);
    list.or_else(|| lists.get(EVERY_MODEL)).map(Vec::as_slice)
}
