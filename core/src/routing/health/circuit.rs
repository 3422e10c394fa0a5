//! When something is left out: closed (in use), open (left out), half open (one request tries it).

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::window::Tally;
use crate::routing::policy::{CooldownPolicy, FailureClass, PolicyError};
use crate::time::MonoUs;

/// Share of its traffic that something gets at once when it is back.
const RAMP_FIRST: f64 = 0.05;

/// Kinds of failure that are counted apart.
const KINDS: [PolicyError; 6] = [
    PolicyError::BadRequest,
    PolicyError::Authentication,
    PolicyError::Timeout,
    PolicyError::RateLimit,
    PolicyError::ContentPolicyViolation,
    PolicyError::InternalServer,
];

/// Failures and cooldown of one deployment or one credential.
#[derive(Debug)]
pub struct Circuit {
    /// End of the cooldown in microseconds; zero is closed.
    until: AtomicU64,
    /// The one request that tries; zero is none.
    probe: AtomicU64,
    /// Requests that tried so far: each has a number of its own.
    probes: AtomicU64,
    /// When it was closed last.
    back_at: AtomicU64,
    /// Times out in a row.
    times: AtomicU32,
    failed_in_row: AtomicU32,
    cause: AtomicU8,
    good: Tally,
    bad: [Tally; KINDS.len()],
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Any may.
    Closed,
    /// One may, to try.
    HalfOpen,
    /// One tries: the others wait for what becomes of it.
    Probing,
    /// None may.
    Open {
        /// Until then.
        until: MonoUs,
        /// What it failed with.
        cause: FailureClass,
    },
}

/// A cooldown that has just begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When one request may try again.
    pub until: MonoUs,
    /// What it failed with.
    pub cause: FailureClass,
    /// Times out in a row, this one included.
    pub times: u32,
}

/// The one request that tries, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe(u64);

/// One failure, as a circuit sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) now: MonoUs,
    pub(super) class: FailureClass,
    /// What the provider asks to wait.
    pub(super) wait: Option<Duration>,
    /// It was the request that tried.
    pub(super) probe: Option<Probe>,
    /// Another deployment can take the traffic.
    pub(super) others: bool,
    /// First cooldown, where the deployment has its own.
    pub(super) time: Option<Duration>,
    /// Uniform in `[0, 1)`.
    pub(super) dice: f64,
}

impl Gate {
    /// The one of two that lets less through.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        if self.rank() >= other.rank() {
            self
        } else {
            other
        }
    }

    /// Word for the state page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "in_use",
            Self::HalfOpen => "half_open",
            Self::Probing => "probing",
            Self::Open { .. } => "cooling",
        }
    }

    fn rank(self) -> (u8, MonoUs) {
        match self {
            Self::Closed => (0, MonoUs(0)),
            Self::HalfOpen => (1, MonoUs(0)),
            Self::Probing => (2, MonoUs(0)),
            Self::Open { until, .. } => (3, until),
        }
    }
}

impl Circuit {
    /// A closed circuit without history, which ramps up from `now`.
    pub fn new(now: MonoUs) -> Self {
        Self {
            until: AtomicU64::new(0),
            probe: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            back_at: AtomicU64::new(now.0),
            times: AtomicU32::new(0),
            failed_in_row: AtomicU32::new(0),
            cause: AtomicU8::new(0),
            good: Tally::default(),
            bad: Default::default(),
        }
    }

    /// Whether a request may pass now.
    pub fn gate(&self, now: MonoUs) -> Gate {
        self.gate_of(self.until.load(Relaxed), now)
    }

    fn gate_of(&self, until: u64, now: MonoUs) -> Gate {
        match until {
            0 => Gate::Closed,
            until if now.0 < until => Gate::Open {
                until: MonoUs(until),
                cause: self.cause(),
            },
            _ if self.probe.load(Relaxed) == 0 => Gate::HalfOpen,
            _ => Gate::Probing,
        }
    }

    /// Leaves it out until `until`, or for as long as it already is: what another node of the
    /// region found out.
    pub fn hear(&self, until: MonoUs, cause: FailureClass) {
        if self.until.fetch_max(until.0, Relaxed) < until.0 {
            self.cause.store(code_of(cause), Relaxed);
        }
    }

    /// Puts it back in use with a clean record. Its share ramps up from `now`.
    pub fn close(&self, now: MonoUs) {
        self.good.clear();
        self.bad.iter().for_each(Tally::clear);
        self.failed_in_row.store(0, Relaxed);
        self.back_at.store(now.0, Relaxed);
        self.probe.store(0, Relaxed);
        self.until.store(0, Relaxed);
    }

    /// Whether it was left out because nobody answered.
    pub(super) fn is_unreachable(&self) -> bool {
        self.cause() == FailureClass::Network
    }

    /// Failures since the last success.
    pub fn failures_in_row(&self) -> u32 {
        self.failed_in_row.load(Relaxed)
    }

    /// Successes and failures within the policy's window.
    pub fn counts(&self, now: MonoUs, policy: &CooldownPolicy) -> (u32, u32) {
        (
            self.good.count(now, policy.window),
            self.failures(now, policy.window),
        )
    }

    /// Times out in a row so far.
    pub fn times(&self) -> u32 {
        self.times.load(Relaxed)
    }

    /// Share of its usual traffic, while it ramps up over `length`.
    pub(super) fn ramp(&self, now: MonoUs, length: Duration) -> f64 {
        let age = now.since(MonoUs(self.back_at.load(Relaxed)));
        if age >= length {
            return 1.0;
        }
        (age.as_secs_f64() / length.as_secs_f64()).max(RAMP_FIRST)
    }

    /// Becomes the one request that tries. `None` when another one is, or when none is needed yet.
    pub(super) fn take_probe(&self, now: MonoUs) -> Option<Probe> {
        if self.gate(now) != Gate::HalfOpen {
            return None;
        }
        let number = self.probes.fetch_add(1, Relaxed) + 1;
        let taken = self.probe.compare_exchange(0, number, Relaxed, Relaxed);
        taken.ok().map(|_| Probe(number))
    }

    /// The request that tried has shown nothing: another one may.
    pub(super) fn give_probe(&self, probe: Probe) {
        // An error says that it is over already.
        let _ = self.probe.compare_exchange(probe.0, 0, Relaxed, Relaxed);
    }

    /// Counts a success. The result is for [`Circuit::take_back`].
    pub(super) fn succeeded(&self, now: MonoUs, window: Duration) -> u32 {
        self.failed_in_row.store(0, Relaxed);
        self.good.add(now, window)
    }

    /// A success that broke later was none.
    pub(super) fn take_back(&self, counted: u32) {
        self.good.take_back(counted);
    }

    /// Counts a failure, and says so if it begins a cooldown.
    pub(super) fn failed(&self, hit: Hit, policy: &CooldownPolicy) -> Option<Opened> {
        if let Some(place) = place_of(hit.class) {
            self.bad[place].add(hit.now, policy.window);
        }
        let _ = self.failed_in_row.fetch_add(1, Relaxed);
        if policy.disabled {
            return None;
        }
        let seen = self.until.load(Relaxed);
        let due = match self.gate_of(seen, hit.now) {
            Gate::Closed => self.is_enough(hit, policy),
            // Requests that were sent before it opened say nothing new.
            Gate::HalfOpen | Gate::Probing => hit.probe.is_some(),
            Gate::Open { .. } => false,
        };
        let opened = match (due, hit.wait) {
            (true, _) => self.open(hit, seen, policy),
            (false, Some(wait)) if seen != 0 => {
                // A standing deadline only ever moves on.
                self.hear(hit.now.plus(spread(wait, hit.dice)), hit.class);
                None
            }
            (false, _) => None,
        };
        if let Some(probe) = hit.probe {
            self.give_probe(probe);
        }
        opened
    }

    fn is_enough(&self, hit: Hit, policy: &CooldownPolicy) -> bool {
        if hit.wait.is_some_and(|wait| !wait.is_zero()) {
            return true;
        }
        if hit.class == FailureClass::RateLimit && !hit.others {
            // Nobody says how long, and nobody else is there: leaving it out helps no one.
            return false;
        }
        let kind = hit.class.policy_error();
        if let Some(allowed) = kind.and_then(|kind| policy.allowed_fails_of.get(&kind)) {
            let count = place_of(hit.class).map(|at| self.bad[at].count(hit.now, policy.window));
            return count.is_some_and(|count| count > *allowed);
        }
        let failures = self.failures(hit.now, policy.window);
        if let Some(allowed) = policy.allowed_fails {
            return failures > allowed;
        }
        let certain = matches!(
            hit.class,
            FailureClass::RateLimit | FailureClass::Auth | FailureClass::Quota
        );
        let total = failures.saturating_add(self.good.count(hit.now, policy.window));
        let many = total >= policy.min_samples
            && f64::from(failures) > policy.failure_rate * f64::from(total);
        // Seldom used, it may fail always and yet never have enough samples in one window.
        let row = self.failures_in_row() >= policy.min_samples.max(1);
        (certain && hit.others) || many || row
    }

    fn failures(&self, now: MonoUs, window: Duration) -> u32 {
        let counts = self.bad.iter().map(|tally| tally.count(now, window));
        counts.fold(0, u32::saturating_add)
    }

    /// Begins a cooldown, if no other thread has done so since the deadline was `seen`.
    fn open(&self, hit: Hit, seen: u64, policy: &CooldownPolicy) -> Option<Opened> {
        let back_at = MonoUs(self.back_at.load(Relaxed));
        let was_well = hit.probe.is_none() && hit.now.since(back_at) > policy.window;
        let before = if was_well { 0 } else { self.times() };
        let time = time_out(hit, before, policy);
        if time.is_zero() {
            // `cooldown_time: 0`.
            return None;
        }
        let until = hit.now.plus(time).0.max(seen).max(1);
        let won = self.until.compare_exchange(seen, until, Relaxed, Relaxed);
        if won.is_err() {
            self.until.fetch_max(until, Relaxed);
            return None;
        }
        let times = before.saturating_add(1);
        self.times.store(times, Relaxed);
        self.cause.store(code_of(hit.class), Relaxed);
        Some(Opened {
            until: MonoUs(until),
            cause: hit.class,
            times,
        })
    }

    fn cause(&self) -> FailureClass {
        let code = usize::from(self.cause.load(Relaxed));
        let class = FailureClass::ALL.get(code).copied();
        class.unwrap_or(FailureClass::Server)
    }
}

/// How long: doubled for each time before in a row, and not less than the provider asks for.
fn time_out(hit: Hit, before: u32, policy: &CooldownPolicy) -> Duration {
    let first = hit.time.unwrap_or(policy.time);
    let doubled = first.saturating_mul(2_u32.saturating_pow(before));
    let own = doubled.min(policy.time_max.max(first));
    let asked = hit.wait.map(|wait| spread(wait, hit.dice));
    own.mul_f64(0.75 + 0.5 * hit.dice)
        .max(asked.unwrap_or_default())
}

/// A provider tells all gateways the same time: they should not come back at once.
fn spread(wait: Duration, dice: f64) -> Duration {
    wait.mul_f64(1.0 + 0.1 * dice)
}

fn place_of(class: FailureClass) -> Option<usize> {
    let kind = class.policy_error()?;
    KINDS.iter().position(|one| *one == kind)
}

fn code_of(class: FailureClass) -> u8 {
    let place = FailureClass::ALL.iter().position(|one| *one == class);
    place.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}
