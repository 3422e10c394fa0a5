//! `/global/activity` and `/global/activity/model`: requests and tokens per day.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::access::ViewerAccess;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::global::in_range;
use super::{days, required_range, totals};
use crate::store::{GroupBy, SpendTotals};

/// Models that the answer per model lists, those with most requests.
const MODELS_MAX: usize = 10;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

type Answer = Result<Json<Value>, AdminError>;

/// Requests and tokens of one day.
type DayCount = (String, u64, u64);

/// GET /global/activity
pub(in crate::admin) async fn activity(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    state.flush_spend().await;
    let rows = totals(&state, GroupBy::Day, in_range(range)).await?;
    let counts: Vec<DayCount> = rows.iter().map(|row| count(&row.group, row)).collect();
    Ok(Json(summary(&counts)))
}

/// GET /global/activity/model
pub(in crate::admin) async fn by_model(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    let mut models: BTreeMap<String, Vec<DayCount>> = BTreeMap::new();
    for (day, range) in days(range)? {
        for row in totals(&state, GroupBy::ModelGroup, in_range(range)).await? {
            let counts = models.entry(row.group.clone()).or_default();
            counts.push(count(&day, &row));
        }
    }
    let requests =
        |counts: &[DayCount]| counts.iter().map(|(_, requests, _)| requests).sum::<u64>();
    let mut models: Vec<_> = models.into_iter().collect();
    models.sort_by_key(|(_, counts)| std::cmp::Reverse(requests(counts)));
    models.truncate(MODELS_MAX);
    let shown = models.iter().map(|(model, counts)| {
        let mut out = summary(counts);
        out["model"] = json!(model);
        out
    });
    Ok(Json(shown.collect()))
}

fn count(day: &str, row: &SpendTotals) -> DayCount {
    let tokens = row.prompt.saturating_add(row.completion);
    (day.to_owned(), row.requests, tokens)
}

fn summary(counts: &[DayCount]) -> Value {
    let daily = counts.iter().map(|(day, requests, tokens)| {
        json!({"date": short_date(day), "api_requests": requests, "total_tokens": tokens})
    });
    json!({
        "daily_data": daily.collect::<Vec<_>>(),
        "sum_api_requests": counts.iter().map(|(_, requests, _)| requests).sum::<u64>(),
        "sum_total_tokens": counts.iter().map(|(_, _, tokens)| tokens).sum::<u64>(),
    })
}

/// `2026-01-05` as LiteLLM's charts label it: `Jan 05`.
pub(super) fn short_date(day: &str) -> String {
    let mut parts = day.splitn(3, '-').skip(1);
    let month = parts.next().and_then(|month| month.parse::<usize>().ok());
    let name = month.and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    match (name, parts.next()) {
        (Some(name), Some(date)) => format!("{name} {date}"),
        _ => day.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_labelled_as_litellm_labels_them() {
        assert_eq!(super::short_date("2026-01-05"), "Jan 05");
        assert_eq!(super::short_date("x"), "x");
    }
}
