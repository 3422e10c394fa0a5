//! `/health/*`, `/metrics`: what probes and Prometheus ask.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use meridian_core::health::ALIVE;
use meridian_core::routes::{Access, Route};
use serde_json::{Value, json};

use super::access::{AnyKeyAccess, Caller, Public, SettingDecides};
use super::query::Query;
use super::reply::AdminError;
use super::state::{AdminState, DeploymentHealth};

const JSON: &str = "application/json";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const METRICS_REFUSED: &str = "Unauthorized access to metrics endpoint: a key is needed, or set \
                               `litellm_settings.require_auth_for_metrics_endpoint: false`.";

/// GET, OPTIONS /health/liveliness and /health/liveness
pub(super) async fn liveness(_: Public) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JSON)], ALIVE)
}

/// GET, OPTIONS /health/readiness
pub(super) async fn readiness(_: Public, State(state): State<AdminState>) -> Response {
    let ready = state.readiness();
    if state.rules().config.general.public_readiness_details {
        return answer(ready.status(), readiness_details(&state).to_string());
    }
    answer(ready.status(), ready.body())
}

/// GET /health/readiness/details
pub(super) async fn details(_: AnyKeyAccess, State(state): State<AdminState>) -> Response {
    let status = state.readiness().status();
    answer(status, readiness_details(&state).to_string())
}

fn readiness_details(state: &AdminState) -> Value {
    let ready = state.readiness();
    json!({
        "status": ready.word(),
        "db": ready.store_word(),
        "cache": state.cache().map(|cache| if cache.is_shared() { "redis" } else { "local" }),
        "coordination": {
            "mode": ready.coordination.mode(),
            "state": ready.coordination.state(),
        },
        "records": state.propagation().map(|copy| copy.shown(state.now())),
        "credentials": credentials(state),
        "litellm_version": super::LITELLM_VERSION,
        "meridian_version": env!("CARGO_PKG_VERSION"),
        "success_callbacks": [],
        "use_aiohttp_transport": false,
        "log_level": "INFO",
        "is_detailed_debug": false,
        "keys_loaded": state.registry().len(),
        "records_left_out": left_out(state),
    })
}

/// Sources of credentials that end: who has none, and why.
fn credentials(state: &AdminState) -> Vec<Value> {
    let rules = state.routes().rules;
    let shown = |one: crate::rules::SourceReport| {
        json!({
            "source": one.name,
            "usable": one.usable,
            "expires_at": one.expires_at.map(|at| at.to_iso()),
            "error": one.error,
        })
    };
    rules
        .credentials()
        .report()
        .into_iter()
        .map(shown)
        .collect()
}

/// Stored models, credentials and settings that are not in force, and why.
fn left_out(state: &AdminState) -> Vec<String> {
    let left_out = state.merged().left_out();
    left_out.iter().map(ToString::to_string).collect()
}

/// GET /health: the passive state of every deployment. No request is sent to a provider, so asking
/// costs nothing; `probe` in the answer says so.
pub(super) async fn health(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Response {
    let (model, model_id) = (query.text("model"), query.text("model_id"));
    let asked = model.is_some() || model_id.is_some();
    let chosen = |deployment: &DeploymentHealth| {
        let name_fits = model
            .as_ref()
            .is_none_or(|name| *name == deployment.model_name);
        let id_fits = model_id
            .as_ref()
            .is_none_or(|id| *id == deployment.model_id);
        name_fits && id_fits
    };
    let all = state.deployments();
    let (up, down): (Vec<_>, Vec<_>) = (all.iter())
        .filter(|deployment| chosen(deployment))
        .partition(|deployment| deployment.unhealthy.is_none());
    let show = |list: &[&DeploymentHealth]| -> Vec<Value> {
        list.iter()
            .map(|deployment| shown(deployment, &caller))
            .collect()
    };
    let body = json!({
        "healthy_endpoints": show(&up),
        "unhealthy_endpoints": show(&down),
        "healthy_count": up.len(),
        "unhealthy_count": down.len(),
        "probe": "passive",
        "records_left_out": if caller.sees_all() { left_out(&state) } else { Vec::new() },
    });
    let status = if asked && up.is_empty() { 503 } else { 200 };
    let mut response = answer(status, body.to_string());
    if !caller.sees_all() {
        let notice = HeaderValue::from_static("api_base is shown to administrators only");
        response
            .headers_mut()
            .insert("litellm-health-field-notice", notice);
    }
    response
}

fn shown(deployment: &DeploymentHealth, caller: &Caller) -> Value {
    let mut out = json!({
        "model": deployment.model,
        "model_name": deployment.model_name,
        "model_id": deployment.model_id,
        "custom_llm_provider": deployment.provider,
    });
    if caller.sees_all() {
        out["api_base"] = json!(deployment.api_base);
    }
    if let Some(reason) = &deployment.unhealthy {
        out["error"] = json!(reason);
    }
    out
}

/// GET /health/backlog
pub(super) async fn backlog(_: AnyKeyAccess, State(state): State<AdminState>) -> Json<Value> {
    Json(json!({"in_flight_requests": state.in_flight()}))
}

/// Whether `/metrics` is public is a setting; every other route is what the table says.
pub(super) fn access(route: Route, access: Access, state: &AdminState) -> Access {
    let settings = &state.rules().config.settings;
    match route {
        Route::Metrics if !settings.require_auth_for_metrics_endpoint => Access::Public,
        _ => access,
    }
}

/// LiteLLM refuses a scrape with a JSON string.
pub(super) fn refusal(route: Route, error: AdminError) -> AdminError {
    match (route, error) {
        (Route::Metrics, AdminError::Gateway(error)) => AdminError::Text(
            StatusCode::UNAUTHORIZED,
            format!("{METRICS_REFUSED} {error}"),
        ),
        (_, error) => error,
    }
}

/// GET /metrics/, and /metrics, which clients of LiteLLM's mounted application follow to it.
pub(super) async fn metrics(
    _: SettingDecides,
    State(state): State<AdminState>,
    uri: Uri,
) -> Response {
    if !uri.path().ends_with('/') {
        let to = [(header::LOCATION, "/metrics/")];
        return (StatusCode::TEMPORARY_REDIRECT, to).into_response();
    }
    ([(header::CONTENT_TYPE, METRICS_TEXT)], state.metrics_text()).into_response()
}

fn answer(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}
