//! How long to wait before Redis is tried again.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait: with the time to connect it is well under the ten seconds after which a Redis
/// that is back has to be in use.
const LONGEST: Duration = Duration::from_secs(4);

/// Doubles with each failure in a row, and is spread so that nodes do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait. `dice` is uniform in `[0, 1)`.
    pub(crate) fn next(&mut self, dice: f64) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST).mul_f64(0.5 + 0.5 * dice)
    }

    /// It worked for a while.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_four_seconds_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000]);
        assert_eq!(backoff.next(0.0).as_millis(), 2000);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 50);
    }
}
