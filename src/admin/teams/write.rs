//! Making, changing, blocking and removing teams.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::{Action, Power};
use meridian_core::config::NewKeys;
use meridian_core::record::{Bounds, Member, RecordKind, Team};
use serde_json::{Map, Value, json};

use super::super::access::{Caller, DelegatedAccess};
use super::super::authorize::{check_fields, may_team};
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, find, live, typed};
use super::super::fields::Fields;
use super::super::reply::AdminError;
use super::super::rows::{row_at, row_now};
use super::super::schema::{Patch, Place};
use super::super::state::AdminState;
use super::guard_metadata;
use super::joining::{Joining, join, members_of};
use super::{NEW_FIELDS, UPDATE_FIELDS, budget, check, check_growth, check_organization};

type Answer = Result<Json<Value>, AdminError>;

/// Most teams in one call.
const TEAMS_MAX: usize = 100;

/// What a request says about a team that is made or replaced.
pub(in crate::admin) struct NewTeam {
    /// Fields of the record and of its members' budget.
    pub(in crate::admin) patch: Patch,
    /// Who belongs to it.
    pub(in crate::admin) members: Vec<Member>,
}

impl NewTeam {
    /// Takes it out of a body.
    pub(in crate::admin) fn read(fields: &mut Fields) -> Self {
        let patch = Patch::read(fields, NEW_FIELDS);
        let mut members = members_of(fields, "members_with_roles", &patch);
        for (name, role) in [("admins", "admin"), ("members", "user")] {
            for user_id in patch.texts(name).unwrap_or_default() {
                let known = |one: &Member| one.user_id.as_deref() == Some(user_id.as_str());
                if !members.iter().any(known) {
                    members.push(Member {
                        role: role.to_owned(),
                        user_id: Some(user_id),
                        user_email: None,
                    });
                }
            }
        }
        Self { patch, members }
    }
}

/// POST /team/new
pub(in crate::admin) async fn new(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let names = fields.names();
    let id = fields.id("team_id").value();
    let mut asked = NewTeam::read(&mut fields);
    fields.finish()?;
    asked.patch.check()?;
    fill(&mut asked.patch, &state.rules().config.new_keys)?;
    let id = id.unwrap_or_else(|| crate::clock::new_call_id().to_string());
    let body = asked
        .patch
        .whole_body(&Bounds::default(), &state.moment())?;
    let team: Team = typed(&id, body)?;
    let power = may_team(&caller, Action::Create, &id, Some(&team))?;
    check_fields(RecordKind::Team, power, names.iter().map(String::as_str))?;
    let mut patch = asked.patch.clone();
    guard_metadata(&mut patch, &Map::new(), RecordKind::Team, power)?;
    let mut members = asked.members;
    add_creator(&mut members, &caller);
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        if draft.body(RecordKind::Team, &id).await?.is_some() {
            let text = format!("Team id = {id} already exists. Please use a different team id.");
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
        build(
            &mut draft,
            &id,
            team.clone(),
            &members,
            &patch,
            power,
            &state,
        )
        .await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            break;
        }
    }
    Ok(Json(Value::Object(
        row_now(&state, RecordKind::Team, &id).await?,
    )))
}

/// Uses what the configuration says for what was left out.
fn fill(patch: &mut Patch, rules: &NewKeys) -> Result<(), AdminError> {
    let mut fields = Fields::of_object(rules.teams.clone());
    patch.fill(&Patch::read(&mut fields, NEW_FIELDS));
    fields.finish()
}

/// Whoever makes a team leads it, as in LiteLLM.
fn add_creator(members: &mut Vec<Member>, caller: &Caller) {
    let Some(own) = caller.user_id() else {
        return;
    };
    let known = |one: &Member| one.user_id.as_deref() == Some(own.as_str());
    if !members.iter().any(known) {
        members.push(Member {
            role: "admin".to_owned(),
            user_id: Some(own),
            user_email: None,
        });
    }
}

/// Puts a team without members, and then its members, into a draft.
async fn build(
    draft: &mut Draft<'_>,
    id: &str,
    mut team: Team,
    members: &[Member],
    patch: &Patch,
    power: Power,
    state: &AdminState,
) -> Result<(), AdminError> {
    check(&team)?;
    check_organization(draft, &team).await?;
    for member in members {
        let joining = Joining::plain(member.clone(), power);
        join(draft, id, &mut team, joining).await?;
    }
    budget::set(draft, id, &mut team, patch, &state.moment()).await?;
    draft.write(id, &team);
    Ok(())
}

/// POST /team/update
pub(in crate::admin) async fn update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("team_id");
    let patch = Patch::read(&mut fields, UPDATE_FIELDS);
    fields.finish()?;
    patch.check()?;
    change(&state, &caller, &id, Action::Change, &patch).await?;
    let row = row_now(&state, RecordKind::Team, &id).await?;
    Ok(Json(json!({"team_id": id, "data": row})))
}

/// Changes the fields of a team.
async fn change(
    state: &AdminState,
    caller: &Caller,
    id: &str,
    action: Action,
    patch: &Patch,
) -> Result<(), AdminError> {
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        let body = draft.body(RecordKind::Team, id).await?;
        let before = draft.read::<Team>(id).await?;
        let power = may_team(caller, action, id, before.as_ref())?;
        let (Some(mut body), Some(before)) = (body, before) else {
            return Err(not_found(id));
        };
        if action == Action::Change {
            check_fields(RecordKind::Team, power, patch.names())?;
        }
        let mut patch = patch.clone();
        guard_metadata(&mut patch, &before.metadata, RecordKind::Team, power)?;
        patch.apply(&mut body, &state.moment())?;
        let mut team: Team = typed(id, body)?;
        check(&team)?;
        check_growth(power, &before, &team)?;
        if team.organization_id != before.organization_id {
            may_team(caller, Action::Create, id, Some(&team))?;
        }
        check_organization(&mut draft, &team).await?;
        budget::set(&mut draft, id, &mut team, &patch, &state.moment()).await?;
        draft.write(id, &team);
        if draft.save(caller, &mut tries).await?.is_some() {
            return Ok(());
        }
    }
}

pub(super) fn not_found(id: &str) -> AdminError {
    let text = format!("Team not found, passed team_id={id}");
    AdminError::detail(StatusCode::NOT_FOUND, text)
}

/// POST /team/block
pub(in crate::admin) async fn block(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    set_blocked(&state, &caller, fields, true).await
}

/// POST /team/unblock
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
    let id = fields.required_text("team_id");
    fields.finish()?;
    let mut patch = Patch::default();
    patch.set("blocked", Place::Column, json!(blocked));
    change(state, caller, &id, Action::Block, &patch).await?;
    Ok(Json(Value::Object(
        row_now(state, RecordKind::Team, &id).await?,
    )))
}

/// POST /team/delete
pub(in crate::admin) async fn delete(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let ids = fields.texts("team_ids").value().unwrap_or_default();
    fields.finish()?;
    if ids.is_empty() || ids.len() > TEAMS_MAX {
        let text = format!("team_ids must name 1 to {TEAMS_MAX} teams");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    for id in &ids {
        let team = find::<Team>(&state, id).await?;
        may_team(&caller, Action::Delete, id, team.as_ref())?;
        if team.is_none() {
            return Err(not_found(id));
        }
    }
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        for id in &ids {
            super::remove(&mut draft, id).await?;
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            return Ok(Json(json!({"deleted_teams": ids})));
        }
    }
}

/// POST /team/model/add
pub(in crate::admin) async fn add_models(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    change_models(&state, &caller, fields, Action::AddModels).await
}

/// POST /team/model/delete
pub(in crate::admin) async fn remove_models(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    change_models(&state, &caller, fields, Action::RemoveModels).await
}

async fn change_models(
    state: &AdminState,
    caller: &Caller,
    mut fields: Fields,
    action: Action,
) -> Answer {
    let id = fields.required_text("team_id");
    let models = fields.texts("models").value().unwrap_or_default();
    fields.finish()?;
    let stored = live(state, RecordKind::Team, &id).await?;
    let team = find::<Team>(state, &id).await?;
    may_team(caller, action, &id, team.as_ref())?;
    let (Some(stored), Some(team)) = (stored, team) else {
        return Err(not_found(&id));
    };
    let mut left = team.models;
    if action == Action::AddModels {
        let new = models.into_iter().filter(|model| !left.contains(model));
        let new: Vec<String> = new.collect();
        left.extend(new);
    } else {
        left.retain(|model| !models.contains(model));
        if left.is_empty() {
            // An empty list would be every model.
            left.push("no-default-models".to_owned());
        }
    }
    let mut patch = Patch::default();
    patch.set("models", Place::Column, json!(left));
    if stored.record.body.get("models") == Some(&json!(left)) {
        return Ok(Json(Value::Object(row_at(state, &stored))));
    }
    change(state, caller, &id, action, &patch).await?;
    Ok(Json(Value::Object(
        row_now(state, RecordKind::Team, &id).await?,
    )))
}

/// The team as a `PUT` says it is, in a draft.
pub(in crate::admin) async fn put(
    draft: &mut Draft<'_>,
    id: &str,
    asked: &NewTeam,
    state: &AdminState,
) -> Result<(), AdminError> {
    let before = draft.read::<Team>(id).await?.unwrap_or_default();
    let body = asked.patch.whole_body(&before.bounds, &state.moment())?;
    let mut team: Team = typed(id, body)?;
    team.created_by.clone_from(&before.created_by);
    team.updated_by.clone_from(&before.updated_by);
    team.members_with_roles
        .clone_from(&before.members_with_roles);
    team.team_member_budget_id
        .clone_from(&before.team_member_budget_id);
    check(&team)?;
    check_organization(draft, &team).await?;
    super::joining::set(draft, id, &mut team, &asked.members).await?;
    budget::set(draft, id, &mut team, &asked.patch, &state.moment()).await?;
    draft.write(id, &team);
    Ok(())
}
