//! What is known of one deployment with its credential: load, speed, failures, and whether it is
//! left out.
//!
//! Plain atomics: many threads report and read without a lock. A reader may see a report half
//! done; a decision made of that is a little old, never wrong in kind. `src/` keeps one
//! `Arc<Health>` for each pair of deployment and credential over reloads, and one `Arc<Circuit>`
//! for each credential, which all its deployments share.

mod circuit;
mod ewma;
mod flight;
mod load;
mod probed;
mod report;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use circuit::{Circuit, Gate, Opened};
pub use flight::{Cooled, Entry, Failed, Flight, Surroundings};
pub use load::Awaited;
pub use report::{Report, Standing};

use crate::limit::{Dimension, Limits, RateSlot};
use crate::routing::policy::{CooldownPolicy, LatencyArgs};
use crate::time::{MonoUs, WallMs};
use ewma::PeakEwma;
use load::Load;

/// Tokens of an answer that count into its expected time: a slow writer is worth avoiding, but a
/// caller waits for the first token most.
const TOKENS_WEIGHED: f64 = 64.0;

/// Shortest time that a score is made of, so that requests in flight count where nothing has been
/// measured.
const TIME_MIN_S: f64 = 0.001;

/// What a failure counts as, at least, in the time to first token: a deployment that fails in a
/// millisecond must not look fast.
const PENALTY: Duration = Duration::from_secs(5);

/// Longest such penalty: it doubles with each failure in a row.
const PENALTY_MAX: Duration = Duration::from_secs(300);

/// Least time for which the last failure counts.
const PENALISED_MIN: Duration = Duration::from_secs(1);

/// Time over which a deployment that a failure counted against gets its share again, and what it
/// begins with: it looks idle, and all requests at once would find that out.
const EASE: Duration = Duration::from_secs(10);
const EASE_FIRST: f64 = 0.05;

/// After this much time a place at a parallelism limit may be free: nobody knows.
const PARALLEL_RETRY: Duration = Duration::from_secs(1);

/// A limit that leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Which.
    pub limit: Dimension,
    /// When there may be room again.
    pub free_in: Duration,
}

/// State of one deployment with its credential.
#[derive(Debug)]
pub struct Health {
    /// The deployment's own.
    own: Circuit,
    /// Shared by all deployments with this credential.
    credential: Arc<Circuit>,
    load: Load,
    /// Its `rpm`, `tpm` and `max_parallel_requests`.
    rates: RateSlot,
    /// Time to first token, in seconds.
    ttft: PeakEwma,
    /// Time per output token after the first, in seconds.
    per_token: PeakEwma,
    /// Until then its last failure counts against it, in microseconds.
    penalised_until: AtomicU64,
    /// When something was last heard of it, in microseconds.
    heard_at: AtomicU64,
}

impl Health {
    /// A deployment that has not been used. `now` is when it appeared: its share ramps up from
    /// there, unless the others are as new.
    pub fn new(credential: Arc<Circuit>, now: MonoUs) -> Self {
        Self {
            own: Circuit::new(now),
            credential,
            load: Load::default(),
            rates: RateSlot::new(Limits::default()),
            ttft: PeakEwma::default(),
            per_token: PeakEwma::default(),
            penalised_until: AtomicU64::new(0),
            heard_at: AtomicU64::new(now.0),
        }
    }

    /// Its own circuit: for what another node of the region says.
    pub fn circuit(&self) -> &Circuit {
        &self.own
    }

    /// The circuit of its credential.
    pub fn credential(&self) -> &Arc<Circuit> {
        &self.credential
    }

    /// Whether a request may go there, by what has failed.
    pub fn gate(&self, now: MonoUs, policy: &CooldownPolicy) -> Gate {
        if policy.disabled {
            return Gate::Closed;
        }
        self.own.gate(now).or_worse(self.credential.gate(now))
    }

    /// Its limits per minute and on parallel requests.
    pub fn rates(&self) -> &RateSlot {
        &self.rates
    }

    /// The limit that leaves no room for a request of `tokens`, if there is one.
    pub fn full(&self, tokens: u64, now: WallMs) -> Option<Full> {
        let refusal = self.rates.room(tokens, now).err()?;
        Some(Full {
            limit: refusal.dimension,
            free_in: match refusal.dimension {
                Dimension::Parallel => PARALLEL_RETRY,
                Dimension::Requests | Dimension::Tokens => {
                    let left_ms = refusal.resets_at.0.saturating_sub(now.0);
                    Duration::from_millis(u64::try_from(left_ms).unwrap_or_default())
                }
            },
        })
    }

    /// Share of its usual traffic, 0 to 1, while it ramps up.
    pub fn ramp(&self, now: MonoUs, policy: &CooldownPolicy) -> f64 {
        if policy.disabled {
            return 1.0;
        }
        let own = self.own.ramp(now, policy.ramp);
        own.min(self.credential.ramp(now, policy.ramp))
    }

    /// Expected seconds until a useful answer, times the requests that wait: lower is better.
    ///
    /// The time to first token is at least the age of the oldest request that still waits for one:
    /// a deployment that stalls is known before anything comes back. A failure counts for the
    /// cooldown that it could have begun, and no longer: what is well again must be found out.
    pub fn score(&self, now: MonoUs, args: &LatencyArgs) -> f64 {
        let waited = self.load.oldest_wait(now).as_secs_f64();
        let first = self.ttft.at(now, args.decay).max(waited);
        let first = first.max(self.penalty(now).as_secs_f64());
        let rest = TOKENS_WEIGHED * self.per_token.at(now, args.decay);
        let expected = (first + rest).max(TIME_MIN_S) * (1.0 + f64::from(self.load.waiting()));
        expected / self.eased(now)
    }

    /// Requests that run.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Tokens of the running minute.
    pub fn tokens_this_minute(&self, now: MonoUs) -> u64 {
        self.load.tokens(now)
    }

    /// Whether anything was ever measured.
    pub fn is_measured(&self) -> bool {
        self.ttft.is_measured()
    }

    fn heard(&self, now: MonoUs) {
        self.heard_at.fetch_max(now.0, Relaxed);
    }

    /// What the last failure counts as now.
    fn penalty(&self, now: MonoUs) -> Duration {
        if now.0 >= self.penalised_until.load(Relaxed) {
            return Duration::ZERO;
        }
        let row = self.own.failures_in_row().saturating_sub(1).min(8);
        (PENALTY * 2_u32.pow(row)).min(PENALTY_MAX)
    }

    /// How much of its weight it has back, 0 to 1, since its last failure stopped counting.
    fn eased(&self, now: MonoUs) -> f64 {
        match self.penalised_until.load(Relaxed) {
            0 => 1.0,
            until if now.0 < until => 1.0,
            until => {
                let age = now.since(MonoUs(until)).as_secs_f64() / EASE.as_secs_f64();
                age.clamp(EASE_FIRST, 1.0)
            }
        }
    }

    /// A failure after `taken`, which counts against it for `time`.
    fn penalise(&self, now: MonoUs, taken: Duration, (time, decay): (Duration, Duration)) {
        let until = now.plus(time.max(PENALISED_MIN));
        self.penalised_until.fetch_max(until.0, Relaxed);
        let taken = taken.as_secs_f64();
        if taken > self.ttft.at(now, decay) {
            self.ttft.add(now, taken, decay);
        }
    }

    /// What it was like before says nothing any more.
    fn forget(&self) {
        self.ttft.forget();
        self.penalised_until.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests;
