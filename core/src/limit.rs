//! Requests per minute, tokens per minute and parallel requests of one scope, without locks.
//!
//! A window lasts 60 seconds from its first use, counted in whole seconds, as LiteLLM's does. Each
//! window is one atomic word (start and count), so a count can never land in the wrong window.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::error::GatewayError;
use crate::time::WallMs;

/// Length of a window in seconds.
pub const WINDOW_S: u32 = 60;

/// Largest limit that is kept apart from "no limit": larger ones are no limit.
pub const LIMIT_MAX: u64 = u32::MAX as u64 - 1;

/// Limits of a scope; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

/// The counters of one scope.
#[derive(Debug)]
pub struct RateSlot {
    requests: Window,
    tokens: Window,
    in_flight: AtomicU32,
    parallel: AtomicU32,
}

impl RateSlot {
    /// Fresh counters.
    pub fn new(limits: Limits) -> Self {
        let slot = Self {
            requests: Window::new(),
            tokens: Window::new(),
            in_flight: AtomicU32::new(0),
            parallel: AtomicU32::new(NO_LIMIT),
        };
        slot.set(limits);
        slot
    }

    /// Changes the limits and keeps the counters.
    pub fn set(&self, limits: Limits) {
        self.requests.limit.store(packed_limit(limits.rpm), Relaxed);
        self.tokens.limit.store(packed_limit(limits.tpm), Relaxed);
        self.parallel.store(packed_limit(limits.parallel), Relaxed);
    }

    /// Counts one request and its estimated tokens in every dimension, or in none.
    ///
    /// A request whose estimate is over the whole token limit is admitted into an empty window:
    /// no waiting would ever help it. So a window holds at most the limit or one request.
    ///
    /// # Errors
    /// The first dimension that has no room: parallel requests, then requests, then tokens.
    pub fn take(&self, tokens: u64, now: WallMs) -> Result<RateHold, RateRefusal> {
        self.take_permit(now)?;
        let requests = match self.requests.take(1, now) {
            Ok(window) => window,
            Err(full) => {
                self.give_permit();
                return Err(full.refusal(Dimension::Requests, now));
            }
        };
        let estimate = u32::try_from(tokens).unwrap_or(u32::MAX);
        match self.tokens.take(estimate, now) {
            Ok(window) => Ok(RateHold {
                requests,
                tokens: window,
                estimate,
            }),
            Err(full) => {
                self.requests.change(requests, -1);
                self.give_permit();
                Err(full.refusal(Dimension::Tokens, now))
            }
        }
    }

    /// The request is over and used `tokens`: its permit is free, its estimate is corrected in the
    /// window that it was counted in.
    pub fn settle(&self, hold: RateHold, tokens: u64) {
        let actual = i64::try_from(tokens).unwrap_or(i64::MAX);
        let correction = actual.saturating_sub(i64::from(hold.estimate));
        self.tokens.change(hold.tokens, correction);
        self.give_permit();
    }

    /// The request was never sent: nothing of it counts.
    pub fn release(&self, hold: RateHold) {
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
        let parallel = self.parallel.load(Relaxed);
        let level = |dimension, limit: u32, used: u32| {
            (limit != NO_LIMIT).then(|| Level {
                dimension,
                limit: u64::from(limit),
                remaining: u64::from(limit.saturating_sub(used)),
            })
        };
        let window = |dimension, window: &Window| {
            level(dimension, window.limit.load(Relaxed), window.used(now))
        };
        let all = [
            window(Dimension::Requests, &self.requests),
            window(Dimension::Tokens, &self.tokens),
            level(Dimension::Parallel, parallel, self.in_flight.load(Relaxed)),
        ];
        all.into_iter().flatten()
    }

    fn take_permit(&self, now: WallMs) -> Result<(), RateRefusal> {
        let limit = self.parallel.load(Relaxed);
        let room = |running: u32| (running < limit).then(|| running.saturating_add(1));
        match self.in_flight.fetch_update(Relaxed, Relaxed, room) {
            Ok(_) => Ok(()),
            Err(_) => {
                let full = Full {
                    limit,
                    used: limit,
                    start: seconds(now),
                };
                Err(full.refusal(Dimension::Parallel, now))
            }
        }
    }

    fn give_permit(&self) {
        let one_less = |running: u32| Some(running.saturating_sub(1));
        // Holds are not `Clone` and `settle` consumes them, so this cannot go below zero.
        let before = self.in_flight.fetch_update(Relaxed, Relaxed, one_less);
        debug_assert_ne!(before, Ok(0), "a permit was given back twice");
    }
}

const NO_LIMIT: u32 = u32::MAX;

fn packed_limit(limit: Option<u64>) -> u32 {
    match limit {
        Some(limit) if limit <= LIMIT_MAX => limit as u32,
        _ => NO_LIMIT,
    }
}

/// Seconds since the epoch, enough until 2106.
fn seconds(now: WallMs) -> u32 {
    u32::try_from(now.0.div_euclid(1_000)).unwrap_or(0)
}

/// A count in a window that starts at its first use.
#[derive(Debug)]
struct Window {
    /// Start in seconds above, count below; zero before the first use.
    word: AtomicU64,
    limit: AtomicU32,
}

/// A window without room.
struct Full {
    limit: u32,
    used: u32,
    start: u32,
}

impl Full {
    fn refusal(self, dimension: Dimension, now: WallMs) -> RateRefusal {
        let resets_at = WallMs((i64::from(self.start) + i64::from(WINDOW_S)) * 1_000);
        let left_ms = resets_at.0.saturating_sub(now.0).max(1);
        RateRefusal {
            dimension,
            limit: u64::from(self.limit),
            remaining: u64::from(self.limit.saturating_sub(self.used)),
            resets_at,
            retry_after_s: (left_ms as u64).div_ceil(1_000),
        }
    }
}

impl Window {
    fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(NO_LIMIT),
        }
    }

    /// Counts `amount` and returns the window's start; `None` when nothing is limited.
    fn take(&self, amount: u32, now: WallMs) -> Result<Option<u32>, Full> {
        let limit = self.limit.load(Relaxed);
        if limit == NO_LIMIT {
            return Ok(None);
        }
        let mut word = self.word.load(Relaxed);
        loop {
            let (start, used) = live(word, now);
            let after = used.saturating_add(amount);
            if used >= limit || (after > limit && used > 0) {
                return Err(Full { limit, used, start });
            }
            let next = pack(start, after);
            match self
                .word
                .compare_exchange_weak(word, next, Relaxed, Relaxed)
            {
                Ok(_) => return Ok(Some(start)),
                Err(seen) => word = seen,
            }
        }
    }

    /// Corrects the count of the window that started at `start`, if it is still the last one.
    fn change(&self, start: Option<u32>, by: i64) {
        let Some(start) = start else {
            return;
        };
        let corrected = |word: u64| {
            let (from, used) = unpack(word);
            let used = i64::from(used).saturating_add(by);
            let used = used.clamp(0, i64::from(u32::MAX)) as u32;
            (from == start).then(|| pack(start, used))
        };
        // An error says that another window has begun: there is nothing left to correct.
        let _ = self.word.fetch_update(Relaxed, Relaxed, corrected);
    }

    fn used(&self, now: WallMs) -> u32 {
        live(self.word.load(Relaxed), now).1
    }
}

/// Start and count of the window that `now` falls in: the one in `word`, or a new and empty one.
/// A clock that went back stays in the window, so it cannot be used to get a fresh one.
fn live(word: u64, now: WallMs) -> (u32, u32) {
    let (start, used) = unpack(word);
    let now = seconds(now);
    let over = start == 0 || now.saturating_sub(start) >= WINDOW_S;
    if over { (now, 0) } else { (start, used) }
}

fn pack(start: u32, used: u32) -> u64 {
    u64::from(start) << 32 | u64::from(used)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests;
