//! What members of a team may do with their keys in it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::record::{RecordKind, Team};
use serde_json::{Value, json};

use super::super::access::{AdminAccess, Caller, DelegatedAccess, OwnOrViewerAccess};
use super::super::authorize::may_team;
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, every, find};
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::rows::row_now;
use super::super::state::AdminState;
use super::write::not_found;
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// What a member may do whatever its team says.
const ALWAYS: [&str; 2] = ["/key/info", "/key/health"];

/// LiteLLM's names of what a team may let its members do.
const ALL: [&str; 11] = [
    "/key/info",
    "/key/health",
    "/key/list",
    "/key/aliases",
    "/key/generate",
    "/key/service-account/generate",
    "/key/update",
    "/key/delete",
    "/key/regenerate",
    "/key/block",
    "/key/unblock",
];

/// Refuses what is no permission.
pub(super) fn check(permissions: &[String]) -> Result<(), AdminError> {
    let known = |permission: &&String| ALL.contains(&permission.as_str());
    match permissions.iter().find(|permission| !known(permission)) {
        None => Ok(()),
        Some(wrong) => {
            let all = ALL.join(", ");
            let text = format!("Invalid team_member_permissions: {wrong}. Must be one of: {all}");
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// GET /team/permissions_list
pub(in crate::admin) async fn list(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let id = query.text("team_id").unwrap_or_default();
    let team = find::<Team>(&state, &id).await?;
    may_team(&caller, Action::See, &id, team.as_ref())?;
    let team = team.ok_or_else(|| not_found(&id))?;
    let given = match team.team_member_permissions.is_empty() {
        true => ALWAYS.map(str::to_owned).to_vec(),
        false => team.team_member_permissions,
    };
    Ok(Json(json!({
        "team_id": id, "team_member_permissions": given, "all_available_permissions": ALL,
    })))
}

/// POST /team/permissions_update
pub(in crate::admin) async fn update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("team_id");
    let wanted = fields.texts("team_member_permissions").value();
    fields.finish()?;
    let wanted = wanted.unwrap_or_default();
    check(&wanted)?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let team = draft.read::<Team>(&id).await?;
        may_team(&caller, Action::Permissions, &id, team.as_ref())?;
        let mut team = team.ok_or_else(|| not_found(&id))?;
        team.team_member_permissions.clone_from(&wanted);
        draft.write(&id, &team);
        if draft.save(&caller, &mut tries).await?.is_some() {
            break;
        }
    }
    let row = row_now(&state, RecordKind::Team, &id).await?;
    Ok(Json(Value::Object(row)))
}

/// The refusal of a team that is no team's.
pub(super) fn no_team() -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, "team_id is required")
}

/// Teams of one transaction.
const TEAMS_AT_ONCE: usize = 100;

/// POST /team/permissions_bulk_update: adds permissions to teams that are named, or to all.
pub(in crate::admin) async fn bulk_update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let added = fields.texts("permissions").value().unwrap_or_default();
    let named = fields.texts("team_ids").value().unwrap_or_default();
    let all = fields.flag("apply_to_all_teams").value().unwrap_or(false);
    fields.finish()?;
    if added.is_empty() {
        return Ok(Json(json!({
            "message": "No permissions provided", "teams_updated": 0,
            "permissions_appended": null,
        })));
    }
    check(&added)?;
    let bad = |text: &str| AdminError::detail(StatusCode::BAD_REQUEST, text);
    let ids = match (all, named.is_empty()) {
        (false, true) => {
            return Err(bad("Must provide team_ids or set apply_to_all_teams=true"));
        }
        (true, false) => {
            return Err(bad("Cannot set both apply_to_all_teams=true and team_ids"));
        }
        (true, true) => {
            let found = every(&state, &RecordQuery::all(RecordKind::Team)).await?;
            found.into_iter().map(|stored| stored.record.id).collect()
        }
        (false, false) => known(&state, named).await?,
    };
    let mut updated = 0;
    for ids in ids.chunks(TEAMS_AT_ONCE) {
        updated += add(&state, &caller, ids, &added).await?;
    }
    Ok(Json(json!({
        "message": "Team permissions updated successfully",
        "teams_updated": updated,
        "permissions_appended": added,
    })))
}

/// The same ids, if each is a team's.
async fn known(state: &AdminState, ids: Vec<String>) -> Result<Vec<String>, AdminError> {
    let found = super::super::draft::named(state, RecordKind::Team, &ids).await?;
    let is_there = |id: &String| found.iter().any(|stored| stored.record.id == *id);
    let mut missing: Vec<String> = ids.iter().filter(|id| !is_there(id)).cloned().collect();
    if missing.is_empty() {
        return Ok(ids);
    }
    missing.sort_unstable();
    missing.dedup();
    let text = format!("Team(s) not found: ['{}']", missing.join("', '"));
    Err(AdminError::detail(StatusCode::NOT_FOUND, text))
}

/// Adds permissions to some teams in one transaction; how many had not all of them.
async fn add(
    state: &AdminState,
    caller: &Caller,
    ids: &[String],
    added: &[String],
) -> Result<usize, AdminError> {
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        let mut changed = 0;
        for id in ids {
            // One that was deleted meanwhile has no permissions.
            let Some(mut team) = draft.read::<Team>(id).await? else {
                continue;
            };
            let before = team.team_member_permissions.len();
            for permission in added {
                if !team.team_member_permissions.contains(permission) {
                    team.team_member_permissions.push(permission.clone());
                }
            }
            if team.team_member_permissions.len() > before {
                team.team_member_permissions.sort_unstable();
                draft.write(id, &team);
                changed += 1;
            }
        }
        if draft.save(caller, &mut tries).await?.is_some() {
            return Ok(changed);
        }
    }
}
