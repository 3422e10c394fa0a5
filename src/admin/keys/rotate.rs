//! `/key/regenerate` with a grace period, `/key/{key}/reset_spend`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::super::access::{Caller, DelegatedAccess, PathParameter};
use super::super::body::JsonBody;
use super::super::fields::{Fields, Given};
use super::super::reply::{AdminError, python_float};
use super::super::state::AdminState;
use super::bounds::bound_change;
use super::patch::{KeyPatch, known};
use super::time::duration_ms;
use super::write::{check_record, checked_clear_key, key_name, new_clear_key, set_spend};
use super::{found_for, rights, shape, spent, store_error, write_key};
use crate::store::StoreError;

type Answer = Result<Json<Value>, AdminError>;

/// POST /key/regenerate and /key/{key}/regenerate
pub(in crate::admin) async fn regenerate(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    PathParameter(key): PathParameter,
    JsonBody(fields): JsonBody,
) -> Answer {
    regenerate_key(&state, &caller, key, fields).await
}

/// The body's key wins over the path's, as in LiteLLM.
async fn regenerate_key(
    state: &AdminState,
    caller: &Caller,
    path_key: Option<String>,
    mut fields: Fields,
) -> Answer {
    let names = known(fields.names());
    let patch = KeyPatch::read(&mut fields);
    let key = fields.text("key").value().or(path_key);
    let new_key = fields.text("new_key").value();
    let grace = fields.text("grace_period").value();
    let new_master = fields.any("new_master_key").value();
    fields.finish()?;
    patch.check()?;
    let patch = bound_change(patch, &state.rules().config.new_keys)?;
    if new_master.is_some() {
        let text = "The master key is changed in the configuration, not by this route.";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Err(AdminError::detail(
            StatusCode::BAD_REQUEST,
            "No key passed in.",
        ));
    };
    let clear = match new_key {
        None => new_clear_key(),
        Some(clear) if clear.starts_with("sk-") => checked_clear_key(clear)?,
        Some(_) => return Err(AdminError::detail(StatusCode::BAD_REQUEST, NEW_KEY_FORMAT)),
    };
    let old = KeyHash::from_key_or_hex(&key);
    let record = rotate(
        state,
        caller,
        old,
        &clear,
        (patch, &names),
        grace.as_deref(),
    )
    .await?;
    let spend = spent(state, &record);
    Ok(Json(Value::Object(shape::generated(
        &record, &clear, spend,
    ))))
}

const NEW_KEY_FORMAT: &str = "New key must start with 'sk-'. This is to distinguish a key hash \
                              (used by litellm for logging / internal logic) from the actual key.";

async fn rotate(
    state: &AdminState,
    caller: &Caller,
    old: KeyHash,
    clear: &str,
    (patch, names): (KeyPatch, &[String]),
    grace: Option<&str>,
) -> Result<KeyRecord, AdminError> {
    let at = state.moment();
    let grace_ms = grace.map_or(Ok(0), duration_ms)?;
    let revoke_at = at.now.plus_ms(grace_ms);
    let before = found_for(state, caller, &old).await?;
    let mut record = before.clone();
    let spend_before = record.spend;
    let spend = patch.spend.as_value().copied();
    patch.apply(&mut record, &at)?;
    let keys = (&before, &mut record);
    rights::admit_change(state, caller, Action::Rotate, keys, names).await?;
    check_record(&record)?;
    record.spend = spend_before;
    record.token = KeyHash::of_secret(clear);
    record.key_name = key_name(clear);
    record.updated_at = at.now;
    record.updated_by = caller.user_id();
    note_rotation(&mut record, at.now);
    if state.is_master_key(clear) {
        return Err(store_error(
            StoreError::Conflict {
                field: "token".into(),
            },
            None,
        ));
    }
    let alias = record.key_alias.clone();
    let refused = |error| store_error(error, alias.as_deref());
    let writes = state.store().key_rotation(old, &record, revoke_at).await;
    let stored = write_key(state, caller, record.token, writes.map_err(refused)?).await;
    let record = stored.map_err(refused)?;
    if let Some(spend) = spend.and_then(NanoUsd::from_dollars) {
        set_spend(state, record.token, spend).await?;
    }
    Ok(record)
}

fn note_rotation(record: &mut KeyRecord, now: WallMs) {
    let count = record.extra.get("rotation_count").and_then(Value::as_u64);
    let count = count.unwrap_or(0).saturating_add(1);
    record.extra.insert("rotation_count".into(), json!(count));
    record
        .extra
        .insert("last_rotation_at".into(), json!(now.to_iso()));
}

/// POST /key/{key}/reset_spend
pub(in crate::admin) async fn reset_spend(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    PathParameter(key): PathParameter,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let reset_to = fields.any("reset_to");
    fields.finish()?;
    let hash = KeyHash::from_key_or_hex(&key.unwrap_or_default());
    let record = found_for(&state, &caller, &hash).await?;
    rights::admit(&state, &caller, Action::ResetSpend, &record).await?;
    state.look_at_others([record.token]).await;
    let current = spent(&state, &record);
    let amount = checked_reset(reset_to, current, record.max_budget)?;
    set_spend(&state, record.token, amount).await?;
    Ok(Json(json!({
        "key_hash": record.token,
        "spend": amount.dollars(),
        "previous_spend": current.dollars(),
        "max_budget": record.max_budget.map(NanoUsd::dollars),
        "budget_reset_at": record.budget_reset_at.map(WallMs::to_iso),
    })))
}

fn checked_reset(
    reset_to: Given<Value>,
    current: NanoUsd,
    max_budget: Option<NanoUsd>,
) -> Result<NanoUsd, AdminError> {
    let refuse = |text: String| AdminError::detail(StatusCode::BAD_REQUEST, text);
    let dollars = match reset_to {
        Given::Value(Value::Number(number)) => number.as_f64(),
        _ => None,
    };
    let amount = dollars.and_then(NanoUsd::from_dollars);
    let (Some(dollars), Some(amount)) = (dollars, amount) else {
        return Err(refuse("reset_to must be a float".to_owned()));
    };
    let shown = python_float(dollars);
    if amount < NanoUsd::ZERO {
        return Err(refuse("reset_to must be >= 0".to_owned()));
    }
    if amount > current {
        let current = python_float(current.dollars());
        return Err(refuse(format!(
            "reset_to ({shown}) must be <= current spend ({current})"
        )));
    }
    if let Some(budget) = max_budget.filter(|budget| amount > *budget) {
        let budget = python_float(budget.dollars());
        return Err(refuse(format!(
            "reset_to ({shown}) must be <= budget ({budget})"
        )));
    }
    Ok(amount)
}
