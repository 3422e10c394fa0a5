//! `/cache/settings`: where answers are kept, as stored settings; and a test of a Redis.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::config::ResponseCache;
use meridian_core::config::keys::{Effect, Key, Kind, Section};
use meridian_core::record::{Record, Setting};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::super::access::{AdminAccess, ViewerAccess};
use super::super::body::JsonBody;
use super::super::config::{StoredSection, change, in_force, python_type};
use super::super::mask;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::super::stored;
use super::Answer;
use crate::cache::Cache;

/// Longest wait for a Redis that is tested.
const TEST_MAX: Duration = Duration::from_secs(5);
/// Between two questions to it.
const TEST_EVERY: Duration = Duration::from_millis(50);
/// What the dashboard writes beside the settings; it follows from them.
const REDIS_TYPE: &str = "redis_type";
const PARAMS: &str = "cache_params";

/// GET /cache/settings: every setting, what it is now, and the kinds of Redis.
pub(in crate::admin) async fn get(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let params = match in_force(&state, StoredSection::Settings, PARAMS) {
        Some(Value::Object(params)) => params,
        _ => Map::new(),
    };
    let shown = mask::settings(&params);
    let keys = Section::Cache.keys().iter();
    let named = keys.filter(|key| !key.name.contains('*'));
    let fields: Vec<Value> = named.map(|key| field(key, shown.get(key.name))).collect();
    let mut values = shown;
    if let Some(kind) = redis_type(&values) {
        values.insert(REDIS_TYPE.to_owned(), json!(kind));
    }
    Ok(Json(json!({
        "fields": fields,
        "current_values": values,
        "redis_type_descriptions": {
            "node": "one server",
            "cluster": "a Redis Cluster, by `redis_startup_nodes`",
            "sentinel": "servers behind Sentinels, by `sentinel_nodes` and `service_name`",
        },
    })))
}

fn field(key: &Key, value: Option<&Value>) -> Value {
    let text = match key.effect {
        Effect::Effective(text) => text.to_owned(),
        Effect::NotYet(text) => format!("not in this version yet: {text}"),
        Effect::Ignored(text) => format!("no effect: {text}"),
    };
    let options = match key.kind {
        Kind::Word(words) => json!(words),
        _ => Value::Null,
    };
    json!({
        "field_name": key.name,
        "field_type": python_type(key.kind),
        "field_value": value,
        "field_description": text,
        "field_default": null,
        "options": options,
        "ui_field_name": key.name.replace('_', " "),
        "link": null,
        "redis_type": null,
    })
}

/// LiteLLM's word for how a Redis is reached; `None` for other caches.
fn redis_type(params: &Map<String, Value>) -> Option<&'static str> {
    let kind = params.get("type").and_then(Value::as_str);
    (kind == Some("redis")).then(|| {
        match (
            params.contains_key("redis_startup_nodes"),
            params.contains_key("sentinel_nodes"),
        ) {
            (true, _) => "cluster",
            (false, true) => "sentinel",
            (false, false) => "node",
        }
    })
}

/// POST /cache/settings: turns the cache on and says where. Another place holds after a restart of
/// each node, everything else at once.
pub(in crate::admin) async fn set(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let settings = wanted(&mut fields);
    fields.finish()?;
    let settings = settings.ok_or_else(missing)?;
    stored::check_on(&state)?;
    let changes = Map::from_iter([
        ("cache".to_owned(), json!(true)),
        (PARAMS.to_owned(), Value::Object(settings)),
    ]);
    StoredSection::Settings.check(&changes)?;
    change(&state, &caller, StoredSection::Settings, changes).await?;
    let rules = state.rules();
    let wanted = rules.config.cache.as_ref();
    let is_served = |wanted| state.cache().is_some_and(|cache| cache.serves(wanted));
    let message = match wanted.is_none_or(is_served) {
        true => "Cache settings updated successfully",
        false => {
            "Cache settings updated successfully; restart each node: a cache in another place \
             is used from its next start on"
        }
    };
    let shown = match in_force(&state, StoredSection::Settings, PARAMS) {
        Some(Value::Object(params)) => mask::settings(&params),
        _ => Map::new(),
    };
    Ok(Json(
        json!({"message": message, "status": "success", "settings": shown}),
    ))
}

/// POST /cache/settings/test: asks the Redis that these settings name; nothing is stored.
pub(in crate::admin) async fn test(
    _: AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let settings = wanted(&mut fields);
    fields.finish()?;
    let settings = settings.ok_or_else(missing)?;
    if settings.get("type").and_then(Value::as_str) != Some("redis") {
        let message = "Only Redis cache type is currently supported for testing";
        return Ok(Json(
            json!({"status": "failed", "message": message, "error": null}),
        ));
    }
    let outcome = match cache_of(&state, settings)? {
        Some(cache) => answers(&cache).await,
        None => Err("no Redis is named by these settings".to_owned()),
    };
    Ok(Json(match outcome {
        Ok(()) => json!({
            "status": "success", "message": "Redis cache connection test successful",
            "error": null,
        }),
        Err(error) => json!({
            "status": "failed", "message": format!("Cache connection test failed: {error}"),
            "error": error,
        }),
    }))
}

fn wanted(fields: &mut super::super::fields::Fields) -> Option<Map<String, Value>> {
    let mut settings = fields.object("cache_settings").value()?;
    settings.remove(REDIS_TYPE);
    Some(settings)
}

fn missing() -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, "cache_settings is required")
}

/// The cache of a configuration with these settings, which is not in force.
fn cache_of(
    state: &AdminState,
    settings: Map<String, Value>,
) -> Result<Option<ResponseCache>, AdminError> {
    let setting = Setting {
        param_value: Map::from_iter([
            ("cache".to_owned(), json!(true)),
            (PARAMS.to_owned(), Value::Object(settings)),
        ]),
        ..Setting::default()
    };
    let id = StoredSection::Settings.as_str().to_owned();
    let record = Record::new(id, &setting, state.now());
    let config = state.merged().trial(&[record]).map_err(|left_out| {
        let problems = left_out.iter().flat_map(|one| one.problems.clone());
        let text = problems.collect::<Vec<_>>().join("; ");
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })?;
    let config = config.ok_or_else(AdminError::unavailable)?;
    Ok(config.cache.filter(|cache| cache.redis.is_some()))
}

/// Whether Redis writes and reads, within some seconds.
async fn answers(config: &ResponseCache) -> Result<(), String> {
    let cache = Arc::new(Cache::new(config));
    let (_stop, stopped) = watch::channel(false);
    let mut last = "no answer".to_owned();
    let asked = async {
        loop {
            match cache.ping().await {
                Ok(()) => return,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(TEST_EVERY).await;
        }
    };
    let answered = tokio::select! {
        answered = tokio::time::timeout(TEST_MAX, asked) => answered.is_ok(),
        () = Arc::clone(&cache).run(stopped) => false,
    };
    match answered {
        true => Ok(()),
        false => Err(last),
    }
}
