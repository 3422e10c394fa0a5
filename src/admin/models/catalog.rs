//! `/model/settings`, `/model/cost_map/source` and the schedule of the price map.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::config::Provider;
use serde_json::{Value, json};

use super::super::access::{AdminAccess, AnyKeyAccess, ViewerAccess};
use super::super::reply::AdminError;
use super::super::state::AdminState;

type Answer = Result<Json<Value>, AdminError>;

/// GET /model/settings: providers that this gateway sends requests to, and what a model of each
/// needs where the environment does not say it.
pub(in crate::admin) async fn settings(_: AnyKeyAccess) -> Json<Value> {
    let shown = Provider::served().map(|provider| {
        let mut fields = Vec::new();
        if let Some(variable) = provider.key_variables().first() {
            let text = format!("the provider's key; `{variable}` when absent");
            fields.push(field("api_key", &text, Value::Null));
        }
        if let Some(base) = provider.default_base() {
            fields.push(field("api_base", "where it is", json!(base)));
        }
        json!({"name": provider.label(), "fields": fields})
    });
    Json(shown.collect())
}

fn field(name: &str, text: &str, value: Value) -> Value {
    json!({
        "field_name": name, "field_type": "string", "field_description": text,
        "field_value": value,
    })
}

/// GET /model/cost_map/source: where the prices in use are from.
pub(in crate::admin) async fn cost_map_source(
    _: ViewerAccess,
    State(state): State<AdminState>,
) -> Answer {
    let source = state.price_map();
    let models = state.rules().prices.len();
    let waits = source.url.is_some() && !source.remote;
    let reason = "the URL has not been fetched yet, or not with success: see the log";
    Ok(Json(json!({
        "source": if source.remote { "remote" } else { "local" },
        "url": source.url,
        "is_env_forced": source.forced,
        "fallback_reason": waits.then_some(reason),
        "model_count": models,
    })))
}

/// POST and DELETE /schedule/model_cost_map_reload: how often is a setting of each node.
pub(in crate::admin) async fn schedule(_: AdminAccess) -> Answer {
    let text = "How often the price map is fetched is said by `meridian.price_map` of the \
                configuration, not by this call; POST /reload/model_cost_map fetches it now.";
    Err(AdminError::detail(StatusCode::NOT_IMPLEMENTED, text))
}
