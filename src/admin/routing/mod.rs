//! `/router/*`: where requests go now, and why. Own routes of the gateway, not LiteLLM's.

mod explain;
mod policy;
mod question;
mod shape;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::access::AdminAccess;
use super::query::Query;
use super::reply::AdminError;
use super::state::AdminState;
pub(super) use explain::explain;
use shape::Shape;

type Answer = Result<Json<Value>, AdminError>;

/// GET /router/state: every deployment, or those of `?model=`.
pub(super) async fn state(_: AdminAccess, State(state): State<AdminState>, query: Query) -> Answer {
    let routes = state.routes();
    let shape = Shape::now(&routes);
    let targets = match query.text("model") {
        None => routes.rules.every_target(),
        Some(model) => {
            let group = routes.rules.group(routes.rules.alias(&model));
            let group = group.ok_or_else(|| unknown_model(&model))?;
            group.targets().to_vec()
        }
    };
    let deployments = targets.iter().map(|target| shape.deployment(target));
    Ok(Json(json!({
        "at": shape.wall.to_iso(),
        "region": shape.policy.regions.own,
        "retry_budget_left": routes.known.retries.left_at(shape.now),
        "hedge_budget_left": routes.known.hedges.left_at(shape.now),
        "policy": policy::shown(shape.policy),
        "deployments": deployments.collect::<Vec<_>>(),
    })))
}

fn unknown_model(model: &str) -> AdminError {
    AdminError::Refused {
        status: StatusCode::NOT_FOUND,
        kind: "not_found_error",
        param: "model",
        message: format!("No deployment serves model={model}"),
    }
}
