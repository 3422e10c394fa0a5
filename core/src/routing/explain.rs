//! The way of a request through the model groups, without sending it: the decisions that would be
//! made now if each deployment that is asked failed.

use std::time::Duration;

use crate::routing::attempts::{Attempts, GiveUp, Next, Overrides, Setback, Situation};
use crate::routing::failure::Verdict;
use crate::routing::plan::{Decision, Plan};
use crate::routing::policy::{FailureClass, RoutingPolicy};
use crate::routing::share::ShareBucket;
use crate::time::MonoUs;

/// The decision about one model group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The model group.
    pub group: String,
    /// Its deployments were all left out, and no other group would take the request.
    pub last_resort: bool,
    /// What `plan::decide` said.
    pub decision: Decision,
}

/// Every group that a request for `group` would come to, in order, each with its decision.
///
/// The same machine as for sending decides what comes next; retries within a group are left out,
/// and the node's retry budget does not end it. `decide` decides about a group; its second
/// argument is `Ask::last_resort`.
pub fn walk(
    group: &str,
    overrides: &Overrides,
    (policy, now): (&RoutingPolicy, MonoUs),
    decide: &mut dyn FnMut(&str, bool) -> Decision,
) -> Vec<Step> {
    let overrides = Overrides {
        num_retries: Some(0),
        once: false,
        ..overrides.clone()
    };
    let mut attempts = Attempts::new(group.to_owned(), overrides);
    let (budget, mut steps) = (ShareBucket::with_floor(now), Vec::new());
    let situation = Situation {
        policy,
        budget: &budget,
        now,
        left: None,
        dice: 0.5,
    };
    loop {
        let (group, last_resort) = (attempts.group().to_owned(), attempts.is_last_resort());
        let decision = decide(&group, last_resort);
        let next = match &decision.plan {
            Plan::Send(_) => attempts.failed(&setback(FailureClass::Server.verdict()), &situation),
            Plan::Wait { .. } => Next::GiveUp(GiveUp::Exhausted),
            Plan::Refuse(refusal) => attempts.refused(refusal, &situation),
        };
        steps.push(Step {
            group,
            last_resort,
            decision,
        });
        match next {
            Next::Fallback { .. } | Next::LastResort { .. } => {}
            Next::Retry { .. } | Next::GiveUp(_) => return steps,
        }
    }
}

/// The groups after `group`, in order, for failures of one class that have fallbacks of their own
/// (a prompt that is too long, content that is refused).
pub fn after(
    class: FailureClass,
    group: &str,
    overrides: &Overrides,
    (policy, now): (&RoutingPolicy, MonoUs),
) -> Vec<String> {
    let mut attempts = Attempts::new(group.to_owned(), overrides.clone());
    let (budget, mut groups) = (ShareBucket::with_floor(now), Vec::new());
    let situation = Situation {
        policy,
        budget: &budget,
        now,
        left: None,
        dice: 0.5,
    };
    while let Next::Fallback { group } = attempts.failed(&setback(class.verdict()), &situation) {
        groups.push(group);
    }
    groups
}

fn setback(verdict: Verdict) -> Setback {
    Setback {
        verdict,
        wait: Some(Duration::ZERO),
        deployment_retries: None,
        others: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::routing::health::Entry;
    use crate::routing::plan::{Choice, Refusal, Why};

    fn policy() -> RoutingPolicy {
        let list = |to: &[&str]| to.iter().map(|name| (*name).to_owned()).collect();
        let mut policy = RoutingPolicy::default();
        policy.fallbacks.general = BTreeMap::from([
            ("a".to_owned(), list(&["b", "c"])),
            ("b".to_owned(), list(&["d"])),
        ]);
        policy.fallbacks.context_window = BTreeMap::from([("a".to_owned(), list(&["long"]))]);
        policy
    }

    fn send() -> Decision {
        let plan = Plan::Send(Choice {
            index: 0,
            entry: Entry::Usual,
            why: Why::Strategy,
            again: false,
            others: false,
        });
        Decision {
            plan,
            skips: vec![None],
        }
    }

    fn busy() -> Decision {
        let refusal = Refusal::Busy {
            until: MonoUs(9),
            cooling: vec![0],
        };
        Decision {
            plan: Plan::Refuse(refusal),
            skips: vec![None],
        }
    }

    fn walked(overrides: &Overrides, busy_groups: &[&str]) -> Vec<(String, bool)> {
        let policy = policy();
        let mut decide = |group: &str, last_resort: bool| {
            let is_busy = busy_groups.contains(&group) && !last_resort;
            if is_busy { busy() } else { send() }
        };
        let steps = walk("a", overrides, (&policy, MonoUs(0)), &mut decide);
        let step = |step: Step| (step.group, step.last_resort);
        steps.into_iter().map(step).collect()
    }

    #[test]
    fn the_way_is_the_one_that_sending_takes() {
        let way = |names: &[(&str, bool)]| -> Vec<(String, bool)> {
            names
                .iter()
                .map(|(name, last)| ((*name).to_owned(), *last))
                .collect()
        };
        let none = Overrides::default();
        let all = [("a", false), ("b", false), ("d", false), ("c", false)];
        assert_eq!(walked(&none, &[]), way(&all));
        let mut with_last = all.to_vec();
        with_last.push(("b", true));
        assert_eq!(walked(&none, &["b", "d"]), way(&with_last));
        let alone = Overrides {
            disable_fallbacks: true,
            num_retries: Some(9),
            ..Overrides::default()
        };
        assert_eq!(walked(&alone, &[]), way(&[("a", false)]));
        assert_eq!(walked(&alone, &["a"]), way(&[("a", false), ("a", true)]));
    }

    #[test]
    fn prompts_that_are_too_long_have_a_way_of_their_own() {
        let policy = policy();
        let after = |class| after(class, "a", &Overrides::default(), (&policy, MonoUs(0)));
        assert_eq!(after(FailureClass::ContextWindow), ["long"]);
        assert_eq!(after(FailureClass::ContentPolicy), ["b", "d", "c"]);
    }
}
