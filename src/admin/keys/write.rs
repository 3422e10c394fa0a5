//! Making, changing and removing keys.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use meridian_core::auth::Action;
use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyOverrides, KeyRecord};
use meridian_core::meters::check_rules;
use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use serde_json::{Map, Value, json};

use super::super::access::{Caller, DelegatedAccess};
use super::super::body::JsonBody;
use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::bounds::{bound, bound_change, check_required};
use super::patch::{KeyPatch, known};
use super::{change, change_and_spend, find, rights, row, shape, store_error, write_key};
use crate::store::{Store, StoreError};

/// Most keys in one bulk call.
pub(super) const BATCH_KEYS_MAX: usize = 500;
/// Largest key with all its fields, as JSON.
const KEY_BYTES_MAX: usize = 64 * 1024;
/// Longest key that a caller may choose.
const CLEAR_KEY_BYTES_MAX: usize = 256;

type Answer = Result<Json<Value>, AdminError>;

/// POST /key/generate
pub(in crate::admin) async fn generate(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let names = known(fields.names());
    let mut patch = KeyPatch::read(&mut fields);
    let clear = fields.text("key").value();
    fields.finish()?;
    if !caller.sees_all() && patch.user_id == Given::Absent {
        // A key that a user makes is the user's own.
        patch.user_id = caller.user_id().map_or(Given::Absent, Given::Value);
    }
    let (record, clear) = make_key(&state, &caller, patch, clear, &names).await?;
    let spend = record.spend;
    Ok(Json(Value::Object(shape::generated(
        &record, &clear, spend,
    ))))
}

/// POST /key/service-account/generate
pub(in crate::admin) async fn generate_service_account(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let names = known(fields.names());
    let mut patch = KeyPatch::read(&mut fields);
    let clear = fields.text("key").value();
    fields.finish()?;
    if patch.team_id.as_value().is_none() {
        return Err(AdminError::plain(StatusCode::BAD_REQUEST, TEAM_ID_REQUIRED));
    }
    // It belongs to the team: removing a user must not remove it.
    patch.user_id = Given::Absent;
    let (record, clear) = make_key(&state, &caller, patch, clear, &names).await?;
    let spend = record.spend;
    Ok(Json(Value::Object(shape::generated(
        &record, &clear, spend,
    ))))
}

const TEAM_ID_REQUIRED: &str = "team_id is required for service account keys. Please specify \
                                `team_id` in the request body.";

/// Makes a key and returns it with its clear text.
async fn make_key(
    state: &AdminState,
    caller: &Caller,
    patch: KeyPatch,
    clear: Option<String>,
    names: &[String],
) -> Result<(KeyRecord, String), AdminError> {
    let (record, clear) = prepare_key(state, caller, patch, clear, names).await?;
    let alias = record.key_alias.clone();
    let write = Store::key_creation(&record);
    let stored = write_key(state, caller, record.token, vec![write]).await;
    let record = stored.map_err(|error| store_error(error, alias.as_deref()))?;
    Ok((record, clear))
}

/// A key that may be made, and its clear text; it is not stored yet.
pub(in crate::admin) async fn prepare_key(
    state: &AdminState,
    caller: &Caller,
    patch: KeyPatch,
    clear: Option<String>,
    names: &[String],
) -> Result<(KeyRecord, String), AdminError> {
    patch.check()?;
    let config = state.rules().config;
    check_required(&patch, &config.new_keys)?;
    let patch = bound(patch, &config.new_keys)?;
    let (clear, lineage) = match clear {
        Some(clear) => (checked_clear_key(clear)?, Some(new_lineage())),
        None => (new_clear_key(), None),
    };
    let at = state.moment();
    let mut record = KeyRecord {
        lineage,
        created_at: at.now,
        created_by: caller.user_id(),
        updated_at: at.now,
        updated_by: caller.user_id(),
        ..bare(KeyHash::of_secret(&clear), key_name(&clear))
    };
    patch.apply(&mut record, &at)?;
    rights::admit_new(state, caller, &mut record, names).await?;
    check_record(&record)?;
    if state.is_master_key(&clear) {
        return Err(store_error(
            StoreError::Conflict {
                field: "token".into(),
            },
            None,
        ));
    }
    Ok((record, clear))
}

/// POST /key/update
pub(in crate::admin) async fn update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let names = known(fields.names());
    let key = fields.required_text("key");
    let patch = KeyPatch::read(&mut fields);
    fields.finish()?;
    let changed = update_one(&state, &caller, &key, patch, &names).await;
    let mut out = changed.map_err(AdminError::as_auth_error)?;
    out.insert("key".to_owned(), json!(key));
    Ok(Json(Value::Object(out)))
}

/// POST /key/bulk_update: every key by itself; one failure does not undo the others.
pub(in crate::admin) async fn bulk_update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let items = fields.any("keys").value();
    let items = match items {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    if items.is_empty() {
        let text = "No keys provided for update";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    if items.len() > BATCH_KEYS_MAX {
        let found = items.len();
        let text =
            format!("Maximum {BATCH_KEYS_MAX} keys can be updated at once. Found {found} keys.");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let total = items.len();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for item in items {
        let key = item.get("key").cloned().unwrap_or(Value::Null);
        match bulk_item(&state, &caller, item).await {
            Ok(row) => done.push(json!({"key": key, "key_info": row})),
            Err(error) => failed.push(json!({
                "key": key, "key_info": null, "failed_reason": error.text(),
            })),
        }
    }
    Ok(Json(json!({
        "total_requested": total, "successful_updates": done, "failed_updates": failed,
    })))
}

pub(in crate::admin) async fn bulk_item(
    state: &AdminState,
    caller: &Caller,
    item: Value,
) -> Result<Map<String, Value>, AdminError> {
    let Value::Object(item) = item else {
        return Err(AdminError::detail(
            StatusCode::BAD_REQUEST,
            "Expected an object",
        ));
    };
    let mut fields = Fields::of_object(item);
    let names = known(fields.names());
    let key = fields.required_text("key");
    let patch = KeyPatch::read(&mut fields);
    fields.finish()?;
    let mut row = update_one(state, caller, &key, patch, &names).await?;
    row.remove("token");
    Ok(row)
}

async fn update_one(
    state: &AdminState,
    caller: &Caller,
    key: &str,
    patch: KeyPatch,
    names: &[String],
) -> Result<Map<String, Value>, AdminError> {
    patch.check()?;
    let patch = bound_change(patch, &state.rules().config.new_keys)?;
    let hash = KeyHash::from_key_or_hex(key);
    let at = state.moment();
    let spend = patch.spend.as_value().copied();
    let what = (Action::Change, names);
    let spend = spend.and_then(NanoUsd::from_dollars);
    let record = change_and_spend(state, hash, caller, what, spend, |record| {
        let spend_before = record.spend;
        patch.clone().apply(record, &at)?;
        // Spend is set beside the record: a figure read before would undo what is spent meanwhile.
        record.spend = spend_before;
        check_record(record)
    })
    .await?;
    Ok(row(state, &record))
}

/// Sets the running period's spend, in the store and in memory.
pub(super) async fn set_spend(
    state: &AdminState,
    hash: KeyHash,
    spend: NanoUsd,
) -> Result<(), AdminError> {
    let now = state.now();
    let scope = Scope::new(ScopeKind::Key, hash.to_string());
    let stored = state.store().set_scope_spend(scope.clone(), spend, now);
    let stored = stored.await;
    stored.map_err(|error| store_error(error, None))?;
    state.registry().reset_spent(&scope, spend, now);
    Ok(())
}

/// POST /key/delete
pub(in crate::admin) async fn delete(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let keys = fields.texts("keys").value().unwrap_or_default();
    let aliases = fields.texts("key_aliases").value().unwrap_or_default();
    fields.finish()?;
    let asked = if keys.is_empty() { &aliases } else { &keys };
    if asked.is_empty() {
        return Err(AdminError::plain(
            StatusCode::BAD_REQUEST,
            "Invalid request type",
        ));
    }
    if asked.len() > BATCH_KEYS_MAX {
        let text = format!("Maximum {BATCH_KEYS_MAX} keys can be deleted at once.");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let mut found = Vec::new();
    for name in asked {
        let hash = if keys.is_empty() {
            super::hash_of_alias(&state, name).await?
        } else {
            Some(KeyHash::from_key_or_hex(name))
        };
        let Some(hash) = hash else {
            continue;
        };
        if let Some(record) = find(&state, &hash).await? {
            rights::admit(&state, &caller, Action::Delete, &record).await?;
            found.push(record.token);
        } else if !caller.sees_all() {
            return Err(super::read::not_yours(&caller));
        }
    }
    if found.is_empty() {
        return Err(AdminError::detail(StatusCode::NOT_FOUND, "No keys found"));
    }
    if found.len() != asked.len() {
        let (passed, there) = (asked.len(), found.len());
        let text = format!(
            "Not all keys passed in were deleted. This probably means you don't have access to \
             delete all the keys passed in. Keys passed in={passed}, Deleted keys ={there}"
        );
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    super::remove::delete(&state, &caller, &found).await?;
    Ok(Json(json!({"deleted_keys": asked})))
}

/// POST /key/block
pub(in crate::admin) async fn block(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    set_blocked(&state, &caller, fields, true).await
}

/// POST /key/unblock
pub(in crate::admin) async fn unblock(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    set_blocked(&state, &caller, fields, false).await
}

async fn set_blocked(
    state: &AdminState,
    caller: &Caller,
    mut fields: Fields,
    blocked: bool,
) -> Answer {
    let key = fields.required_text("key");
    fields.finish()?;
    if !key.starts_with("sk-") && KeyHash::from_hex(&key).is_none() {
        return Err(AdminError::bad_request("key", "Invalid key format."));
    }
    let hash = KeyHash::from_key_or_hex(&key);
    let what = (Action::Block, [].as_slice());
    let record = change(state, hash, caller, what, |record| {
        record.blocked = blocked;
        Ok(())
    })
    .await?;
    Ok(Json(Value::Object(row(state, &record))))
}

/// Of a key whose value was chosen: what an earlier key of the same value made is not its own.
pub(in crate::admin) fn new_lineage() -> KeyHash {
    KeyHash::of_secret(&new_clear_key())
}

/// `sk-` and 22 URL-safe characters of sixteen random bytes.
pub(super) fn new_clear_key() -> String {
    let random = crate::clock::random_bytes();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    format!("sk-{text}")
}

pub(super) fn checked_clear_key(clear: String) -> Result<String, AdminError> {
    if clear.starts_with("sk-") && clear.len() <= CLEAR_KEY_BYTES_MAX {
        return Ok(clear);
    }
    let letters: Vec<char> = clear.chars().collect();
    let masked = if letters.len() > 8 {
        let head: String = letters[..4].iter().collect();
        let tail: String = letters[letters.len() - 4..].iter().collect();
        format!("{head}****{tail}")
    } else {
        "****".to_owned()
    };
    let text = format!(
        "Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: {masked}"
    );
    Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
}

/// `sk-...` and the last four characters.
pub(super) fn key_name(clear: &str) -> String {
    let letters: Vec<char> = clear.chars().collect();
    let tail: String = letters[letters.len().saturating_sub(4)..].iter().collect();
    format!("sk-...{tail}")
}

/// What must hold of a key before it is stored: every rule in it can be enforced as written.
pub(super) fn check_record(record: &KeyRecord) -> Result<(), AdminError> {
    check_rules(record)?;
    KeyOverrides::of(record)?;
    let bytes = serde_json::to_vec(record).map_or(usize::MAX, |text| text.len());
    if bytes > KEY_BYTES_MAX {
        let text = format!("A key and its metadata may have {KEY_BYTES_MAX} bytes together");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let account = record.metadata.get("service_account_id");
    if account.is_some_and(|id| !id.is_null()) && record.team_id.is_none() {
        return Err(AdminError::plain(StatusCode::BAD_REQUEST, TEAM_ID_REQUIRED));
    }
    Ok(())
}

/// A key without any field but its digest and its name for people.
pub(super) fn bare(token: KeyHash, key_name: String) -> KeyRecord {
    KeyRecord {
        token,
        lineage: None,
        key_name,
        key_alias: None,
        expires: None,
        blocked: false,
        models: Vec::new(),
        aliases: Default::default(),
        allowed_routes: Vec::new(),
        allowed_regions: Vec::new(),
        user_id: None,
        team_id: None,
        organization_id: None,
        max_budget: None,
        soft_budget: None,
        budget_duration: None,
        budget_reset_at: None,
        model_max_budget: Map::new(),
        spend: NanoUsd::ZERO,
        tpm_limit: None,
        rpm_limit: None,
        max_parallel_requests: None,
        metadata: Map::new(),
        extra: Map::new(),
        created_at: Default::default(),
        created_by: None,
        updated_at: Default::default(),
        updated_by: None,
        home: String::new(),
        generation: 0,
        version: 1,
    }
}
