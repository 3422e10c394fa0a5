//! `/global/activity/exceptions*` and `/cache_hits`: refused requests and answers from the cache.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use serde_json::{Value, json};

use super::super::access::ViewerAccess;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::activity::short_date;
use super::row::MASTER_KEY_ALIAS;
use super::{days, read, required_range};
use crate::clock;
use crate::store::{CellQuery, GroupBy, SpendCell, SpendQuery, TimeRange};

/// Most questions to the store for one report: days times deployments.
const QUESTIONS_MAX: usize = 400;
/// What LiteLLM counts as an exception here.
const RATE_LIMITED: u16 = 429;

type Answer = Result<Json<Value>, AdminError>;

/// GET /global/activity/exceptions: requests for a model that ended with 429, per day.
pub(in crate::admin) async fn exceptions(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    let model = model_group(&query)?;
    let days = days(range)?;
    check(days.len())?;
    state.flush_spend().await;
    let asked = SpendQuery {
        model: Some(model),
        ..SpendQuery::default()
    };
    daily(&state, &days, &asked).await.map(Json)
}

/// GET /global/activity/exceptions/deployment: the same for each deployment of the model.
pub(in crate::admin) async fn by_deployment(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let range = required_range(&query)?;
    let model = model_group(&query)?;
    let days = days(range)?;
    let rules = state.routes().rules;
    let group = rules.group(rules.alias(&model));
    let targets = group.map(|group| group.targets().to_vec());
    let targets = targets.unwrap_or_default();
    check(days.len() * targets.len().max(1))?;
    state.flush_spend().await;
    let mut out = Vec::new();
    for target in targets {
        let asked = SpendQuery {
            deployment_id: Some(target.deployment.id.clone()),
            ..SpendQuery::default()
        };
        let mut row = daily(&state, &days, &asked).await?;
        row["api_base"] = json!(target.api_base);
        row["model_id"] = json!(target.deployment.id);
        out.push(row);
    }
    Ok(Json(Value::Array(out)))
}

fn model_group(query: &Query) -> Result<String, AdminError> {
    query.text("model_group").ok_or_else(|| {
        let text = "Please provide model_group";
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })
}

fn check(questions: usize) -> Result<(), AdminError> {
    match questions <= QUESTIONS_MAX {
        true => Ok(()),
        false => {
            let text = format!("Too many days: {QUESTIONS_MAX} days times deployments at most");
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Counts per day; days without any are left out, as in LiteLLM.
async fn daily(
    state: &AdminState,
    days: &[(String, TimeRange)],
    asked: &SpendQuery,
) -> Result<Value, AdminError> {
    let (mut daily, mut sum) = (Vec::new(), 0);
    for (day, range) in days {
        let asked = SpendQuery {
            status: Some(RATE_LIMITED),
            range: Some(*range),
            size: 1,
            ..asked.clone()
        };
        let count = read(state.store().spend_logs(asked).await)?
            .total
            .unwrap_or(0);
        if count > 0 {
            daily.push(json!({"date": short_date(day), "num_rate_limit_exceptions": count}));
        }
        sum += count;
    }
    Ok(json!({"daily_data": daily, "sum_num_rate_limit_exceptions": sum}))
}

/// GET /global/activity/cache_hits: requests by key, endpoint and model. No answer comes from a
/// cache in this version, so every hit is zero.
pub(in crate::admin) async fn cache_hits(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = CellQuery {
        by: vec![GroupBy::Key, GroupBy::Endpoint, GroupBy::Model],
        range: Some(required_range(&query)?),
        ..CellQuery::default()
    };
    state.flush_spend().await;
    let cells = read(state.store().spend_cells(asked).await)?;
    Ok(Json(cells.iter().map(|cell| hits(&state, cell)).collect()))
}

fn hits(state: &AdminState, cell: &SpendCell) -> Value {
    let group = |at: usize| cell.groups.get(at).map_or("", String::as_str);
    let key = match KeyHash::from_hex(group(0)) {
        None => MASTER_KEY_ALIAS.to_owned(),
        Some(hash) => {
            let known = state.registry().get(&hash, clock::now());
            let alias = known.and_then(|known| known.policy.alias.as_deref().map(str::to_owned));
            alias.unwrap_or_else(|| "Unnamed Key".to_owned())
        }
    };
    json!({
        "api_key": key,
        "call_type": group(1),
        "model": group(2),
        "total_rows": cell.totals.requests,
        "cache_hit_true_rows": 0,
        "cached_completion_tokens": 0,
        "generated_completion_tokens": cell.totals.completion,
    })
}
