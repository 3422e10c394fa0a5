//! `/cache/*`: whether cached answers can be kept, and how to be rid of them.

pub(super) mod settings;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::cache::{CacheKey, CacheMode, CacheScope};
use meridian_core::config::ResponseCache;
use serde_json::{Value, json};

use super::access::{AdminAccess, ViewerAccess};
use super::body::JsonBody;
use super::reply::AdminError;
use super::state::AdminState;
use crate::cache::{Cache, CacheError};
use crate::telemetry::logs::whose;

/// Most keys of one call.
const KEYS_MAX: usize = 10_000;
/// LiteLLM's words for a gateway without a cache.
const OFF: &str = "Cache not initialized. litellm.cache is None";

type Answer = Result<Json<Value>, AdminError>;

/// GET /cache/ping: writes and reads.
pub(super) async fn ping(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let cache = state.cache().ok_or_else(|| unhealthy(OFF.to_owned()))?;
    if let Err(error) = cache.ping().await {
        return Err(unhealthy(format!("Service Unhealthy ({error})")));
    }
    let config = state.rules().config;
    let params = config.cache.as_ref().map_or(Value::Null, params);
    let place = config.cache.as_ref().and_then(|cache| cache.redis.as_ref());
    Ok(Json(json!({
        "status": "healthy",
        "cache_type": kind(&cache),
        "ping_response": true,
        "set_cache_response": "success",
        "litellm_cache_params": params.to_string(),
        "health_check_cache_params": {
            "place": place.map(|redis| redis.place.to_string()),
            "namespace": place.and_then(|redis| redis.namespace.clone()),
        },
    })))
}

/// POST /cache/delete: the answers with these keys, of whatever tenant.
pub(super) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let keys = fields.texts("keys");
    fields.finish()?;
    let keys = keys.value();
    let keys = keys.ok_or_else(|| AdminError::bad_request("keys", "'keys' is missing"))?;
    if keys.len() > KEYS_MAX {
        let message = format!("'keys' holds more than {KEYS_MAX} keys");
        return Err(AdminError::bad_request("keys", message));
    }
    let keys: Vec<CacheKey> = keys
        .iter()
        .map(|key| key_of(key))
        .collect::<Result<_, _>>()?;
    let cache = state.cache().ok_or_else(off)?;
    let deleted = cache.delete(&keys).await.map_err(failed)?;
    tracing::info!(
        by = %whose(caller.user_id().unwrap_or_default()),
        deleted,
        "cached answers were deleted"
    );
    Ok(Json(json!({"status": "success", "deleted": deleted})))
}

/// POST /cache/flushall: every cached answer, and nothing else that is in Redis.
pub(super) async fn flush_all(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
) -> Answer {
    let cache = state.cache().ok_or_else(off)?;
    let deleted = cache.flush().await.map_err(failed)?;
    tracing::info!(
        by = %whose(caller.user_id().unwrap_or_default()),
        deleted,
        "all cached answers were deleted"
    );
    Ok(Json(json!({"status": "success", "deleted": deleted})))
}

/// GET /cache/redis/info: what Redis says of itself.
pub(super) async fn redis_info(_: AdminAccess, State(state): State<AdminState>) -> Answer {
    let cache = state.cache().ok_or_else(off)?;
    let figures = cache.redis_figures().await.map_err(failed)?;
    let figures = figures.ok_or_else(|| {
        let message = "Cache type local does not support redis info";
        AdminError::plain(StatusCode::BAD_REQUEST, message)
    })?;
    Ok(Json(json!({
        "num_clients": figures.clients.len(),
        "clients": figures.clients,
        "info": figures.fields,
    })))
}

/// As in `x-litellm-cache-key`; LiteLLM's own have a namespace in front.
fn key_of(text: &str) -> Result<CacheKey, AdminError> {
    let digest = text.rsplit(':').next().unwrap_or_default();
    CacheKey::from_hex(digest).ok_or_else(|| {
        let message = "'keys' holds what is no key: 64 hexadecimal digits, as in the header \
                       x-litellm-cache-key";
        AdminError::bad_request("keys", message)
    })
}

fn kind(cache: &Arc<Cache>) -> &'static str {
    match cache.is_shared() {
        true => "redis",
        false => "local",
    }
}

fn params(cache: &ResponseCache) -> Value {
    let policy = &cache.policy;
    let call_types = policy.endpoints.iter().map(|endpoint| endpoint.label());
    json!({
        "type": if cache.redis.is_some() { "redis" } else { "local" },
        "ttl": policy.ttl.as_secs_f64(),
        "default_in_memory_ttl": policy.memory_ttl.as_secs_f64(),
        "mode": match policy.mode {
            CacheMode::DefaultOn => "default_on",
            CacheMode::DefaultOff => "default_off",
        },
        "supported_call_types": call_types.collect::<Vec<_>>(),
        "scope": match policy.scope {
            CacheScope::Tenant => "tenant",
            CacheScope::Key => "key",
            CacheScope::Global => "global",
        },
        "memory_bytes_max": cache.memory_bytes_max,
        "entry_bytes_max": policy.entry_bytes_max,
    })
}

fn unhealthy(message: String) -> AdminError {
    AdminError::Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "cache_ping_error",
        param: "cache_ping",
        message,
    }
}

fn off() -> AdminError {
    AdminError::plain(StatusCode::SERVICE_UNAVAILABLE, OFF)
}

/// Some of the answers may still be there.
fn failed(error: CacheError) -> AdminError {
    let message = format!("Service Unhealthy ({error})");
    AdminError::plain(StatusCode::SERVICE_UNAVAILABLE, message)
}
