//! What members of a team may do with their keys in it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::record::{RecordKind, Team};
use serde_json::{Value, json};

use super::super::access::{DelegatedAccess, OwnOrViewerAccess};
use super::super::authorize::may_team;
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, find};
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::rows::row_now;
use super::super::state::AdminState;
use super::write::not_found;

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
