//! `/spend/*` and `/global/*`: what was used, by whom and for how much.

pub(super) mod active;
pub(super) mod activity;
pub(super) mod calculate;
pub(super) mod daily;
pub(super) mod events;
pub(super) mod global;
pub(super) mod logs;
pub(super) mod pace;
pub(super) mod report;
mod row;

use axum::http::StatusCode;
use meridian_core::time::WallMs;

use super::query::{DAY_MS, Query};
use super::reply::AdminError;
use super::state::AdminState;
use crate::store::{GroupBy, ReportQuery, SpendTotals, StoreError, TimeRange};

/// Days of the reports that take no dates, as in LiteLLM's `Last30d...` views.
const VIEW_DAYS: i64 = 30;
/// Most days of a report that asks the store once a day.
const REPORT_DAYS_MAX: i64 = 366;

/// The store's answer, or its failure in words for the caller.
fn read<T>(answer: Result<T, StoreError>) -> Result<T, AdminError> {
    answer.map_err(super::store_refusal)
}

async fn totals(
    state: &AdminState,
    group: GroupBy,
    asked: ReportQuery,
) -> Result<Vec<SpendTotals>, AdminError> {
    read(state.store().spend_by(group, asked).await)
}

/// The last thirty days.
fn view_range(state: &AdminState) -> TimeRange {
    let now = state.now();
    TimeRange {
        from: now.plus_ms(-VIEW_DAYS * DAY_MS),
        to: now.plus_ms(1),
    }
}

/// `start_date` and `end_date`, which these reports need.
fn required_range(query: &Query) -> Result<TimeRange, AdminError> {
    let Some((from, to)) = query.dates()? else {
        let text = "Please provide start_date and end_date";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    Ok(TimeRange { from, to })
}

/// The UTC days that a range touches, each as a range of its own.
fn days(range: TimeRange) -> Result<Vec<(String, TimeRange)>, AdminError> {
    let first = range.from.0.div_euclid(DAY_MS);
    let last = range.to.0.saturating_sub(1).div_euclid(DAY_MS);
    if last.saturating_sub(first) >= REPORT_DAYS_MAX {
        let text = format!("At most {REPORT_DAYS_MAX} days in one report");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let day = |number: i64| {
        let from = WallMs(number * DAY_MS);
        let to = from.plus_ms(DAY_MS);
        (from.day(), TimeRange { from, to })
    };
    Ok((first..=last).map(day).collect())
}

fn refused_user() -> AdminError {
    AdminError::Refused {
        status: StatusCode::FORBIDDEN,
        kind: "auth_error",
        param: "user_id",
        message: "You are not allowed to see the spend of others.".to_owned(),
    }
}
