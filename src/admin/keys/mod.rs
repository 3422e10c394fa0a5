//! `/key/*`: virtual keys.

mod bounds;
mod patch;
pub(super) mod put;
pub(super) mod read;
mod remove;
mod rights;
pub(super) mod rotate;
pub(super) mod shape;
mod time;
pub(super) mod write;

use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::scope::{Scope, ScopeKind};
use serde_json::{Map, Value};

pub(super) use patch::{FOLDED, KeyPatch};
pub(super) use remove::{delete_all_with, delete_of_member, note_end};
pub(super) use time::{Moment, budget_reset_at};
pub(super) use write::new_lineage;

use super::access::Caller;
use super::reply::AdminError;
use super::state::AdminState;
use crate::store::{
    KeyQuery, PAGE_SIZE_MAX, RecordWrite, ScopeChange, StoreError, in_words_of_keys,
};

/// Tries of a read-change-write when other writers get in between.
const WRITE_TRIES_MAX: usize = 5;

/// Names in `metadata` that are no fields of the API and lift a guard all the same.
pub(super) const GUARDED: [&str; 2] = ["disable_global_guardrails", "opted_out_global_guardrails"];

/// Every key that a question finds, on all pages.
async fn all_of(state: &AdminState, query: KeyQuery) -> Result<Vec<KeyRecord>, AdminError> {
    let mut all = Vec::new();
    for page in 1.. {
        let query = KeyQuery {
            page,
            size: PAGE_SIZE_MAX,
            ..query.clone()
        };
        let found = state.store().list_keys(query).await;
        let found = found.map_err(|error| store_error(error, None))?.keys;
        let last = found.len() < PAGE_SIZE_MAX as usize;
        all.extend(found);
        if last {
            break;
        }
    }
    Ok(all)
}

/// Rows of a team's keys, without their digests.
pub(super) async fn rows_of_team(
    state: &AdminState,
    team_id: &str,
) -> Result<Vec<Value>, AdminError> {
    let query = KeyQuery {
        team_id: Some(team_id.to_owned()),
        ..KeyQuery::default()
    };
    rows_of(state, query).await
}

/// Rows of a user's keys, without their digests.
pub(super) async fn rows_of_user(
    state: &AdminState,
    user_id: &str,
) -> Result<Vec<Value>, AdminError> {
    let query = KeyQuery {
        user_id: Some(user_id.to_owned()),
        ..KeyQuery::default()
    };
    rows_of(state, query).await
}

async fn rows_of(state: &AdminState, query: KeyQuery) -> Result<Vec<Value>, AdminError> {
    let keys = all_of(state, query).await?;
    Ok(keys
        .iter()
        .map(|key| Value::Object(info(state, key)))
        .collect())
}

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

/// Reads, changes and writes a key. The change is in memory before this returns. `names` are the
/// fields that the caller wants to set.
async fn change(
    state: &AdminState,
    hash: KeyHash,
    caller: &Caller,
    what: (Action, &[String]),
    edit: impl FnMut(&mut KeyRecord) -> Result<(), AdminError>,
) -> Result<KeyRecord, AdminError> {
    change_and_spend(state, hash, caller, what, None, edit).await
}

/// As [`change`]; also sets what the key has spent, together with it or not at all.
async fn change_and_spend(
    state: &AdminState,
    hash: KeyHash,
    caller: &Caller,
    (action, names): (Action, &[String]),
    spend: Option<NanoUsd>,
    mut edit: impl FnMut(&mut KeyRecord) -> Result<(), AdminError>,
) -> Result<KeyRecord, AdminError> {
    for _ in 0..WRITE_TRIES_MAX {
        let before = found_for(state, caller, &hash).await?;
        let mut record = before.clone();
        edit(&mut record)?;
        rights::admit_change(state, caller, action, (&before, &mut record), names).await?;
        record.updated_at = state.now();
        record.updated_by = caller.user_id();
        let alias = record.key_alias.clone();
        let write = RecordWrite::replace(record.to_record());
        let counts = spend.map(|spend| {
            let scope = Scope::new(ScopeKind::Key, record.token.to_string());
            let since = state.now();
            (scope, ScopeChange::Spent { spend, since })
        });
        let written = state.write_with(vec![write], counts.into_iter().collect(), caller);
        match written_key(state, written.await, hash).await {
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
    written_key(state, written, token).await
}

async fn written_key(
    state: &AdminState,
    written: Result<Vec<Record>, StoreError>,
    token: KeyHash,
) -> Result<KeyRecord, StoreError> {
    let written = written.map_err(in_words_of_keys)?;
    state.store().written_key(&written, token).await
}

/// The key that a caller names. Who does not see everything learns nothing about which keys there
/// are.
async fn found_for(
    state: &AdminState,
    caller: &Caller,
    hash: &KeyHash,
) -> Result<KeyRecord, AdminError> {
    match find(state, hash).await? {
        Some(key) => Ok(key),
        None if caller.sees_all() => Err(missing_key(hash)),
        None => Err(read::not_yours(caller)),
    }
}

/// What the key has spent in its period, as the limits see it.
fn spent(state: &AdminState, record: &KeyRecord) -> NanoUsd {
    state
        .registry()
        .spent_by_key(&record.token, state.now())
        .unwrap_or(record.spend)
}

pub(super) fn row(state: &AdminState, record: &KeyRecord) -> Map<String, Value> {
    let mut row = shape::row(record, spent(state, record));
    state.moment().end_limits(&mut row);
    row
}

/// The row as `/key/info` shows it: without the digest.
fn info(state: &AdminState, record: &KeyRecord) -> Map<String, Value> {
    let mut info = row(state, record);
    info.remove("token");
    info
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
