//! `PUT /key/{key}`: a key by its digest, or one that is there by its alias. The clear key is never
//! in a path.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::record::RecordKind;
use meridian_core::time::WallMs;
use serde_json::{Map, Value};

use super::super::access::{AdminAccess, PathParameter};
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries};
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::patch::{KeyPatch, known};
use super::write::{bare, check_record, new_lineage};
use super::{find, hash_of_alias, rights, row};

/// PUT /key/{key}
pub(in crate::admin) async fn put(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    PathParameter(key): PathParameter,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, AdminError> {
    let names = known(fields.names());
    let patch = KeyPatch::read(&mut fields);
    fields.finish()?;
    patch.check()?;
    let hash = named(&state, &key.unwrap_or_default()).await?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let before = find(&state, &hash).await?;
        let body = draft.body(RecordKind::Key, &hash.to_string()).await?;
        let mut wanted = whole(&state, before.as_ref(), hash, patch.clone())?;
        keep_period(body.as_ref(), &mut wanted);
        match &before {
            None => rights::admit_new(&state, &caller, &mut wanted, &names).await?,
            Some(before) => {
                let keys = (before, &mut wanted);
                rights::admit_change(&state, &caller, Action::Change, keys, &names).await?;
            }
        }
        check_record(&wanted)?;
        draft.write_body(RecordKind::Key, &hash.to_string(), wanted.to_record().body);
        if draft.save(&caller, &mut tries).await?.is_some() {
            let stored = find(&state, &hash).await?.unwrap_or(wanted);
            return Ok(Json(Value::Object(row(&state, &stored))));
        }
    }
}

/// The digest that a path names.
async fn named(state: &AdminState, key: &str) -> Result<KeyHash, AdminError> {
    if let Some(hash) = KeyHash::from_hex(key) {
        return Ok(hash);
    }
    if key.starts_with("sk-") {
        let text = "A clear key does not belong into a path: name it by its SHA-256 in hex";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let found = hash_of_alias(state, key).await?;
    found.ok_or_else(|| {
        let text = format!("Key not found: there is none with key_alias={key}");
        AdminError::detail(StatusCode::NOT_FOUND, text)
    })
}

/// The key that is exactly what was given. A period that stays what it was goes on, and so does a
/// lifetime that is not said anew.
fn whole(
    state: &AdminState,
    before: Option<&KeyRecord>,
    hash: KeyHash,
    patch: KeyPatch,
) -> Result<KeyRecord, AdminError> {
    let at = state.moment();
    let digest = hash.to_string();
    let name = format!("sk-...{}", &digest[digest.len() - 4..]);
    let mut key = bare(hash, name);
    key.lineage = before.map_or_else(|| Some(new_lineage()), |before| before.lineage);
    if let Some(before) = before {
        key.key_name.clone_from(&before.key_name);
        key.created_by.clone_from(&before.created_by);
        key.updated_by.clone_from(&before.updated_by);
        key.updated_at = before.updated_at;
        key.expires = before.expires;
    }
    patch.apply(&mut key, &at)?;
    Ok(key)
}

/// A period that stays what it was, as it was written: the draft knows the one that runs.
fn keep_period(body: Option<&Map<String, Value>>, key: &mut KeyRecord) {
    let written = |name: &str| body.and_then(|body| body.get(name));
    let same = written("budget_duration").and_then(Value::as_str) == key.budget_duration.as_deref();
    if let (Some(ends), true) = (written("budget_reset_at").and_then(Value::as_i64), same) {
        key.budget_reset_at = Some(WallMs(ends));
    }
}
