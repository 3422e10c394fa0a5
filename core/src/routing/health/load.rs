//! Requests that run at a deployment, and how long they wait.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::window::Minute;
use crate::time::MonoUs;

/// Waiting requests whose age is known. With more of them, the further ones have no age of their
/// own: as the oldest are among the known, nothing is lost while answers come.
const PLACES: usize = 32;

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

    /// Counts a request in. Its age counts when a first token is `awaited`: how long a whole answer
    /// takes says little.
    pub(super) fn take(&self, now: MonoUs, (tokens, awaited): (u64, Awaited)) -> Held {
        self.in_flight.fetch_add(1, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
        self.requests.add(now, 1);
        Held {
            place: match awaited {
                Awaited::FirstToken => self.claim(now),
                Awaited::Whole => None,
            },
            waits: true,
            minute: self.tokens.add(now, tokens),
            tokens,
        }
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
