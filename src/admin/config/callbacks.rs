//! `/config/callback/delete`, `/config/pass_through_endpoint` and `/config/yaml`: what LiteLLM lets
//! be configured and this gateway does not run, said as it is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, Public, ViewerAccess};
use super::super::body::JsonBody;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::super::stored;
use super::section::StoredSection;
use super::{Answer, bad, change, in_force};

const SUCCESS: &str = "success_callback";

/// POST /config/callback/delete: takes one out of `litellm_settings.success_callback`.
pub(in crate::admin) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = fields.required_text("callback_name").to_lowercase();
    fields.finish()?;
    stored::check_on(&state)?;
    let mut left = match in_force(&state, StoredSection::Settings, SUCCESS) {
        Some(Value::Array(names)) => names,
        Some(one @ Value::String(_)) => vec![one],
        _ => Vec::new(),
    };
    let Some(at) = left.iter().position(|one| *one == *name) else {
        let text = format!("Callback '{name}' not found in active configuration");
        return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
    };
    left.remove(at);
    let changes = Map::from_iter([(SUCCESS.to_owned(), json!(left))]);
    change(&state, &caller, StoredSection::Settings, changes).await?;
    Ok(Json(json!({
        "message": format!("Successfully deleted callback: {name}"),
        "removed_callback": name,
        "remaining_callbacks": left,
        "deleted_at": state.now().to_iso(),
    })))
}

/// GET /config/pass_through_endpoint: there are none.
pub(in crate::admin) async fn doors(_: ViewerAccess) -> Json<Value> {
    Json(json!({"endpoints": []}))
}

/// POST /config/pass_through_endpoint: what is sent there would be neither limited nor billed.
pub(in crate::admin) async fn new_door(_: AdminAccess, JsonBody(mut fields): JsonBody) -> Answer {
    let path = fields.required_text("path");
    let target = fields.required_text("target");
    fields.finish()?;
    let text = format!(
        "pass_through_endpoints: this version forwards no other paths, so {path} was not stored. \
         For a model at {target} use /model/new with api_base; send anything else there directly."
    );
    Err(AdminError::detail(StatusCode::NOT_IMPLEMENTED, text))
}

/// DELETE /config/pass_through_endpoint
pub(in crate::admin) async fn delete_door(_: AdminAccess, query: Query) -> Answer {
    if query.text("endpoint_id").is_none() {
        return Err(bad("endpoint_id is required"));
    }
    Err(bad("There are no pass-through endpoints setup."))
}

/// GET /config/yaml: LiteLLM's page about the file, which answers the same to everybody.
pub(in crate::admin) async fn yaml(_: Public) -> Json<Value> {
    Json(json!({"hello": "world"}))
}
