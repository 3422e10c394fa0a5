//! Pages about the gateway itself: home, routes, robots, docs, OpenAPI.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use meridian_core::routes::{Access, Method, ROWS, Row, Target};
use serde_json::{Map, Value, json};

use super::access::{AnyKeyAccess, Public};
use super::body::RawBody;
use super::reply::AdminError;
use super::state::AdminState;

const DOCS: &str = "<!doctype html><meta charset=utf-8><title>Meridian</title>\
    <h1>Meridian</h1><p>An LLM gateway with the LiteLLM proxy's API. Every route, its methods and \
    who may call it: <a href=/openapi.json>openapi.json</a>, <a href=/routes>routes</a>.";

/// GET /
pub(super) async fn home(_: Public) -> Json<&'static str> {
    Json("Meridian: RUNNING")
}

/// GET /test
pub(super) async fn test(_: Public) -> Json<Value> {
    Json(json!({"route": "/test"}))
}

/// GET /docs and /redoc
pub(super) async fn docs(_: Public) -> Html<&'static str> {
    Html(DOCS)
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

/// GET /openapi.json: made of the route table, so it cannot name what is not there.
pub(super) async fn openapi(_: Public) -> Json<Value> {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for row in ROWS {
        for &path in row.paths {
            let operations = paths.entry(path).or_default();
            for &method in row.methods {
                operations.insert(method.as_str().to_lowercase(), operation(row, method, path));
            }
        }
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Meridian", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }))
}

fn operation(row: &Row, method: Method, path: &str) -> Value {
    let mut out = json!({
        "summary": row.canonical,
        "operationId": format!("{}{}", method.as_str().to_lowercase(), path),
        "description": access_name(row.access),
        "tags": [tag(row)],
        "responses": {"200": {"description": "Successful response"}},
    });
    if row.access != Access::Public {
        out["security"] = json!([{"key": []}]);
    }
    let parameter = path
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    if let Some((name, _)) = parameter {
        let schema = json!({"type": "string"});
        out["parameters"] = json!([
            {"name": name, "in": "path", "required": true, "schema": schema},
        ]);
    }
    out
}

fn tag(row: &Row) -> &'static str {
    match row.target {
        Target::Inference(_) => "models",
        Target::Own(_) => row.canonical.split('/').nth(1).unwrap_or_default(),
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Public => "public",
        Access::Inference => "any key, metered",
        Access::AnyKey => "any key",
        Access::OwnKeyOrAdmin => "any key for its own, administrators for all",
        Access::Delegated => "administrators, others for what they administrate or own",
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
