//! Extra sends as a share of all requests: a bucket that requests fill and extra sends empty.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::time::MonoUs;

/// What one send costs.
const SEND: i64 = 1_000_000;

/// Without traffic, one extra send is allowed in this time: a quiet node can try again too.
const FLOOR_EVERY_US: u64 = 1_000_000;

/// Sends that a node starts with, and that quiet time alone can save up.
const FLOOR_SENDS: i64 = 10;

/// Sends that traffic can save up: those that break when most of a node's providers die at once.
const SAVED_SENDS: i64 = 500;

/// The bucket. One for each node and purpose.
#[derive(Debug)]
pub struct ShareBucket {
    /// Millionths of a send.
    saved: AtomicI64,
    /// When quiet time was last paid in, in microseconds.
    paid_at: AtomicU64,
    has_floor: bool,
}

impl ShareBucket {
    /// For retries and fallbacks: begins with [`FLOOR_SENDS`] and never dries up.
    pub fn with_floor(now: MonoUs) -> Self {
        Self {
            saved: AtomicI64::new(FLOOR_SENDS * SEND),
            paid_at: AtomicU64::new(now.0),
            has_floor: true,
        }
    }

    /// For what nobody needs: begins empty, and only requests fill it.
    pub fn strict() -> Self {
        Self {
            saved: AtomicI64::new(0),
            paid_at: AtomicU64::new(0),
            has_floor: false,
        }
    }

    /// A client's request was accepted: `share` of a send more is allowed.
    pub fn request(&self, share: f64) {
        let part = (share.clamp(0.0, 1.0) * SEND as f64) as i64;
        self.add(part, SAVED_SENDS * SEND);
    }

    /// Takes one extra send, if one is allowed.
    pub fn take(&self, now: MonoUs) -> bool {
        if self.has_floor {
            self.pay_quiet_time(now);
        }
        let less = |saved: i64| (saved >= SEND).then(|| saved - SEND);
        self.saved.fetch_update(Relaxed, Relaxed, less).is_ok()
    }

    /// Whole sends that are allowed now, for those who only want to know.
    pub fn left_at(&self, now: MonoUs) -> u64 {
        if self.has_floor {
            self.pay_quiet_time(now);
        }
        self.left()
    }

    /// Whole sends that are saved up.
    pub fn left(&self) -> u64 {
        u64::try_from(self.saved.load(Relaxed) / SEND).unwrap_or(0)
    }

    fn pay_quiet_time(&self, now: MonoUs) {
        let paid = self.paid_at.load(Relaxed);
        let periods = now.0.saturating_sub(paid) / FLOOR_EVERY_US;
        let until = paid + periods * FLOOR_EVERY_US;
        // Who loses this race finds the time paid.
        let won = periods > 0
            && self
                .paid_at
                .compare_exchange(paid, until, Relaxed, Relaxed)
                .is_ok();
        if won {
            let sends = i64::try_from(periods).map_or(FLOOR_SENDS, |sends| sends.min(FLOOR_SENDS));
            self.add(sends * SEND, FLOOR_SENDS * SEND);
        }
    }

    /// Adds up to `most`; what is above it already stays.
    fn add(&self, part: i64, most: i64) {
        let more = |saved: i64| (saved < most).then(|| (saved + part).min(most));
        // An error says that it is full.
        let _ = self.saved.fetch_update(Relaxed, Relaxed, more);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn extra_sends_are_a_share_of_requests_after_the_first_few() {
        let now = MonoUs(5);
        let bucket = ShareBucket::with_floor(now);
        let extra = (0..10_000).filter(|_| {
            bucket.request(0.1);
            bucket.take(now)
        });
        let extra = extra.count();
        assert!((1000..=1010).contains(&extra), "{extra}");
    }

    #[test]
    fn a_quiet_node_may_send_again_once_in_a_second() {
        let start = MonoUs(0);
        let bucket = ShareBucket::with_floor(start);
        assert_eq!((0..50).filter(|_| bucket.take(start)).count(), 10);
        let later = start.plus(Duration::from_secs(3));
        assert_eq!((0..50).filter(|_| bucket.take(later)).count(), 3);
        assert_eq!(bucket.left_at(start.plus(Duration::from_secs(5))), 2);
        let much_later = start.plus(Duration::from_secs(9_999));
        assert_eq!((0..50).filter(|_| bucket.take(much_later)).count(), 10);
    }

    #[test]
    fn a_strict_bucket_gives_what_requests_paid_and_saves_a_bounded_amount() {
        let bucket = ShareBucket::strict();
        assert!(!bucket.take(MonoUs(9_999_999_999)));
        (0..20).for_each(|_| bucket.request(0.05));
        assert!(bucket.take(MonoUs(1)));
        assert!(!bucket.take(MonoUs(1)));
        (0..100_000).for_each(|_| bucket.request(1.0));
        assert_eq!(bucket.left(), 500);
    }
}
