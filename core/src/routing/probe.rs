//! Probes of deployments: when one is due, which kind it is, what it may cost in a day, and what
//! its failure says.

use std::time::Duration;

use crate::config::Provider;
use crate::money::NanoUsd;
use crate::routing::failure::{Judged, Origin, Verdict, of_answer};
use crate::routing::policy::{FailureClass, ProbePolicy};
use crate::time::{MonoUs, WallMs};
use crate::wire::upstream_error::ErrorAnswer;

/// A deployment that failed its probe is asked again after this part of the interval: a dead one
/// is to be found before it is needed, and one that is back not an interval too late.
const AFTER_FAILURE: u32 = 10;

/// Shortest time between two probes of a deployment.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Output tokens that a billed probe asks for: the fewest that every provider takes.
pub const BILLED_TOKENS: u64 = 16;

/// The tag of billed probes in the ledger.
pub const TAG: &str = "meridian-health-check";

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How a probe is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The list of models: free.
    Models,
    /// A short request to the model: it costs.
    Billed,
}

/// How the last probe of a deployment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// There was none.
    Never,
    /// Something answered.
    Answered,
    /// It failed.
    Failed,
}

/// Time until the next probe of a deployment. `dice`, uniform in `[0, 1)`, spreads those that
/// begin together: the first ones over a whole interval, later ones by a tenth to either side.
pub fn pause(policy: &ProbePolicy, last: Last, dice: f64) -> Duration {
    let every = policy.every.max(EVERY_MIN);
    match last {
        Last::Never => every.mul_f64(dice),
        Last::Answered => every.mul_f64(0.9 + 0.2 * dice),
        Last::Failed => (every / AFTER_FAILURE)
            .max(EVERY_MIN)
            .mul_f64(0.9 + 0.2 * dice),
    }
}

/// What is known of a deployment when its probe is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Now.
    pub now: MonoUs,
    /// When something was last heard of it (`Report::heard_at`).
    pub heard_at: MonoUs,
    /// The same right after its last billed probe, which is no traffic; zero if there was none.
    pub own_heard_at: MonoUs,
    /// It has a list of models.
    pub lists: bool,
    /// Most that a billed probe can cost; `None`: none can be made, or nobody knows its price.
    pub cost: Option<NanoUsd>,
}

/// Which probe is made; `None` is none. A billed one is made where it is allowed and affordable,
/// and no traffic has shown within the interval how the deployment is.
pub fn kind(policy: &ProbePolicy, due: &Due, spending: &Spending, now: WallMs) -> Option<Kind> {
    let traffic = due.heard_at > due.own_heard_at && due.now.since(due.heard_at) < policy.every;
    let cap = policy.billed_per_day.filter(|_| !traffic);
    let affordable = |(cap, cost)| spending.has_room(cap, cost, now);
    if cap.zip(due.cost).is_some_and(affordable) {
        return Some(Kind::Billed);
    }
    due.lists.then_some(Kind::Models)
}

/// What billed probes of this node have cost on one UTC day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    day: i64,
    spent: NanoUsd,
}

impl Spending {
    /// Spent so far on the day of `now`.
    pub fn so_far(spent: NanoUsd, now: WallMs) -> Self {
        Self {
            day: day_of(now),
            spent,
        }
    }

    /// What was spent on the day of `now`, reservations included.
    pub fn spent(&self, now: WallMs) -> NanoUsd {
        match self.day == day_of(now) {
            true => self.spent,
            false => NanoUsd::ZERO,
        }
    }

    fn has_room(&self, cap: NanoUsd, cost: NanoUsd, now: WallMs) -> bool {
        self.spent(now).saturating_add(cost) <= cap
    }

    /// Reserves the most that a probe can cost before it is sent; false when it would pass `cap`.
    pub fn reserve(&mut self, cap: NanoUsd, cost: NanoUsd, now: WallMs) -> bool {
        let has_room = self.has_room(cap, cost, now);
        if has_room {
            *self = Self::so_far(self.spent(now).saturating_add(cost), now);
        }
        has_room
    }

    /// Puts what it did cost in the place of what was `reserved`. One that ends on another day
    /// counts for that whole.
    pub fn settle(&mut self, reserved: NanoUsd, cost: NanoUsd, now: WallMs) {
        let before = match self.day == day_of(now) {
            true => self.spent.saturating_sub(reserved),
            false => NanoUsd::ZERO,
        };
        *self = Self::so_far(before.saturating_add(cost), now);
    }
}

fn day_of(now: WallMs) -> i64 {
    now.0.div_euclid(DAY_MS)
}

/// What an answer to the question for a list of models says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The host answers.
    Answered,
    /// It counts as a failure.
    Failed {
        /// What it is.
        verdict: Verdict,
        /// What the provider asks to wait, in seconds.
        wait_s: Option<u64>,
    },
}

/// Judges an answer with an error status. Refusals that are about the list and not about the model
/// behind it are answers: no such list, no permission for it, too many questions for it.
pub fn judge_list(provider: Provider, answer: &ErrorAnswer<'_>, now: WallMs) -> Listing {
    let origin = Origin {
        provider,
        // No model was asked for, so none can be missing.
        named_by_client: true,
    };
    let Judged { fault, verdict } = of_answer(origin, answer, None, now);
    let of_list = match verdict.class {
        FailureClass::Auth => {
            answer.status == 403 || fault.error.code.as_deref() == Some("missing_scope")
        }
        FailureClass::Quota
        | FailureClass::Overload
        | FailureClass::Server
        | FailureClass::Timeout
        | FailureClass::Network => false,
        FailureClass::RateLimit
        | FailureClass::Client
        | FailureClass::Cancelled
        | FailureClass::ContextWindow
        | FailureClass::ContentPolicy => true,
    };
    match of_list {
        true => Listing::Answered,
        false => Listing::Failed {
            verdict,
            wait_s: fault.error.retry_after_s,
        },
    }
}

#[cfg(test)]
mod tests;
