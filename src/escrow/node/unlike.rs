//! Budgets of the configuration that another region has and its home region, which is here, has
//! not, or with another period: nobody makes rights for them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meridian_core::meters::{RoutedKind, WindowName};
use serde_json::{Value, json};

use super::Desk;
use crate::clock;

/// They are told again and again while they are used; one that was not for so long is settled.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Between two lines in the log about one of them.
const SAY_AGAIN: Duration = Duration::from_secs(600);
/// Kept at a time: what other regions say must not fill the memory.
const KEPT_MAX: usize = 1_000;

/// Those that were told of, when for the last time, and when the log was.
#[derive(Debug, Default)]
pub(super) struct Unlike(BTreeMap<WindowName, (Instant, Instant)>);

impl Unlike {
    /// One was told of; whether the log is to say so.
    fn note(&mut self, name: &WindowName, now: Instant) -> bool {
        if let Some((told, said)) = self.0.get_mut(name) {
            *told = now;
            let again = now.saturating_duration_since(*said) >= SAY_AGAIN;
            if again {
                *said = now;
            }
            return again;
        }
        self.forget(now);
        let room = self.0.len() < KEPT_MAX;
        if room {
            self.0.insert(name.clone(), (now, now));
        }
        room
    }

    fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, (told, _)| now.saturating_duration_since(*told) < SETTLED_AFTER);
    }
}

impl Desk {
    /// A budget is used elsewhere, is at home here, and is not what it is there.
    pub(super) fn is_unlike(&mut self, name: &WindowName) {
        // Records are on their way; only what each region configures stays different.
        let configured = name.kind.is_empty() || RoutedKind::of_label(&name.kind).is_some();
        if configured && self.unlike.note(name, clock::mono()) {
            tracing::warn!(
                kind = name.kind,
                id = name.id,
                "another region uses a budget that is not configured here, its home, or with \
                 another period: nothing can be spent of it there; every region must configure it"
            );
        }
    }

    /// Those of the last minute, for `/budget/state`.
    pub(super) fn unlike(&mut self) -> Vec<Value> {
        self.unlike.forget(clock::mono());
        let names = self.unlike.0.keys();
        names
            .map(|name| json!({"kind": name.kind, "id": name.id}))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str) -> WindowName {
        WindowName {
            kind: "provider".to_owned(),
            id: id.to_owned(),
            model: None,
            limit: None,
        }
    }

    #[test]
    fn each_is_said_once_in_a_while_and_forgotten_when_it_is_settled() {
        let (mut unlike, begin) = (Unlike::default(), clock::mono());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(unlike.note(&name("openai"), at(0)));
        assert!(unlike.note(&name("azure"), at(0)));
        assert!(!unlike.note(&name("openai"), at(59)));
        unlike.forget(at(61));
        assert_eq!(unlike.0.len(), 1);
        assert!((1..=20).all(|turn| !unlike.note(&name("openai"), at(59 + turn * 27))));
        assert!(unlike.note(&name("openai"), at(600)));
    }

    #[test]
    fn what_others_say_does_not_fill_the_memory() {
        let (mut unlike, now) = (Unlike::default(), clock::mono());
        let said = (0..2 * KEPT_MAX).filter(|number| unlike.note(&name(&number.to_string()), now));
        assert_eq!(said.count(), KEPT_MAX);
    }
}
