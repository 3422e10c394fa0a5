//! What the state page tells of a deployment.

use std::time::Duration;

use super::{Gate, Health};
use crate::routing::policy::{CooldownPolicy, LatencyArgs};
use crate::time::MonoUs;

/// How a deployment stands, in three steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in use and nothing failed lately.
    Healthy,
    /// It is in use and fails at times, or one request tries it after a cooldown.
    Partial,
    /// It is left out.
    Out,
}

/// State of a deployment at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Whether requests pass, by what the deployment did; always with cooldowns turned off.
    pub gate: Gate,
    /// The same for its credential.
    pub credential: Gate,
    /// Times out in a row.
    pub times: u32,
    /// Share of its usual traffic while it ramps up, 0 to 1.
    pub ramp: f64,
    /// Score of latency-based-routing; lower is better.
    pub score: f64,
    /// Mean time to first token now; `None` when never measured.
    pub ttft: Option<Duration>,
    /// Mean time per output token now; `None` when never measured.
    pub per_token: Option<Duration>,
    /// Requests that run.
    pub in_flight: u32,
    /// Of these, the ones without a first token.
    pub waiting: u32,
    /// Age of the oldest of those.
    pub oldest_wait: Duration,
    /// Requests sent in this minute.
    pub rpm: u64,
    /// Tokens of this minute.
    pub tpm: u64,
    /// Successes within the policy's window.
    pub successes: u32,
    /// Failures within the policy's window.
    pub failures: u32,
    /// When something was last heard of it.
    pub heard_at: MonoUs,
}

impl Report {
    /// The gate that lets less through: what decides.
    pub fn worse_gate(&self) -> Gate {
        self.gate.or_worse(self.credential)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        match self.worse_gate() {
            Gate::Open { .. } => Standing::Out,
            Gate::HalfOpen | Gate::Probing => Standing::Partial,
            Gate::Closed if self.failures > 0 => Standing::Partial,
            Gate::Closed => Standing::Healthy,
        }
    }
}

impl Health {
    /// Everything that is known now.
    pub fn report(&self, now: MonoUs, policy: &CooldownPolicy, args: &LatencyArgs) -> Report {
        let (successes, failures) = self.own.counts(now, policy);
        let mean = |ewma: &super::PeakEwma| {
            let seconds = ewma.at(now, args.decay);
            ewma.is_measured().then(|| Duration::from_secs_f64(seconds))
        };
        let gate = |circuit: &super::Circuit| match policy.disabled {
            true => Gate::Closed,
            false => circuit.gate(now),
        };
        Report {
            gate: gate(&self.own),
            credential: gate(&self.credential),
            times: self.own.times(),
            ramp: self.ramp(now, policy),
            score: self.score(now, args),
            ttft: mean(&self.ttft),
            per_token: mean(&self.per_token),
            in_flight: self.load.in_flight(),
            waiting: self.load.waiting(),
            oldest_wait: self.load.oldest_wait(now),
            rpm: self.load.requests(now),
            tpm: self.load.tokens(now),
            successes,
            failures,
            heard_at: MonoUs(self.heard_at.load(std::sync::atomic::Ordering::Relaxed)),
        }
    }
}
