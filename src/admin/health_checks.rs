//! `/health/services|history|latest|license|shared-status`: LiteLLM's further health calls. What
//! this gateway does not have, the answers say.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::time::WallMs;
use serde_json::{Map, Value, json};

use super::access::{AnyKeyAccess, ViewerAccess};
use super::query::Query;
use super::reply::AdminError;
use super::state::{AdminState, DeploymentHealth};

type Answer = Result<Json<Value>, AdminError>;

/// GET /health/services: sends a test event in LiteLLM. Nothing is sent to anybody here.
pub(super) async fn services(_: ViewerAccess, query: Query) -> Answer {
    let Some(service) = query.text("service") else {
        let text = "service is required";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    let text = format!(
        "Service must be in list. Service={service}. List=[]. This version sends no events to \
         services; see /metrics and /spend/logs"
    );
    Err(AdminError::detail(StatusCode::UNPROCESSABLE_ENTITY, text))
}

/// GET /health/latest: the newest finding about every deployment, which is what requests and
/// background probes have shown until now.
pub(super) async fn latest(_: ViewerAccess, State(state): State<AdminState>) -> Json<Value> {
    let now = state.now();
    let all = state.deployments();
    let checks: Map<String, Value> = all
        .iter()
        .map(|one| (one.model_id.clone(), check(one, now)))
        .collect();
    Json(json!({"latest_health_checks": checks, "total_models": all.len()}))
}

fn check(one: &DeploymentHealth, now: WallMs) -> Value {
    let healthy = one.unhealthy.is_none();
    json!({
        "model_name": one.model_name,
        "model_id": one.model_id,
        "status": if healthy { "healthy" } else { "unhealthy" },
        "healthy_count": u8::from(healthy),
        "unhealthy_count": u8::from(!healthy),
        "error_message": one.unhealthy,
        "response_time_ms": null,
        "checked_by": "requests and probes",
        "checked_at": now.to_iso(),
    })
}

/// GET /health/history: when deployments began and ceased to get requests, as this node has seen
/// it since it started.
pub(super) async fn history(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let limit = query.whole("limit", 1, 1_000)?.unwrap_or(100);
    let offset = query.whole("offset", 0, u64::MAX)?.unwrap_or(0);
    let (model, status) = (query.text("model"), query.text("status_filter"));
    let found = state.health_history(model.as_deref(), status.as_deref());
    let total = found.len();
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    let shown = found.into_iter().skip(skipped).take(limit as usize);
    Ok(Json(json!({
        "health_checks": shown.collect::<Vec<Value>>(), "total_records": total,
        "limit": limit, "offset": offset,
        "message": "Changes that this node has seen since it started; /metrics has figures over \
                    time",
    })))
}

/// GET /health/license
pub(super) async fn license(_: AnyKeyAccess) -> Json<Value> {
    Json(json!({
        "has_license": false,
        "license_type": "community",
        "expiration_date": null,
        "allowed_features": [],
        "limits": {"max_users": null, "max_teams": null},
        "message": "Meridian needs no licence: nothing is behind one",
    }))
}

/// GET /health/shared-status: health checks are not shared as LiteLLM shares them; cooldowns are.
pub(super) async fn shared_status(_: AnyKeyAccess, State(state): State<AdminState>) -> Json<Value> {
    let coordination = state.readiness().coordination;
    Json(json!({
        "shared_health_check_enabled": false,
        "message": "Probes are not shared; cooldowns are, where Redis is configured",
        "coordination": {"mode": coordination.mode(), "state": coordination.state()},
    }))
}
