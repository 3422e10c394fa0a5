//! What follows a failure, and that it ends.

use std::collections::BTreeSet;

use super::*;
use crate::routing::policy::{FallbackPolicy, PolicyError};

struct Node {
    policy: RoutingPolicy,
    budget: ShareBucket,
}

impl Node {
    fn new() -> Self {
        let budget = ShareBucket::with_floor(MonoUs(0));
        (0..10_000).for_each(|_| budget.request(1.0));
        Self {
            policy: RoutingPolicy::default(),
            budget,
        }
    }

    fn with_fallbacks(general: &[(&str, &[&str])]) -> Self {
        let mut node = Self::new();
        node.policy.fallbacks.general = lists(general);
        node
    }

    fn situation(&self) -> Situation<'_> {
        Situation {
            policy: &self.policy,
            budget: &self.budget,
            now: MonoUs(1),
            left: None,
            dice: 0.5,
        }
    }

    fn fail(&self, attempts: &mut Attempts, class: FailureClass, others: bool) -> Next {
        attempts.sent(attempts.tried().len());
        attempts.failed(&setback(class, others), &self.situation())
    }

    /// Fails with `class` until it gives up; the models asked in turn, and why it gave up.
    fn run(&self, attempts: &mut Attempts, class: FailureClass) -> (Vec<String>, GiveUp) {
        let mut asked = vec![attempts.group().to_owned()];
        loop {
            match self.fail(attempts, class, true) {
                Next::GiveUp(why) => return (asked, why),
                _ => asked.push(attempts.group().to_owned()),
            }
        }
    }
}

fn lists(entries: &[(&str, &[&str])]) -> std::collections::BTreeMap<String, Vec<String>> {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    entries
        .iter()
        .map(|(group, list)| ((*group).to_owned(), names(list)))
        .collect()
}

fn setback(class: FailureClass, others: bool) -> Setback {
    Setback {
        verdict: class.verdict(),
        wait: None,
        deployment_retries: None,
        others,
    }
}

fn request(group: &str) -> Attempts {
    Attempts::new(group.to_owned(), Overrides::default())
}

fn busy() -> Refusal {
    Refusal::Busy {
        until: MonoUs(9),
        cooling: vec![0],
    }
}

#[test]
fn each_class_has_its_next_step() {
    use FailureClass::*;
    let node = Node::with_fallbacks(&[("m", &["f"])]);
    let retry = || Next::Retry {
        pause: Duration::ZERO,
    };
    let fallback = || Next::Fallback {
        group: "f".to_owned(),
    };
    let cases = [
        (Client, true, Next::GiveUp(GiveUp::Hopeless)),
        (Cancelled, true, Next::GiveUp(GiveUp::Cancelled)),
        (Auth, true, retry()),
        (Auth, false, fallback()),
        (Quota, true, retry()),
        (Quota, false, fallback()),
        (RateLimit, true, retry()),
        (Overload, true, retry()),
        (Server, true, retry()),
        (Timeout, true, retry()),
        (Network, true, retry()),
        (
            Network,
            false,
            Next::Retry {
                pause: Duration::from_millis(500),
            },
        ),
        (ContextWindow, true, fallback()),
        (ContentPolicy, true, fallback()),
    ];
    for (class, others, next) in cases {
        assert_eq!(
            node.fail(&mut request("m"), class, others),
            next,
            "{class:?} {others}"
        );
    }
}

#[test]
fn nothing_is_sent_after_the_first_content() {
    let node = Node::with_fallbacks(&[("m", &["f"])]);
    for class in FailureClass::ALL {
        let mut attempts = request("m");
        attempts.committed();
        assert_eq!(
            node.fail(&mut attempts, class, true),
            Next::GiveUp(GiveUp::Committed)
        );
        assert!(!attempts.may_send(&node.policy.retries));
    }
}

#[test]
fn sends_never_pass_the_maximum_whatever_the_knobs_say() {
    for class in FailureClass::ALL {
        for retries in [0, 1, 7, 1_000] {
            for most in [1, 2, 6] {
                let mut node = Node::with_fallbacks(&[
                    ("m", &["a", "b"]),
                    ("a", &["m", "c"]),
                    ("*", &["d", "e"]),
                ]);
                node.policy.retries.retries = retries;
                node.policy.retries.attempts_max = most;
                node.policy.fallbacks.depth_max = 100;
                let overrides = Overrides {
                    num_retries: Some(retries),
                    ..Overrides::default()
                };
                let mut attempts = Attempts::new("m".to_owned(), overrides);
                node.run(&mut attempts, class);
                assert!(attempts.sends() <= most, "{class:?} {retries} {most}");
            }
        }
    }
}

#[test]
fn retries_follow_the_documented_precedence() {
    let sends = |node: &Node, overrides: Overrides, deployment: Option<u32>| {
        let mut attempts = Attempts::new("m".to_owned(), overrides);
        loop {
            attempts.sent(0);
            let setback = Setback {
                deployment_retries: deployment,
                ..setback(FailureClass::Timeout, true)
            };
            if attempts.failed(&setback, &node.situation()) == Next::GiveUp(GiveUp::Exhausted) {
                return attempts.sends() - 1;
            }
        }
    };
    let mut node = Node::new();
    node.policy.retries.attempts_max = 100;
    assert_eq!(sends(&node, Overrides::default(), None), 2);
    node.policy.retries.retries_of = [(PolicyError::Timeout, 3)].into();
    assert_eq!(sends(&node, Overrides::default(), None), 3);
    let of_group = [(PolicyError::Timeout, 4)].into();
    node.policy.retries.retries_of_group = [("m".to_owned(), of_group)].into();
    assert_eq!(sends(&node, Overrides::default(), None), 4);
    assert_eq!(sends(&node, Overrides::default(), Some(5)), 5);
    let own = Overrides {
        num_retries: Some(0),
        ..Overrides::default()
    };
    assert_eq!(sends(&node, own, Some(5)), 0);
}

#[test]
fn a_client_error_is_repeated_only_where_a_policy_names_it() {
    let mut node = Node::new();
    let own = Overrides {
        num_retries: Some(9),
        ..Overrides::default()
    };
    let mut attempts = Attempts::new("m".to_owned(), own);
    assert_eq!(
        node.fail(&mut attempts, FailureClass::Client, true),
        Next::GiveUp(GiveUp::Hopeless)
    );
    node.policy.retries.retries_of = [(PolicyError::BadRequest, 1)].into();
    let (asked, why) = node.run(&mut request("m"), FailureClass::Client);
    assert_eq!((asked.len(), why), (2, GiveUp::Hopeless));
}

#[test]
fn fallbacks_go_depth_first_once_each_and_not_too_deep() {
    let mut node = Node::with_fallbacks(&[("m", &["a", "b"]), ("a", &["m", "c"]), ("*", &["d"])]);
    node.policy.retries.retries = 0;
    node.policy.retries.attempts_max = 100;
    let (asked, why) = node.run(&mut request("m"), FailureClass::Server);
    assert_eq!(asked, ["m", "a", "c", "d", "b"]);
    assert_eq!(why, GiveUp::Exhausted);
    node.policy.fallbacks.depth_max = 2;
    assert_eq!(
        node.run(&mut request("m"), FailureClass::Server).0,
        ["m", "a", "c"]
    );
    let (asked, _) = node.run(&mut request("unlisted"), FailureClass::Server);
    assert_eq!(asked, ["unlisted", "d"]);
    let (asked, _) = node.run(&mut request("openai/a"), FailureClass::Server);
    assert_eq!(asked, ["openai/a", "m", "a"], "without its provider");
    let none = Overrides {
        disable_fallbacks: true,
        ..Overrides::default()
    };
    let mut attempts = Attempts::new("m".to_owned(), none);
    assert_eq!(node.run(&mut attempts, FailureClass::Server).0, ["m"]);
    let own = Overrides {
        fallbacks: Some(vec!["x".into(), "y".into()]),
        ..Overrides::default()
    };
    let mut attempts = Attempts::new("m".to_owned(), own);
    assert_eq!(
        node.run(&mut attempts, FailureClass::Server).0,
        ["m", "x", "y"]
    );
    assert_eq!(attempts.fallbacks(), 2);
}

#[test]
fn refusals_have_fallbacks_of_their_own_and_fall_through_to_the_general_ones() {
    let mut node = Node::with_fallbacks(&[("m", &["general"])]);
    node.policy.fallbacks.context_window = lists(&[("m", &["long"])]);
    node.policy.fallbacks.content_policy = lists(&[("*", &["lenient"])]);
    let first = |node: &Node, class, overrides| {
        let mut attempts = Attempts::new("m".to_owned(), overrides);
        match node.fail(&mut attempts, class, true) {
            Next::Fallback { group } => group,
            other => panic!("{other:?}"),
        }
    };
    let plain = Overrides::default;
    assert_eq!(first(&node, FailureClass::ContextWindow, plain()), "long");
    assert_eq!(
        first(&node, FailureClass::ContentPolicy, plain()),
        "lenient"
    );
    let own = Overrides {
        context_window: Some(vec!["mine".into()]),
        ..plain()
    };
    assert_eq!(first(&node, FailureClass::ContextWindow, own), "mine");
    let too_long = Refusal::PromptTooLong { max: 5 };
    let next = request("m").refused(&too_long, &node.situation());
    assert_eq!(
        next,
        Next::Fallback {
            group: "long".into()
        }
    );
    node.policy.fallbacks = FallbackPolicy {
        general: lists(&[("m", &["general"])]),
        ..FallbackPolicy::default()
    };
    assert_eq!(
        first(&node, FailureClass::ContextWindow, plain()),
        "general"
    );
}

#[test]
fn a_busy_model_is_the_last_resort_after_its_fallbacks() {
    let node = Node::with_fallbacks(&[("m", &["a", "b"])]);
    let mut attempts = request("m");
    let situation = node.situation();
    let fallback = |group: &str| Next::Fallback {
        group: group.to_owned(),
    };
    assert_eq!(attempts.refused(&busy(), &situation), fallback("a"));
    assert_eq!(attempts.refused(&busy(), &situation), fallback("b"));
    let last = Next::LastResort {
        group: "m".to_owned(),
    };
    assert_eq!(attempts.refused(&busy(), &situation), last);
    assert!(attempts.is_last_resort());
    assert_eq!(attempts.group(), "m");
    assert_eq!(
        attempts.refused(&busy(), &situation),
        Next::GiveUp(GiveUp::Exhausted)
    );
    assert_eq!(attempts.sends(), 0);
    let elsewhere = Refusal::Region {
        allowed: BTreeSet::new(),
    };
    assert_eq!(request("m").refused(&elsewhere, &situation), fallback("a"));
    assert_eq!(
        request("x").refused(&elsewhere, &situation),
        Next::GiveUp(GiveUp::Exhausted)
    );
}

#[test]
fn the_nodes_budget_bounds_retries_and_fallbacks_of_all_requests() {
    let mut node = Node::with_fallbacks(&[("m", &["f"])]);
    node.budget = ShareBucket::with_floor(MonoUs(1));
    let (mut sends, mut stopped) = (0, 0);
    for _ in 0..10_000 {
        node.budget.request(node.policy.retries.budget);
        let mut attempts = request("m");
        let (_, why) = node.run(&mut attempts, FailureClass::Network);
        sends += attempts.sends();
        stopped += u32::from(why == GiveUp::RetryBudget);
    }
    assert!((10_990..=11_011).contains(&sends), "{sends}");
    assert!(stopped > 8_000);
    let next = node.fail(&mut request("m"), FailureClass::ContextWindow, true);
    assert_eq!(
        next,
        Next::Fallback { group: "f".into() },
        "a refusal by rule costs no budget"
    );
}

#[test]
fn a_model_that_nobody_gives_the_request_to_costs_no_budget() {
    let mut node = Node::with_fallbacks(&[("m", &["a", "b", "c"])]);
    node.budget = ShareBucket::strict();
    node.budget.request(1.0);
    let mut attempts = request("m");
    node.fail(&mut attempts, FailureClass::Network, false);
    assert_eq!(node.budget.left(), 0, "the retry is paid");
    for group in ["a", "b", "c"] {
        let next = attempts.refused(&Refusal::Tags, &node.situation());
        let group = group.to_owned();
        assert_eq!(next, Next::Fallback { group });
    }
    let last = node.fail(&mut attempts, FailureClass::Network, false);
    assert_eq!(last, Next::GiveUp(GiveUp::RetryBudget));
}

#[test]
fn pauses_grow_keep_to_what_was_asked_and_end_before_the_deadline() {
    let mut node = Node::new();
    node.policy.retries.retries = 10;
    node.policy.retries.attempts_max = 100;
    let mut attempts = request("m");
    let pauses: Vec<Next> = (0..6)
        .map(|_| node.fail(&mut attempts, FailureClass::Server, false))
        .collect();
    let millis = [500, 1_000, 2_000, 4_000, 8_000, 8_000];
    let expected = millis.map(|millis| Next::Retry {
        pause: Duration::from_millis(millis),
    });
    assert_eq!(pauses, expected);
    let asked = |seconds, left: Option<u64>| {
        let setback = Setback {
            wait: Some(Duration::from_secs(seconds)),
            ..setback(FailureClass::RateLimit, false)
        };
        let situation = Situation {
            left: left.map(Duration::from_secs),
            ..node.situation()
        };
        let mut attempts = request("m");
        attempts.sent(0);
        attempts.failed(&setback, &situation)
    };
    assert_eq!(
        asked(4, None),
        Next::Retry {
            pause: Duration::from_millis(4_200)
        }
    );
    assert_eq!(asked(11, None), Next::GiveUp(GiveUp::Exhausted));
    assert_eq!(asked(4, Some(3)), Next::GiveUp(GiveUp::Exhausted));
    node.policy.retries.pause_min = Duration::from_secs(3);
    let next = node.fail(&mut request("m"), FailureClass::Server, false);
    assert_eq!(
        next,
        Next::Retry {
            pause: Duration::from_secs(3)
        }
    );
}

#[test]
fn what_must_not_happen_twice_is_sent_once() {
    let node = Node::with_fallbacks(&[("m", &["f"])]);
    let once = Overrides {
        once: true,
        ..Overrides::default()
    };
    let mut attempts = Attempts::new("m".to_owned(), once);
    let next = node.fail(&mut attempts, FailureClass::Network, true);
    assert_eq!(next, Next::GiveUp(GiveUp::AttemptsMax));
}
