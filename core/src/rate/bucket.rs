//! One limit per minute as a bucket without locks: the generic cell rate algorithm, with debt.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use crate::time::MonoUs;

/// A burst lasts this long at the limit: a sixth of a minute, so that no 60 seconds ever see more
/// than 7/6 of the limit from one bucket.
const BURST_NS: i64 = 10_000_000_000;
const MINUTE_NS: u128 = 60_000_000_000;
/// The most that is owed, in bursts. What siblings did beyond it is forgiven.
const DEBT_BURSTS: i64 = 3;
const WHOLE_PPM: u64 = 1_000_000;
const NO_LIMIT: u64 = u64::MAX;

/// A bucket that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Until there is room, if nobody else takes it.
    pub after: Duration,
    /// What could be taken now.
    pub remaining: u64,
}

/// Requests or tokens of one scope.
#[derive(Debug)]
pub struct Bucket {
    /// When the bucket will be full again, in nanoseconds of the monotonic clock.
    full_at: AtomicI64,
    /// Per minute, of the whole installation.
    limit: AtomicU64,
    /// Part of the limit that this node and those that it hears may use, in millionths.
    share: AtomicU64,
    /// Regions that share the limit.
    regions: AtomicU64,
    taken: AtomicU64,
    returned: AtomicU64,
    offered: AtomicU64,
}

impl Bucket {
    /// A full bucket; `None` is no limit.
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            full_at: AtomicI64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(NO_LIMIT)),
            share: AtomicU64::new(WHOLE_PPM),
            regions: AtomicU64::new(1),
            taken: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            offered: AtomicU64::new(0),
        }
    }

    /// Changes the limit and keeps what was taken.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(NO_LIMIT), Relaxed);
    }

    /// The limit per minute.
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Relaxed);
        (limit != NO_LIMIT).then_some(limit)
    }

    /// Takes `amount`, or nothing. More than a whole burst is taken from a full bucket: no waiting
    /// would ever help such a request.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&self, amount: u64, now: MonoUs) -> Result<(), Wait> {
        self.offered.fetch_add(amount, Relaxed);
        if self.limit() == Some(0) {
            let after = Duration::from_secs(60);
            let remaining = 0;
            return Err(Wait { after, remaining });
        }
        let (now, cost, burst) = (nanos(now), self.cost(amount), self.burst());
        let room = |full_at: i64| {
            let after = full_at.max(now).saturating_add(cost);
            let fits = after - now <= burst || full_at <= now;
            fits.then_some(after)
        };
        match self.full_at.fetch_update(Relaxed, Relaxed, room) {
            Ok(_) => {
                self.taken.fetch_add(amount, Relaxed);
                Ok(())
            }
            Err(full_at) => Err(self.wait(full_at, now, cost.min(burst))),
        }
    }

    /// The request used more than was taken for it, so much more.
    pub fn add(&self, amount: u64, now: MonoUs) {
        self.taken.fetch_add(amount, Relaxed);
        self.debit(amount, now);
    }

    /// The request used less than was taken for it, or was never sent.
    pub fn give_back(&self, amount: u64) {
        self.returned.fetch_add(amount, Relaxed);
        self.credit(amount);
    }

    /// What could be taken now, for `x-ratelimit-remaining-*`: an approximation, as fresh as what
    /// was heard of others. `None` without a limit.
    pub fn remaining(&self, now: MonoUs) -> Option<u64> {
        self.limit()?;
        Some(self.units_left(self.full_at.load(Relaxed), nanos(now)))
    }

    /// Taken and given back by this node: absolute, for [`super::Counts`].
    pub(super) fn counts(&self) -> super::Counts {
        super::Counts {
            taken: self.taken.load(Relaxed),
            returned: self.returned.load(Relaxed),
            offered: self.offered.load(Relaxed),
        }
    }

    /// Others took so much.
    pub(super) fn debit(&self, amount: u64, now: MonoUs) {
        let (now, cost, burst) = (nanos(now), self.cost(amount), self.burst());
        let deepest = now.saturating_add(burst.saturating_mul(1 + DEBT_BURSTS));
        let later = |full_at: i64| {
            let after = full_at.max(now).saturating_add(cost);
            // A debt that is deeper already, by one large request, is not made smaller.
            Some(after.min(deepest).max(full_at))
        };
        // The closure never declines.
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, later);
    }

    /// Others gave so much back.
    pub(super) fn credit(&self, amount: u64) {
        self.full_at.fetch_sub(self.cost(amount), Relaxed);
    }

    /// Uses a part of the limit only, of `regions` that share it. Debt scales with it: it is kept
    /// as time.
    pub(super) fn set_share(&self, part: f64, regions: usize) {
        let ppm = (part * WHOLE_PPM as f64) as u64;
        self.share.store(ppm.clamp(1, WHOLE_PPM), Relaxed);
        self.regions.store(regions as u64, Relaxed);
    }

    /// Time that `amount` takes to come back.
    fn cost(&self, amount: u64) -> i64 {
        let limit = self.limit.load(Relaxed);
        if limit == NO_LIMIT {
            return 0;
        }
        let per_minute = u128::from(limit.max(1)) * u128::from(self.share.load(Relaxed));
        let whole = u128::from(amount) * MINUTE_NS * u128::from(WHOLE_PPM);
        i64::try_from(whole.div_ceil(per_minute)).unwrap_or(i64::MAX / 8)
    }

    /// Time that a whole burst takes to come back; one unit at least. A share's burst is
    /// `1 + (b - R) * share` units: over all R shares that is b again.
    fn burst(&self) -> i64 {
        let unit = self.cost(1);
        let share = self.share.load(Relaxed);
        if share == WHOLE_PPM {
            return BURST_NS.max(unit);
        }
        let regions = self.regions.load(Relaxed);
        let apart = i128::from(unit) * i128::from(regions * share) / i128::from(WHOLE_PPM);
        let rest = BURST_NS.saturating_sub(i64::try_from(apart).unwrap_or(i64::MAX));
        unit.saturating_add(rest.max(0))
    }

    fn units_left(&self, full_at: i64, now: i64) -> u64 {
        let left = self.burst() - (full_at.max(now) - now);
        let unit = self.cost(1).max(1);
        u64::try_from(left / unit).unwrap_or(0)
    }

    fn wait(&self, full_at: i64, now: i64, cost: i64) -> Wait {
        let until = full_at.max(now).saturating_add(cost) - self.burst();
        let after = u64::try_from(until - now).unwrap_or(0);
        Wait {
            after: Duration::from_nanos(after),
            remaining: self.units_left(full_at, now),
        }
    }
}

fn nanos(now: MonoUs) -> i64 {
    i64::try_from(now.0)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000)
}
