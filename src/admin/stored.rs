//! Records that make up the configuration: read, checked as files are, and written.

use axum::http::StatusCode;
use meridian_core::config::LeftOut;
use meridian_core::record::{Body, Record, RecordKind};
use serde_json::{Map, Value};

use super::access::Caller;
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;
use crate::store::{RecordWrite, StoreError};

/// LiteLLM's words when stored models do not count.
pub(super) const STORE_IS_OFF: &str =
    "Set `'STORE_MODEL_IN_DB='True'` in your env to enable this feature.";
/// Largest record, as JSON.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Refuses a call that would store something that does not count.
pub(super) fn check_on(state: &AdminState) -> Result<(), AdminError> {
    match state.rules().config.general.store_model_in_db {
        true => Ok(()),
        false => Err(AdminError::detail(
            StatusCode::INTERNAL_SERVER_ERROR,
            STORE_IS_OFF,
        )),
    }
}

/// The live record as it is stored now: another node may have written it last.
pub(super) async fn current(
    state: &AdminState,
    kind: RecordKind,
    id: &str,
) -> Result<Record, AdminError> {
    let found = state.store().get_record(kind, id).await;
    let found = found.map_err(store_refusal)?;
    let live = found
        .map(|stored| stored.record)
        .filter(|record| !record.deleted);
    live.ok_or_else(|| conflict(kind, id))
}

/// The typed body of a record.
pub(super) fn typed<B: Body>(record: &Record) -> Result<B, AdminError> {
    record.read().map_err(|error| {
        let text = format!("the stored record cannot be read: {error}");
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })
}

/// Sealed values in clear.
pub(super) fn opened(
    state: &AdminState,
    record: &Record,
    sealed: &Map<String, Value>,
) -> Result<Map<String, Value>, AdminError> {
    state.merged().open(sealed).map_err(|unopened| {
        let (kind, id) = (record.kind.as_str(), &record.id);
        let text = format!("record {kind}/{id}: {unopened}");
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })
}

/// Stores a record that the configuration can take; it is in force on this node when this returns.
pub(super) async fn write(
    state: &AdminState,
    caller: &Caller,
    write: RecordWrite,
) -> Result<Record, AdminError> {
    let record = &write.record;
    let (kind, id) = (record.kind, record.id.clone());
    let size = Value::Object(record.body.clone()).to_string().len();
    if size > RECORD_BYTES_MAX {
        let text = format!("{size} bytes are too many: a record has at most {RECORD_BYTES_MAX}");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let checked = state.merged().check(std::slice::from_ref(record));
    checked.map_err(|left_out| refused(&left_out, kind, &id))?;
    match state.write(vec![write], caller).await {
        Ok(stored) => stored
            .into_iter()
            .next()
            .ok_or_else(AdminError::unavailable),
        Err(StoreError::Conflict { .. } | StoreError::NotFound) => Err(conflict(kind, &id)),
        Err(error) => Err(store_refusal(error)),
    }
}

/// What the configuration would not take. The record's own problems name their fields; another
/// record is named in front of its.
fn refused(left_out: &[LeftOut], kind: RecordKind, id: &str) -> AdminError {
    let shown = |one: &LeftOut| match one.kind == kind && one.id == id {
        true => one.problems.join("; "),
        false => format!("in use by {one}"),
    };
    let text: Vec<String> = left_out.iter().map(shown).collect();
    AdminError::detail(StatusCode::BAD_REQUEST, text.join("; "))
}

fn conflict(kind: RecordKind, id: &str) -> AdminError {
    let kind = kind.as_str();
    let text = format!("{kind} {id} was changed at the same time: read it again");
    AdminError::detail(StatusCode::CONFLICT, text)
}
