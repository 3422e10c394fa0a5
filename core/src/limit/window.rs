//! A limit per minute on one node: a count in a window that starts at its first use.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Dimension, NO_LIMIT, RateRefusal, WINDOW_S};
use crate::time::WallMs;

/// Seconds since the epoch, enough until 2106.
pub(super) fn seconds(now: WallMs) -> u32 {
    u32::try_from(now.0.div_euclid(1_000)).unwrap_or(0)
}

/// A count in a window that starts at its first use.
#[derive(Debug)]
pub(super) struct Window {
    /// Start in seconds above, count below; zero before the first use.
    word: AtomicU64,
}

/// A window without room.
pub(super) struct Full {
    pub(super) limit: u32,
    pub(super) used: u32,
    pub(super) start: u32,
}

impl Full {
    pub(super) fn refusal(self, dimension: Dimension, now: WallMs) -> RateRefusal {
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
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// Counts `amount` and returns the window's start; `None` when nothing is limited.
    pub(super) fn take(&self, amount: u32, limit: u32, now: WallMs) -> Result<Option<u32>, Full> {
        if limit == NO_LIMIT {
            return Ok(None);
        }
        let mut word = self.word.load(Relaxed);
        loop {
            let (start, after) = fitting(word, amount, limit, now)?;
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

    /// Whether `take` would find room.
    pub(super) fn room(&self, amount: u32, limit: u32, now: WallMs) -> Result<(), Full> {
        if limit == NO_LIMIT {
            return Ok(());
        }
        fitting(self.word.load(Relaxed), amount, limit, now).map(|_| ())
    }

    /// Corrects the count of the window that started at `start`, if it is still the last one.
    pub(super) fn change(&self, start: Option<u32>, by: i64) {
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

    /// Start and count of the window that runs.
    pub(super) fn live(&self, now: WallMs) -> (WallMs, u32) {
        let (start, used) = live(self.word.load(Relaxed), now);
        (WallMs(i64::from(start) * 1_000), used)
    }

    pub(super) fn used(&self, now: WallMs) -> u32 {
        live(self.word.load(Relaxed), now).1
    }
}

/// Start and count of the window that runs once `amount` is in it.
fn fitting(word: u64, amount: u32, limit: u32, now: WallMs) -> Result<(u32, u32), Full> {
    let (start, used) = live(word, now);
    let after = used.saturating_add(amount);
    if used >= limit || (after > limit && used > 0) {
        return Err(Full { limit, used, start });
    }
    Ok((start, after))
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
