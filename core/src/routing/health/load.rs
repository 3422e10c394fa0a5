//! Requests that run at a deployment, how long they wait, and what its limits leave.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::window::{Minute, next_minute};
use crate::time::MonoUs;

/// Waiting requests whose age is known. With more of them, the further ones have no age of their
/// own: as the oldest are among the known, nothing is lost while answers come.
const PLACES: usize = 32;

/// After this much time a place at a parallelism limit may be free: nobody knows.
const PARALLEL_RETRY: Duration = Duration::from_secs(1);

/// Limits of a deployment; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Requests at the same time (`max_parallel_requests`).
    pub parallel: Option<u64>,
}

/// A limit of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests at the same time.
    Parallel,
}

impl Limit {
    /// LiteLLM's name of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "rpm",
            Self::Tokens => "tpm",
            Self::Parallel => "max_parallel_requests",
        }
    }

    /// When there may be room again.
    pub fn free_at(self, now: MonoUs) -> MonoUs {
        match self {
            Self::Requests | Self::Tokens => next_minute(now),
            Self::Parallel => now.plus(PARALLEL_RETRY),
        }
    }
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A stream.
    FirstToken,
    /// An answer in one piece.
    Whole,
}

/// Counters of what runs.
#[derive(Debug, Default)]
pub(super) struct Load {
    in_flight: AtomicU32,
    /// Of these, the ones without a first token.
    waiting: AtomicU32,
    /// When waiting requests were sent, in microseconds; zero is a free place.
    sent_at: [AtomicU64; PLACES],
    requests: Minute,
    tokens: Minute,
}

/// What one running request holds.
#[derive(Debug)]
pub(super) struct Held {
    place: Option<usize>,
    waits: bool,
    minute: u32,
    tokens: u64,
}

impl Load {
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    pub(super) fn tokens(&self, now: MonoUs) -> u64 {
        self.tokens.count(now)
    }

    pub(super) fn requests(&self, now: MonoUs) -> u64 {
        self.requests.count(now)
    }

    /// Age of the oldest request that waits for its first token.
    pub(super) fn oldest_wait(&self, now: MonoUs) -> Duration {
        if self.waiting() == 0 {
            return Duration::ZERO;
        }
        let sent = self.sent_at.iter().map(|place| place.load(Relaxed));
        let oldest = sent.filter(|sent| *sent != 0).min();
        oldest.map_or(Duration::ZERO, |sent| now.since(MonoUs(sent)))
    }

    pub(super) fn full(&self, limits: &Limits, tokens: u64, now: MonoUs) -> Option<Limit> {
        let reached = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
        if reached(limits.parallel, u64::from(self.in_flight())) {
            return Some(Limit::Parallel);
        }
        if reached(limits.rpm, self.requests.count(now)) {
            return Some(Limit::Requests);
        }
        let used = self.tokens.count(now);
        // A request larger than the whole limit goes into an empty minute: no waiting helps it.
        let over = |limit: u64| used > 0 && used.saturating_add(tokens) > limit;
        let full = reached(limits.tpm, used) || limits.tpm.is_some_and(over);
        full.then_some(Limit::Tokens)
    }

    /// Takes a place for a request, if its parallelism limit has one. The age of a request counts
    /// when a first token is `awaited`: how long a whole answer takes says little.
    pub(super) fn take(
        &self,
        now: MonoUs,
        parallel: Option<u64>,
        (tokens, awaited): (u64, Awaited),
    ) -> Option<Held> {
        let most = parallel.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
        let more = |count: u32| (count < most).then(|| count.saturating_add(1));
        self.in_flight.fetch_update(Relaxed, Relaxed, more).ok()?;
        self.waiting.fetch_add(1, Relaxed);
        self.requests.add(now, 1);
        Some(Held {
            place: match awaited {
                Awaited::FirstToken => self.claim(now),
                Awaited::Whole => None,
            },
            waits: true,
            minute: self.tokens.add(now, tokens),
            tokens,
        })
    }

    fn claim(&self, now: MonoUs) -> Option<usize> {
        let sent = now.0.max(1);
        let free = |place: &AtomicU64| {
            place.load(Relaxed) == 0 && place.compare_exchange(0, sent, Relaxed, Relaxed).is_ok()
        };
        self.sent_at.iter().position(free)
    }

    /// The request waits no longer.
    pub(super) fn begun(&self, held: &mut Held) {
        if let Some(place) = held.place.take().and_then(|place| self.sent_at.get(place)) {
            place.store(0, Relaxed);
        }
        if std::mem::take(&mut held.waits) {
            self.waiting.fetch_sub(1, Relaxed);
        }
    }

    /// The request is over; `tokens` is what it used in all, if that is known.
    pub(super) fn free(&self, mut held: Held, tokens: Option<u64>) {
        self.begun(&mut held);
        self.in_flight.fetch_sub(1, Relaxed);
        if let Some(tokens) = tokens {
            let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let by = signed(tokens).saturating_sub(signed(held.tokens));
            self.tokens.correct(held.minute, by);
        }
    }
}
