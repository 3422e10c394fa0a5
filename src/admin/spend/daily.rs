//! `/{user,team,organization,customer,tag}/daily/activity`: what was used per day, with LiteLLM's
//! breakdowns, from the roll-ups.

mod breakdown;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use serde_json::{Map, Value, json};

use super::super::access::{Caller, OwnOrViewerAccess, ViewerAccess};
use super::super::query::{DAY_MS, Query};
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::{read, refused_user};
use crate::store::{CellQuery, GroupBy, SpendCell, TimeRange};
use breakdown::{Day, Names, Sums};

/// Rows of a page without `page_size`.
const ROWS_DEFAULT: u64 = 50;
/// Most rows of a page, LiteLLM's bound.
const ROWS_MAX: u64 = 1_000;
/// Most values of one filter.
const VALUES_MAX: usize = 1_000;
/// Most days of one report.
const DAYS_MAX: i64 = 400;
/// A client's zone is at most this far from UTC, in minutes.
const ZONE_MINUTES_MAX: i64 = 14 * 60;

type Answer = Result<Json<Value>, AdminError>;

/// Whose activity is asked for.
#[derive(Clone, Copy)]
struct Entity {
    group: GroupBy,
    /// Parameter with the ids that count.
    only: &'static str,
    /// Parameter with the ids that do not.
    without: Option<&'static str>,
}

const USER: Entity = Entity {
    group: GroupBy::User,
    only: "user_id",
    without: None,
};
const TEAM: Entity = Entity {
    group: GroupBy::Team,
    only: "team_ids",
    without: Some("exclude_team_ids"),
};
const ORGANIZATION: Entity = Entity {
    group: GroupBy::Organization,
    only: "organization_ids",
    without: Some("exclude_organization_ids"),
};
const CUSTOMER: Entity = Entity {
    group: GroupBy::EndUser,
    only: "end_user_ids",
    without: Some("exclude_end_user_ids"),
};
const TAG: Entity = Entity {
    group: GroupBy::Tag,
    only: "tags",
    without: None,
};

/// GET /user/daily/activity
pub(in crate::admin) async fn user(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = cells(&query, USER, Some(&caller))?;
    answer(&state, &query, asked, USER, true).await
}

/// GET /user/daily/activity/aggregated: the same in one page.
pub(in crate::admin) async fn user_aggregated(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = cells(&query, USER, Some(&caller))?;
    answer(&state, &query, asked, USER, false).await
}

/// GET /team/daily/activity
pub(in crate::admin) async fn team(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = cells(&query, TEAM, Some(&caller))?;
    answer(&state, &query, asked, TEAM, true).await
}

/// GET /organization/daily/activity
pub(in crate::admin) async fn organization(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = cells(&query, ORGANIZATION, None)?;
    answer(&state, &query, asked, ORGANIZATION, true).await
}

/// GET /customer/daily/activity
pub(in crate::admin) async fn customer(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = cells(&query, CUSTOMER, None)?;
    answer(&state, &query, asked, CUSTOMER, true).await
}

/// GET /tag/daily/activity: a request with two tags counts for both.
pub(in crate::admin) async fn tag(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = cells(&query, TAG, None)?;
    answer(&state, &query, asked, TAG, true).await
}

/// The question, cut down to what the caller may see.
fn cells(query: &Query, entity: Entity, caller: Option<&Caller>) -> Result<CellQuery, AdminError> {
    let mut by = vec![
        GroupBy::Day,
        entity.group,
        GroupBy::Key,
        GroupBy::ModelGroup,
        GroupBy::Model,
        GroupBy::Provider,
    ];
    if !matches!(entity.group, GroupBy::EndUser | GroupBy::Tag) {
        by.push(GroupBy::Endpoint);
    }
    let mut asked = CellQuery {
        by,
        range: Some(range(query)?),
        ..CellQuery::default()
    };
    let mut filter = |group: GroupBy, ids: Vec<String>| asked.only.push((group, ids));
    if let Some(ids) = values(query, entity.only)? {
        filter(entity.group, ids);
    }
    if let Some(models) = values(query, "model")? {
        filter(GroupBy::Model, models);
    }
    if let Some(keys) = values(query, "api_key")? {
        let digest = |key: String| KeyHash::from_key_or_hex(&key).to_string();
        filter(GroupBy::Key, keys.into_iter().map(digest).collect());
    }
    if let Some(ids) = entity.without.map(|name| values(query, name)).transpose()? {
        asked.without.extend(ids.map(|ids| (entity.group, ids)));
    }
    if let Some(caller) = caller.filter(|caller| !caller.sees_all()) {
        restrict(&mut asked, entity, caller)?;
    }
    Ok(asked)
}

/// Others see their own user's requests; a key without a user sees its own.
fn restrict(asked: &mut CellQuery, entity: Entity, caller: &Caller) -> Result<(), AdminError> {
    let (own_user, own_key) = (caller.user_id(), caller.key_hash());
    let named = asked.only.iter().find(|(group, _)| *group == GroupBy::User);
    if let Some((_, users)) = named.filter(|_| matches!(entity.group, GroupBy::User)) {
        let foreign = |user: &String| own_user.as_ref() != Some(user);
        if users.iter().any(foreign) {
            return Err(refused_user());
        }
    }
    asked.only.push(match (own_user, own_key) {
        (Some(user), _) => (GroupBy::User, vec![user]),
        (None, Some(key)) => (GroupBy::Key, vec![key.to_string()]),
        (None, None) => return Err(refused_user()),
    });
    Ok(())
}

/// Values of a parameter, with commas between them.
fn values(query: &Query, name: &str) -> Result<Option<Vec<String>>, AdminError> {
    let Some(text) = query.text(name) else {
        return Ok(None);
    };
    let values: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect();
    if values.is_empty() || values.len() > VALUES_MAX {
        return Err(bad(&format!("{name}: give 1 to {VALUES_MAX} values")));
    }
    Ok(Some(values))
}

/// The days of `start_date` to `end_date`. Roll-ups are of UTC days, so the days of a client in
/// another zone (`timezone`: minutes behind UTC, as a browser gives them) are covered by one more.
fn range(query: &Query) -> Result<TimeRange, AdminError> {
    let Some((from, to)) = query.dates()? else {
        return Err(bad("Please provide start_date and end_date"));
    };
    let minutes = match query.number("timezone")? {
        None => 0,
        Some(minutes) if minutes.abs() <= ZONE_MINUTES_MAX as f64 => minutes as i64,
        Some(_) => return Err(bad("timezone: minutes behind UTC, -840 to 840")),
    };
    let range = TimeRange {
        from: if minutes < 0 {
            from.plus_ms(-DAY_MS)
        } else {
            from
        },
        to: if minutes > 0 { to.plus_ms(DAY_MS) } else { to },
    };
    let days = range.to.0.saturating_sub(range.from.0) / DAY_MS;
    match range.to > range.from && days <= DAYS_MAX {
        true => Ok(range),
        false => Err(bad(&format!(
            "end_date must be behind start_date, at most {DAYS_MAX} days"
        ))),
    }
}

async fn answer(
    state: &AdminState,
    query: &Query,
    asked: CellQuery,
    entity: Entity,
    paged: bool,
) -> Answer {
    let page = query.whole("page", 1, 1_000_000)?.unwrap_or(1);
    let size = query
        .whole("page_size", 1, ROWS_MAX)?
        .unwrap_or(ROWS_DEFAULT);
    state.flush_spend().await;
    let with_endpoints = asked.by.contains(&GroupBy::Endpoint);
    let mut cells = read(state.store().spend_cells(asked).await)?;
    // The latest day first; rows of a day keep their order, so that pages never overlap.
    cells.sort_by(|a, b| b.groups.first().cmp(&a.groups.first()));
    let (page, pages) = match paged {
        true => (page, (cells.len() as u64).div_ceil(size)),
        false => (1, 1),
    };
    let rows: Vec<SpendCell> = match paged {
        true => {
            let start = (page - 1).saturating_mul(size);
            let rows = cells.into_iter().skip(start as usize);
            rows.take(size as usize).collect()
        }
        false => cells,
    };
    let names = Names::of(state, &rows);
    let mut days: BTreeMap<&str, Day> = BTreeMap::new();
    let mut total = Sums::default();
    for row in &rows {
        let Some(day) = row.groups.first() else {
            continue;
        };
        total.add(&row.totals);
        days.entry(day).or_default().add(row, with_endpoints);
    }
    let with_entities = !matches!(entity.group, GroupBy::User);
    let results = days.iter().rev().map(|(date, day)| {
        json!({
            "date": date, "metrics": day.metrics(),
            "breakdown": day.breakdown(&names, with_entities),
        })
    });
    Ok(Json(json!({
        "results": results.collect::<Vec<_>>(),
        "metadata": metadata(&total, page, pages),
    })))
}

fn metadata(total: &Sums, page: u64, pages: u64) -> Map<String, Value> {
    let sums = total.shown().into_iter();
    let mut out: Map<String, Value> = sums
        .map(|(name, value)| match name.as_str() {
            "total_tokens" => (name, value),
            _ => (format!("total_{name}"), value),
        })
        .collect();
    out.insert("page".to_owned(), json!(page));
    out.insert("total_pages".to_owned(), json!(pages));
    out.insert("has_more".to_owned(), json!(page < pages));
    out
}

fn bad(text: &str) -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
