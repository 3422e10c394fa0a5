//! How often a failed request is tried again.

use std::collections::BTreeMap;

use super::{POLICY_ERRORS, Sections, small};
use crate::config::audit;
use crate::config::keys::Section;
use crate::config::names::Names;
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::config::tree::Node;
use crate::routing::policy::{PolicyError, RetryPolicy};

pub(super) fn resolve(
    sections: &Sections<'_>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> RetryPolicy {
    let default = RetryPolicy::default();
    let (router, own) = (&sections.router, &sections.meridian);
    let retries = router
        .count("num_retries")
        .or(router.count("max_retries"))
        .or(sections.litellm.count("num_retries"));
    let pause = router.seconds("retry_after");
    RetryPolicy {
        retries: retries.map_or(default.retries, small),
        retries_of: retry_policy(router, problems),
        retries_of_group: of_groups(router, names, problems),
        pause_min: pause.unwrap_or(default.pause_min),
        attempts_max: own
            .count("max_attempts")
            .map_or(default.attempts_max, small),
        budget: own.number("retry_budget").unwrap_or(default.budget),
    }
}

/// A list is not LiteLLM's form, but people write it: a warning, not the end.
fn retry_policy(router: &Area<'_>, problems: &mut Problems) -> BTreeMap<PolicyError, u32> {
    const KEY: &str = "retry_policy";
    let Some(node) = router.get(KEY) else {
        return BTreeMap::new();
    };
    if !node.items().is_empty() {
        let message = "ignored: LiteLLM wants a mapping such as `{RateLimitErrorRetries: 3}`";
        problems.warning(&node.at, &router.path_of(KEY), message);
        return BTreeMap::new();
    }
    policy(node, router.path_of(KEY), problems)
}

fn of_groups(
    router: &Area<'_>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, BTreeMap<PolicyError, u32>> {
    const KEY: &str = "model_group_retry_policy";
    let groups = router.child(KEY);
    let mut found = BTreeMap::new();
    for entry in router.get(KEY).map_or(&[][..], Node::entries) {
        let path = groups.path_of(&entry.key);
        names.check(&entry.key, &entry.key_at, &path, problems);
        let model = names.model(&entry.key).to_owned();
        found.insert(model, policy(&entry.value, path, problems));
    }
    found
}

fn policy(node: &Node, path: String, problems: &mut Problems) -> BTreeMap<PolicyError, u32> {
    if node.scalar().is_some() || !node.items().is_empty() {
        let message = "expected a mapping such as `{RateLimitErrorRetries: 3}`";
        problems.error(&node.at, &path, message);
    }
    audit::section(Section::RetryPolicy, node, &path, problems);
    let area = Area::new(Some(node), &node.at, path);
    let one = |(error, stem): (PolicyError, &str)| {
        let count = area.count(&format!("{stem}Retries"))?;
        Some((error, small(count)))
    };
    POLICY_ERRORS.into_iter().filter_map(one).collect()
}
