//! Teams that users may join by themselves: `default_internal_user_params.available_teams`.

use axum::Json;
use axum::extract::State;
use meridian_core::auth::{Action, Power};
use meridian_core::record::{Member, RecordKind, Team, User};
use serde_json::Value;

use super::super::access::{AnyKeyAccess, Caller};
use super::super::authorize::may_team;
use super::super::draft::{every, find};
use super::super::reply::AdminError;
use super::super::rows::row;
use super::super::schema::Patch;
use super::super::state::AdminState;
use crate::store::RecordQuery;

/// Teams in one question.
const TEAMS_ASKED: usize = 100;

/// What somebody who may join a team sees of it: nothing of its members, its spend or its notes.
const SHOWN: [&str; 10] = [
    "team_id",
    "team_alias",
    "organization_id",
    "models",
    "max_budget",
    "budget_duration",
    "tpm_limit",
    "rpm_limit",
    "blocked",
    "created_at",
];

/// GET /team/available: teams that the caller may join and has not joined.
pub(in crate::admin) async fn available(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
) -> Result<Json<Value>, AdminError> {
    let mut ids = state.rules().config.new_keys.open_teams.clone();
    if let Some(user_id) = caller.user_id() {
        let joined = find::<User>(&state, &user_id).await?;
        let joined = joined.map(|user| user.teams).unwrap_or_default();
        ids.retain(|id| !joined.contains(id));
    }
    let mut shown = Vec::new();
    for some in ids.chunks(TEAMS_ASKED) {
        let asked = RecordQuery {
            ids: some.to_vec(),
            ..RecordQuery::all(RecordKind::Team)
        };
        for stored in every(&state, &asked).await? {
            let mut one = row(&stored);
            one.retain(|name, _| SHOWN.contains(&name.as_str()));
            shown.push(Value::Object(one));
        }
    }
    Ok(Json(Value::Array(shown)))
}

/// As what the caller may add these members: whoever leads the team, or a user who joins an open
/// one, as no more than a user of it and without limits of its own.
pub(super) fn may_add(
    state: &AdminState,
    caller: &Caller,
    (id, team): (&str, Option<&Team>),
    (members, limits): (&[Member], &Patch),
) -> Result<Power, AdminError> {
    match may_team(caller, Action::Members, id, team) {
        Err(refusal) => match joins(state, caller, id, members, limits) {
            true => Ok(Power::Owner),
            false => Err(refusal),
        },
        allowed => allowed,
    }
}

fn joins(
    state: &AdminState,
    caller: &Caller,
    id: &str,
    members: &[Member],
    limits: &Patch,
) -> bool {
    let rules = state.rules();
    let is_open = rules
        .config
        .new_keys
        .open_teams
        .iter()
        .any(|open| open == id);
    let own = caller.user_id();
    let [member] = members else {
        return false;
    };
    is_open
        && own.is_some()
        && member.user_id == own
        && member.user_email.is_none()
        && member.role == "user"
        && limits.names().next().is_none()
}
