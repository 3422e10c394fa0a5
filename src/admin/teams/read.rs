//! Reading teams: info, lists, the caller's own place in one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::record::{Budget, Facet, RecordKind, Team};
use serde_json::{Map, Value, json};

use super::super::access::{Caller, OwnOrViewerAccess, PathParameter, ViewerAccess};
use super::super::authorize::may_team;
use super::super::draft::{every, find, live};
use super::super::keys::rows_of_team;
use super::super::lists::{Listed, page_of, sorted};
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::rows::{memberships, row, shown_bounds};
use super::super::state::AdminState;
use super::member_id;
use super::permissions::no_team;
use super::write::not_found;
use crate::store::{RecordQuery, RecordSort, StoredRecord};

type Answer = Result<Json<Value>, AdminError>;

/// GET /team/info
pub(in crate::admin) async fn info(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let id = query.text("team_id").ok_or_else(no_team)?;
    let stored = live(&state, RecordKind::Team, &id).await?;
    let team = find::<Team>(&state, &id).await?;
    may_team(&caller, Action::See, &id, team.as_ref())?;
    let (Some(stored), Some(team)) = (stored, team) else {
        let text = format!("Team not found, passed team id: {id}.");
        return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
    };
    let mut shown = row(&stored);
    let budget = match &team.team_member_budget_id {
        Some(budget) => find::<Budget>(&state, budget).await?,
        None => None,
    };
    let table = budget.map(|budget| {
        let mut table = shown_bounds(&budget.bounds);
        table.insert("budget_id".to_owned(), json!(team.team_member_budget_id));
        table
    });
    shown.insert("team_member_budget_table".to_owned(), json!(table));
    Ok(Json(json!({
        "team_id": id,
        "team_info": shown,
        "keys": rows_of_team(&state, &id).await?,
        "team_memberships": members(&state, &id).await?,
    })))
}

async fn members(state: &AdminState, id: &str) -> Result<Vec<Value>, AdminError> {
    let query = RecordQuery::all(RecordKind::TeamMember).with(Facet::TeamId, id);
    memberships(state, &query).await
}

/// GET /team/list
pub(in crate::admin) async fn list(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let asked = RecordQuery::all(RecordKind::Team);
    let Some(asked) = restrict(&state, &caller, &query, asked).await? else {
        return Ok(Json(json!([])));
    };
    let mut shown = Vec::new();
    for stored in every(&state, &asked).await? {
        shown.push(Value::Object(full(&state, &stored).await?));
    }
    Ok(Json(Value::Array(shown)))
}

/// GET /v2/team/list
pub(in crate::admin) async fn list_v2(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let columns = [
        ("team_alias", RecordSort::Facet(Facet::Alias)),
        ("created_at", RecordSort::CreatedAt),
        ("team_id", RecordSort::Id),
        ("spend", RecordSort::Spend),
        ("max_budget", RecordSort::MaxBudget),
    ];
    let asked = RecordQuery {
        search: query.text("team_alias"),
        deleted: query.text("status").as_deref() == Some("deleted"),
        ids: query.text("team_id").into_iter().collect(),
        ..RecordQuery::all(RecordKind::Team)
    };
    let asked = sorted(&query, asked, &columns)?;
    let (page, size) = query.page(10)?;
    let Some(asked) = restrict(&state, &caller, &query, asked).await? else {
        return Ok(Json(Listed::empty(page, size).named("teams")));
    };
    let found = page_of(&state, asked, page, size).await?;
    let rows = found
        .records
        .iter()
        .map(|stored| Value::Object(row(stored)));
    Ok(Json(Listed::new(rows.collect(), &found).named("teams")))
}

/// Narrows a list of teams to what is asked for and may be seen; `None` is nothing.
async fn restrict(
    state: &AdminState,
    caller: &Caller,
    query: &Query,
    mut asked: RecordQuery,
) -> Result<Option<RecordQuery>, AdminError> {
    let (user, organization) = (query.text("user_id"), query.text("organization_id"));
    let who = caller.standing();
    let administrated = organization
        .as_ref()
        .is_some_and(|id| who.organizations.get(id) == Some(&true));
    if let Some(id) = organization {
        asked = asked.with(Facet::OrganizationId, id);
    }
    let mut ids = match &user {
        Some(user) if caller.sees_all() || caller.user_id().as_ref() == Some(user) => {
            Some(teams_of(state, user).await?)
        }
        Some(_) => return Err(others_teams(caller)),
        None if caller.sees_all() || administrated => None,
        None => {
            let own = who.teams.keys().cloned();
            Some(own.chain(who.key_team.clone()).collect())
        }
    };
    if let (Some(ids), false) = (&mut ids, asked.ids.is_empty()) {
        ids.retain(|id| asked.ids.contains(id));
    }
    match ids {
        None => Ok(Some(asked)),
        Some(ids) if ids.is_empty() => Ok(None),
        Some(ids) => Ok(Some(RecordQuery { ids, ..asked })),
    }
}

async fn teams_of(state: &AdminState, user_id: &str) -> Result<Vec<String>, AdminError> {
    let user = find::<meridian_core::record::User>(state, user_id).await?;
    Ok(user.map(|user| user.teams).unwrap_or_default())
}

fn others_teams(caller: &Caller) -> AdminError {
    let role = caller.role_name();
    let text = format!("Only admin users can query all teams/other teams. Your user role={role}");
    AdminError::Refused {
        status: StatusCode::UNAUTHORIZED,
        kind: "internal_server_error",
        param: "None",
        message: format!("{{'error': '{text}'}}"),
    }
}

/// A team with its keys and its members' limits.
async fn full(state: &AdminState, stored: &StoredRecord) -> Result<Map<String, Value>, AdminError> {
    let id = &stored.record.id;
    let mut shown = row(stored);
    shown.insert("keys".to_owned(), json!(rows_of_team(state, id).await?));
    let members = members(state, id).await?;
    shown.insert("team_memberships".to_owned(), json!(members));
    Ok(shown)
}

/// GET /team/{team_id}/members/me
pub(in crate::admin) async fn me(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    PathParameter(id): PathParameter,
) -> Answer {
    let id = id.unwrap_or_default();
    let team = find::<Team>(&state, &id).await?;
    may_team(&caller, Action::See, &id, team.as_ref())?;
    let team = team.ok_or_else(|| not_found(&id))?;
    let own = caller.user_id().unwrap_or_default();
    let member = team.members_with_roles.iter();
    let mut member = member.filter(|one| one.user_id.as_ref() == Some(&own));
    let Some(member) = member.next() else {
        let text = format!("User not found in team. user_id={own}, user_email=None");
        return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
    };
    let query = RecordQuery {
        ids: vec![member_id(&id, &own)],
        ..RecordQuery::all(RecordKind::TeamMember)
    };
    let limits = memberships(&state, &query).await?.into_iter().next();
    let limits = limits.unwrap_or_else(|| json!({"spend": 0.0, "litellm_budget_table": null}));
    let mut shown = super::super::rows::object(limits);
    shown.insert("team_id".to_owned(), json!(id));
    shown.insert("user_id".to_owned(), json!(own));
    shown.insert("user_email".to_owned(), json!(member.user_email));
    shown.insert("role".to_owned(), json!(member.role));
    Ok(Json(Value::Object(shown)))
}

/// GET /team/filter/ui: teams by a part of their id or alias.
pub(in crate::admin) async fn filter(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (page, size) = query.page(50)?;
    let asked = RecordQuery {
        search: query.text("team_id").or_else(|| query.text("team_alias")),
        descending: true,
        ..RecordQuery::all(RecordKind::Team)
    };
    let found = page_of(&state, asked, page, size).await?;
    let rows = found
        .records
        .iter()
        .map(|stored| Value::Object(row(stored)));
    Ok(Json(rows.collect()))
}
