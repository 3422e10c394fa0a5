//! Requests that may not leave a region.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::limit::Limits;
use meridian_core::routing::affinity::{AffinityKey, DeploymentHash};
use meridian_core::routing::attempts::{Attempts, Next, Overrides, Setback, Situation};
use meridian_core::routing::health::{Awaited, Circuit, Failed, Flight, Health, Surroundings};
use meridian_core::routing::plan::{Ask, Candidate, Choice, Facts, Moment, Plan, Refusal, decide};
use meridian_core::routing::policy::{
    AffinityPolicy, AllCooling, FailureClass, LatencyArgs, RoutingPolicy, Strategy, TagMatch,
};
use meridian_core::routing::share::ShareBucket;
use meridian_core::time::MonoUs;

use crate::rng::Rng;
use crate::world::{at, wall};

const GROUPS: [&str; 3] = ["m", "a", "b"];
const REGIONS: [Option<&str>; 4] = [
    Some("eu-west-1"),
    Some("us-east-1"),
    Some("ap-southeast-1"),
    None,
];

struct Lottery {
    rng: Rng,
    policy: RoutingPolicy,
    groups: Vec<(Vec<Facts>, Vec<Arc<Health>>)>,
    budget: ShareBucket,
    now: MonoUs,
    inside: usize,
    refused: usize,
}

impl Lottery {
    fn new() -> Self {
        let mut rng = Rng(41);
        let groups = GROUPS.map(|_| {
            let facts: Vec<Facts> = (0..8).map(|index| facts(index, &mut rng)).collect();
            let health = |facts: &Facts| {
                let health = Health::new(Arc::new(Circuit::new(at(0.0))), at(0.0));
                health.rates().set(facts.limits);
                Arc::new(health)
            };
            let health = facts.iter().map(health).collect();
            (facts, health)
        });
        let mut policy = RoutingPolicy::default();
        policy.regions.own = Some("us-east-1".to_owned());
        policy.regions.nearest = vec!["eu-west-1".to_owned()];
        policy.fallbacks.general = [("*".to_owned(), GROUPS.map(str::to_owned).to_vec())].into();
        policy.fallbacks.context_window = policy.fallbacks.general.clone();
        policy.retries.retries = 4;
        policy.retries.attempts_max = 12;
        let budget = ShareBucket::with_floor(at(0.0));
        Self {
            rng,
            policy,
            groups: groups.into(),
            budget,
            now: at(1.0),
            inside: 0,
            refused: 0,
        }
    }

    fn shake(&mut self) {
        let load_max = 1.0 + self.rng.dice();
        let affinity = AffinityPolicy::On {
            prefix_bytes: 64,
            load_max,
        };
        let strategies = [
            Strategy::SimpleShuffle,
            Strategy::LatencyBased(LatencyArgs::default()),
            Strategy::LeastBusy,
            Strategy::UsageBased,
            Strategy::CostBased,
        ];
        let wait = AllCooling::Wait(Duration::from_secs(2));
        self.policy.strategy = strategies[self.rng.below(5)];
        self.policy.affinity = [AffinityPolicy::Off, affinity][self.rng.below(2)];
        self.policy.tags = [None, Some(TagMatch::Any), Some(TagMatch::All)][self.rng.below(3)];
        self.policy.cooldown.all_cooling =
            [AllCooling::LeastBad, wait, AllCooling::Refuse][self.rng.below(3)];
        self.policy.pre_call_checks = self.rng.dice() < 0.5;
        self.now = self.now.plus(Duration::from_secs_f64(self.rng.dice()));
        self.budget.request(1.0);
    }

    /// One client request whose attempts fail, to its end.
    fn request(&mut self, allowed: &BTreeSet<String>) {
        let mut attempts = Attempts::new("m".to_owned(), Overrides::default());
        let session = format!("{}", self.rng.below(50));
        let key = |policy| AffinityKey::of(&policy, b"t", Some(&session), b"");
        let mut waited = Duration::ZERO;
        for _ in 0..100 {
            self.shake();
            let affinity = key(self.policy.affinity);
            let next = match self.plan(&attempts, allowed, affinity, waited) {
                Plan::Send(choice) => self.send(&mut attempts, choice),
                Plan::Wait { until } => {
                    waited += until.since(self.now);
                    self.now = until;
                    None
                }
                Plan::Refuse(refusal) => {
                    self.refused += usize::from(matches!(refusal, Refusal::Region { .. }));
                    let situation = situation(&self.policy, &self.budget, self.now);
                    Some(attempts.refused(&refusal, &situation))
                }
            };
            if matches!(next, Some(Next::GiveUp(_))) {
                return;
            }
        }
    }

    fn plan(
        &mut self,
        attempts: &Attempts,
        allowed: &BTreeSet<String>,
        affinity: Option<AffinityKey>,
        waited: Duration,
    ) -> Plan {
        let tags = [vec![], vec!["t".to_owned()]][self.rng.below(2)].clone();
        let (facts, health) = &self.groups[group(attempts)];
        let candidates: Vec<Candidate<'_>> = facts
            .iter()
            .zip(health)
            .map(|(facts, health)| Candidate {
                facts,
                health,
                fits: self.rng.dice() < 0.9,
                spent: false,
            })
            .collect();
        let ask = Ask {
            group: attempts.group(),
            residency: &[Arc::new(allowed.clone())],
            tags: &tags,
            prompt_tokens: self.rng.below(2_000) as u64,
            tokens: 10,
            affinity,
            tried: attempts.tried(),
            once: false,
            last_resort: attempts.is_last_resort(),
            waited,
        };
        let moment = Moment {
            policy: &self.policy,
            now: self.now,
            wall: wall(self.now),
        };
        let rng = &mut self.rng;
        decide(&ask, &candidates, moment, &mut || rng.dice()).plan
    }

    /// Sends, and fails for some reason; `None` when the place was gone.
    fn send(&mut self, attempts: &mut Attempts, choice: Choice) -> Option<Next> {
        let (facts, health) = &self.groups[group(attempts)];
        let facts = &facts[choice.index];
        assert_eq!(facts.region.as_deref(), Some("eu-west-1"), "{choice:?}");
        self.inside += 1;
        let (tokens, moment) = ((10, Awaited::FirstToken), (self.now, &self.policy.cooldown));
        let health = &health[choice.index];
        let flight = Flight::begin(health, choice.entry, wall(self.now), tokens, moment)?;
        attempts.sent(choice.index);
        let verdict = FailureClass::ALL[self.rng.below(11)].verdict();
        let around = Surroundings {
            policy: &self.policy.cooldown,
            decay: Duration::from_secs(10),
            time: None,
            others: choice.others,
            dice: self.rng.dice(),
        };
        let wait = None;
        flight.failed(self.now, Failed { verdict, wait }, &around);
        let setback = Setback {
            verdict,
            wait,
            deployment_retries: None,
            others: choice.others,
        };
        let situation = situation(&self.policy, &self.budget, self.now);
        Some(attempts.failed(&setback, &situation))
    }
}

fn group(attempts: &Attempts) -> usize {
    let name = attempts.group();
    GROUPS.iter().position(|one| *one == name).unwrap()
}

fn situation<'a>(policy: &'a RoutingPolicy, budget: &'a ShareBucket, now: MonoUs) -> Situation<'a> {
    Situation {
        policy,
        budget,
        now,
        left: None,
        dice: 0.5,
    }
}

fn facts(index: usize, rng: &mut Rng) -> Facts {
    let tagged = rng.dice() < 0.5;
    Facts {
        hash: DeploymentHash::of_id(&index.to_string()),
        region: REGIONS[index % 4].map(str::to_owned),
        order: rng.below(3) as u64,
        tags: if tagged { vec!["t".to_owned()] } else { vec![] },
        weight: [None, Some(2.0)][rng.below(2)],
        limits: Limits {
            parallel: Some(20),
            ..Limits::default()
        },
        max_input_tokens: [None, Some(1_000)][rng.below(2)],
        price: Some(rng.dice()),
        blocked: rng.dice() < 0.1,
    }
}

#[test]
fn ten_thousand_decisions_for_europe_stay_in_europe() {
    let mut lottery = Lottery::new();
    let allowed = BTreeSet::from(["eu-west-1".to_owned()]);
    while lottery.inside < 10_000 {
        lottery.request(&allowed);
    }
    let nowhere = BTreeSet::from(["mars".to_owned()]);
    let before = lottery.inside;
    (0..100).for_each(|_| lottery.request(&nowhere));
    assert_eq!(lottery.inside, before);
    assert!(lottery.refused >= 100);
}
