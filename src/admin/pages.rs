//! Pages about the gateway itself: home, routes, robots.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use meridian_core::routes::{Access, ROWS, Row};
use serde_json::{Value, json};

use super::access::{AnyKeyAccess, Public};
use super::body::RawBody;
use super::reply::AdminError;
use super::state::AdminState;

/// GET /
pub(super) async fn home(_: Public) -> Json<&'static str> {
    Json("Meridian: RUNNING")
}

/// GET /test
pub(super) async fn test(_: Public) -> Json<Value> {
    Json(json!({"route": "/test"}))
}

/// GET /robots.txt
pub(super) async fn robots(_: Public, State(state): State<AdminState>) -> Response {
    if !state.rules().config.general.block_robots {
        let text = "robots.txt not found";
        return AdminError::Detail(StatusCode::NOT_FOUND, text).into_response();
    }
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (plain, "User-agent: *\nDisallow: /\n").into_response()
}

/// GET /routes
pub(super) async fn routes(_: Public) -> Json<Value> {
    let each = |row: &Row| {
        let methods: Vec<&str> = row.methods.iter().map(|method| method.as_str()).collect();
        let entry = move |path: &&str| {
            json!({
                "path": path, "methods": methods, "name": row.canonical,
                "access": access_name(row.access),
            })
        };
        row.paths.iter().map(entry).collect::<Vec<_>>()
    };
    Json(json!({"routes": ROWS.iter().flat_map(each).collect::<Vec<_>>()}))
}

pub(super) fn access_name(access: Access) -> &'static str {
    match access {
        Access::Public => "public",
        Access::Inference => "any key, metered",
        Access::AnyKey => "any key",
        Access::OwnKeyOrAdmin => "any key for its own, administrators for all",
        Access::AdminViewer => "administrators and viewers",
        Access::Admin => "administrators",
        Access::MasterKey => "the master key",
    }
}

/// Routes of LiteLLM that this version does not have.
pub(super) async fn not_offered(_: AnyKeyAccess) -> AdminError {
    AdminError::detail(
        StatusCode::NOT_IMPLEMENTED,
        "This version does not offer this route",
    )
}

/// POST /api/event_logging/batch: clients send their telemetry here; it is read and dropped.
pub(super) async fn event_sink(_: AnyKeyAccess, _: RawBody) -> Json<Value> {
    Json(json!({"status": "ok"}))
}
