//! `/global/spend/report`: what finance asks for.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use serde_json::{Value, json};

use super::super::access::ViewerAccess;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::global::{in_range, key_names, team_name};
use super::{days, required_range, totals};
use crate::store::{GroupBy, ReportQuery, SpendTotals, TimeRange};

/// Most questions to the store for one report: days times teams.
const QUESTIONS_MAX: usize = 2_000;

type Answer = Result<Json<Value>, AdminError>;

/// GET /global/spend/report
pub(in crate::admin) async fn report(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    state.flush_spend().await;
    let key = query
        .text("api_key")
        .map(|key| KeyHash::from_key_or_hex(&key));
    if let Some(user) = query.text("internal_user_id") {
        let asked = ReportQuery {
            user_id: Some(user),
            ..in_range(range)
        };
        return by_key(&state, asked).await;
    }
    match (key, query.text("group_by").as_deref()) {
        (None, None | Some("team")) => by_team(&state, range, query.text("team_id")).await,
        (None, Some("customer")) => by_customer(&state, range, query.text("customer_id")).await,
        (None, Some("api_key")) => by_key(&state, in_range(range)).await,
        (Some(key), _) => {
            let asked = ReportQuery {
                api_key: Some(key),
                ..in_range(range)
            };
            by_key(&state, asked).await
        }
        (None, Some(_)) => {
            let text = "group_by must be one of: team, customer, api_key";
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

async fn by_team(state: &AdminState, range: TimeRange, only: Option<String>) -> Answer {
    let mut questions = 0;
    let mut out = Vec::new();
    for (day, range) in days(range)? {
        let mut teams = Vec::new();
        for row in totals(state, GroupBy::Team, in_range(range)).await? {
            if only.as_ref().is_some_and(|team| *team != row.group) {
                continue;
            }
            questions += 1;
            if questions > QUESTIONS_MAX {
                let text = "Too many days and teams: narrow the dates or give team_id";
                return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
            }
            teams.push(team(state, range, &row).await?);
        }
        if !teams.is_empty() {
            out.push(json!({"group_by_day": day, "teams": teams}));
        }
    }
    Ok(Json(Value::Array(out)))
}

async fn team(
    state: &AdminState,
    range: TimeRange,
    row: &SpendTotals,
) -> Result<Value, AdminError> {
    let asked = ReportQuery {
        team_id: Some(row.group.clone()),
        ..in_range(range)
    };
    let models = totals(state, GroupBy::ModelGroup, asked).await?;
    Ok(json!({
        "team_name": team_name(&row.group),
        "total_spend": row.spend.dollars(),
        "metadata": models.iter().map(model_of_team).collect::<Vec<_>>(),
    }))
}

fn model_of_team(row: &SpendTotals) -> Value {
    json!({
        "model": row.group, "spend": row.spend.dollars(),
        "total_tokens": row.prompt.saturating_add(row.completion),
    })
}

async fn by_customer(state: &AdminState, range: TimeRange, only: Option<String>) -> Answer {
    let mut out = Vec::new();
    for (day, range) in days(range)? {
        let rows = totals(state, GroupBy::EndUser, in_range(range)).await?;
        let chosen = rows.iter().filter(|row| {
            let wanted = only.as_ref().is_none_or(|customer| *customer == row.group);
            wanted && !row.group.is_empty()
        });
        let customer = |row: &SpendTotals| {
            json!({
                "customer": row.group, "total_spend": row.spend.dollars(),
                "metadata": [{
                    "spend": row.spend.dollars(),
                    "total_tokens": row.prompt.saturating_add(row.completion),
                }],
            })
        };
        let customers: Vec<Value> = chosen.map(customer).collect();
        if !customers.is_empty() {
            out.push(json!({"group_by_day": day, "customers": customers}));
        }
    }
    Ok(Json(Value::Array(out)))
}

async fn by_key(state: &AdminState, asked: ReportQuery) -> Answer {
    let mut out = Vec::new();
    for row in totals(state, GroupBy::Key, asked.clone()).await? {
        if out.len() >= QUESTIONS_MAX {
            let text = "Too many keys: give api_key or internal_user_id";
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
        let names = key_names(state, &row.group).await?;
        let models = match KeyHash::from_hex(&row.group) {
            Some(key) => {
                let asked = ReportQuery {
                    api_key: Some(key),
                    ..asked.clone()
                };
                totals(state, GroupBy::ModelGroup, asked).await?
            }
            // The master key has no digest to ask for.
            None => Vec::new(),
        };
        out.push(json!({
            "api_key": names.shown,
            "total_cost": row.spend.dollars(),
            "total_input_tokens": row.prompt,
            "total_output_tokens": row.completion,
            "model_details": models.iter().map(model_of_key).collect::<Vec<_>>(),
        }));
    }
    Ok(Json(Value::Array(out)))
}

fn model_of_key(row: &SpendTotals) -> Value {
    json!({
        "model": row.group,
        "total_cost": row.spend.dollars(),
        "total_input_tokens": row.prompt,
        "total_output_tokens": row.completion,
    })
}
