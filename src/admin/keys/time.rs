//! Durations in LiteLLM's grammar: `30s`, `15m`, `24h`, `30d`, `2w`, `1mo`.

use jiff::tz::TimeZone;
use meridian_core::meters::shown_budget_limits;
use meridian_core::period::period_of;
use meridian_core::time::WallMs;
use serde_json::{Map, Value};

use super::super::checks::{period, unsupported};
use super::super::reply::AdminError;

/// A month of `1mo` when it is a length and not a calendar period: 30 days.
const MONTH_MS: i64 = 30 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Length in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<i64, AdminError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        "mo" => MONTH_MS,
        _ => return Err(unsupported(text)),
    };
    let count: i64 = count.parse().map_err(|_| unsupported(text))?;
    count.checked_mul(unit_ms).ok_or_else(|| unsupported(text))
}

/// When a key made or changed `now` with this `duration` expires; `-1` is never.
pub(super) fn expiry(text: &str, now: WallMs) -> Result<Option<WallMs>, AdminError> {
    match text {
        "-1" => Ok(None),
        text => Ok(Some(now.plus_ms(duration_ms(text)?))),
    }
}

/// End of the budget period that holds `now`.
pub(in crate::admin) fn budget_reset_at(text: &str, at: &Moment) -> Result<WallMs, AdminError> {
    Ok(period_of(period(text)?, &at.zone, at.now).end)
}

/// Now, on the clock that budget periods follow.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Moment {
    /// Wall clock.
    pub(in crate::admin) now: WallMs,
    /// `litellm_settings.timezone`.
    pub(in crate::admin) zone: TimeZone,
}

impl Moment {
    /// Gives every entry of `budget_limits` in a row the end of the period that runs.
    pub(in crate::admin) fn end_limits(&self, row: &mut Map<String, Value>) {
        if let Some(limits) = row.get_mut(LIMITS) {
            *limits = shown_budget_limits(limits, &self.zone, self.now);
        }
    }
}

const LIMITS: &str = "budget_limits";
