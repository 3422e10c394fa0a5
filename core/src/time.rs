//! Time as a value: rules are told what time it is, they never look.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wall clock: milliseconds since the Unix epoch, UTC. For stored facts and calendar periods.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallMs(pub i64);

impl WallMs {
    /// The last moment there is.
    pub const MAX: Self = Self(i64::MAX);

    /// ISO-8601 UTC with milliseconds, as LiteLLM's API prints datetimes.
    pub fn to_iso(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
            .unwrap_or_default()
    }

    /// Calendar day in UTC, `YYYY-MM-DD`.
    pub fn day(self) -> String {
        self.to_iso().chars().take(10).collect()
    }

    /// Reads RFC 3339 (with or without zone; without means UTC) or a bare date.
    pub fn parse_iso(text: &str) -> Option<Self> {
        let with_zone = text.parse::<jiff::Timestamp>().ok();
        let without_zone = || {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            civil
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()
                .map(|zoned| zoned.timestamp())
        };
        let stamp = with_zone.or_else(without_zone)?;
        Some(Self(stamp.as_millisecond()))
    }

    /// This moment plus a number of milliseconds.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Monotonic clock: microseconds since an origin that is fixed while the process lives. For
/// durations and deadlines, which a step of the wall clock must not move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoUs(pub u64);

impl MonoUs {
    /// This moment plus a duration.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Time since `earlier`; zero when that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_text_round_trips_and_bare_forms_mean_utc() {
        let stamp = WallMs(1_795_000_000_123);
        assert_eq!(WallMs::parse_iso(&stamp.to_iso()), Some(stamp));
        assert_eq!(
            WallMs::parse_iso("2026-01-01"),
            WallMs::parse_iso("2026-01-01T00:00:00Z")
        );
        assert_eq!(WallMs::parse_iso("yesterday"), None);
        assert_eq!(WallMs(0).day(), "1970-01-01");
    }
}
