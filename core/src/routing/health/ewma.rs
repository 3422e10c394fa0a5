//! A mean that jumps up with a bad measurement and comes down with time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::MonoUs;

/// Length of a tick. 32 bits of them are 198 days: after that much silence an age is ambiguous.
const TICK_US: u64 = 4_000;

/// Value and moment of the last change in one word, so that neither is read without the other.
/// Zero: nothing was ever measured.
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// The value now, in seconds; without measurements it fades to zero, so that a deployment that
    /// was slow is tried again.
    pub(super) fn at(&self, now: MonoUs, decay: Duration) -> f64 {
        match unpack(self.0.load(Relaxed)) {
            Some((value, tick)) => value * weight(age(now, tick), decay),
            None => 0.0,
        }
    }

    /// A measurement in seconds. One above the mean becomes the mean; one below pulls it down by
    /// the time that has passed.
    pub(super) fn add(&self, now: MonoUs, seconds: f64, decay: Duration) {
        let next = |word: u64| {
            let mean = match unpack(word) {
                Some((value, tick)) if seconds < value => {
                    let kept = weight(age(now, tick), decay);
                    seconds + (value - seconds) * kept
                }
                _ => seconds,
            };
            Some(pack(mean, now))
        };
        // The closure always gives a value.
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }

    /// Whether there was any measurement.
    pub(super) fn is_measured(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// What was measured is void.
    pub(super) fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

/// What is left of a weight of one after `age`.
fn weight(age: Duration, decay: Duration) -> f64 {
    if decay.is_zero() {
        return 0.0;
    }
    (-age.as_secs_f64() / decay.as_secs_f64()).exp()
}

fn tick_of(now: MonoUs) -> u32 {
    (now.0 / TICK_US) as u32
}

fn age(now: MonoUs, tick: u32) -> Duration {
    // A report that another thread dated a little later is not 198 days old.
    let ticks = tick_of(now).wrapping_sub(tick);
    let ticks = if ticks > u32::MAX - 1_000 { 0 } else { ticks };
    Duration::from_micros(u64::from(ticks) * TICK_US)
}

fn pack(seconds: f64, now: MonoUs) -> u64 {
    let value = (seconds as f32).max(f32::MIN_POSITIVE);
    u64::from(value.to_bits()) << 32 | u64::from(tick_of(now))
}

fn unpack(word: u64) -> Option<(f64, u32)> {
    let value = f32::from_bits((word >> 32) as u32);
    (word != 0).then_some((f64::from(value), word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn at(seconds: f64) -> MonoUs {
        MonoUs::default().plus(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn it_jumps_up_and_comes_down_with_time() {
        let mean = PeakEwma::default();
        assert!(!mean.is_measured());
        mean.add(at(1.0), 0.2, DECAY);
        mean.add(at(1.0), 2.0, DECAY);
        assert!((mean.at(at(1.0), DECAY) - 2.0).abs() < 1e-6);
        mean.add(at(11.0), 0.2, DECAY);
        let expected = 0.2 + 1.8 * (-1.0_f64).exp();
        assert!((mean.at(at(11.0), DECAY) - expected).abs() < 1e-3);
        assert!(mean.at(at(111.0), DECAY) < 1e-3, "silence is forgotten");
    }

    #[test]
    fn a_late_report_of_another_thread_does_not_erase_it() {
        let mean = PeakEwma::default();
        mean.add(at(2.0), 1.0, DECAY);
        assert!(mean.at(at(1.9), DECAY) > 0.99);
    }
}
