//! Requests per minute, tokens per minute and parallel requests of one scope, without locks.
//!
//! Where nodes share limits, a slot that is in use has a [`Joint`], and that decides. Otherwise
//! this node's own windows do:
//!
//! A window lasts 60 seconds from its first use, counted in whole seconds, as LiteLLM's does. Each
//! window is one atomic word (start and count), so a count can never land in the wrong window.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use crate::error::GatewayError;
use crate::rate::{Full as FullMinute, Joint, Minute, NoRoom, Taken};
use crate::time::WallMs;

mod window;

use window::{Full, Window, seconds};

/// Length of a window in seconds.
pub const WINDOW_S: u32 = 60;

/// Largest limit that is kept apart from "no limit": larger ones are no limit.
pub const LIMIT_MAX: u64 = u32::MAX as u64 - 1;

/// Limits of a scope; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Requests at the same time.
    pub parallel: Option<u64>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests at the same time.
    Parallel,
}

impl Dimension {
    /// LiteLLM's name of a deployment's setting.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Requests => "rpm",
            Self::Tokens => "tpm",
            Self::Parallel => "max_parallel_requests",
        }
    }

    /// LiteLLM's name, in messages and header names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "max_parallel_requests",
        }
    }
}

/// A limit that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRefusal {
    /// Which.
    pub dimension: Dimension,
    /// The limit.
    pub limit: u64,
    /// What was left.
    pub remaining: u64,
    /// When the window ends; for parallel requests a window from now, since nobody knows.
    pub resets_at: WallMs,
    /// Seconds until then, at least one.
    pub retry_after_s: u64,
}

impl RateRefusal {
    /// The client's error. `scope` is `api_key`, `model_per_key`, `team`, ...; `id` never a clear
    /// key.
    pub fn error(self, scope: &'static str, id: String) -> GatewayError {
        GatewayError::RateLimited {
            scope,
            id,
            what: self.dimension.as_str(),
            limit: self.limit,
            remaining: self.remaining,
            resets_at: self.resets_at,
            retry_after_s: self.retry_after_s,
        }
    }
}

/// The limit and what is left of it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What is counted.
    pub dimension: Dimension,
    /// The limit.
    pub limit: u64,
    /// Left in the running window, or free permits.
    pub remaining: u64,
}

impl Level {
    /// Names of the two headers that carry a key's limit and what remains of it.
    pub fn key_headers(&self) -> (&'static str, &'static str) {
        match self.dimension {
            Dimension::Requests => (
                "x-ratelimit-api_key-limit-requests",
                "x-ratelimit-api_key-remaining-requests",
            ),
            Dimension::Tokens => (
                "x-ratelimit-api_key-limit-tokens",
                "x-ratelimit-api_key-remaining-tokens",
            ),
            Dimension::Parallel => (
                "x-ratelimit-api_key-limit-max_parallel_requests",
                "x-ratelimit-api_key-remaining-max_parallel_requests",
            ),
        }
    }
}

/// What one admitted request holds of one scope's limits. Give it back once, to the slot that it
/// came from, by [`RateSlot::settle`] or [`RateSlot::release`].
#[must_use = "a permit that is not given back is lost"]
#[derive(Debug)]
pub struct RateHold {
    /// Start of the windows it was counted in; `None` where there was no limit.
    requests: Option<u32>,
    tokens: Option<u32>,
    estimate: u32,
    /// What it took where nodes share limits; then it is in no window.
    joint: Option<(Arc<Joint>, Taken)>,
}

/// The counters of one scope.
#[derive(Debug)]
pub struct RateSlot {
    requests: Window,
    tokens: Window,
    rpm: AtomicU32,
    tpm: AtomicU32,
    parallel: AtomicU32,
    in_flight: AtomicU32,
    /// Present while nodes share limits and the scope is in use.
    joint: ArcSwapOption<Joint>,
}

impl RateSlot {
    /// Fresh counters.
    pub fn new(limits: Limits) -> Self {
        let none = || AtomicU32::new(NO_LIMIT);
        let slot = Self {
            requests: Window::new(),
            tokens: Window::new(),
            rpm: none(),
            tpm: none(),
            parallel: none(),
            in_flight: AtomicU32::new(0),
            joint: ArcSwapOption::empty(),
        };
        slot.set(limits);
        slot
    }

    /// Changes the limits and keeps the counters.
    pub fn set(&self, limits: Limits) {
        self.rpm.store(packed_limit(limits.rpm), Relaxed);
        self.tpm.store(packed_limit(limits.tpm), Relaxed);
        self.parallel.store(packed_limit(limits.parallel), Relaxed);
        self.tell_joint();
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        let limit = |limit: &AtomicU32| {
            let limit = limit.load(Relaxed);
            (limit != NO_LIMIT).then_some(u64::from(limit))
        };
        Limits {
            rpm: limit(&self.rpm),
            tpm: limit(&self.tpm),
            parallel: limit(&self.parallel),
        }
    }

    /// Whether nodes could share something here that they do not share yet.
    pub fn is_apart(&self) -> bool {
        self.is_limited() && self.joint.load().is_none()
    }

    /// From now on all nodes together decide. What was counted in the running windows is taken
    /// over.
    pub fn join(&self, joint: Arc<Joint>, now: WallMs) {
        for (window, minute) in [
            (&self.requests, &joint.requests),
            (&self.tokens, &joint.tokens),
        ] {
            let (start, used) = window.live(now);
            minute.begin_with(u64::from(used), (start, now));
        }
        self.joint.store(Some(joint));
        self.tell_joint();
    }

    /// This node decides for itself again.
    pub fn part(&self) {
        self.joint.store(None);
    }

    fn tell_joint(&self) {
        if let Some(joint) = &*self.joint.load() {
            let limits = self.limits();
            joint.requests.set_limit(limits.rpm);
            joint.tokens.set_limit(limits.tpm);
        }
    }

    fn is_limited(&self) -> bool {
        let limits = [&self.rpm, &self.tpm, &self.parallel];
        limits.iter().any(|limit| limit.load(Relaxed) != NO_LIMIT)
    }

    /// Counts one request and its estimated tokens in every dimension, or in none.
    ///
    /// A request whose estimate is over the whole token limit is admitted into an empty window:
    /// no waiting would ever help it. So a window holds at most the limit or one request.
    ///
    /// # Errors
    /// The first dimension that has no room: parallel requests, then requests, then tokens.
    pub fn take(&self, tokens: u64, now: WallMs) -> Result<RateHold, RateRefusal> {
        // Most scopes have no limits: nothing more is looked at.
        let joint = match self.is_limited() {
            true => self.joint.load_full(),
            false => None,
        };
        self.take_permit(joint.as_deref(), now)?;
        let taken = match joint {
            Some(joint) => take_joint(joint, tokens, now),
            None => self.take_windows(tokens, now),
        };
        taken.inspect_err(|_| self.give_permit())
    }

    /// Whether a request would find room, without counting it.
    ///
    /// # Errors
    /// What [`RateSlot::take`] would say.
    pub fn room(&self, tokens: u64, now: WallMs) -> Result<(), RateRefusal> {
        if !self.is_limited() {
            return Ok(());
        }
        let joint = self.joint.load_full();
        let running = self.in_flight.load(Relaxed);
        if running >= self.permits(joint.as_deref(), now) {
            return Err(self.no_permit(running, joint.as_deref(), now));
        }
        if let Some(joint) = joint {
            return joint
                .room(tokens, now)
                .map_err(|full| full_joint(full, now));
        }
        let full = self.requests.room(1, self.rpm.load(Relaxed), now);
        full.map_err(|full| full.refusal(Dimension::Requests, now))?;
        let estimate = u32::try_from(tokens).unwrap_or(u32::MAX);
        let full = self.tokens.room(estimate, self.tpm.load(Relaxed), now);
        full.map_err(|full| full.refusal(Dimension::Tokens, now))
    }

    fn take_windows(&self, tokens: u64, now: WallMs) -> Result<RateHold, RateRefusal> {
        let rpm = self.rpm.load(Relaxed);
        let requests = self.requests.take(1, rpm, now);
        let requests = requests.map_err(|full| full.refusal(Dimension::Requests, now))?;
        let estimate = u32::try_from(tokens).unwrap_or(u32::MAX);
        match self.tokens.take(estimate, self.tpm.load(Relaxed), now) {
            Ok(window) => Ok(RateHold {
                requests,
                tokens: window,
                estimate,
                joint: None,
            }),
            Err(full) => {
                self.requests.change(requests, -1);
                Err(full.refusal(Dimension::Tokens, now))
            }
        }
    }

    /// The request is over and used `tokens`: its permit is free, its estimate is corrected in the
    /// window that it was counted in.
    pub fn settle(&self, hold: RateHold, tokens: u64) {
        if let Some((joint, taken)) = &hold.joint {
            joint.settle(*taken, tokens);
        }
        let actual = i64::try_from(tokens).unwrap_or(i64::MAX);
        let correction = actual.saturating_sub(i64::from(hold.estimate));
        self.tokens.change(hold.tokens, correction);
        self.give_permit();
    }

    /// The request is over and nobody knows what it used: its estimate stands.
    pub fn keep(&self, hold: RateHold) {
        // What a minute that nodes share has of it stays there too.
        drop(hold);
        self.give_permit();
    }

    /// The request was never sent: nothing of it counts.
    pub fn release(&self, hold: RateHold) {
        if let Some((joint, taken)) = &hold.joint {
            joint.release(*taken);
        }
        self.tokens.change(hold.tokens, -i64::from(hold.estimate));
        self.requests.change(hold.requests, -1);
        self.give_permit();
    }

    /// Requests that run now.
    pub fn in_flight(&self) -> u64 {
        u64::from(self.in_flight.load(Relaxed))
    }

    /// Limits and what is left of them, for the `x-ratelimit-*` headers; only those that are set.
    pub fn levels(&self, now: WallMs) -> impl Iterator<Item = Level> {
        let joint = self.joint.load_full();
        let joint = joint.as_deref();
        let limits = self.limits();
        let level = |dimension, limit: Option<u64>, remaining: u64| {
            limit.map(|limit| Level {
                dimension,
                limit,
                remaining: remaining.min(limit),
            })
        };
        let minute = |dimension, limit: Option<u64>, window: &Window, minute: Option<&Minute>| {
            let own = || {
                limit
                    .unwrap_or(0)
                    .saturating_sub(u64::from(window.used(now)))
            };
            let shared = minute.and_then(|minute| minute.remaining(now));
            level(dimension, limit, shared.unwrap_or_else(own))
        };
        let running = self.in_flight.load(Relaxed);
        let free = self.permits(joint, now).saturating_sub(running);
        let all = [
            minute(
                Dimension::Requests,
                limits.rpm,
                &self.requests,
                joint.map(|joint| &joint.requests),
            ),
            minute(
                Dimension::Tokens,
                limits.tpm,
                &self.tokens,
                joint.map(|joint| &joint.tokens),
            ),
            level(Dimension::Parallel, limits.parallel, u64::from(free)),
        ];
        all.into_iter().flatten()
    }

    /// Requests that may run at the same time on this node.
    fn permits(&self, joint: Option<&Joint>, now: WallMs) -> u32 {
        let limit = self.parallel.load(Relaxed);
        match joint {
            Some(joint) if limit != NO_LIMIT => joint.permits.allowed(now).min(limit),
            _ => limit,
        }
    }

    fn take_permit(&self, joint: Option<&Joint>, now: WallMs) -> Result<(), RateRefusal> {
        let permits = self.permits(joint, now);
        let room = |running: u32| (running < permits).then(|| running.saturating_add(1));
        match self.in_flight.fetch_update(Relaxed, Relaxed, room) {
            Ok(_) => Ok(()),
            Err(running) => Err(self.no_permit(running, joint, now)),
        }
    }

    fn no_permit(&self, running: u32, joint: Option<&Joint>, now: WallMs) -> RateRefusal {
        let limit = self.parallel.load(Relaxed);
        if let Some(joint) = joint {
            joint.permits.note_refusal();
            return RateRefusal {
                dimension: Dimension::Parallel,
                limit: u64::from(limit),
                remaining: 0,
                resets_at: now.plus_ms(PERMITS_MOVE_MS),
                retry_after_s: 1,
            };
        }
        let full = Full {
            limit,
            used: running.max(limit),
            start: seconds(now),
        };
        full.refusal(Dimension::Parallel, now)
    }

    fn give_permit(&self) {
        let one_less = |running: u32| Some(running.saturating_sub(1));
        // Holds are not `Clone` and `settle` consumes them, so this cannot go below zero.
        let before = self.in_flight.fetch_update(Relaxed, Relaxed, one_less);
        debug_assert_ne!(before, Ok(0), "a permit was given back twice");
    }
}

/// Takes a request of the limits that nodes share.
fn take_joint(joint: Arc<Joint>, tokens: u64, now: WallMs) -> Result<RateHold, RateRefusal> {
    match joint.take(tokens, now) {
        Ok(taken) => Ok(RateHold {
            requests: None,
            tokens: None,
            estimate: 0,
            joint: Some((joint, taken)),
        }),
        Err(full) => Err(full_joint(full, now)),
    }
}

fn full_joint(full: NoRoom, now: WallMs) -> RateRefusal {
    match full {
        NoRoom::Requests(full) => full_minute(Dimension::Requests, full, now),
        NoRoom::Tokens(full) => full_minute(Dimension::Tokens, full, now),
    }
}

fn full_minute(dimension: Dimension, full: FullMinute, now: WallMs) -> RateRefusal {
    let left_ms = full.room_at.0.saturating_sub(now.0).max(1);
    RateRefusal {
        dimension,
        limit: full.limit,
        remaining: full.remaining,
        resets_at: full.room_at,
        retry_after_s: (left_ms as u64).div_ceil(1_000),
    }
}

/// Permits of other nodes are here within about this time, if they are free.
const PERMITS_MOVE_MS: i64 = 1_000;

const NO_LIMIT: u32 = u32::MAX;

fn packed_limit(limit: Option<u64>) -> u32 {
    match limit {
        Some(limit) if limit <= LIMIT_MAX => limit as u32,
        _ => NO_LIMIT,
    }
}

#[cfg(test)]
mod tests;
