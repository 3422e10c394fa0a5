//! When a credential is fetched again: early, so that a token server may be away for long.

use std::time::Duration;

use crate::time::WallMs;

/// Most time before its end at which a credential is replaced. A token of one hour is replaced
/// after forty minutes: a token server may be away for a third of an hour unnoticed.
const LEAD_MAX: Duration = Duration::from_secs(20 * 60);
/// Least time between two fetches that both worked.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// First wait after a fetch that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait after a fetch that failed.
pub const FAILED_PAUSE_MAX: Duration = Duration::from_secs(15);
/// A credential is not used this close to its end: the request has to arrive.
const MARGIN: Duration = Duration::from_secs(5);
/// Share of a short life that the margin may take.
const MARGIN_SHARE: i64 = 10;

/// What is known of one source's fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// When the next fetch is due; `None`: never, the credential does not end.
    pub due: Option<WallMs>,
    /// Fetches that failed since the last one that worked.
    pub failures: u32,
    /// Last moment to use the credential.
    pub usable_until: Option<WallMs>,
}

impl Refresh {
    /// Nothing was fetched yet: it is due at once.
    pub fn first(now: WallMs) -> Self {
        Self {
            due: Some(now),
            failures: 0,
            usable_until: Some(WallMs(i64::MIN)),
        }
    }

    /// A credential that ends at `expires_at` came. `dice` in `[0, 1)` spreads nodes apart.
    pub fn fetched(now: WallMs, expires_at: Option<WallMs>, dice: f64) -> Self {
        let Some(end) = expires_at else {
            return Self {
                due: None,
                failures: 0,
                usable_until: None,
            };
        };
        let life = (end.0 - now.0).max(0);
        let lead = (life / 2).min(millis(LEAD_MAX));
        // Up to a tenth earlier than the lead asks for.
        let early = (lead as f64 * 0.1 * dice) as i64;
        let wait = (life - lead - early).max(millis(PAUSE_MIN));
        let margin = millis(MARGIN).min(life / MARGIN_SHARE);
        Self {
            due: Some(now.plus_ms(wait)),
            failures: 0,
            usable_until: Some(end.plus_ms(-margin)),
        }
    }

    /// A fetch failed: what is held is used on, and the next fetch comes after a growing pause.
    #[must_use]
    pub fn failed(self, now: WallMs, dice: f64) -> Self {
        let doubled = FAILED_PAUSE.saturating_mul(1 << self.failures.min(10));
        let pause = millis(doubled.min(FAILED_PAUSE_MAX));
        let spread = pause / 2 + (pause as f64 * 0.5 * dice) as i64;
        Self {
            due: Some(now.plus_ms(spread)),
            failures: self.failures.saturating_add(1),
            ..self
        }
    }

    /// Whether what is held may be used.
    pub fn is_usable(&self, now: WallMs) -> bool {
        self.usable_until.is_none_or(|until| now < until)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMs = WallMs(1_700_000_000_000);

    fn minutes(count: i64) -> WallMs {
        NOW.plus_ms(count * 60_000)
    }

    #[test]
    fn a_token_of_an_hour_outlives_ten_minutes_without_its_server() {
        for dice in [0.0, 0.5, 0.999] {
            let refresh = Refresh::fetched(NOW, Some(minutes(60)), dice);
            let due = refresh.due.unwrap();
            assert!(due <= minutes(40) && due >= minutes(37), "{due:?}");
            // Away from the moment that the fetch is due.
            let mut away = refresh;
            let mut now = due;
            while now < due.plus_ms(10 * 60_000) {
                away = away.failed(now, dice);
                now = away.due.unwrap();
                assert!(away.is_usable(now));
            }
        }
    }

    #[test]
    fn short_and_ended_tokens_neither_spin_nor_are_used_late() {
        let short = Refresh::fetched(NOW, Some(NOW.plus_ms(2_000)), 0.9);
        assert!(short.due.unwrap() >= NOW.plus_ms(500));
        assert!(short.is_usable(NOW.plus_ms(1_700)) && !short.is_usable(NOW.plus_ms(1_900)));
        let ended = Refresh::fetched(NOW, Some(NOW.plus_ms(-1)), 0.0);
        assert_eq!(ended.due, Some(NOW.plus_ms(500)));
        assert!(!ended.is_usable(NOW));
        assert!(!Refresh::first(NOW).is_usable(NOW));
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly_but_always() {
        let mut refresh = Refresh::first(NOW);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            refresh = refresh.failed(NOW, 1.0);
            pauses.push(refresh.due.unwrap().0 - NOW.0);
        }
        assert_eq!(pauses[..4], [500, 1_000, 2_000, 4_000]);
        assert_eq!(pauses.last(), Some(&15_000));
    }

    #[test]
    fn keys_without_an_end_are_fetched_once() {
        let fixed = Refresh::fetched(NOW, None, 0.3);
        assert!(fixed.due.is_none() && fixed.is_usable(WallMs(i64::MAX)));
    }
}
