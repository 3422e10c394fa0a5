//! One request that runs at a deployment, from before it is sent to its end.

use std::sync::Arc;
use std::time::Duration;

use super::circuit::{Circuit, Gate, Hit, Opened, Probe};
use super::load::{Awaited, Held};
use super::{Health, TOKENS_WEIGHED};
use crate::limit::RateHold;
use crate::routing::failure::{Blame, Verdict};
use crate::routing::policy::CooldownPolicy;
use crate::time::{MonoUs, WallMs};

/// Fewest output tokens that a time per token is made of.
const TOKENS_TIMED_MIN: u64 = 8;

/// How a request goes to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is in use.
    Usual,
    /// It was left out, and this request tries it.
    Probe,
    /// It is left out, but nothing better is there.
    LastResort,
}

/// What decides about a deployment, beside itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The rules.
    pub policy: &'a CooldownPolicy,
    /// Memory of the times (`LatencyArgs::decay`).
    pub decay: Duration,
    /// First cooldown, where the deployment has its own (`cooldown_time`).
    pub time: Option<Duration>,
    /// Another deployment of the group could have taken the request.
    pub others: bool,
    /// Uniform in `[0, 1)`.
    pub dice: f64,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What it was.
    pub verdict: Verdict,
    /// What the provider asks to wait.
    pub wait: Option<Duration>,
}

/// A cooldown that a failure began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooled {
    /// Who is left out.
    pub whose: Blame,
    /// Until when, and why.
    pub opened: Opened,
}

/// A running request. Dropped without a report it was cancelled: nothing is counted, and if it was
/// the one that tried, another one may. [`Flight::left`] is better where the time is at hand.
#[derive(Debug)]
#[must_use = "a flight that is dropped counts as cancelled"]
pub struct Flight {
    health: Arc<Health>,
    /// `None` once it is over.
    held: Option<Held>,
    /// What it took of the deployment's limits.
    rate: Option<RateHold>,
    entry: Entry,
    awaited: Awaited,
    own_probe: Option<Probe>,
    credential_probe: Option<Probe>,
    sent_at: MonoUs,
    first_at: Option<MonoUs>,
    /// Where the success was counted, for the deployment and for its credential.
    counted: Option<(u32, u32)>,
}

impl Flight {
    /// Counts a request in. `tokens` is the estimate of what it will use, `wall` the time that the
    /// deployment's limits go by.
    ///
    /// `None` when the state has changed since `entry` was planned: the last place is taken,
    /// another request tries, a failure came in between. Plan again.
    pub fn begin(
        health: &Arc<Health>,
        entry: Entry,
        wall: WallMs,
        (tokens, awaited): (u64, Awaited),
        (now, policy): (MonoUs, &CooldownPolicy),
    ) -> Option<Self> {
        if entry == Entry::Usual && health.gate(now, policy) != Gate::Closed {
            return None;
        }
        let rate = health.rates.take(tokens, wall).ok()?;
        let mut flight = Self {
            health: Arc::clone(health),
            held: Some(health.load.take(now, (tokens, awaited))),
            rate: Some(rate),
            entry,
            awaited,
            own_probe: None,
            credential_probe: None,
            sent_at: now,
            first_at: None,
            counted: None,
        };
        if entry != Entry::Probe || flight.take_probes(now) {
            return Some(flight);
        }
        // What else a flight that may not begin holds it gives back by being dropped.
        if let Some(rate) = flight.rate.take() {
            health.rates.release(rate);
        }
        None
    }

    fn take_probes(&mut self, now: MonoUs) -> bool {
        let take = |circuit: &Circuit, probe: &mut Option<Probe>| {
            *probe = circuit.take_probe(now);
            probe.is_some() || circuit.gate(now) == Gate::Closed
        };
        take(&self.health.own, &mut self.own_probe)
            && take(&self.health.credential, &mut self.credential_probe)
    }

    /// When it was sent.
    pub fn sent_at(&self) -> MonoUs {
        self.sent_at
    }

    /// The first token, or any first part of the answer's content.
    pub fn first_token(&mut self, now: MonoUs, around: &Surroundings<'_>) {
        if self.first_at.replace(now).is_some() {
            return;
        }
        if let Some(held) = &mut self.held {
            self.health.load.begun(held);
        }
        self.succeed(now, around);
        let taken = now.since(self.sent_at).as_secs_f64();
        self.health.ttft.add(now, taken, around.decay);
    }

    /// The answer is whole. `total` and `output` are the tokens that it used and made, if known.
    pub fn finished(
        mut self,
        now: MonoUs,
        (total, output): (Option<u64>, Option<u64>),
        around: &Surroundings<'_>,
    ) {
        let output = output.filter(|count| *count >= TOKENS_TIMED_MIN);
        match (self.first_at, output) {
            (Some(first), Some(count)) => {
                let each = now.since(first).as_secs_f64() / count as f64;
                self.health.per_token.add(now, each, around.decay);
            }
            (Some(_), None) => {}
            (None, count) => {
                self.succeed(now, around);
                let first = self.first_of_whole(now, count, around.decay);
                self.health.ttft.add(now, first, around.decay);
            }
        }
        self.land(total);
    }

    /// What the time to first token would have been, in seconds, had the answer been a stream.
    fn first_of_whole(&self, now: MonoUs, output: Option<u64>, decay: Duration) -> f64 {
        let taken = now.since(self.sent_at).as_secs_f64();
        let Some(count) = output.map(|count| count as f64) else {
            return taken;
        };
        let each = self.health.per_token.at(now, decay);
        if each > 0.0 {
            return (taken - count * each).max(taken / (count + 1.0));
        }
        taken * (TOKENS_WEIGHED / count).min(1.0)
    }

    /// It failed. Says so if the deployment or its credential is left out from now on.
    pub fn failed(
        mut self,
        now: MonoUs,
        failed: Failed,
        around: &Surroundings<'_>,
    ) -> Option<Cooled> {
        let blame = failed.verdict.blame;
        let health = Arc::clone(&self.health);
        if blame == Blame::Nobody {
            return None;
        }
        if let Some((own, credential)) = self.counted.take() {
            health.own.take_back(own);
            health.credential.take_back(credential);
        }
        health.heard(now);
        let (circuit, probe) = match blame {
            Blame::Credential => (&*health.credential, &mut self.credential_probe),
            _ => (&health.own, &mut self.own_probe),
        };
        let hit = Hit {
            now,
            class: failed.verdict.class,
            wait: failed.wait,
            probe: probe.take(),
            others: around.others,
            time: around.time,
            dice: around.dice,
        };
        let opened = circuit.failed(hit, around.policy);
        let time = around.time.unwrap_or(around.policy.time);
        let taken = now.since(self.sent_at);
        health.penalise(now, taken, (time, around.decay));
        self.land(None);
        opened.map(|opened| Cooled {
            whose: blame,
            opened,
        })
    }

    /// The caller left, or its own deadline passed. No failure; but if it waited longer for the
    /// first token than is usual here, that is a measurement.
    pub fn left(self, now: MonoUs, around: &Surroundings<'_>) {
        let waited = now.since(self.sent_at).as_secs_f64();
        let ttft = &self.health.ttft;
        // How long a whole answer takes says little about a first token.
        let slower = self.awaited == Awaited::FirstToken
            && ttft.is_measured()
            && waited > ttft.at(now, around.decay);
        if self.first_at.is_none() && slower {
            ttft.add(now, waited, around.decay);
        }
    }

    fn succeed(&mut self, now: MonoUs, around: &Surroundings<'_>) {
        let health = &self.health;
        health.heard(now);
        let last_resort = self.entry == Entry::LastResort;
        for (circuit, probe) in [
            (&health.own, &mut self.own_probe),
            (&*health.credential, &mut self.credential_probe),
        ] {
            let left_out = circuit.gate(now) != Gate::Closed;
            let tried = probe.take().is_some();
            if left_out && (tried || last_resort) {
                circuit.close(now);
                health.forget();
            }
        }
        let window = around.policy.window;
        let own = health.own.succeeded(now, window);
        let credential = health.credential.succeeded(now, window);
        self.counted = Some((own, credential));
    }

    fn land(&mut self, tokens: Option<u64>) {
        if let Some(held) = self.held.take() {
            self.health.load.free(held, tokens);
        }
        match (self.rate.take(), tokens) {
            (Some(rate), Some(tokens)) => self.health.rates.settle(rate, tokens),
            (Some(rate), None) => self.health.rates.keep(rate),
            (None, _) => {}
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.land(None);
        if let Some(probe) = self.own_probe.take() {
            self.health.own.give_probe(probe);
        }
        if let Some(probe) = self.credential_probe.take() {
            self.health.credential.give_probe(probe);
        }
    }
}
