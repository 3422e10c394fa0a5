//! `/model/new|update|delete`: deployments that are kept in the store.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Model, Record, RecordKind};
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, Caller, PathParameter};
use super::super::body::JsonBody;
use super::super::fields::{Fields, Given};
use super::super::mask;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::super::stored;
use crate::clock;
use crate::store::RecordWrite;

/// Longest name of a model.
const NAME_BYTES_MAX: usize = 256;
/// Longest id of a deployment.
const ID_BYTES_MAX: usize = 256;

type Answer = Result<Json<Value>, AdminError>;

/// What a call says about a deployment.
struct Change {
    model_name: Given<String>,
    params: Given<Map<String, Value>>,
    info: Given<Map<String, Value>>,
    blocked: Given<bool>,
}

impl Change {
    fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let change = Self {
            model_name: fields.text("model_name"),
            params: fields.object("litellm_params"),
            info: fields.object("model_info"),
            blocked: fields.flag("blocked"),
        };
        fields.finish()?;
        Ok(change)
    }

    /// The deployment that `model_info.id` names.
    fn id(&self) -> Result<Option<String>, AdminError> {
        match self.info.as_value().and_then(|info| info.get("id")) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) if is_id(id) => Ok(Some(id.clone())),
            Some(_) => Err(bad(
                "model_info.id must be a text of 1 to 256 letters, digits or -._~:=+@,",
            )),
        }
    }

    fn apply(self, model: &mut Model) -> Result<(), AdminError> {
        if let Given::Value(name) = self.model_name {
            model.model_name = name;
        }
        if let Given::Value(params) = self.params {
            mask::merge(&mut model.litellm_params, params);
        }
        if let Given::Value(mut info) = self.info {
            // What answers show beside what was written.
            for shown in [
                "id",
                "db_model",
                "created_at",
                "updated_at",
                "created_by",
                "updated_by",
            ] {
                info.remove(shown);
            }
            mask::merge(&mut model.model_info, info);
        }
        if let Given::Value(blocked) = self.blocked {
            model.blocked = blocked;
        }
        let name = &model.model_name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            return Err(bad(
                "model_name must be 1 to 256 bytes without control characters",
            ));
        }
        for (name, word) in [("team_id", "models"), ("team_public_model_name", "aliases")] {
            if model
                .model_info
                .get(name)
                .is_some_and(|value| !value.is_null())
            {
                return Err(bad(&format!(
                    "model_info.{name}: models of a single team are not offered; use the team's \
                     `{word}`"
                )));
            }
        }
        Ok(())
    }
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:=+@,".contains(&byte);
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(plain)
}

/// POST /model/new
pub(in crate::admin) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    stored::check_on(&state)?;
    let name = fields.required_text("model_name");
    fields.put("model_name", json!(name));
    let change = Change::read(fields)?;
    if change.params.as_value().is_none() {
        return Err(bad("litellm_params is required"));
    }
    let id = change.id()?;
    let id = id.unwrap_or_else(|| clock::new_call_id().to_string());
    if state.merged().record(RecordKind::Model, &id).is_some() {
        return Err(bad(&format!("Model with id={id} exists already")));
    }
    let mut model = Model {
        created_by: caller.user_id(),
        updated_by: caller.user_id(),
        ..Model::default()
    };
    change.apply(&mut model)?;
    let clear = model.litellm_params.clone();
    model.litellm_params = state.merged().seal(&clear);
    let record = Record::new(id, &model, state.now());
    let stored = stored::write(&state, &caller, RecordWrite::create(record)).await?;
    Ok(Json(row(&stored, &model, &clear)))
}

/// POST /model/update: `model_info.id` names the deployment.
pub(in crate::admin) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    stored::check_on(&state)?;
    let change = Change::read(fields)?;
    let Some(id) = change.id()? else {
        return Err(bad("model_info.id is required"));
    };
    if state.merged().record(RecordKind::Model, &id).is_none() {
        let text = match is_in_file(&state, &id) {
            true => IN_FILE.to_owned(),
            false => format!("Model with id={id} not found in db"),
        };
        return Err(bad(&text));
    }
    change_model(&state, &caller, &id, change).await
}

/// PATCH /model/{id}/update
pub(in crate::admin) async fn patch(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    PathParameter(id): PathParameter,
    JsonBody(fields): JsonBody,
) -> Answer {
    stored::check_on(&state)?;
    let id = id.unwrap_or_default();
    let change = Change::read(fields)?;
    if change.id()?.is_some_and(|named| named != id) {
        return Err(bad(
            "model_info.id is not the id of the path; ids do not change",
        ));
    }
    if state.merged().record(RecordKind::Model, &id).is_some() {
        return change_model(&state, &caller, &id, change).await;
    }
    match is_in_file(&state, &id) {
        true => Err(bad(IN_FILE)),
        false => Err(AdminError::Refused {
            status: StatusCode::NOT_FOUND,
            kind: "not_found_error",
            param: "model_id",
            message: format!("Model {id} not found on proxy."),
        }),
    }
}

const IN_FILE: &str =
    "Can't edit model. Model in config. Store model in db via `/model/new`. to edit.";

async fn change_model(state: &AdminState, caller: &Caller, id: &str, change: Change) -> Answer {
    let record = stored::current(state, RecordKind::Model, id).await?;
    let mut model: Model = stored::typed(&record)?;
    model.litellm_params = stored::opened(state, &record, &model.litellm_params)?;
    change.apply(&mut model)?;
    model.updated_by = caller.user_id();
    let clear = model.litellm_params.clone();
    model.litellm_params = state.merged().seal(&clear);
    let record = record.with(&model, state.now());
    let stored = stored::write(state, caller, RecordWrite::replace(record)).await?;
    Ok(Json(row(&stored, &model, &clear)))
}

/// POST /model/delete
pub(in crate::admin) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("id");
    fields.finish()?;
    stored::check_on(&state)?;
    if state.merged().record(RecordKind::Model, &id).is_none() {
        return Err(bad(&format!("Model with id={id} not found in db")));
    }
    let record = stored::current(&state, RecordKind::Model, &id).await?;
    stored::write(&state, &caller, RecordWrite::delete(record, state.now())).await?;
    let message = format!("Model: {id} deleted successfully");
    Ok(Json(json!({"message": message})))
}

fn is_in_file(state: &AdminState, id: &str) -> bool {
    let config = state.rules().config;
    config.models.iter().any(|one| one.id == id)
}

/// A row of LiteLLM's table; texts that may be secret are masked.
fn row(record: &Record, model: &Model, clear: &Map<String, Value>) -> Value {
    json!({
        "model_id": record.id,
        "model_name": model.model_name,
        "litellm_params": mask::params(clear),
        "model_info": model.model_info,
        "blocked": model.blocked,
        "created_at": record.created_at.to_iso(),
        "created_by": model.created_by,
        "updated_at": record.updated_at.to_iso(),
        "updated_by": model.updated_by,
    })
}

fn bad(text: &str) -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, text).as_auth_error()
}
