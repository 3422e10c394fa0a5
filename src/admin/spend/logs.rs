//! `/spend/logs` and `/spend/logs/v2`: the rows of the ledger.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use serde_json::{Map, Value, json};

use super::super::access::{Caller, OwnOrViewerAccess, PathParameter};
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::row::row;
use super::{read, refused_user};
use crate::store::{
    DaySpend, PAGE_SIZE_MAX, ReportQuery, SpendPage, SpendPageAt, SpendQuery, SpendSort, TimeRange,
};

type Answer = Result<Json<Value>, AdminError>;

/// GET /spend/logs: rows, latest first and at most 1,000, of one request with what was asked and
/// answered, if that is kept; with two dates and without
/// `summarize=false`, sums per day.
pub(in crate::admin) async fn logs(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = range(&query)?;
    let scope = Scope::of(&caller, &query)?;
    state.flush_spend().await;
    if let Some(range) = range
        && query.flag_or("summarize", true)
    {
        let asked = ReportQuery {
            range: Some(range),
            api_key: scope.key,
            user_id: scope.user_id,
            ..ReportQuery::default()
        };
        let days = read(state.store().spend_by_day(asked).await)?;
        return Ok(Json(days.iter().map(day).collect()));
    }
    let asked = SpendQuery {
        api_key: scope.key,
        user_id: scope.user_id,
        with_texts: query.text("request_id").is_some(),
        request_id: query.text("request_id"),
        range,
        size: PAGE_SIZE_MAX,
        ..SpendQuery::default()
    };
    let page = read(state.store().spend_logs(asked).await)?;
    Ok(Json(page.rows.iter().map(row).collect()))
}

/// GET /spend/logs/v2
pub(in crate::admin) async fn logs_v2(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (number, size) = query.page(50)?;
    let scope = Scope::of(&caller, &query)?;
    let asked = SpendQuery {
        api_key: scope.key,
        user_id: scope.user_id,
        key_alias: query.text("key_alias"),
        team_id: query.text("team_id"),
        end_user: query.text("end_user"),
        request_id: query.text("request_id"),
        session_id: query.text("session_id"),
        model: query.text("model"),
        deployment_id: query.text("model_id"),
        failed: match query.text("status_filter").as_deref() {
            Some("failure") => Some(true),
            Some("success") => Some(false),
            _ => None,
        },
        status: query.whole("error_code", 100, 999)?.map(|code| code as u16),
        spend_min: money(query.number("min_spend")?),
        spend_max: money(query.number("max_spend")?),
        range: range(&query)?,
        sort_by: match query.text("sort_by").as_deref() {
            Some("spend") => SpendSort::Spend,
            Some("total_tokens") => SpendSort::TotalTokens,
            Some("endTime") => SpendSort::Ended,
            _ => SpendSort::Started,
        },
        ascending: query.text("sort_order").as_deref() == Some("asc"),
        size: size as u32,
        page: SpendPageAt::Number(number as u32),
        ..SpendQuery::default()
    };
    state.flush_spend().await;
    let page = read(state.store().spend_logs(asked).await)?;
    Ok(Json(paged(&page, number, size)))
}

/// GET /spend/logs/ui/{id}: one request, with what was asked and answered if that is kept.
pub(in crate::admin) async fn one(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    PathParameter(id): PathParameter,
    query: Query,
) -> Answer {
    let id = id.unwrap_or_default();
    let scope = Scope::of(&caller, &query)?;
    let asked = SpendQuery {
        api_key: scope.key,
        user_id: scope.user_id,
        with_texts: true,
        request_id: Some(id.clone()),
        range: range(&query)?,
        size: 1,
        ..SpendQuery::default()
    };
    state.flush_spend().await;
    let page = read(state.store().spend_logs(asked).await)?;
    let found = page.rows.first().map(row);
    found.map(Json).ok_or_else(|| {
        let text = format!("Request with request_id={id} not found");
        AdminError::detail(StatusCode::NOT_FOUND, text)
    })
}

/// GET /spend/logs/session/ui: the requests of a session, the first one first.
pub(in crate::admin) async fn session(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (number, size) = query.page(50)?;
    let Some(session) = query.text("session_id") else {
        let text = "session_id is required";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    let scope = Scope::of(&caller, &query)?;
    let asked = SpendQuery {
        api_key: scope.key,
        user_id: scope.user_id,
        session_id: Some(session),
        ascending: true,
        size: size as u32,
        page: SpendPageAt::Number(number as u32),
        ..SpendQuery::default()
    };
    state.flush_spend().await;
    let page = read(state.store().spend_logs(asked).await)?;
    Ok(Json(paged(&page, number, size)))
}

fn paged(page: &SpendPage, number: u64, size: u64) -> Value {
    let total = page.total.unwrap_or(page.rows.len() as u64);
    json!({
        "data": page.rows.iter().map(row).collect::<Vec<_>>(),
        "total": total, "page": number, "page_size": size, "total_pages": total.div_ceil(size),
    })
}

/// Whose spend a caller asks for, cut down to what it may see.
struct Scope {
    key: Option<KeyHash>,
    user_id: Option<String>,
}

impl Scope {
    fn of(caller: &Caller, query: &Query) -> Result<Self, AdminError> {
        let key = query
            .text("api_key")
            .map(|key| KeyHash::from_key_or_hex(&key));
        let user_id = query.text("user_id");
        if caller.sees_all() {
            return Ok(Self { key, user_id });
        }
        // Others see their own user's spend; a key without a user sees its own.
        match caller.user_id() {
            Some(own) if user_id.as_ref().is_some_and(|user| *user != own) => Err(refused_user()),
            Some(own) => Ok(Self {
                key,
                user_id: Some(own),
            }),
            None if user_id.is_some() => Err(refused_user()),
            None if key.is_some() && key != caller.key_hash() => Err(refused_user()),
            None => Ok(Self {
                key: caller.key_hash(),
                user_id: None,
            }),
        }
    }
}

fn range(query: &Query) -> Result<Option<TimeRange>, AdminError> {
    let dates = query.dates()?;
    Ok(dates.map(|(from, to)| TimeRange { from, to }))
}

fn money(dollars: Option<f64>) -> Option<NanoUsd> {
    dollars.and_then(NanoUsd::from_dollars)
}

fn day(day: &DaySpend) -> Value {
    let amounts = |list: &[(String, NanoUsd)]| -> Map<String, Value> {
        let pair = |(name, amount): &(String, NanoUsd)| (name.clone(), json!(amount.dollars()));
        list.iter().map(pair).collect()
    };
    json!({
        "startTime": day.day,
        "spend": day.spend.dollars(),
        "users": amounts(&day.users),
        "models": amounts(&day.models),
    })
}
