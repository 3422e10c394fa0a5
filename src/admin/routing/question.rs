//! What `/router/explain` is asked: a request, alone or with what its head would say.

use std::sync::Arc;

use axum::http::StatusCode;
use meridian_core::auth::KeyView;
use meridian_core::endpoint::Endpoint;
use meridian_core::ids::KeyHash;
use meridian_core::routes::{Method, Target, resolve};
use meridian_core::wire::json::whole;
use serde_json::{Map, Value};

use super::super::fields::{Fields, problem, read_json};
use super::super::reply::AdminError;
use super::super::state::AdminState;

/// The route of a question that names none.
const ROUTE: &str = "/v1/chat/completions";

/// Members of a question that is more than a request's body.
const NAMES: [&str; 5] = ["key", "request", "route", "session", "tags"];

/// A question.
pub(super) struct Question {
    /// Whose request it is; `None` is the master key's.
    pub(super) key: Option<Arc<KeyView>>,
    /// What it asks for.
    pub(super) endpoint: Endpoint,
    /// The canonical path.
    pub(super) canonical: &'static str,
    /// The model that the path names.
    pub(super) path_model: Option<String>,
    /// Tags that its header names.
    pub(super) tags: Vec<String>,
    /// The conversation that its header names.
    pub(super) session: Option<String>,
    /// The request's body as it was written.
    pub(super) body: Vec<u8>,
}

impl Question {
    /// Reads a body: `{"request": {...}, "key", "route", "tags", "session"}`, or a request's body
    /// as it is.
    pub(super) fn read(bytes: &[u8], state: &AdminState) -> Result<Self, AdminError> {
        let mut object = match read_json(bytes)? {
            Value::Object(object) => object,
            other => return Err(not_an_object(&["body"], &other)),
        };
        if !object.contains_key("request") {
            object = Map::new();
        }
        refuse_unknown(&object)?;
        let request = match object.remove("request") {
            None => bytes,
            // Affinity goes by the prompt's bytes: they are taken as they were written.
            Some(Value::Object(_)) => request_in(bytes),
            Some(other) => return Err(not_an_object(&["body", "request"], &other)),
        };
        let mut fields = Fields::of_object(object);
        let (key, route) = (fields.text("key").value(), fields.text("route").value());
        let tags = fields.texts("tags").value().unwrap_or_default();
        let session = fields.text("session").value();
        fields.finish()?;
        let route = route.as_deref().unwrap_or(ROUTE);
        let (endpoint, canonical, path_model) = endpoint_of(route)?;
        let key = match key {
            Some(key) => key_named(&key, state)?,
            None => None,
        };
        Ok(Self {
            key,
            endpoint,
            canonical,
            path_model,
            tags,
            session,
            body: request.to_vec(),
        })
    }
}

fn refuse_unknown(object: &Map<String, Value>) -> Result<(), AdminError> {
    let unknown = object
        .iter()
        .filter(|(name, _)| !NAMES.contains(&name.as_str()));
    let problems: Vec<Value> = unknown
        .map(|(name, value)| {
            let message = format!(
                "Extra inputs are not permitted; there are {}",
                NAMES.join(", ")
            );
            problem(&["body", name], "extra_forbidden", &message, value)
        })
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(AdminError::Invalid(problems)),
    }
}

fn request_in(bytes: &[u8]) -> &[u8] {
    let request = whole(bytes)
        .ok()
        .and_then(|question| question.field(b"request"));
    request.map_or(&[][..], |request| request.raw)
}

fn not_an_object(place: &[&str], found: &Value) -> AdminError {
    let message = "Input should be a valid dictionary or object to extract fields from";
    AdminError::Invalid(vec![problem(
        place,
        "model_attributes_type",
        message,
        found,
    )])
}

/// What a path asks for, if routing has a say in it.
fn endpoint_of(route: &str) -> Result<(Endpoint, &'static str, Option<String>), AdminError> {
    let wrong = |why: &str| Err(AdminError::bad_request("route", format!("'route' {why}")));
    let Ok(found) = resolve(Method::Post.as_str(), route) else {
        return wrong("must be the path of an inference route, e.g. /v1/messages");
    };
    match found.target {
        Target::Own(_) => wrong("is a path that the gateway answers itself"),
        Target::Inference(
            Endpoint::Files
            | Endpoint::Batches
            | Endpoint::MessageBatches
            | Endpoint::AnthropicFiles
            | Endpoint::ResponsesItem,
        ) => wrong("goes to the account that holds the object: nothing is chosen"),
        Target::Inference(endpoint) => {
            let model = found.path_model.map(|model| model.into_owned());
            Ok((endpoint, found.canonical, model))
        }
    }
}

/// The key of this text; `None` is the master key.
fn key_named(text: &str, state: &AdminState) -> Result<Option<Arc<KeyView>>, AdminError> {
    if state.is_master_key(text) {
        return Ok(None);
    }
    let now = state.now();
    let Some(key) = state.registry().get(&KeyHash::from_key_or_hex(text), now) else {
        return Err(AdminError::Refused {
            status: StatusCode::NOT_FOUND,
            kind: "not_found_error",
            param: "key",
            message: "Key not found in database".to_owned(),
        });
    };
    let unusable = |why: &str| Err(AdminError::bad_request("key", format!("'key' is {why}")));
    match key.policy.expires() {
        _ if key.policy.blocked => unusable("blocked: its requests are refused"),
        Some(expired) if expired < now => unusable("expired: its requests are refused"),
        _ => Ok(Some(key)),
    }
}
