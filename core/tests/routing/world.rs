//! The simulator: gateways that share nothing, providers, and requests that arrive.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meridian_core::routing::affinity::{AffinityKey, DeploymentHash};
use meridian_core::routing::attempts::{Attempts, Next, Overrides, Setback, Situation};
use meridian_core::routing::health::{
    Awaited, Circuit, Cooled, Entry, Failed, Flight, Health, Surroundings,
};
use meridian_core::routing::plan::{Ask, Candidate, Choice, Facts, Moment, Plan, Why, decide};
use meridian_core::routing::policy::{FailureClass, RoutingPolicy, Strategy};
use meridian_core::routing::share::ShareBucket;
use meridian_core::time::{MonoUs, WallMs};

use crate::providers::{Behaviour, Call, Outcome};
use crate::rng::{Rng, mixed};

/// Memory of the times, as in `LatencyArgs::default`.
const DECAY: Duration = Duration::from_secs(10);

/// How a gateway chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Chooser {
    /// By the plan of the product, with this strategy.
    Plan(Strategy),
    /// LiteLLM's rule: the lowest mean of the last ten times to first token.
    MeanOfTen,
}

impl Chooser {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Plan(strategy) => strategy.as_str(),
            Self::MeanOfTen => "mean of ten",
        }
    }
}

/// One request at one provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub at: f64,
    pub provider: usize,
    pub conversation: Option<u64>,
    pub why: Why,
}

/// What a caller got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub tenant: usize,
    /// Seconds until the first token, all attempts included; the class of the last failure
    /// otherwise, `None` when no deployment was there.
    pub result: Result<f64, Option<FailureClass>>,
}

struct Gateway {
    health: Vec<Arc<Health>>,
    budget: ShareBucket,
    recent: Vec<Vec<f64>>,
}

struct Request {
    gateway: usize,
    tenant: usize,
    conversation: Option<u64>,
    arrived: f64,
    attempts: Attempts,
    last: Option<FailureClass>,
    waited: Duration,
}

struct Running {
    flight: Flight,
    request: u64,
    choice: Choice,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Dispatch(u64),
    First(u64),
    End(u64),
}

pub(crate) struct World {
    pub policy: RoutingPolicy,
    pub chooser: Chooser,
    pub facts: Vec<Facts>,
    pub sends: Vec<Send>,
    pub got: Vec<Got>,
    pub cooled: Vec<(f64, usize, Cooled)>,
    pub rng: Rng,
    providers: Vec<Behaviour>,
    in_flight: Vec<u32>,
    /// When each provider appears.
    since: Vec<f64>,
    gateways: Vec<Gateway>,
    requests: HashMap<u64, Request>,
    running: HashMap<u64, Running>,
    events: BinaryHeap<Reverse<(MonoUs, u64, Event)>>,
    next: u64,
}

/// A moment of simulated time.
pub(crate) fn at(seconds: f64) -> MonoUs {
    MonoUs(1_000_000).plus(Duration::from_secs_f64(seconds))
}

/// The wall clock at a moment: limits go by it.
pub(crate) fn wall(now: MonoUs) -> WallMs {
    WallMs(1_700_000_000_000).plus_ms((now.0 / 1_000) as i64)
}

fn seconds(now: MonoUs) -> f64 {
    now.since(at(0.0)).as_secs_f64()
}

impl World {
    pub(crate) fn new(
        seed: u64,
        gateways: usize,
        chooser: Chooser,
        providers: Vec<Behaviour>,
    ) -> Self {
        let mut policy = RoutingPolicy::default();
        if let Chooser::Plan(strategy) = chooser {
            policy.strategy = strategy;
        }
        let count = providers.len();
        let mut world = Self {
            policy,
            chooser,
            facts: (0..count).map(facts).collect(),
            sends: Vec::new(),
            got: Vec::new(),
            cooled: Vec::new(),
            rng: Rng(seed),
            in_flight: vec![0; count],
            since: vec![0.0; count],
            providers,
            gateways: Vec::new(),
            requests: HashMap::new(),
            running: HashMap::new(),
            events: BinaryHeap::new(),
            next: 0,
        };
        world.gateways = (0..gateways).map(|_| gateway(count)).collect();
        world
    }

    /// A provider appears at this second, on all gateways.
    pub(crate) fn appears(&mut self, provider: usize, second: f64) {
        self.since[provider] = second;
        for gateway in &mut self.gateways {
            let credential = Arc::new(Circuit::new(at(second)));
            gateway.health[provider] = Arc::new(Health::new(credential, at(second)));
        }
    }

    /// Requests of a tenant at a mean rate per second, between two seconds.
    pub(crate) fn traffic(&mut self, tenant: usize, rate: f64, from: f64, to: f64) {
        let mut second = from;
        loop {
            second += self.rng.exponential(1.0 / rate);
            if second >= to {
                return;
            }
            self.arrives(tenant, None, second);
        }
    }

    /// Conversations that begin at random in the first `length` seconds, one turn every ten
    /// seconds.
    pub(crate) fn conversations(&mut self, count: u64, turns: u32, length: f64) {
        for conversation in 0..count {
            let begin = self.rng.dice() * length;
            for turn in 0..turns {
                let second = begin + f64::from(turn) * 10.0;
                self.arrives(0, Some(conversation), second);
            }
        }
    }

    fn arrives(&mut self, tenant: usize, conversation: Option<u64>, second: f64) {
        let id = self.fresh();
        let request = Request {
            gateway: self.rng.below(self.gateways.len()),
            tenant,
            conversation,
            arrived: second,
            attempts: Attempts::new("m".to_owned(), Overrides::default()),
            last: None,
            waited: Duration::ZERO,
        };
        self.requests.insert(id, request);
        self.at(second, Event::Dispatch(id));
    }

    /// Runs until nothing is left to happen.
    pub(crate) fn run(&mut self) {
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            match event {
                Event::Dispatch(request) => self.dispatch(request, now),
                Event::First(flight) => self.first(flight, now),
                Event::End(flight) => self.end(flight, now),
            }
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn at(&mut self, second: f64, event: Event) {
        let order = self.fresh();
        self.events.push(Reverse((at(second), order, event)));
    }

    fn dispatch(&mut self, id: u64, now: MonoUs) {
        let request = &self.requests[&id];
        if request.attempts.sends() == 0 {
            let share = self.policy.retries.budget;
            self.gateways[request.gateway].budget.request(share);
        }
        loop {
            let plan = match self.chooser {
                Chooser::Plan(_) => self.plan(id, now),
                Chooser::MeanOfTen => self.mean_of_ten(id),
            };
            match plan {
                Plan::Send(choice) => {
                    if self.send(id, choice, now) {
                        return;
                    }
                }
                Plan::Wait { until } => {
                    if let Some(request) = self.requests.get_mut(&id) {
                        request.waited += until.since(now);
                    }
                    return self.at(seconds(until), Event::Dispatch(id));
                }
                Plan::Refuse(refusal) => {
                    let next = self.with_situation(id, now, |attempts, situation| {
                        attempts.refused(&refusal, situation)
                    });
                    if let Next::GiveUp(_) = next {
                        return self.give_up(id);
                    }
                }
            }
        }
    }

    fn plan(&mut self, id: u64, now: MonoUs) -> Plan {
        let request = &self.requests[&id];
        let health = &self.gateways[request.gateway].health;
        let candidates: Vec<Candidate<'_>> = (self.facts.iter().zip(health))
            .zip(&self.since)
            .map(|((facts, health), since)| Candidate {
                facts,
                health,
                fits: seconds(now) >= *since,
                spent: false,
            })
            .collect();
        let session = request.conversation.map(|number| number.to_string());
        let ask = Ask {
            group: "m",
            residency: &[],
            tags: &[],
            prompt_tokens: 100,
            tokens: 150,
            affinity: AffinityKey::of(&self.policy.affinity, b"t", session.as_deref(), b""),
            tried: request.attempts.tried(),
            once: false,
            last_resort: request.attempts.is_last_resort(),
            waited: request.waited,
        };
        let moment = Moment {
            policy: &self.policy,
            now,
            wall: wall(now),
        };
        let rng = &mut self.rng;
        decide(&ask, &candidates, moment, &mut || rng.dice()).plan
    }

    fn mean_of_ten(&mut self, id: u64) -> Plan {
        let recent = &self.gateways[self.requests[&id].gateway].recent;
        let mean = |times: &Vec<f64>| times.iter().sum::<f64>() / times.len().max(1) as f64;
        let means: Vec<f64> = recent.iter().map(mean).collect();
        let least = means.iter().copied().fold(f64::INFINITY, f64::min);
        let equal: Vec<usize> = (0..means.len())
            .filter(|one| means[*one] <= least)
            .collect();
        Plan::Send(Choice {
            index: equal[self.rng.below(equal.len())],
            entry: Entry::Usual,
            why: Why::Strategy,
            again: false,
            others: true,
        })
    }

    fn send(&mut self, id: u64, choice: Choice, now: MonoUs) -> bool {
        let index = choice.index;
        let Some(request) = self.requests.get_mut(&id) else {
            return true;
        };
        let health = &self.gateways[request.gateway].health[index];
        let moment = (now, &self.policy.cooldown);
        let tokens = (150, Awaited::FirstToken);
        let Some(flight) = Flight::begin(health, choice.entry, wall(now), tokens, moment) else {
            return false;
        };
        request.attempts.sent(index);
        self.sends.push(Send {
            at: seconds(now),
            provider: index,
            conversation: request.conversation,
            why: choice.why,
        });
        let mut own = noise(id, index);
        let call = Call {
            second: seconds(now),
            in_flight: self.in_flight[index],
            tenant: request.tenant,
        };
        let outcome = (self.providers[index])(call, &mut own);
        self.in_flight[index] += 1;
        let number = self.fresh();
        let running = Running {
            flight,
            request: id,
            choice,
            outcome,
        };
        self.running.insert(number, running);
        match outcome {
            Outcome::Answer { ttft, .. } => self.at(seconds(now) + ttft, Event::First(number)),
            Outcome::Fail { after, .. } | Outcome::Leaves { after } => {
                self.at(seconds(now) + after, Event::End(number));
            }
        }
        true
    }

    fn first(&mut self, number: u64, now: MonoUs) {
        let around = surroundings(&self.policy, true, self.rng.dice());
        let Some(running) = self.running.get_mut(&number) else {
            return;
        };
        running.flight.first_token(now, &around);
        let Outcome::Answer { tokens, each, ttft } = running.outcome else {
            return;
        };
        let (id, index) = (running.request, running.choice.index);
        if let Some(mut request) = self.requests.remove(&id) {
            request.attempts.committed();
            let recent = &mut self.gateways[request.gateway].recent[index];
            recent.push(ttft);
            if recent.len() > 10 {
                recent.remove(0);
            }
            self.got.push(Got {
                tenant: request.tenant,
                result: Ok(seconds(now) - request.arrived),
            });
        }
        self.at(seconds(now) + tokens as f64 * each, Event::End(number));
    }

    fn end(&mut self, number: u64, now: MonoUs) {
        let Some(running) = self.running.remove(&number) else {
            return;
        };
        let (id, choice) = (running.request, running.choice);
        self.in_flight[choice.index] -= 1;
        let around = surroundings(&self.policy, choice.others, self.rng.dice());
        let (class, wait) = match running.outcome {
            Outcome::Answer { tokens, .. } => {
                let used = (Some(100 + tokens), Some(tokens));
                return running.flight.finished(now, used, &around);
            }
            Outcome::Fail { class, wait, .. } => (class, wait),
            Outcome::Leaves { .. } => {
                self.requests.remove(&id);
                return running.flight.left(now, &around);
            }
        };
        let verdict = class.verdict();
        let failed = Failed { verdict, wait };
        if let Some(cooled) = running.flight.failed(now, failed, &around) {
            self.cooled.push((seconds(now), choice.index, cooled));
        }
        if let Some(request) = self.requests.get_mut(&id) {
            request.last = Some(class);
        }
        let setback = Setback {
            verdict,
            wait,
            deployment_retries: None,
            others: choice.others,
        };
        let next = self.with_situation(id, now, |attempts, situation| {
            attempts.failed(&setback, situation)
        });
        match next {
            Next::Retry { pause } => {
                self.at(seconds(now) + pause.as_secs_f64(), Event::Dispatch(id));
            }
            Next::GiveUp(_) => self.give_up(id),
            Next::Fallback { .. } | Next::LastResort { .. } => self.dispatch(id, now),
        }
    }

    fn with_situation(
        &mut self,
        id: u64,
        now: MonoUs,
        step: impl FnOnce(&mut Attempts, &Situation<'_>) -> Next,
    ) -> Next {
        let dice = self.rng.dice();
        let request = self.requests.get_mut(&id).unwrap();
        let situation = Situation {
            policy: &self.policy,
            budget: &self.gateways[request.gateway].budget,
            now,
            left: None,
            dice,
        };
        step(&mut request.attempts, &situation)
    }

    fn give_up(&mut self, id: u64) {
        if let Some(request) = self.requests.remove(&id) {
            self.got.push(Got {
                tenant: request.tenant,
                result: Err(request.last),
            });
        }
    }
}

fn facts(index: usize) -> Facts {
    Facts {
        hash: DeploymentHash::of_id(&index.to_string()),
        ..Facts::default()
    }
}

fn gateway(providers: usize) -> Gateway {
    let health = || Arc::new(Health::new(Arc::new(Circuit::new(at(0.0))), at(0.0)));
    Gateway {
        health: (0..providers).map(|_| health()).collect(),
        budget: ShareBucket::with_floor(at(0.0)),
        recent: vec![Vec::new(); providers],
    }
}

fn surroundings(policy: &RoutingPolicy, others: bool, dice: f64) -> Surroundings<'_> {
    Surroundings {
        policy: &policy.cooldown,
        decay: DECAY,
        time: None,
        others,
        dice,
    }
}

/// The same number for the same request at the same provider, whoever asks: strategies are
/// compared on one trace.
fn noise(request: u64, provider: usize) -> Rng {
    Rng(mixed(request ^ mixed(provider as u64 + 1)))
}
