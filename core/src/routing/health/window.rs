//! Counts of the last while, in buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::MonoUs;

/// Buckets of a window.
const BUCKETS: u64 = 8;

/// How many of something there were within a window. Each bucket is one word, its number and its
/// count, so a count never lands in another time.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; BUCKETS as usize]);

impl Tally {
    /// Counts one. The result is for [`Tally::take_back`].
    pub(super) fn add(&self, now: MonoUs, window: Duration) -> u32 {
        let number = number_of(now, window);
        let bucket = &self.0[(u64::from(number) % BUCKETS) as usize];
        let next = |word: u64| {
            let (from, count) = unpack(word);
            let count = if from == number { count } else { 0 };
            Some(pack(number, count.saturating_add(1)))
        };
        // The closure always gives a value.
        let _ = bucket.fetch_update(Relaxed, Relaxed, next);
        number
    }

    /// Counts one less of those that `add` counted then.
    pub(super) fn take_back(&self, number: u32) {
        let bucket = &self.0[(u64::from(number) % BUCKETS) as usize];
        let next = |word: u64| {
            let (from, count) = unpack(word);
            (from == number && count > 0).then(|| pack(from, count - 1))
        };
        // An error says that its time is over.
        let _ = bucket.fetch_update(Relaxed, Relaxed, next);
    }

    /// How many there were; what is older than the window does not count.
    pub(super) fn count(&self, now: MonoUs, window: Duration) -> u32 {
        let number = number_of(now, window);
        let counts = self.0.iter().map(|bucket| {
            let (from, count) = unpack(bucket.load(Relaxed));
            let recent = u64::from(number.wrapping_sub(from)) < BUCKETS;
            if recent { count } else { 0 }
        });
        counts.fold(0, u32::saturating_add)
    }

    /// Nothing was counted.
    pub(super) fn clear(&self) {
        for bucket in &self.0 {
            bucket.store(0, Relaxed);
        }
    }
}

/// Number of the bucket that `now` falls in. One is added: zero is a bucket never used.
fn number_of(now: MonoUs, window: Duration) -> u32 {
    let length = u64::try_from(window.as_micros()).unwrap_or(u64::MAX) / BUCKETS;
    (now.0 / length.max(1) + 1) as u32
}

/// Counts of the running minute.
#[derive(Debug, Default)]
pub(super) struct Minute(AtomicU64);

const MINUTE_US: u64 = 60_000_000;

impl Minute {
    /// Adds to this minute and returns its number, for [`Minute::correct`].
    pub(super) fn add(&self, now: MonoUs, amount: u64) -> u32 {
        let number = minute(now);
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let next = |word: u64| {
            let (from, count) = unpack(word);
            let count = if from == number { count } else { 0 };
            Some(pack(number, count.saturating_add(amount)))
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
        number
    }

    /// Corrects the count of the minute `number`, if that still runs.
    pub(super) fn correct(&self, number: u32, by: i64) {
        let next = |word: u64| {
            let (from, count) = unpack(word);
            let count = i64::from(count).saturating_add(by);
            let count = count.clamp(0, i64::from(u32::MAX)) as u32;
            (from == number).then(|| pack(from, count))
        };
        // An error says that another minute has begun.
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }

    /// The count of this minute.
    pub(super) fn count(&self, now: MonoUs) -> u64 {
        let (from, count) = unpack(self.0.load(Relaxed));
        if from == minute(now) {
            u64::from(count)
        } else {
            0
        }
    }
}

fn minute(now: MonoUs) -> u32 {
    (now.0 / MINUTE_US + 1) as u32
}

fn pack(number: u32, count: u32) -> u64 {
    u64::from(number) << 32 | u64::from(count)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_forgets_what_is_older_than_its_window() {
        let (tally, window) = (Tally::default(), Duration::from_secs(8));
        let at = |seconds| MonoUs::default().plus(Duration::from_secs(seconds));
        assert_eq!(tally.count(at(0), window), 0);
        tally.add(at(0), window);
        tally.add(at(3), window);
        assert_eq!(tally.count(at(7), window), 2);
        assert_eq!(tally.count(at(8), window), 1);
        assert_eq!(tally.count(at(80), window), 0);
        let counted = tally.add(at(80), window);
        tally.take_back(counted);
        tally.take_back(counted);
        assert_eq!(tally.count(at(80), window), 0);
        tally.add(at(80), window);
        tally.clear();
        assert_eq!(tally.count(at(80), window), 0);
    }

    #[test]
    fn a_minute_is_corrected_only_while_it_runs() {
        let minute = Minute::default();
        let number = minute.add(MonoUs(1), 100);
        minute.correct(number, -40);
        assert_eq!(minute.count(MonoUs(2)), 60);
        let later = MonoUs(MINUTE_US);
        assert_eq!(minute.count(later), 0);
        minute.add(later, 5);
        minute.correct(number, 1000);
        assert_eq!(minute.count(later), 5);
    }
}
