//! `/key/*`: virtual keys.

mod bounds;
mod patch;
pub(super) mod read;
pub(super) mod rotate;
pub(super) mod shape;
mod time;
pub(super) mod write;

use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use serde_json::{Map, Value};

pub(super) use time::Moment;

use super::access::Caller;
use super::reply::AdminError;
use super::state::AdminState;
use crate::store::{KeyQuery, RecordWrite, StoreError, in_words_of_keys};

/// Tries of a read-change-write when other writers get in between.
const WRITE_TRIES_MAX: usize = 5;

/// The key with this digest.
async fn find(state: &AdminState, hash: &KeyHash) -> Result<Option<KeyRecord>, AdminError> {
    let found = state.store().get_key(*hash).await;
    found.map_err(|error| store_error(error, None))
}

/// As [`find`], for reading only: a digest in its grace period finds the key that replaced it.
/// Writers name a key by its own digest, so that revoking an old key never hits the new one.
async fn find_active(state: &AdminState, hash: &KeyHash) -> Result<Option<KeyRecord>, AdminError> {
    let active = state.registry().active_of(hash, state.now());
    find(state, &active.unwrap_or(*hash)).await
}

async fn hash_of_alias(state: &AdminState, alias: &str) -> Result<Option<KeyHash>, AdminError> {
    let asked = KeyQuery {
        key_alias: Some(alias.to_owned()),
        size: 1,
        ..KeyQuery::default()
    };
    let found = state.store().list_keys(asked).await;
    let found = found.map_err(|error| store_error(error, None))?;
    Ok(found.keys.first().map(|record| record.token))
}

/// Reads, changes and writes a key. The change is in memory before this returns.
async fn change(
    state: &AdminState,
    hash: KeyHash,
    caller: &Caller,
    mut edit: impl FnMut(&mut KeyRecord) -> Result<(), AdminError>,
) -> Result<KeyRecord, AdminError> {
    for _ in 0..WRITE_TRIES_MAX {
        let mut record = find(state, &hash)
            .await?
            .ok_or_else(|| missing_key(&hash))?;
        edit(&mut record)?;
        record.updated_at = state.now();
        record.updated_by = caller.user_id();
        let alias = record.key_alias.clone();
        let write = RecordWrite::replace(record.to_record());
        match write_key(state, caller, hash, vec![write]).await {
            Ok(stored) => return Ok(stored),
            Err(StoreError::Conflict { field }) if field == "version" => {}
            Err(error) => return Err(store_error(error, alias.as_deref())),
        }
    }
    Err(AdminError::detail(
        StatusCode::CONFLICT,
        "The key is being changed by others. Try again.",
    ))
}

/// Stores what becomes of a key; it holds on this node before this returns.
async fn write_key(
    state: &AdminState,
    caller: &Caller,
    token: KeyHash,
    writes: Vec<RecordWrite>,
) -> Result<KeyRecord, StoreError> {
    let written = state.write(writes, caller).await;
    let written = written.map_err(in_words_of_keys)?;
    state.store().written_key(&written, token).await
}

/// What the key has spent in its period, as the limits see it.
fn spent(state: &AdminState, record: &KeyRecord) -> NanoUsd {
    state
        .registry()
        .spent(&record.token, state.now())
        .unwrap_or(record.spend)
}

pub(super) fn row(state: &AdminState, record: &KeyRecord) -> Map<String, Value> {
    shape::row(record, spent(state, record))
}

/// Never echoes what was sent: it may be a clear key.
fn missing_key(hash: &KeyHash) -> AdminError {
    AdminError::detail(StatusCode::NOT_FOUND, format!("Key not found: {hash}"))
}

/// The store's refusals in LiteLLM's words.
fn store_error(error: StoreError, alias: Option<&str>) -> AdminError {
    match error {
        StoreError::Conflict { field } if field == "key_alias" => {
            let alias = alias.unwrap_or_default();
            AdminError::bad_request(
                "key_alias",
                format!(
                    "Key with alias '{alias}' already exists. Unique key aliases across all keys \
                     are required."
                ),
            )
        }
        StoreError::Conflict { .. } => {
            AdminError::bad_request("key", "Key with this value already exists.")
        }
        error => super::store_refusal(error),
    }
}
