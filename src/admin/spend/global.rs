//! `/spend/keys|users|tags` and `/global/spend*`: sums of the roll-ups.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use meridian_core::ids::KeyHash;
use meridian_core::meters::RoutedKind;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, MasterAccess, ViewerAccess};
use super::super::body::JsonBody;
use super::super::keys;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::row::MASTER_KEY_ALIAS;
use super::{days, read, totals, view_range};
use crate::store::{GroupBy, KeyQuery, KeySort, ReportQuery, SpendTotals, TimeRange};

/// Rows of a list without `limit`.
const ROWS_DEFAULT: u64 = 100;
/// Most rows of a list.
const ROWS_MAX: u64 = 1_000;

type Answer = Result<Json<Value>, AdminError>;

/// GET /spend/keys: the keys that spent most in their running period.
pub(in crate::admin) async fn spend_keys(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = KeyQuery {
        size: limit(&query)? as u32,
        sort_by: KeySort::Spend,
        descending: true,
        ..KeyQuery::default()
    };
    let page = read(state.store().list_keys(asked).await)?;
    let rows = page.keys.iter();
    Ok(Json(
        rows.map(|key| Value::Object(keys::row(&state, key)))
            .collect(),
    ))
}

/// GET /spend/users
pub(in crate::admin) async fn spend_users(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = ReportQuery {
        user_id: query.text("user_id"),
        limit: limit(&query)? as u32,
        ..ReportQuery::default()
    };
    let rows = totals(&state, GroupBy::User, asked).await?;
    let named = rows.iter().filter(|row| !row.group.is_empty());
    let user = |row: &SpendTotals| json!({"user_id": row.group, "spend": row.spend.dollars()});
    Ok(Json(named.map(user).collect()))
}

/// GET /spend/tags
pub(in crate::admin) async fn spend_tags(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let rows = totals(&state, GroupBy::Tag, dated(&query)?).await?;
    let tag = |row: &SpendTotals| {
        json!({
            "individual_request_tag": row.group, "log_count": row.requests,
            "total_spend": row.spend.dollars(),
        })
    };
    Ok(Json(rows.iter().map(tag).collect()))
}

/// GET /global/spend
pub(in crate::admin) async fn spend(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    state.flush_spend().await;
    let total = read(state.store().global_spend(None).await)?;
    let rules = state.rules();
    let budget = rules.config.settings.budget.as_ref();
    let budget = budget.map_or(NanoUsd::ZERO, |budget| budget.max);
    Ok(Json(
        json!({"spend": total.dollars(), "max_budget": budget.dollars()}),
    ))
}

/// GET /global/spend/logs: spend per day of the last thirty days.
pub(in crate::admin) async fn spend_logs(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let key = query
        .text("api_key")
        .map(|key| KeyHash::from_key_or_hex(&key));
    let asked = ReportQuery {
        range: Some(view_range(&state)),
        api_key: key,
        ..ReportQuery::default()
    };
    let rows = totals(&state, GroupBy::Day, asked).await?;
    let day = |row: &SpendTotals| {
        let mut out = json!({"date": row.group, "spend": row.spend.dollars()});
        if let Some(key) = key {
            out["api_key"] = json!(key);
        }
        out
    };
    Ok(Json(rows.iter().map(day).collect()))
}

/// GET /global/spend/keys
pub(in crate::admin) async fn by_key(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let rows = totals(&state, GroupBy::Key, recent(&state, &query)?).await?;
    let mut out = Vec::new();
    for row in &rows {
        let names = key_names(&state, &row.group).await?;
        out.push(json!({
            "api_key": names.shown, "key_alias": names.alias, "key_name": names.name,
            "total_spend": row.spend.dollars(),
        }));
    }
    Ok(Json(Value::Array(out)))
}

/// GET /global/spend/models
pub(in crate::admin) async fn by_model(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let rows = totals(&state, GroupBy::Model, recent(&state, &query)?).await?;
    let model = |row: &SpendTotals| json!({"model": row.group, "total_spend": row.spend.dollars()});
    Ok(Json(rows.iter().map(model).collect()))
}

/// GET /global/spend/provider
pub(in crate::admin) async fn by_provider(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let mut asked = dated(&query)?;
    asked.range = asked.range.or_else(|| Some(view_range(&state)));
    let rows = totals(&state, GroupBy::Provider, asked).await?;
    let one = |row: &SpendTotals| json!({"provider": row.group, "spend": row.spend.dollars()});
    Ok(Json(rows.iter().map(one).collect()))
}

/// GET /global/spend/tags
pub(in crate::admin) async fn by_tag(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let wanted: Option<BTreeSet<String>> = query
        .text("tags")
        .filter(|tags| tags != "all-tags")
        .map(|tags| tags.split(',').map(str::to_owned).collect());
    let rows = totals(&state, GroupBy::Tag, dated(&query)?).await?;
    let chosen = rows
        .iter()
        .filter(|row| wanted.as_ref().is_none_or(|tags| tags.contains(&row.group)));
    let tags: Vec<Value> = chosen.map(tag_row).collect();
    Ok(Json(json!({"spend_per_tag": tags})))
}

fn tag_row(row: &SpendTotals) -> Value {
    json!({"name": row.group, "spend": row.spend.dollars(), "log_count": row.requests})
}

/// GET /global/spend/teams: per day and in sum over the last thirty days.
pub(in crate::admin) async fn by_team(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let range = view_range(&state);
    let mut daily = Vec::new();
    for (day, range) in days(range)? {
        let mut entry = Map::new();
        for row in totals(&state, GroupBy::Team, in_range(range)).await? {
            entry.insert(team_name(&row.group), json!(row.spend.dollars()));
        }
        if !entry.is_empty() {
            entry.insert("date".to_owned(), json!(day));
            daily.push(Value::Object(entry));
        }
    }
    let sums = totals(&state, GroupBy::Team, in_range(range)).await?;
    let names: Vec<String> = sums.iter().map(|row| team_name(&row.group)).collect();
    Ok(Json(json!({
        "daily_spend": daily,
        "teams": names,
        "total_spend_per_team": sums.iter().map(team_row).collect::<Vec<_>>(),
    })))
}

fn team_row(row: &SpendTotals) -> Value {
    json!({"team_id": team_name(&row.group), "total_spend": row.spend.dollars()})
}

/// GET /global/spend/all_tag_names
pub(in crate::admin) async fn tag_names(
    _: ViewerAccess,
    State(state): State<AdminState>,
) -> Answer {
    let rows = totals(&state, GroupBy::Tag, ReportQuery::default()).await?;
    let mut names: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    names.sort_unstable();
    Ok(Json(json!({"tag_names": names})))
}

/// POST /global/spend/refresh: there are no views to be refreshed; what requests have spent until
/// now is in the sums when this is answered.
pub(in crate::admin) async fn refresh(_: AdminAccess, State(state): State<AdminState>) -> Answer {
    state.flush_spend().await;
    Ok(Json(
        json!({"message": "Spend reports are up to date", "status": "success"}),
    ))
}

/// GET /provider/budgets: what is configured, and what is spent in the period that runs.
pub(in crate::admin) async fn provider_budgets(
    _: ViewerAccess,
    State(state): State<AdminState>,
) -> Answer {
    let (config, now) = (state.rules().config, state.now());
    let routed = state.registry().routed();
    let mut providers = Map::new();
    let of_providers = config.routed.iter();
    for budget in of_providers.filter(|one| one.of.kind == RoutedKind::Provider) {
        let Some(meters) = routed.get(&budget.of) else {
            continue;
        };
        let resets_at = meters.budget().resets_at(now);
        let shown = json!({
            "budget_limit": budget.limit.dollars(),
            "time_period": budget.written,
            "spend": meters.spent(now).dollars(),
            "budget_reset_at": resets_at.map(|at| at.to_iso()),
        });
        providers.insert(budget.of.id.clone(), shown);
    }
    Ok(Json(json!({"providers": providers})))
}

/// POST /global/spend/end_users
pub(in crate::admin) async fn by_end_user(
    _: ViewerAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let key = fields.text("api_key").value();
    let (start, end) = (
        fields.text("startTime").value(),
        fields.text("endTime").value(),
    );
    fields.finish()?;
    let moment = |text: Option<String>| text.as_deref().and_then(WallMs::parse_iso);
    let range = match (moment(start), moment(end)) {
        (Some(from), Some(to)) => TimeRange { from, to },
        _ => view_range(&state),
    };
    let asked = ReportQuery {
        api_key: key.map(|key| KeyHash::from_key_or_hex(&key)),
        limit: ROWS_DEFAULT as u32,
        ..in_range(range)
    };
    let rows = totals(&state, GroupBy::EndUser, asked).await?;
    let named = rows.iter().filter(|row| !row.group.is_empty());
    let one = |row: &SpendTotals| {
        json!({
            "end_user": row.group, "total_count": row.requests,
            "total_spend": row.spend.dollars(),
        })
    };
    Ok(Json(named.map(one).collect()))
}

/// POST /global/spend/reset: every key has spent nothing from now on. The ledger stays.
pub(in crate::admin) async fn reset(_: MasterAccess, State(state): State<AdminState>) -> Answer {
    let now = state.now();
    read(state.store().reset_all_spend(now).await)?;
    state.registry().reset_all_spent(now);
    Ok(Json(json!({
        "message": "Spend for all API Keys and Teams reset successfully",
        "status": "success",
    })))
}

/// How a key is shown in a report.
pub(super) struct KeyNames {
    pub(super) shown: String,
    pub(super) alias: Option<String>,
    pub(super) name: Option<String>,
}

/// Names of a group of `GroupBy::Key`: a digest, or nothing for the master key.
pub(super) async fn key_names(state: &AdminState, group: &str) -> Result<KeyNames, AdminError> {
    let Some(hash) = KeyHash::from_hex(group) else {
        return Ok(KeyNames {
            shown: MASTER_KEY_ALIAS.to_owned(),
            alias: None,
            name: None,
        });
    };
    let record = read(state.store().get_key(hash).await)?;
    Ok(KeyNames {
        shown: group.to_owned(),
        alias: record.as_ref().and_then(|record| record.key_alias.clone()),
        name: record.map(|record| record.key_name),
    })
}

/// LiteLLM's word for requests without a team.
pub(super) fn team_name(team: &str) -> String {
    let name = if team.is_empty() { "Unassigned" } else { team };
    name.to_owned()
}

pub(super) fn in_range(range: TimeRange) -> ReportQuery {
    ReportQuery {
        range: Some(range),
        ..ReportQuery::default()
    }
}

fn dated(query: &Query) -> Result<ReportQuery, AdminError> {
    let range = query.dates()?.map(|(from, to)| TimeRange { from, to });
    Ok(ReportQuery {
        range,
        limit: limit(query)? as u32,
        ..ReportQuery::default()
    })
}

fn recent(state: &AdminState, query: &Query) -> Result<ReportQuery, AdminError> {
    Ok(ReportQuery {
        limit: limit(query)? as u32,
        ..in_range(view_range(state))
    })
}

fn limit(query: &Query) -> Result<u64, AdminError> {
    Ok(query.whole("limit", 1, ROWS_MAX)?.unwrap_or(ROWS_DEFAULT))
}
