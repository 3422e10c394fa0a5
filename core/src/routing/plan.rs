//! From the deployments of a model to the next one: what is out of the question, what is not
//! available, which pool comes first, and the strategy's choice in it.
//!
//! Sending and explaining are one code path: a [`Decision`] always says why each of the others was
//! skipped.

mod refusal;
mod regions;
mod sieve;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::limit::Limits;
use crate::routing::affinity::{AffinityKey, DeploymentHash, Home, home};
use crate::routing::health::{Entry, Full, Health};
use crate::routing::policy::{AffinityPolicy, AllCooling, FailureClass, RoutingPolicy, Strategy};
use crate::routing::strategy::choose;
use crate::time::{MonoUs, WallMs};
pub use refusal::Refused;
use sieve::Sieve;

/// What a configuration says about one deployment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its place in the hashing of affinity.
    pub hash: DeploymentHash,
    /// Region it runs in; `None` counts as the gateway's own, except where residency is demanded.
    pub region: Option<String>,
    /// Lower ones are tried first.
    pub order: u64,
    /// Tags that requests choose it by.
    pub tags: Vec<String>,
    /// Share in simple-shuffle and affinity, if one is configured.
    pub weight: Option<f64>,
    /// What it may be used for at once and in a minute.
    pub limits: Limits,
    /// Longest prompt in tokens.
    pub max_input_tokens: Option<u64>,
    /// Dollars per input token and per output token, added.
    pub price: Option<f64>,
    /// It gets no request.
    pub blocked: bool,
}

/// One deployment of the model.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What is configured.
    pub facts: &'a Facts,
    /// What is known.
    pub health: &'a Health,
    /// It speaks the request's dialect.
    pub fits: bool,
    /// Its budget, its provider's or one of a tag has no room for the request.
    pub spent: bool,
}

/// What a request asks of routing.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The model group as policies name it: aliases applied, for a wildcard its pattern.
    pub group: &'a str,
    /// Regions that the key, the team and others allow; each set must hold. The group's own is
    /// added here.
    pub residency: &'a [Arc<BTreeSet<String>>],
    /// Tags of the request.
    pub tags: &'a [String],
    /// Estimated length of the prompt in tokens.
    pub prompt_tokens: u64,
    /// Tokens that count against `tpm`: prompt and expected answer.
    pub tokens: u64,
    /// Its conversation.
    pub affinity: Option<AffinityKey>,
    /// Indices that this client request has been sent to.
    pub tried: &'a [usize],
    /// It cannot be sent a second time (an upload, a stored object): it tries nothing that was left
    /// out. Not for requests without retries: somebody has to try.
    pub once: bool,
    /// Fallbacks are used up: apply the policy for a model whose deployments are all left out.
    pub last_resort: bool,
    /// Time that the request has waited for a deployment already.
    pub waited: Duration,
}

/// Why a deployment does not get the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// An administrator has blocked it.
    Blocked,
    /// It does not speak the request's dialect.
    Dialect,
    /// It is not in an allowed region.
    Residency,
    /// Its tags do not match.
    Tags,
    /// The prompt is too long for it.
    PromptTooLong,
    /// A budget that it is charged to has no room.
    Budget,
    /// It, or its credential, is left out.
    Cooling {
        /// Until then.
        until: MonoUs,
        /// What it failed with.
        cause: FailureClass,
    },
    /// It was left out and one request tries it.
    Probing,
    /// A limit of its is reached.
    Full(Full),
    /// It was tried for this request.
    Tried,
    /// One of a lower `order` is in use.
    LaterOrder,
    /// One of a nearer region is in use.
    FartherRegion,
    /// It is back, and its share still ramps up.
    Ramping,
    /// It could have had it.
    NotChosen,
}

impl Skip {
    /// Word for the explanation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Dialect => "dialect",
            Self::Residency => "residency",
            Self::Tags => "tags",
            Self::PromptTooLong => "prompt_too_long",
            Self::Budget => "budget",
            Self::Cooling { .. } => "cooling",
            Self::Probing => "probing",
            Self::Full(full) => full.limit.setting(),
            Self::Tried => "tried",
            Self::LaterOrder => "later_order",
            Self::FartherRegion => "farther_region",
            Self::Ramping => "ramping",
            Self::NotChosen => "not_chosen",
        }
    }
}

/// Why a deployment gets the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The strategy chose it.
    Strategy,
    /// It has the conversation's prompt cache.
    Affinity,
    /// It was left out, and the request tries it.
    Probe,
    /// All are left out, and it is back first.
    LeastBad,
}

impl Why {
    /// Word for logs, the response header and the explanation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strategy => "strategy",
            Self::Affinity => "affinity",
            Self::Probe => "probe",
            Self::LeastBad => "least_bad",
        }
    }
}

/// The deployment that gets the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its index among the candidates.
    pub index: usize,
    /// How the request goes there: for `Flight::begin`.
    pub entry: Entry,
    /// Why.
    pub why: Why,
    /// This client request was sent there before.
    pub again: bool,
    /// Another deployment could have taken it: for `Surroundings::others`.
    pub others: bool,
}

/// What to do with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Send it.
    Send(Choice),
    /// Ask again at this time, with `waited` grown.
    Wait {
        /// When the first deployment is back.
        until: MonoUs,
    },
    /// Not in this group.
    Refuse(Refusal),
}

/// Why no deployment of the group gets the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None speaks the dialect, those that are blocked aside.
    NotServed,
    /// None is in an allowed region.
    Region {
        /// The regions that are allowed.
        allowed: BTreeSet<String>,
    },
    /// No tags match.
    Tags,
    /// The prompt is too long for all.
    PromptTooLong {
        /// The longest that one of them takes, in tokens.
        max: u64,
    },
    /// The budgets of all have no room.
    Budget,
    /// All are left out or have reached their limits.
    Busy {
        /// When the first is back.
        until: MonoUs,
        /// Indices of those that are left out.
        cooling: Vec<usize>,
    },
}

/// What was decided, and why not otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub plan: Plan,
    /// For each candidate why it was skipped; `None` for the chosen one.
    pub skips: Vec<Option<Skip>>,
}

/// The rules and the moment that a decision is made by.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The configuration.
    pub policy: &'a RoutingPolicy,
    /// Now.
    pub now: MonoUs,
    /// The same, for the limits of deployments.
    pub wall: WallMs,
}

impl RoutingPolicy {
    /// The strategy of a model group.
    pub fn strategy_for(&self, group: &str) -> &Strategy {
        self.strategy_of_group.get(group).unwrap_or(&self.strategy)
    }
}

/// Decides. `dice` gives uniform numbers in `[0, 1)`.
pub fn decide(
    ask: &Ask<'_>,
    candidates: &[Candidate<'_>],
    moment: Moment<'_>,
    dice: &mut dyn FnMut() -> f64,
) -> Decision {
    let mut sieve = Sieve::new(ask, candidates, moment);
    let plan = match sieve.drop_unfit() {
        Err(refusal) => Plan::Refuse(refusal),
        Ok(()) => sieve.plan(dice),
    };
    let mut skips = sieve.into_skips();
    if let Plan::Send(choice) = &plan {
        for (index, skip) in skips.iter_mut().enumerate() {
            *skip = match *skip {
                _ if index == choice.index => None,
                None => Some(Skip::NotChosen),
                reason => reason,
            };
        }
    }
    Decision { plan, skips }
}

impl Sieve<'_> {
    fn plan(&mut self, dice: &mut dyn FnMut() -> f64) -> Plan {
        let fit = self.left();
        let half_open = self.drop_unavailable();
        let may_try = self.ask.tried.is_empty() && !self.ask.once;
        if let Some(index) = half_open.first().copied().filter(|_| may_try) {
            return self.send(index, Entry::Probe, Why::Probe);
        }
        let available = self.left();
        self.drop_tried();
        if self.left().is_empty() {
            if let Some(index) = half_open.first() {
                return self.send(*index, Entry::Probe, Why::Probe);
            }
            if available.is_empty() {
                return self.busy(&fit);
            }
            self.restore(&available);
        }
        self.drop_other_pools(dice);
        self.drop_ramping(dice);
        self.choose_in_pool(dice)
    }

    fn choose_in_pool(&mut self, dice: &mut dyn FnMut() -> f64) -> Plan {
        let (pool, policy) = (self.left(), self.moment.policy);
        if let (Some(key), AffinityPolicy::On { load_max, .. }) =
            (self.ask.affinity, policy.affinity)
        {
            let homes: Vec<Home> = pool.iter().map(|index| self.home_at(*index)).collect();
            if let Some(index) = home(key, &homes, load_max) {
                return self.send(index, Entry::Usual, Why::Affinity);
            }
        }
        let strategy = policy.strategy_for(self.ask.group);
        match choose(strategy, &pool, self.candidates, self.moment.now, dice) {
            Some(index) => self.send(index, Entry::Usual, Why::Strategy),
            // The pool has at least one: both ways here left some.
            None => Plan::Refuse(Refusal::NotServed),
        }
    }

    fn home_at(&self, index: usize) -> Home {
        let Candidate { facts, health, .. } = self.candidates[index];
        Home {
            index,
            hash: facts.hash,
            weight: facts.weight.unwrap_or(1.0),
            in_flight: health.in_flight(),
        }
    }

    fn send(&self, index: usize, entry: Entry, why: Why) -> Plan {
        Plan::Send(Choice {
            index,
            entry,
            why,
            again: self.ask.tried.contains(&index),
            others: self.has_others(index),
        })
    }

    /// All are left out or full.
    fn busy(&self, fit: &[usize]) -> Plan {
        let now = self.moment.now;
        let back_at = |index: usize| match self.skip_of(index) {
            Some(Skip::Cooling { until, .. }) => until,
            Some(Skip::Full(full)) => now.plus(full.free_in),
            _ => now.plus(Duration::from_secs(1)),
        };
        let is_full = |index: &usize| matches!(self.skip_of(*index), Some(Skip::Full(_)));
        let cooling: Vec<usize> = fit.iter().copied().filter(|one| !is_full(one)).collect();
        let first = fit.iter().map(|index| back_at(*index)).min();
        let until = first.unwrap_or(now);
        match self.moment.policy.cooldown.all_cooling {
            _ if !self.ask.last_resort => {}
            AllCooling::LeastBad => {
                let untried_first = |index: &usize| {
                    let tried = self.ask.tried.contains(index);
                    (tried, back_at(*index))
                };
                if let Some(index) = cooling.iter().copied().min_by_key(untried_first) {
                    return self.send(index, Entry::LastResort, Why::LeastBad);
                }
            }
            AllCooling::Wait(longest) => {
                if self.ask.waited + until.since(now) <= longest {
                    return Plan::Wait { until };
                }
            }
            AllCooling::Refuse => {}
        }
        Plan::Refuse(Refusal::Busy { until, cooling })
    }
}

#[cfg(test)]
mod tests;
