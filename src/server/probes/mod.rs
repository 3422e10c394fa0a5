//! Background probes (`general_settings.background_health_checks`): deployments that fail are
//! found before a request needs them. What is decided is `core::routing::probe`'s.

mod bill;
mod billed;
mod models;
mod test;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meridian_core::money::NanoUsd;
use meridian_core::routing::health::{Cooled, Failed, Gate, Surroundings};
use meridian_core::routing::policy::{LatencyArgs, ProbePolicy};
use meridian_core::routing::probe::{self, Due, Kind, Last, Spending, TAG};
use meridian_core::time::{MonoUs, WallMs};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use crate::clock;
use crate::routing::CredentialId;
use crate::rules::{Rules, Target};
use crate::state::State;
use crate::store::{GroupBy, ReportQuery, Store, TimeRange};

pub(super) use test::test;

/// Probes at the same time.
const RUNNING_MAX: usize = 8;
/// Longest time until a changed configuration is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Pause when a probe is due and there is no room for it.
const CROWDED: Duration = Duration::from_millis(100);

/// What a deployment's probes are kept under, like its health.
type ProbedKey = (String, CredentialId);

/// A deployment that is probed.
struct Probed {
    key: ProbedKey,
    target: Arc<Target>,
    /// When its next probe is.
    due: MonoUs,
    running: bool,
    /// `Report::heard_at` right after its last billed probe; zero before the first.
    own_heard_at: MonoUs,
}

/// A probe that ended.
struct Ended {
    last: Last,
    /// Set by a billed one.
    own_heard_at: Option<MonoUs>,
}

/// One probe of one deployment, under the rules that hold when it begins.
#[derive(Clone)]
struct Probe {
    state: Arc<State>,
    rules: Arc<Rules>,
    target: Arc<Target>,
    policy: ProbePolicy,
    spending: Arc<Mutex<Spending>>,
}

/// Probes deployments, again and again.
pub(super) struct Prober {
    state: Arc<State>,
    store: Store,
    spending: Arc<Mutex<Spending>>,
    /// Of the rules that `probed` was made of; zero is none.
    epoch: u64,
    probed: Vec<Probed>,
    running: JoinSet<Ended>,
    /// Whose probe a task is.
    keys: HashMap<Id, ProbedKey>,
}

impl Prober {
    pub(super) fn new(state: Arc<State>, store: Store) -> Self {
        Self {
            state,
            store,
            spending: Arc::default(),
            epoch: 0,
            probed: Vec::new(),
            running: JoinSet::new(),
            keys: HashMap::new(),
        }
    }

    /// Runs until `stop` turns true. A billed probe that still runs then has been waited for, as
    /// every request is.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let spent = spent_today(&self.store).await;
        *lock(&self.spending) = Spending::so_far(spent, clock::now());
        loop {
            let pause = self.begin_due();
            tokio::select! {
                _ = stop.changed() => return,
                Some(joined) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.ended(joined);
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins the probes that are due; the time until the next one is.
    fn begin_due(&mut self) -> Duration {
        let rules = self.state.rules.load_full();
        let Some(policy) = rules.config.routing.probes else {
            self.probed.clear();
            self.epoch = 0;
            return LOOK;
        };
        if self.state.is_draining() || !self.state.is_in_charge() {
            return LOOK;
        }
        if self.epoch != rules.epoch {
            self.take_over(&rules, &policy);
        }
        let now = self.state.routing.now();
        for at in 0..self.probed.len() {
            if self.probed[at].running || self.probed[at].due > now {
                continue;
            }
            if self.running.len() >= RUNNING_MAX {
                return CROWDED;
            }
            let probe = Probe {
                state: Arc::clone(&self.state),
                rules: Arc::clone(&rules),
                target: Arc::clone(&self.probed[at].target),
                policy,
                spending: Arc::clone(&self.spending),
            };
            self.begin(at, probe, now);
        }
        let waiting = self.probed.iter().filter(|one| !one.running);
        let next = waiting.map(|one| one.due.since(now)).min();
        next.unwrap_or(LOOK).min(LOOK)
    }

    /// New rules: deployments that are new get a first time, those that are gone are forgotten.
    fn take_over(&mut self, rules: &Rules, policy: &ProbePolicy) {
        let now = self.state.routing.now();
        let before = std::mem::take(&mut self.probed).into_iter();
        let mut before: HashMap<ProbedKey, Probed> =
            before.map(|one| (one.key.clone(), one)).collect();
        let asked = |one: &Arc<Target>| one.deployment.probed && !one.deployment.blocked;
        for target in rules.every_target() {
            if !asked(&target) || target.door.is_none() {
                continue;
            }
            let key = (
                target.deployment.id.clone(),
                CredentialId::of(&target.deployment),
            );
            self.probed.push(match before.remove(&key) {
                Some(known) => Probed { target, ..known },
                None => Probed {
                    key,
                    target,
                    due: now.plus(probe::pause(policy, Last::Never, clock::dice())),
                    running: false,
                    // One that has just appeared counts as heard of: a restart costs nothing.
                    own_heard_at: MonoUs(0),
                },
            });
        }
        self.epoch = rules.epoch;
    }

    fn begin(&mut self, at: usize, probe: Probe, now: MonoUs) {
        let probed = &mut self.probed[at];
        let billed = match probe.kind(probed.own_heard_at, now) {
            Some(Kind::Billed) => billed::prepare(&probe),
            Some(Kind::Models) => None,
            None => {
                let pause = probe::pause(&probe.policy, Last::Answered, clock::dice());
                probed.due = now.plus(pause);
                return;
            }
        };
        let handle = match billed {
            Some(prepared) => self.running.spawn(billed::run(probe, prepared)),
            None => self.running.spawn(models::run(probe)),
        };
        probed.running = true;
        self.keys.insert(handle.id(), probed.key.clone());
    }

    fn ended(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let (id, ended) = joined.unwrap_or_else(|error| {
            tracing::error!(%error, "a probe died");
            let ended = Ended {
                last: Last::Answered,
                own_heard_at: None,
            };
            (error.id(), ended)
        });
        let policy = self.state.rules.load().config.routing.probes;
        let key = self.keys.remove(&id);
        let probed = self
            .probed
            .iter_mut()
            .find(|one| Some(&one.key) == key.as_ref());
        if let (Some(probed), Some(policy)) = (probed, policy) {
            let pause = probe::pause(&policy, ended.last, clock::dice());
            probed.due = self.state.routing.now().plus(pause);
            probed.running = false;
            probed.own_heard_at = ended.own_heard_at.unwrap_or(probed.own_heard_at);
        }
    }
}

impl Probe {
    fn kind(&self, own_heard_at: MonoUs, now: MonoUs) -> Option<Kind> {
        let paths = self.target.door.as_ref().map(|door| &door.paths);
        let args = self.args();
        let cooldown = &self.rules.config.routing.cooldown;
        let due = Due {
            now,
            heard_at: self.target.health.report(now, cooldown, &args).heard_at,
            own_heard_at,
            lists: paths.is_some_and(|paths| paths.models_path().is_some()),
            cost: self.policy.billed_per_day.and_then(|_| billed::cost(self)),
        };
        probe::kind(&self.policy, &due, &lock(&self.spending), clock::now())
    }

    fn args(&self) -> LatencyArgs {
        let policy = &self.rules.config.routing;
        policy
            .strategy_for(&self.target.deployment.model_name)
            .latency_args()
    }

    /// What decides about this deployment, beside itself.
    fn around(&self) -> Surroundings<'_> {
        let policy = &self.rules.config.routing.cooldown;
        let (own, now) = (&self.target.deployment, self.state.routing.now());
        let group = self.rules.group(&own.model_name);
        let in_use = |other: &Arc<Target>| {
            let is_other = other.deployment.id != own.id && !other.deployment.blocked;
            is_other && other.health.gate(now, policy) == Gate::Closed
        };
        Surroundings {
            policy,
            decay: self.args().decay,
            time: own.cooldown_time,
            others: group.is_some_and(|group| group.targets().iter().any(in_use)),
            dice: clock::dice(),
        }
    }

    /// A free probe failed. `status` is the provider's, or the one that stands for the failure.
    fn failed(&self, failed: Failed, status: u16) {
        let now = self.state.routing.now();
        let (id, class) = (&self.target.deployment.id, failed.verdict.class.as_str());
        tracing::warn!(deployment = id, class, status, "probe failed");
        let cooled = self.target.health.probe_failed(now, failed, &self.around());
        if let Some(cooled) = cooled {
            self.left_out(cooled, status);
        }
    }

    /// A probe's failure left somebody out: tells whom it concerns.
    fn left_out(&self, cooled: Cooled, status: u16) {
        let (target, routing) = (&self.target, &self.state.routing);
        let for_s = routing.until(cooled.opened.until).as_secs_f64();
        let (id, class) = (&target.deployment.id, cooled.opened.cause.as_str());
        tracing::warn!(deployment = id, class, for_s, "left out after a probe");
        let labels = target.labels(!target.deployment.is_wildcard());
        self.state.metrics.deployment_cooled_down(&labels, status);
        routing.tell(&target.deployment, cooled);
    }
}

fn lock(spending: &Mutex<Spending>) -> MutexGuard<'_, Spending> {
    spending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What billed probes have cost today, by the ledger: a restart gives no new allowance.
async fn spent_today(store: &Store) -> NanoUsd {
    let now = clock::now();
    let from = WallMs::parse_iso(&now.day()).unwrap_or(now);
    let query = ReportQuery {
        range: Some(TimeRange { from, to: now }),
        ..ReportQuery::default()
    };
    match store.spend_by(GroupBy::Tag, query).await {
        Ok(tags) => {
            let own = tags.iter().find(|tag| tag.group == TAG);
            own.map_or(NanoUsd::ZERO, |tag| tag.spend)
        }
        Err(error) => {
            // Nobody knows: no billed probe until tomorrow.
            tracing::warn!(%error, "what probes have cost today is not known");
            NanoUsd(i64::MAX)
        }
    }
}
