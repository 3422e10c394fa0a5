//! Decisions over small groups of deployments.

mod pools;

use std::sync::Arc;

use super::*;
use crate::limit::Dimension;
use crate::routing::health::{Awaited, Circuit, Flight, Surroundings};
use crate::routing::policy::{LatencyArgs, TagMatch};

struct Group {
    facts: Vec<Facts>,
    health: Vec<Arc<Health>>,
    policy: RoutingPolicy,
    seed: u64,
}

/// The time of limits.
const WALL: WallMs = WallMs(1_700_000_000_000);

const LATER: Duration = Duration::from_secs(100);

fn start() -> MonoUs {
    MonoUs(1)
}

/// Long after the start: nothing ramps any more.
fn now() -> MonoUs {
    start().plus(LATER)
}

impl Group {
    fn of(regions: &[&str]) -> Self {
        let fact = |(index, region): (usize, &&str)| Facts {
            hash: DeploymentHash::of_id(&index.to_string()),
            region: (!region.is_empty()).then(|| (*region).to_owned()),
            ..Facts::default()
        };
        let health = |_| Arc::new(Health::new(Arc::new(Circuit::new(start())), start()));
        let mut policy = RoutingPolicy::default();
        policy.regions.own = Some("eu".to_owned());
        policy.regions.nearest = vec!["us".to_owned()];
        Self {
            facts: regions.iter().enumerate().map(fact).collect(),
            health: regions.iter().map(health).collect(),
            policy,
            seed: 7,
        }
    }

    fn decide_at(&mut self, ask: &Ask<'_>, now: MonoUs) -> Decision {
        let both = self.facts.iter().zip(&self.health);
        let candidates: Vec<Candidate<'_>> = both
            .map(|(facts, health)| Candidate {
                facts,
                health,
                fits: !facts.tags.iter().any(|tag| tag == "unfit"),
                spent: facts.tags.iter().any(|tag| tag == "spent"),
            })
            .collect();
        let seed = &mut self.seed;
        let mut dice = || {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let moment = Moment {
            policy: &self.policy,
            now,
            wall: WALL,
        };
        decide(ask, &candidates, moment, &mut dice)
    }

    fn decide(&mut self, ask: &Ask<'_>) -> Decision {
        self.decide_at(ask, now())
    }

    fn choice(&mut self, ask: &Ask<'_>) -> Choice {
        match self.decide(ask).plan {
            Plan::Send(choice) => choice,
            other => panic!("{other:?}"),
        }
    }

    /// Every index that a hundred requests went to.
    fn indices(&mut self, ask: &Ask<'_>) -> BTreeSet<usize> {
        (0..100).map(|_| self.choice(ask).index).collect()
    }

    fn cool(&self, index: usize, seconds: u64) {
        let until = now().plus(Duration::from_secs(seconds));
        self.health[index]
            .circuit()
            .hear(until, FailureClass::Server);
    }

    fn limit(&mut self, index: usize, change: impl Fn(&mut Limits)) {
        let limits = &mut self.facts[index].limits;
        change(limits);
        self.health[index].rates().set(*limits);
    }

    fn run(&self, index: usize, count: usize) -> Vec<Flight> {
        let (health, policy) = (&self.health[index], &self.policy.cooldown);
        let begin = |_| {
            let tokens = (0, Awaited::Whole);
            Flight::begin(health, Entry::Usual, WALL, tokens, (now(), policy))
        };
        (0..count).filter_map(begin).collect()
    }
}

fn ask() -> Ask<'static> {
    Ask {
        group: "m",
        residency: &[],
        tags: &[],
        prompt_tokens: 10,
        tokens: 10,
        affinity: None,
        tried: &[],
        once: false,
        last_resort: false,
        waited: Duration::ZERO,
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_own_region_comes_first_and_others_by_distance() {
    let mut group = Group::of(&["ap", "us", "eu", "eu"]);
    assert_eq!(group.indices(&ask()), [2, 3].into());
    let skips = group.decide(&ask()).skips;
    assert_eq!(skips[0], Some(Skip::FartherRegion));
    group.cool(2, 5);
    group.cool(3, 5);
    assert_eq!(group.indices(&ask()), [1].into());
    group.cool(1, 5);
    assert_eq!(group.indices(&ask()), [0].into());
    let skips = group.decide(&ask()).skips;
    assert!(matches!(
        skips[1],
        Some(Skip::Cooling {
            cause: FailureClass::Server,
            ..
        })
    ));
    assert_eq!(skips[0], None);
}

#[test]
fn a_full_pool_spills_over() {
    let mut group = Group::of(&["eu", "us"]);
    group.limit(0, |limits| limits.parallel = Some(2));
    let running = group.run(0, 2);
    assert_eq!(group.choice(&ask()).index, 1);
    let full = Full {
        limit: Dimension::Parallel,
        free_in: Duration::from_secs(1),
    };
    assert_eq!(group.decide(&ask()).skips[0], Some(Skip::Full(full)));
    drop(running);
    assert_eq!(group.choice(&ask()).index, 0);
}

#[test]
fn residency_is_never_left_also_when_all_inside_fail() {
    let mut group = Group::of(&["eu", "us", ""]);
    let sets = [set(&["eu", "ap"]), set(&["eu"])].map(Arc::new);
    let inside = Ask {
        residency: &sets,
        ..ask()
    };
    assert_eq!(group.indices(&inside), [0].into());
    group.cool(0, 9);
    let refused = Plan::Refuse(Refusal::Busy {
        until: now().plus(Duration::from_secs(9)),
        cooling: vec![0],
    });
    assert_eq!(group.decide(&inside).plan, refused);
    let tried = Ask {
        tried: &[0],
        last_resort: true,
        ..inside
    };
    assert_eq!(group.choice(&tried).index, 0);
    let nowhere = set(&["ap"]);
    let sets = [Arc::new(nowhere.clone())];
    let outside = Ask {
        residency: &sets,
        ..ask()
    };
    assert_eq!(
        group.decide(&outside).plan,
        Plan::Refuse(Refusal::Region {
            allowed: nowhere.clone()
        })
    );
    assert_eq!(
        group.decide(&outside).skips[2],
        Some(Skip::Residency),
        "no region is no proof"
    );
    group.policy.regions.allowed_of_group = [("m".to_owned(), set(&["us"]))].into();
    assert_eq!(group.indices(&ask()), [1].into());
}

#[test]
fn what_cannot_serve_is_told_apart_from_what_is_busy() {
    let mut group = Group::of(&["eu", "eu"]);
    group
        .facts
        .iter_mut()
        .for_each(|facts| facts.tags = vec!["unfit".to_owned()]);
    assert_eq!(group.decide(&ask()).plan, Plan::Refuse(Refusal::NotServed));
    assert_eq!(
        Group::of(&[]).decide(&ask()).plan,
        Plan::Refuse(Refusal::NotServed)
    );
    let mut group = Group::of(&["eu", "eu"]);
    group.facts[0].blocked = true;
    assert_eq!(group.indices(&ask()), [1].into());
    assert_eq!(group.decide(&ask()).skips[0], Some(Skip::Blocked));
    let mut group = Group::of(&["eu", "eu"]);
    group.policy.pre_call_checks = true;
    group.facts[0].max_input_tokens = Some(5);
    assert_eq!(group.indices(&ask()), [1].into());
    group.facts[1].max_input_tokens = Some(9);
    assert_eq!(
        group.decide(&ask()).plan,
        Plan::Refuse(Refusal::PromptTooLong { max: 9 })
    );
}

#[test]
fn tags_select_as_litellm_does() {
    let mut group = Group::of(&["eu"; 4]);
    group.policy.tags = Some(TagMatch::Any);
    for (index, tags) in [&["free", "x"][..], &["paid"], &["default"], &[]]
        .iter()
        .enumerate()
    {
        group.facts[index].tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    }
    let tagged =
        |tags: &[&str]| -> Vec<String> { tags.iter().map(|tag| (*tag).to_owned()).collect() };
    let (free, both, other) = (
        tagged(&["free"]),
        tagged(&["free", "paid"]),
        tagged(&["no"]),
    );
    assert_eq!(
        group.indices(&Ask {
            tags: &free,
            ..ask()
        }),
        [0].into()
    );
    assert_eq!(
        group.indices(&Ask {
            tags: &both,
            ..ask()
        }),
        [0, 1].into()
    );
    assert_eq!(
        group.indices(&Ask {
            tags: &other,
            ..ask()
        }),
        [2].into()
    );
    assert_eq!(group.indices(&ask()), [2].into());
    group.policy.tags = Some(TagMatch::All);
    group.facts[2].tags.clear();
    assert_eq!(
        group
            .decide(&Ask {
                tags: &both,
                ..ask()
            })
            .plan,
        Plan::Refuse(Refusal::Tags)
    );
    assert_eq!(group.indices(&ask()), [0, 1, 2, 3].into());
}

#[test]
fn a_lower_order_wins_over_a_nearer_region() {
    let mut group = Group::of(&["eu", "us"]);
    group.facts[0].order = 2;
    group.facts[1].order = 1;
    assert_eq!(group.indices(&ask()), [1].into());
    assert_eq!(group.decide(&ask()).skips[0], Some(Skip::LaterOrder));
    assert_eq!(
        group.indices(&Ask {
            tried: &[1],
            ..ask()
        }),
        [0].into()
    );
}

#[test]
fn the_tried_ones_come_last_and_come_again() {
    let mut group = Group::of(&["eu", "eu", "us"]);
    assert_eq!(
        group.indices(&Ask {
            tried: &[0],
            ..ask()
        }),
        [1].into()
    );
    assert_eq!(
        group.indices(&Ask {
            tried: &[0, 1],
            ..ask()
        }),
        [2].into()
    );
    let again = group.choice(&Ask {
        tried: &[0, 1, 2],
        ..ask()
    });
    assert!(again.again && again.index < 2);
    assert!(!group.choice(&ask()).again);
}

#[test]
fn when_all_are_left_out_the_policy_decides() {
    let mut group = Group::of(&["eu", "eu"]);
    group.cool(0, 30);
    group.cool(1, 10);
    let until = now().plus(Duration::from_secs(10));
    let busy = Plan::Refuse(Refusal::Busy {
        until,
        cooling: vec![0, 1],
    });
    assert_eq!(group.decide(&ask()).plan, busy, "fallbacks come first");
    let last = Ask {
        last_resort: true,
        ..ask()
    };
    let choice = group.choice(&last);
    assert_eq!(
        (choice.index, choice.entry, choice.why),
        (1, Entry::LastResort, Why::LeastBad)
    );
    assert_eq!(
        group
            .choice(&Ask {
                tried: &[1],
                ..last
            })
            .index,
        0
    );
    group.policy.cooldown.all_cooling = AllCooling::Wait(Duration::from_secs(12));
    assert_eq!(group.decide(&last).plan, Plan::Wait { until });
    let waited = Ask {
        waited: Duration::from_secs(3),
        ..last
    };
    assert_eq!(group.decide(&waited).plan, busy);
    group.policy.cooldown.all_cooling = AllCooling::Refuse;
    assert_eq!(group.decide(&last).plan, busy);
}

#[test]
fn a_configured_limit_holds_also_as_a_last_resort() {
    let mut group = Group::of(&["eu"]);
    group.limit(0, |limits| limits.rpm = Some(1));
    drop(group.run(0, 1));
    let last = Ask {
        last_resort: true,
        ..ask()
    };
    let plan = group.decide(&last).plan;
    let Plan::Refuse(Refusal::Busy { until, cooling }) = plan else {
        panic!("{plan:?}")
    };
    assert!(cooling.is_empty() && until > now() && until.since(now()) <= Duration::from_secs(60));
}

#[test]
fn one_request_tries_what_was_left_out_and_retries_do_not() {
    let mut group = Group::of(&["eu", "eu", "us"]);
    group.health[2]
        .circuit()
        .hear(start().plus(Duration::from_secs(1)), FailureClass::Server);
    let choice = group.choice(&ask());
    assert_eq!((choice.index, choice.entry), (2, Entry::Probe));
    let once = Ask {
        once: true,
        ..ask()
    };
    assert_eq!(group.indices(&once), [0, 1].into());
    let flight = |group: &Group| {
        let tokens = (0, Awaited::FirstToken);
        Flight::begin(
            &group.health[2],
            Entry::Probe,
            WALL,
            tokens,
            (now(), &group.policy.cooldown),
        )
    };
    let probe = flight(&group).unwrap();
    assert!(flight(&group).is_none());
    assert_eq!(group.indices(&ask()), [0, 1].into());
    assert_eq!(group.decide(&ask()).skips[2], Some(Skip::Probing));
    drop(probe);
    assert_eq!(
        group
            .choice(&Ask {
                tried: &[0],
                ..ask()
            })
            .index,
        1
    );
    let rest = group.choice(&Ask {
        tried: &[0, 1],
        ..ask()
    });
    assert_eq!(
        (rest.index, rest.entry),
        (2, Entry::Probe),
        "better than the same again"
    );
}

#[test]
fn who_has_spent_a_budget_gets_no_request_and_none_is_sent_when_all_have() {
    let mut group = Group::of(&["eu", "eu"]);
    group.facts[0].tags.push("spent".to_owned());
    assert_eq!(group.indices(&ask()), [1].into());
    assert_eq!(group.decide(&ask()).skips[0], Some(Skip::Budget));
    // One that has money and is left out for a while is no reason to spend what is not there.
    group.cool(1, 5);
    assert!(matches!(
        group.decide(&ask()).plan,
        Plan::Refuse(Refusal::Busy { .. })
    ));
    group.facts[1].tags.push("spent".to_owned());
    let last = Ask {
        last_resort: true,
        ..ask()
    };
    assert_eq!(group.decide(&last).plan, Plan::Refuse(Refusal::Budget));
}
