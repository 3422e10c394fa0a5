//! `/team/member_*`: who belongs to a team.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::record::{Facet, Member, RecordKind, Team};
use serde_json::{Map, Value, json};

use super::super::access::{Caller, DelegatedAccess};
use super::super::authorize::may_team;
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, every, find};
use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::super::rows::{memberships, object, row_now};
use super::super::schema::Patch;
use super::super::state::AdminState;
use super::joining::{Joining, LIMITS, already_there, join, leave, limit, members_of, place_of};
use super::open::may_add;
use super::write::not_found;
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// Most members of one call.
const MEMBERS_MAX: usize = 500;

/// POST /team/member_add
pub(in crate::admin) async fn add(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("team_id");
    let members = required_members(&mut fields, "member");
    let limits = Patch::read(&mut fields, &[LIMITS]);
    fields.finish()?;
    limits.check()?;
    let added = add_all(&state, &caller, &id, members, &limits).await?;
    let mut out = row_now(&state, RecordKind::Team, &id).await?;
    out.insert("updated_users".to_owned(), user_rows(&state, &added).await?);
    let of_team = RecordQuery::all(RecordKind::TeamMember).with(Facet::TeamId, id.as_str());
    let mut limits = memberships(&state, &of_team).await?;
    limits.retain(|one| {
        let user = one["user_id"].as_str().unwrap_or_default();
        added.iter().any(|id| id == user)
    });
    out.insert("updated_team_memberships".to_owned(), json!(limits));
    Ok(Json(Value::Object(out)))
}

fn required_members(fields: &mut Fields, name: &str) -> Vec<Member> {
    if !fields.has(name) {
        fields.refuse(name, "missing", "Field required", &Value::Null);
    }
    let members = members_of(fields, name, &Patch::default());
    if members.len() > MEMBERS_MAX {
        fields.refuse(
            name,
            "too_long",
            "List should have at most 500 items",
            &Value::Null,
        );
    }
    members
}

async fn add_all(
    state: &AdminState,
    caller: &Caller,
    id: &str,
    members: Vec<Member>,
    limits: &Patch,
) -> Result<Vec<String>, AdminError> {
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        let team = draft.read::<Team>(id).await?;
        let asked = (members.as_slice(), limits);
        let power = may_add(state, caller, (id, team.as_ref()), asked)?;
        let mut team = team.ok_or_else(|| not_found(id))?;
        let mut added = Vec::new();
        for member in &members {
            let joining = Joining {
                member: member.clone(),
                power,
                limits: Some(limits),
            };
            added.push(join(&mut draft, id, &mut team, joining).await?);
        }
        draft.write(id, &team);
        if draft.save(caller, &mut tries).await?.is_some() {
            return Ok(added);
        }
    }
}

async fn user_rows(state: &AdminState, ids: &[String]) -> Result<Value, AdminError> {
    let mut rows = Vec::new();
    for id in ids {
        rows.push(Value::Object(row_now(state, RecordKind::User, id).await?));
    }
    Ok(Value::Array(rows))
}

/// POST /team/bulk_member_add: who is there already is reported, the others join together.
pub(in crate::admin) async fn bulk_add(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("team_id");
    let everybody = fields.flag("all_users").value().unwrap_or(false);
    let limits = Patch::read(&mut fields, &[LIMITS]);
    let mut members = match everybody {
        true => Vec::new(),
        false => required_members(&mut fields, "members"),
    };
    fields.finish()?;
    limits.check()?;
    let team = find::<Team>(&state, &id).await?;
    may_team(&caller, Action::Members, &id, team.as_ref())?;
    let team = team.ok_or_else(|| not_found(&id))?;
    if everybody {
        members = every_user(&state, &caller).await?;
    }
    if members.is_empty() {
        let text = "At least one member is required";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let total = members.len();
    let is_there = |member: &Member| {
        let by_id = member.user_id.as_deref().and_then(|id| place_of(&team, id));
        let email = member.user_email.as_ref();
        let same = |one: &Member| email.is_some() && one.user_email.as_ref() == email;
        by_id.is_some() || (member.user_id.is_none() && team.members_with_roles.iter().any(same))
    };
    let (there, new): (Vec<Member>, Vec<Member>) = members.into_iter().partition(is_there);
    let added = add_all(&state, &caller, &id, new, &limits).await?;
    let mut results = Vec::new();
    for user in user_rows(&state, &added)
        .await?
        .as_array()
        .into_iter()
        .flatten()
    {
        results.push(json!({
            "user_id": user["user_id"], "user_email": user["user_email"], "success": true,
            "error": null, "updated_user": user,
        }));
    }
    for member in &there {
        results.push(json!({
            "user_id": member.user_id, "user_email": member.user_email, "success": false,
            "error": already_there(member).text(), "updated_user": null,
        }));
    }
    Ok(Json(json!({
        "team_id": id, "results": results, "total_requested": total,
        "successful_additions": added.len(), "failed_additions": there.len(),
        "updated_team": row_now(&state, RecordKind::Team, &id).await?,
    })))
}

async fn every_user(state: &AdminState, caller: &Caller) -> Result<Vec<Member>, AdminError> {
    if !caller.sees_all() {
        let text = "Only proxy admins can set: all_users";
        return Err(AdminError::detail(StatusCode::FORBIDDEN, text));
    }
    let users = every(state, &RecordQuery::all(RecordKind::User)).await?;
    Ok(users
        .into_iter()
        .map(|user| Member {
            role: "user".to_owned(),
            user_id: Some(user.record.id),
            user_email: None,
        })
        .collect())
}

/// POST /team/member_update
pub(in crate::admin) async fn update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("team_id");
    let who = Named::read(&mut fields);
    let role = fields.word("role", &["admin", "user"]).value();
    let limits = Patch::read(&mut fields, &[LIMITS]);
    fields.finish()?;
    limits.check()?;
    let mut tries = Tries::default();
    let user_id = loop {
        let mut draft = Draft::new(&state, &caller);
        let team = draft.read::<Team>(&id).await?;
        may_team(&caller, Action::Members, &id, team.as_ref())?;
        let mut team = team.ok_or_else(|| not_found(&id))?;
        let at = who.place_in(&team)?;
        if let Some(role) = &role {
            team.members_with_roles[at].role.clone_from(role);
        }
        let user_id = team.members_with_roles[at].user_id.clone();
        let user_id = user_id.unwrap_or_default();
        limit(&mut draft, &id, &team, &user_id, &limits).await?;
        draft.write(&id, &team);
        if draft.save(&caller, &mut tries).await?.is_some() {
            break user_id;
        }
    };
    let mut out = object(json!({
        "team_id": id, "user_id": user_id, "user_email": who.email, "role": role,
    }));
    for name in limits.names() {
        let shown = match limits.money(name) {
            Given::Value(amount) if name == "max_budget_in_team" => json!(amount.dollars()),
            _ => limits.get(name).value().cloned().unwrap_or(Value::Null),
        };
        out.insert(name.to_owned(), shown);
    }
    Ok(Json(Value::Object(out)))
}

/// POST /team/member_delete
pub(in crate::admin) async fn delete(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("team_id");
    let who = Named::read(&mut fields);
    fields.finish()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let team = draft.read::<Team>(&id).await?;
        may_team(&caller, Action::Members, &id, team.as_ref())?;
        let mut team = team.ok_or_else(|| not_found(&id))?;
        let at = who.place_in(&team)?;
        let user_id = team.members_with_roles[at].user_id.clone();
        leave(&mut draft, &id, &mut team, &user_id.unwrap_or_default()).await?;
        draft.write(&id, &team);
        if draft.save(&caller, &mut tries).await?.is_some() {
            break;
        }
    }
    let row: Map<String, Value> = row_now(&state, RecordKind::Team, &id).await?;
    Ok(Json(Value::Object(row)))
}

/// A member that a request names by id or address.
struct Named {
    id: Option<String>,
    email: Option<String>,
}

impl Named {
    fn read(fields: &mut Fields) -> Self {
        let named = Self {
            id: fields.text("user_id").value(),
            email: fields.text("user_email").value(),
        };
        if named.id.is_none() && named.email.is_none() {
            let text = "Either user_id or user_email needs to be provided";
            fields.refuse("user_id", "value_error", text, &Value::Null);
        }
        named
    }

    fn place_in(&self, team: &Team) -> Result<usize, AdminError> {
        let is = |one: &Member| match &self.id {
            Some(id) => one.user_id.as_ref() == Some(id),
            None => one.user_email == self.email,
        };
        let found = team.members_with_roles.iter().position(is);
        found.ok_or_else(|| {
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "None".to_owned());
            let text = format!(
                "User not found in team. user_id={}, user_email={}",
                shown(&self.id),
                shown(&self.email)
            );
            AdminError::detail(StatusCode::BAD_REQUEST, text)
        })
    }
}
