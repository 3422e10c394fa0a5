//! `/team/key/bulk_update`: the same change to many keys of a team.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::ids::KeyHash;
use meridian_core::record::{Facet, RecordKind, Team};
use serde_json::{Map, Value, json};

use super::super::access::DelegatedAccess;
use super::super::authorize::may_team;
use super::super::body::JsonBody;
use super::super::draft::{every, find};
use super::super::keys::write::bulk_item;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::write::not_found;
use crate::store::RecordQuery;

/// Most keys of one call.
const KEYS_MAX: usize = 500;

/// POST /team/key/bulk_update: every key by itself; one failure does not undo the others.
pub(in crate::admin) async fn bulk_update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, AdminError> {
    let id = fields.required_text("team_id");
    let all = fields.flag("all_keys_in_team").value().unwrap_or(false);
    let named = fields.texts("key_ids").value().unwrap_or_default();
    let update = fields.object("update_fields").value().unwrap_or_default();
    fields.finish()?;
    let team = find::<Team>(&state, &id).await?;
    may_team(
        &caller,
        meridian_core::auth::Action::Members,
        &id,
        team.as_ref(),
    )?;
    if team.is_none() {
        return Err(not_found(&id));
    }
    let of_team = RecordQuery::all(RecordKind::Key).with(Facet::TeamId, id.as_str());
    let of_team = every(&state, &of_team).await?;
    let of_team: Vec<String> = of_team.into_iter().map(|key| key.record.id).collect();
    let keys = if all { of_team.clone() } else { named };
    if keys.is_empty() || keys.len() > KEYS_MAX {
        let text = format!("key_ids must name 1 to {KEYS_MAX} keys");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let total = keys.len();
    for key in keys {
        let hash = KeyHash::from_key_or_hex(&key).to_string();
        let changed = match of_team.contains(&hash) {
            true => bulk_item(&state, &caller, item(&hash, &update)).await,
            false => Err(AdminError::detail(
                StatusCode::NOT_FOUND,
                format!("Key is not in team {id}"),
            )),
        };
        match changed {
            Ok(row) => done.push(json!({"key": hash, "key_info": row})),
            Err(error) => failed.push(json!({
                "key": hash, "key_info": null, "failed_reason": error.text(),
            })),
        }
    }
    Ok(Json(json!({
        "team_id": id, "total_requested": total, "successful_updates": done,
        "failed_updates": failed,
    })))
}

fn item(key: &str, update: &Map<String, Value>) -> Value {
    let mut item = update.clone();
    item.insert("key".to_owned(), json!(key));
    Value::Object(item)
}
