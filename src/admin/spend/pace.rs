//! `/model/metrics*` and `/model/streaming_metrics`: how fast models answered and how often they
//! failed. Roll-ups have no times, so the log is read, within a report's second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use meridian_core::ids::KeyHash;
use serde_json::{Map, Value, json};

use super::super::access::ViewerAccess;
use super::super::query::{DAY_MS, Query};
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::read;
use super::row::request_id;
use crate::store::{PAGE_SIZE_MAX, Pace, PaceQuery, SpendQuery, TimeRange};

/// Days without `startTime`, as in LiteLLM.
const DAYS: i64 = 30;
/// The same for first tokens.
const STREAMING_DAYS: i64 = 7;
/// A request that takes this long is slow: LiteLLM's default of `alerting_threshold`.
const SLOW: Duration = Duration::from_secs(300);

type Answer = Result<Json<Value>, AdminError>;

/// GET /model/metrics: mean seconds per output token, per day and place.
pub(in crate::admin) async fn metrics(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let paces = paces(&state, asked(&state, &query, DAYS)?).await?;
    let figures = paces.iter().filter_map(|pace| {
        let figure = pace.per_token_s?;
        Some((pace.day.clone(), place(pace), figure))
    });
    Ok(Json(by_date(figures)))
}

/// GET /model/streaming_metrics: mean seconds to the first content, per day and place; for a range
/// inside one day each request by itself.
pub(in crate::admin) async fn streaming(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = asked(&state, &query, STREAMING_DAYS)?;
    let last = asked.range.to.plus_ms(-1);
    if asked.range.from.day() == last.day() {
        return one_day(&state, asked).await;
    }
    let paces = paces(&state, asked).await?;
    let figures = paces.iter().filter_map(|pace| {
        let figure = pace.first_token_s?;
        Some((pace.day.clone(), place(pace), figure))
    });
    Ok(Json(by_date(figures)))
}

/// The latest streamed requests of a day, each under its own id.
async fn one_day(state: &AdminState, asked: PaceQuery) -> Answer {
    state.flush_spend().await;
    let log = SpendQuery {
        range: Some(asked.range),
        model: asked.model_group.clone(),
        api_key: asked.api_key,
        end_user: asked.end_user,
        size: PAGE_SIZE_MAX,
        ..SpendQuery::default()
    };
    let page = read(state.store().spend_logs(log).await)?;
    let group = asked.model_group;
    let rows = page.rows.iter().filter(|row| {
        let of_group = group.as_ref().is_none_or(|group| *group == row.model_group);
        of_group && row.context.cache_hit.is_none()
    });
    let figures = rows.filter_map(|row| {
        let first = row.first_byte.filter(|first| *first != row.ended)?;
        let seconds = first.0.saturating_sub(row.started.0) as f64 / 1_000.0;
        Some((request_id(row), base(&row.api_base, &row.model), seconds))
    });
    Ok(Json(by_date(figures)))
}

/// GET /model/metrics/slow_responses: requests per place, and those that took too long.
pub(in crate::admin) async fn slow(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let paces = paces(&state, asked(&state, &query, DAYS)?).await?;
    let mut places: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for pace in &paces {
        let base = short(&pace.api_base).to_owned();
        let (total, slow) = places.entry(base).or_default();
        *total += pace.requests;
        *slow += pace.slow;
    }
    let mut rows: Vec<_> = places.into_iter().collect();
    rows.sort_by_key(|(_, (_, slow))| std::cmp::Reverse(*slow));
    let shown = rows.into_iter().map(|(api_base, (total, slow))| {
        json!({"api_base": api_base, "total_count": total, "slow_count": slow})
    });
    Ok(Json(shown.collect()))
}

/// GET /model/metrics/exceptions: failed requests per place, by LiteLLM's class of the status.
pub(in crate::admin) async fn exceptions(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = asked(&state, &query, DAYS)?;
    state.flush_spend().await;
    let failures = read(state.store().failures(asked).await)?;
    let mut places: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
    for one in &failures {
        let name = match one.api_base.is_empty() {
            true => one.model.clone(),
            false => format!("{}-{}", one.model, one.api_base),
        };
        let classes = places.entry(name).or_default();
        *classes.entry(class(one.status)).or_default() += one.requests;
    }
    let classes: BTreeSet<&str> = places
        .values()
        .flat_map(|one| one.keys().copied())
        .collect();
    let mut rows: Vec<(u64, Value)> = Vec::new();
    for (model, counts) in &places {
        let total: u64 = counts.values().sum();
        let mut row = json!({"model": model, "total_exceptions": total});
        for (class, count) in counts {
            row[*class] = json!(count);
        }
        rows.push((total, row));
    }
    rows.sort_by_key(|(total, _)| std::cmp::Reverse(*total));
    let data: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Json(json!({"data": data, "exception_types": classes})))
}

/// What is asked for: `_selected_model_group` (all when absent), `startTime`, `endTime`, `api_key`,
/// `customer`.
fn asked(state: &AdminState, query: &Query, days: i64) -> Result<PaceQuery, AdminError> {
    let named = |name: &str| query.text(name).filter(|text| text != "undefined");
    let to = query.end_moment("endTime")?;
    let to = to.unwrap_or_else(|| state.now().plus_ms(1));
    let from = query.moment("startTime")?;
    let key = named("api_key").map(|key| KeyHash::from_key_or_hex(&key));
    Ok(PaceQuery {
        range: TimeRange {
            from: from.unwrap_or_else(|| to.plus_ms(-days * DAY_MS)),
            to,
        },
        model_group: named("_selected_model_group"),
        api_key: key,
        end_user: named("customer"),
        slow: SLOW,
    })
}

async fn paces(state: &AdminState, asked: PaceQuery) -> Result<Vec<Pace>, AdminError> {
    state.flush_spend().await;
    read(state.store().paces(asked).await)
}

/// One object per date with a member per place, and all places.
fn by_date(figures: impl Iterator<Item = (String, String, f64)>) -> Value {
    let mut dates: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for (date, place, figure) in figures {
        let entry = dates.entry(date).or_default();
        entry.insert(place.clone(), json!(figure));
        places.insert(place);
    }
    let dated = |(date, mut entry): (String, Map<String, Value>)| {
        entry.insert("date".to_owned(), json!(date));
        Value::Object(entry)
    };
    let data: Vec<Value> = dates.into_iter().map(dated).collect();
    json!({"data": data, "all_api_bases": places})
}

fn place(pace: &Pace) -> String {
    base(&pace.api_base, &pace.model)
}

/// LiteLLM's name of a place: its address, or the model where that is no public one.
fn base(api_base: &str, model: &str) -> String {
    let name = match api_base.contains("https://") {
        true => api_base,
        false => model,
    };
    short(name).to_owned()
}

fn short(name: &str) -> &str {
    name.split("/openai/").next().unwrap_or(name)
}

/// LiteLLM's exception for a status.
fn class(status: u16) -> &'static str {
    match status {
        400 => "BadRequestError",
        401 => "AuthenticationError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        408 | 504 => "Timeout",
        422 => "UnprocessableEntityError",
        429 => "RateLimitError",
        500 => "InternalServerError",
        502 => "BadGatewayError",
        503 => "ServiceUnavailableError",
        _ => "APIError",
    }
}
