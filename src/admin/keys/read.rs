//! Reading keys: info, list, aliases, health.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::{Action, decide};
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use serde_json::{Value, json};

use super::super::access::{AnyKeyAccess, Caller, OwnOrViewerAccess};
use super::super::authorize::KeySite;
use super::super::body::JsonBody;
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::write::BATCH_KEYS_MAX;
use super::{find, find_active, info as info_of, row, store_error};
use crate::store::{KeyQuery, KeySort, PAGE_SIZE_MAX};

type Answer = Result<Json<Value>, AdminError>;

/// GET /key/info: any key for administrators, otherwise the caller's own and its user's keys.
pub(in crate::admin) async fn info(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (shown, hash) = match query.text("key") {
        Some(key) => (Value::from(key.clone()), KeyHash::from_key_or_hex(&key)),
        None => {
            let own = caller.key_hash().ok_or_else(not_found)?;
            (json!(own), own)
        }
    };
    let record = find_active(&state, &hash).await?;
    let record = match record {
        Some(record) if may_see(&state, &caller, &record).await? => record,
        // A caller without the right learns nothing about which keys exist.
        Some(_) => return Err(not_yours(&caller)),
        None if caller.sees_all() => return Err(not_found()),
        None => return Err(not_yours(&caller)),
    };
    state.look_at_others([record.token]).await;
    let info = info_of(&state, &record);
    Ok(Json(json!({"key": shown, "info": info})))
}

/// POST /v2/key/info: those of the named keys that the caller may see.
pub(in crate::admin) async fn info_v2(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let keys = fields.texts("keys").value();
    fields.finish()?;
    let Some(keys) = keys else {
        return Err(AdminError::plain(
            StatusCode::UNPROCESSABLE_ENTITY,
            "{'message': 'Malformed request. No keys passed in.'}",
        ));
    };
    if keys.len() > BATCH_KEYS_MAX {
        let text = format!("Maximum {BATCH_KEYS_MAX} keys can be read at once.");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let mut records = Vec::new();
    for key in &keys {
        let found = find_active(&state, &KeyHash::from_key_or_hex(key)).await?;
        if let Some(record) = found
            && may_see(&state, &caller, &record).await?
        {
            records.push(record);
        }
    }
    state
        .look_at_others(records.iter().map(|record| record.token))
        .await;
    let rows: Vec<_> = records.iter().map(|record| row(&state, record)).collect();
    Ok(Json(json!({"key": keys, "info": rows})))
}

/// GET /key/list
pub(in crate::admin) async fn list(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (page, size) = query.page(10)?;
    let deleted = match query.text("status").as_deref() {
        None => false,
        Some("deleted") => true,
        Some(_) => {
            let text = "Invalid status value. Currently only 'deleted' is supported.";
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
    };
    let mut asked = key_query(&query, page, size)?;
    asked.deleted = deleted;
    restrict(&caller, &mut asked)?;
    let full = query.flag("return_full_object") || query.text("expand").is_some();
    let found = state.store().list_keys(asked).await;
    let found = found.map_err(|error| store_error(error, None))?;
    let keys = found.keys.iter().map(|record| match full {
        true => Value::Object(row(&state, record)),
        false => json!(record.token),
    });
    Ok(Json(page_of_keys(keys.collect(), found.total, page, size)))
}

/// GET /key/aliases: looks at the first 20,000 aliases in the order of the alphabet.
pub(in crate::admin) async fn aliases(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (page, size) = query.page(50)?;
    let wanted = query.text("search").unwrap_or_default().to_lowercase();
    let mut asked = KeyQuery {
        size: PAGE_SIZE_MAX,
        sort_by: KeySort::Alias,
        // Keys without an alias come last in this order, and the walk ends at the first of them.
        descending: true,
        ..KeyQuery::default()
    };
    restrict(&caller, &mut asked)?;
    let mut aliases = Vec::new();
    for page in 1..=ALIAS_PAGES_MAX {
        asked.page = page;
        let found = state.store().list_keys(asked.clone()).await;
        let found = found.map_err(|error| store_error(error, None))?.keys;
        let full = found.len() == PAGE_SIZE_MAX as usize;
        let named = found.into_iter().map_while(|record| record.key_alias);
        let before = aliases.len();
        aliases.extend(named);
        if !full || aliases.len() - before < PAGE_SIZE_MAX as usize {
            break;
        }
    }
    aliases.retain(|alias| !alias.is_empty() && alias.to_lowercase().contains(&wanted));
    aliases.reverse();
    let total = aliases.len() as u64;
    let start = ((page - 1) * size) as usize;
    let shown: Vec<String> = aliases
        .into_iter()
        .skip(start)
        .take(size as usize)
        .collect();
    Ok(Json(json!({
        "aliases": shown, "total_count": total, "current_page": page,
        "total_pages": total.div_ceil(size), "size": size,
    })))
}

/// Pages of keys that one search of aliases reads.
const ALIAS_PAGES_MAX: u32 = 20;

/// POST /key/health: of the caller's own key. Nothing is sent to its callbacks.
pub(in crate::admin) async fn health(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
) -> Answer {
    let record = match caller.key_hash() {
        Some(hash) => find(&state, &hash).await?,
        None => None,
    };
    let entries = record
        .as_ref()
        .and_then(|record| record.metadata.get("logging"))
        .and_then(Value::as_array);
    let Some(entries) = entries else {
        return Ok(Json(json!({"key": "healthy", "logging_callbacks": null})));
    };
    let names: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry.get("callback_name")?.as_str())
        .collect();
    let named = names.len() == entries.len();
    let status = if named { "healthy" } else { "unhealthy" };
    let details = if named {
        "The entries are well formed. No test event was sent."
    } else {
        "callback_name is required in key_logging"
    };
    let callbacks = json!({"callbacks": names, "status": status, "details": details});
    Ok(Json(json!({"key": status, "logging_callbacks": callbacks})))
}

fn key_query(query: &Query, page: u64, size: u64) -> Result<KeyQuery, AdminError> {
    let sort_by = match query.text("sort_by").as_deref() {
        None | Some("created_at") => KeySort::CreatedAt,
        Some("spend") => KeySort::Spend,
        Some("max_budget") => KeySort::MaxBudget,
        Some("updated_at") => KeySort::UpdatedAt,
        Some("key_alias") => KeySort::Alias,
        Some("user_id") => KeySort::UserId,
        Some("expires") => KeySort::Expires,
        Some(_) => {
            let text = "Invalid sort column. Must be one of: spend, max_budget, created_at, \
                        updated_at, key_alias, user_id, expires";
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
    };
    let direction = query
        .text("sort_order")
        .unwrap_or_else(|| "desc".to_owned());
    let descending = match direction.to_ascii_lowercase().as_str() {
        "desc" => true,
        "asc" => false,
        _ => {
            let text = "Invalid sort order. Must be 'asc' or 'desc'";
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
    };
    Ok(KeyQuery {
        user_id: query.text("user_id"),
        team_id: query.text("team_id"),
        organization_id: query.text("organization_id"),
        key_alias: query.text("key_alias"),
        key_hash: query
            .text("key_hash")
            .map(|key| KeyHash::from_key_or_hex(&key)),
        sort_by,
        descending,
        deleted: false,
        page: u32::try_from(page).unwrap_or(u32::MAX),
        size: u32::try_from(size).unwrap_or(u32::MAX),
    })
}

/// Callers who are not administrators list the keys of their own user, and all of a team or an
/// organization that they administrate and ask for.
fn restrict(caller: &Caller, asked: &mut KeyQuery) -> Result<(), AdminError> {
    let who = caller.standing();
    let leads = |id: &String| who.teams.get(id) == Some(&true);
    let rules = |id: &String| who.organizations.get(id) == Some(&true);
    let administrates = asked.team_id.as_ref().is_some_and(leads)
        || asked.organization_id.as_ref().is_some_and(rules);
    if caller.sees_all() || administrates {
        return Ok(());
    }
    let refused = |param, message: &str| AdminError::Refused {
        status: StatusCode::FORBIDDEN,
        kind: "bad_request_error",
        param,
        message: message.to_owned(),
    };
    let Some(own) = caller.user_id() else {
        return Err(refused("user_id", NO_USER));
    };
    if asked.user_id.as_ref().is_some_and(|user| *user != own) {
        let text = "You are not authorized to check another user's keys";
        return Err(refused("user_id", text));
    }
    asked.user_id = Some(own);
    Ok(())
}

const NO_USER: &str = "You are not authorized to access this endpoint. No 'user_id' is associated \
                       with your API key.";

async fn may_see(
    state: &AdminState,
    caller: &Caller,
    record: &KeyRecord,
) -> Result<bool, AdminError> {
    if caller.sees_all() || caller.key_hash() == Some(record.token) {
        return Ok(true);
    }
    let site = KeySite::of(state, record).await?;
    Ok(decide(caller.standing(), Action::See, &site.object()).is_some())
}

pub(super) fn not_yours(caller: &Caller) -> AdminError {
    let role = caller.role_name();
    AdminError::plain(
        StatusCode::FORBIDDEN,
        format!("You are not allowed to access this key's info. Your role={role}"),
    )
}

fn not_found() -> AdminError {
    AdminError::Refused {
        status: StatusCode::NOT_FOUND,
        kind: "not_found_error",
        param: "key",
        message: "Key not found in database".to_owned(),
    }
}

fn page_of_keys(keys: Vec<Value>, total: u64, page: u64, size: u64) -> Value {
    json!({
        "keys": keys, "total_count": total, "current_page": page,
        "total_pages": total.div_ceil(size),
    })
}
