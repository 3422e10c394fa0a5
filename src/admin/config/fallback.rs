//! `/fallback`: the fallbacks of one model, kept in the stored `router_settings`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, Caller, PathParameter, ViewerAccess};
use super::super::body::JsonBody;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::super::stored;
use super::section::StoredSection;
use super::{Answer, bad, change, in_force};

/// Most fallbacks of one model.
const MODELS_MAX: usize = 50;

/// When a fallback is asked.
#[derive(Clone, Copy)]
enum Cause {
    General,
    ContextWindow,
    ContentPolicy,
}

impl Cause {
    const WORDS: [&'static str; 3] = ["general", "context_window", "content_policy"];

    fn parse(word: Option<&str>) -> Result<Self, AdminError> {
        match word {
            None | Some("general") => Ok(Self::General),
            Some("context_window") => Ok(Self::ContextWindow),
            Some("content_policy") => Ok(Self::ContentPolicy),
            Some(_) => {
                let words = Self::WORDS.join(", ");
                Err(bad(&format!("fallback_type must be one of: {words}")))
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::ContextWindow => "context_window",
            Self::ContentPolicy => "content_policy",
        }
    }

    /// Its key in `router_settings`.
    fn key(self) -> &'static str {
        match self {
            Self::General => "fallbacks",
            Self::ContextWindow => "context_window_fallbacks",
            Self::ContentPolicy => "content_policy_fallbacks",
        }
    }
}

/// POST /fallback: sets the fallbacks of a model.
pub(in crate::admin) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let model = fields.required_text("model");
    let models = fields.texts("fallback_models").value().unwrap_or_default();
    let cause = fields.text("fallback_type").value();
    fields.finish()?;
    stored::check_on(&state)?;
    let cause = Cause::parse(cause.as_deref())?;
    check(&state, &model, &models)?;
    let mut list = list(&state, cause);
    let known = list.iter_mut().find(|entry| entry.contains_key(&model));
    match known {
        Some(entry) => {
            entry.insert(model.clone(), json!(models));
        }
        None => list.push(Map::from_iter([(model.clone(), json!(models))])),
    }
    write(&state, &caller, cause, list).await?;
    Ok(Json(json!({
        "model": model, "fallback_models": models, "fallback_type": cause.word(),
        "message": format!("Fallback configuration for {model} was set"),
    })))
}

fn check(state: &AdminState, model: &str, models: &[String]) -> Result<(), AdminError> {
    if models.is_empty() || models.len() > MODELS_MAX {
        return Err(bad(&format!(
            "fallback_models must name 1 to {MODELS_MAX} models"
        )));
    }
    let rules = state.routes().rules;
    let known = |name: &str| rules.group(rules.alias(name)).is_some();
    let mut seen = Vec::new();
    for name in models {
        let problem = if name == model {
            "is the model itself"
        } else if seen.contains(&name) {
            "is there twice"
        } else if !known(name) {
            "is served by no deployment"
        } else {
            seen.push(name);
            continue;
        };
        return Err(bad(&format!("fallback_models: {name} {problem}")));
    }
    match known(model) {
        true => Ok(()),
        false => Err(bad(&format!("model: {model} is served by no deployment"))),
    }
}

/// GET /fallback/{model}
pub(in crate::admin) async fn one(
    _: ViewerAccess,
    State(state): State<AdminState>,
    PathParameter(model): PathParameter,
    query: Query,
) -> Answer {
    let model = model.unwrap_or_default();
    let cause = Cause::parse(query.text("fallback_type").as_deref())?;
    let list = list(&state, cause);
    let models = list.iter().find_map(|entry| entry.get(&model));
    let models = models.ok_or_else(|| unknown(&model, cause))?;
    Ok(Json(json!({
        "model": model, "fallback_models": models, "fallback_type": cause.word(),
    })))
}

/// DELETE /fallback/{model}
pub(in crate::admin) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    PathParameter(model): PathParameter,
    query: Query,
) -> Answer {
    let model = model.unwrap_or_default();
    stored::check_on(&state)?;
    let cause = Cause::parse(query.text("fallback_type").as_deref())?;
    let mut list = list(&state, cause);
    if !list.iter().any(|entry| entry.contains_key(&model)) {
        return Err(unknown(&model, cause));
    }
    for entry in &mut list {
        entry.remove(&model);
    }
    list.retain(|entry| !entry.is_empty());
    write(&state, &caller, cause, list).await?;
    Ok(Json(json!({
        "model": model, "fallback_type": cause.word(),
        "message": format!("Fallback configuration for {model} was deleted"),
    })))
}

/// The list in force: of the record, else of the files, where either section may have it.
fn list(state: &AdminState, cause: Cause) -> Vec<Map<String, Value>> {
    let router = in_force(state, StoredSection::Router, cause.key());
    let value = router.or_else(|| in_force(state, StoredSection::Settings, cause.key()));
    let Some(Value::Array(items)) = value else {
        return Vec::new();
    };
    let object = |item: Value| match item {
        Value::Object(object) => Some(object),
        _ => None,
    };
    items.into_iter().filter_map(object).collect()
}

async fn write(
    state: &AdminState,
    caller: &Caller,
    cause: Cause,
    list: Vec<Map<String, Value>>,
) -> Result<(), AdminError> {
    let changes = Map::from_iter([(cause.key().to_owned(), json!(list))]);
    change(state, caller, StoredSection::Router, changes).await?;
    Ok(())
}

fn unknown(model: &str, cause: Cause) -> AdminError {
    let text = format!("No {} fallbacks configured for model {model}", cause.word());
    AdminError::detail(StatusCode::NOT_FOUND, text)
}
