//! `/credentials`: values of providers' accounts that models refer to by name. Sealed where they
//! are stored, masked where they are shown.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Credential, Model, Record, RecordKind};
use serde_json::{Map, Value, json};

use super::access::{AdminAccess, PathParameter, ViewerAccess};
use super::body::JsonBody;
use super::mask;
use super::reply::AdminError;
use super::state::AdminState;
use super::stored;
use crate::store::RecordWrite;

/// Parameters of a model that make up a credential.
const OF_MODELS: [&str; 7] = [
    "api_key",
    "api_base",
    "api_version",
    "organization",
    "azure_ad_token",
    "custom_llm_provider",
    "region_name",
];
const OF_MODELS_HEADS: [&str; 2] = ["aws_", "vertex_"];

type Answer = Result<Json<Value>, AdminError>;

/// POST /credentials
pub(super) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = fields.required_text("credential_name");
    let values = fields.object("credential_values").value();
    let info = fields.object("credential_info").value().unwrap_or_default();
    let model_id = fields.text("model_id").value();
    fields.finish()?;
    stored::check_on(&state)?;
    if !is_name(&name) {
        return Err(bad(
            "credential_name must be 1 to 200 letters, digits or -._~:=+@,",
        ));
    }
    if state
        .merged()
        .record(RecordKind::Credential, &name)
        .is_some()
    {
        return Err(bad(&format!("Credential {name} exists already")));
    }
    let values = match (values, model_id) {
        (Some(values), None) => values,
        (None, Some(id)) => of_model(&state, &id)?,
        (Some(_), Some(_)) => return Err(bad("Give credential_values or model_id, not both")),
        (None, None) => return Err(bad("Credential values or model_id must be provided")),
    };
    let credential = Credential {
        credential_values: state.merged().seal(&values),
        credential_info: info,
        created_by: caller.user_id(),
        updated_by: caller.user_id(),
    };
    let record = Record::new(name, &credential, state.now());
    stored::write(&state, &caller, RecordWrite::create(record)).await?;
    Ok(done("Credential created successfully"))
}

/// GET /credentials
pub(super) async fn list(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let records = state.merged().records(RecordKind::Credential);
    let shown: Result<Vec<Value>, AdminError> =
        records.iter().map(|record| shown(&state, record)).collect();
    Ok(Json(json!({"success": true, "credentials": shown?})))
}

/// GET /credentials/by_name/{name}
pub(super) async fn by_name(
    _: ViewerAccess,
    State(state): State<AdminState>,
    PathParameter(name): PathParameter,
) -> Answer {
    let name = name.unwrap_or_default();
    let record = state.merged().record(RecordKind::Credential, &name);
    let record = record.ok_or_else(|| unknown(&name))?;
    shown(&state, &record).map(Json)
}

/// GET /credentials/by_model/{model_id}: what a stored model would make a credential of.
pub(super) async fn by_model(
    _: ViewerAccess,
    State(state): State<AdminState>,
    PathParameter(id): PathParameter,
) -> Answer {
    let id = id.unwrap_or_default();
    let values = of_model(&state, &id)?;
    Ok(Json(json!({
        "credential_name": format!("{id}-credential"),
        "credential_values": mask::params(&values),
        "credential_info": {},
    })))
}

/// PATCH /credentials/{name}: what is not named stays.
pub(super) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    PathParameter(name): PathParameter,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = name.unwrap_or_default();
    let named = fields.text("credential_name").value();
    let values = fields.object("credential_values").value();
    let info = fields.object("credential_info").value();
    fields.finish()?;
    stored::check_on(&state)?;
    if named.is_some_and(|named| named != name) {
        return Err(bad(
            "credential_name is not the name of the path; names do not change",
        ));
    }
    if state
        .merged()
        .record(RecordKind::Credential, &name)
        .is_none()
    {
        return Err(unknown(&name));
    }
    let record = stored::current(&state, RecordKind::Credential, &name).await?;
    let mut credential: Credential = stored::typed(&record)?;
    if let Some(values) = values {
        let mut clear = stored::opened(&state, &record, &credential.credential_values)?;
        mask::merge(&mut clear, values);
        credential.credential_values = state.merged().seal(&clear);
    }
    if let Some(info) = info {
        mask::merge(&mut credential.credential_info, info);
    }
    credential.updated_by = caller.user_id();
    let record = record.with(&credential, state.now());
    stored::write(&state, &caller, RecordWrite::replace(record)).await?;
    Ok(done("Credential updated successfully"))
}

/// DELETE /credentials/{name}: refused while a stored model uses it.
pub(super) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    PathParameter(name): PathParameter,
) -> Answer {
    let name = name.unwrap_or_default();
    stored::check_on(&state)?;
    if state
        .merged()
        .record(RecordKind::Credential, &name)
        .is_none()
    {
        return Err(unknown(&name));
    }
    let record = stored::current(&state, RecordKind::Credential, &name).await?;
    stored::write(&state, &caller, RecordWrite::delete(record, state.now())).await?;
    Ok(done("Credential deleted successfully"))
}

fn shown(state: &AdminState, record: &Record) -> Result<Value, AdminError> {
    let credential: Credential = stored::typed(record)?;
    // One that the salt key does not open is listed all the same: it can be deleted.
    let values = match state.merged().open(&credential.credential_values) {
        Ok(clear) => mask::params(&clear),
        Err(_) => match mask::masked(&Value::Object(credential.credential_values.clone())) {
            Value::Object(masked) => masked,
            _ => Map::new(),
        },
    };
    Ok(json!({
        "credential_name": record.id,
        "credential_values": values,
        "credential_info": credential.credential_info,
    }))
}

fn of_model(state: &AdminState, id: &str) -> Result<Map<String, Value>, AdminError> {
    let record = state.merged().record(RecordKind::Model, id);
    let record = record.ok_or_else(|| bad(&format!("Model with id={id} not found in db")))?;
    let model: Model = stored::typed(&record)?;
    let mut values = stored::opened(state, &record, &model.litellm_params)?;
    values.retain(|name, _| {
        let head = OF_MODELS_HEADS.iter().any(|head| name.starts_with(head));
        head || OF_MODELS.contains(&name.as_str())
    });
    Ok(values)
}

fn is_name(name: &str) -> bool {
    const BYTES_MAX: usize = 200;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:=+@,".contains(&byte);
    !name.is_empty() && name.len() <= BYTES_MAX && name.bytes().all(plain)
}

fn done(message: &str) -> Json<Value> {
    Json(json!({"success": true, "message": message}))
}

fn unknown(name: &str) -> AdminError {
    let text = format!("Credential not found. Got credential name: {name}");
    AdminError::detail(StatusCode::NOT_FOUND, text)
}

fn bad(text: &str) -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
