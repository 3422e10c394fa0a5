//! Which budget period runs.

use meridian_core::record::{Facet, Record};
use meridian_core::time::WallMs;
use serde_json::Value;

use super::ScopePeriod;

/// Periods that may have passed unnoticed. After more of them the running one starts now.
const PERIODS_SKIPPED_MAX: usize = 10_000;

/// The period that `now` lies in, counted from the end of the one before.
pub(super) fn period_at(
    mut start: WallMs,
    now: WallMs,
    next: impl Fn(WallMs) -> Option<WallMs>,
) -> (WallMs, Option<WallMs>) {
    let mut end = next(start);
    for _ in 0..PERIODS_SKIPPED_MAX {
        match end {
            Some(passed) if passed <= now && passed > start => {
                start = passed;
                end = next(start);
            }
            _ => break,
        }
    }
    match end {
        Some(passed) if passed <= now => (now, next(now).filter(|&end| end > now)),
        end => (start, end),
    }
}

/// The period that a record names. One that refers to a budget for it names none (`None`), and
/// what was set for it stays.
pub(super) fn period_of(record: &Record) -> Option<Option<ScopePeriod>> {
    let field = |name: &str| record.body.get(name);
    let duration = field("budget_duration").and_then(Value::as_str);
    if duration.is_none() && record.facet(Facet::BudgetId).is_some() {
        return None;
    }
    let ends = field("budget_reset_at").and_then(Value::as_i64);
    Some(duration.map(|duration| ScopePeriod {
        duration: duration.to_owned(),
        ends: ends.map(WallMs),
    }))
}
