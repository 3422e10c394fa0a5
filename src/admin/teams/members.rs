//! Who belongs to a team: a user record knows its teams and a team its members, and both are
//! written together.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::{Action, Power, fits};
use meridian_core::money::NanoUsd;
use meridian_core::record::{Facet, Member, RecordKind, Team, User};
use meridian_core::scope::Scope;
use serde_json::{Map, Value, json};

use super::super::access::{ADMIN_USER, Caller, DelegatedAccess};
use super::super::authorize::{may_team, too_much};
use super::super::body::JsonBody;
use super::super::checks::id_fault;
use super::super::draft::{Draft, Tries, every, find};
use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::super::rows::{memberships, object, row_now};
use super::super::schema::{Field, Kind, Patch, of_route};
use super::super::state::AdminState;
use super::write::not_found;
use super::{budget, member_id, membership};
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// Most members of one call.
const MEMBERS_MAX: usize = 500;

/// What a call may say about members' limits.
pub(in crate::admin) const LIMITS: &[Field] = &[
    of_route("max_budget_in_team", Kind::Money),
    of_route("allowed_models", Kind::Texts),
    of_route("tpm_limit", Kind::Whole),
    of_route("rpm_limit", Kind::Whole),
    of_route("budget_duration", Kind::Period),
];

/// Somebody who joins a team.
pub(in crate::admin) struct Joining<'a> {
    member: Member,
    /// As what the caller adds it.
    power: Power,
    limits: Option<&'a Patch>,
}

impl Joining<'_> {
    /// Without limits of its own.
    pub(in crate::admin) fn plain(member: Member, power: Power) -> Self {
        Self {
            member,
            power,
            limits: None,
        }
    }
}

/// Reads a list of members, or one of them.
pub(super) fn members_of(fields: &mut Fields, name: &str, patch: &Patch) -> Vec<Member> {
    let given = match patch.get(name) {
        Given::Value(value) => value.clone(),
        Given::Null => return Vec::new(),
        Given::Absent => match fields.any(name).value() {
            Some(value) => value,
            None => return Vec::new(),
        },
    };
    let items = match given {
        Value::Array(items) => items,
        one => vec![one],
    };
    let mut members = Vec::new();
    for item in items {
        match member_of(&item) {
            Ok(member) => members.push(member),
            Err(why) => fields.refuse(name, "value_error", why, &item),
        }
    }
    members
}

fn member_of(item: &Value) -> Result<Member, &'static str> {
    let member: Member = serde_json::from_value(item.clone())
        .map_err(|_| "Input should be {\"role\": .., \"user_id\": ..} or have a user_email")?;
    if !matches!(member.role.as_str(), "admin" | "user") {
        return Err("role should be 'admin' or 'user'");
    }
    if member.user_id.is_none() && member.user_email.is_none() {
        return Err("Either user_id or user_email must be provided");
    }
    match member.user_id.as_deref().and_then(id_fault) {
        Some(fault) => Err(fault),
        None => Ok(member),
    }
}

/// Adds somebody to a team; makes the user if there is none. Returns its id.
pub(in crate::admin) async fn join(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &mut Team,
    joining: Joining<'_>,
) -> Result<String, AdminError> {
    let Joining {
        member,
        power,
        limits,
    } = joining;
    let user_id = match &member.user_id {
        Some(id) => id.clone(),
        None => id_of_email(draft, member.user_email.as_deref().unwrap_or_default()).await?,
    };
    if let Some(known) = place_of(team, &user_id) {
        return Err(already_there(&team.members_with_roles[known]));
    }
    let mut user = match draft.read::<User>(&user_id).await? {
        Some(user) => user,
        None => new_user(&member, power),
    };
    if !user.teams.iter().any(|known| known == team_id) {
        user.teams.push(team_id.to_owned());
    }
    team.members_with_roles.push(Member {
        role: member.role,
        user_id: Some(user_id.clone()),
        user_email: member.user_email.or_else(|| user.user_email.clone()),
    });
    // The master key is no user: no record makes it one.
    if user_id != ADMIN_USER {
        draft.write(&user_id, &user);
    }
    budget::give_to_new(draft, team_id, team, &user_id).await?;
    if let Some(limits) = limits {
        limit(draft, team_id, team, &user_id, limits).await?;
    }
    Ok(user_id)
}

/// A user made by whoever is no administrator has no models of its own: the team's are what it
/// was added for.
fn new_user(member: &Member, power: Power) -> User {
    let models = match power {
        Power::Proxy => Vec::new(),
        _ => vec!["no-default-models".to_owned()],
    };
    User {
        user_email: member.user_email.clone(),
        user_role: Some("internal_user".to_owned()),
        models,
        ..User::default()
    }
}

/// The user with this address; a new id if there is none.
async fn id_of_email(draft: &mut Draft<'_>, email: &str) -> Result<String, AdminError> {
    let known = draft
        .all_with(RecordKind::User, Facet::Email, email)
        .await?;
    let known = known.into_iter().next().map(|stored| stored.record.id);
    Ok(known.unwrap_or_else(|| crate::clock::new_call_id().to_string()))
}

fn place_of(team: &Team, user_id: &str) -> Option<usize> {
    let mut members = team.members_with_roles.iter();
    members.position(|one| one.user_id.as_deref() == Some(user_id))
}

fn already_there(member: &Member) -> AdminError {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "None".to_owned());
    AdminError::Refused {
        status: StatusCode::BAD_REQUEST,
        kind: "team_member_already_in_team",
        param: "member",
        message: format!(
            "User already in team. Member: user_id={}, user_email={}",
            shown(&member.user_id),
            shown(&member.user_email)
        ),
    }
}

/// Gives a member limits of its own.
async fn limit(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &Team,
    user_id: &str,
    limits: &Patch,
) -> Result<(), AdminError> {
    if limits.names().next().is_none() {
        return Ok(());
    }
    let mut member = membership(draft, team_id, user_id).await?;
    limits
        .money("max_budget_in_team")
        .write_to(&mut member.bounds.max_budget);
    limits
        .whole("tpm_limit")
        .write_to(&mut member.bounds.tpm_limit);
    limits
        .whole("rpm_limit")
        .write_to(&mut member.bounds.rpm_limit);
    match limits.get("budget_duration") {
        Given::Absent => {}
        Given::Null => {
            member.bounds.budget_duration = None;
            member.bounds.budget_reset_at = None;
        }
        Given::Value(text) => {
            let text = text.as_str().unwrap_or_default();
            let ends = super::super::keys::budget_reset_at(text, &draft.moment())?;
            member.bounds.budget_reset_at = Some(ends);
            member.bounds.budget_duration = Some(text.to_owned());
        }
    }
    if let Some(models) = limits.texts("allowed_models") {
        member.allowed_models = models;
    }
    if !fits(member.bounds.max_budget, team.bounds.max_budget) {
        return Err(over_team(member.bounds.max_budget, team.bounds.max_budget));
    }
    draft.write(&member_id(team_id, user_id), &member);
    draft.set_period(Scope::team_member(team_id, user_id), &member.bounds);
    Ok(())
}

fn over_team(amount: Option<NanoUsd>, most: Option<NanoUsd>) -> AdminError {
    let dollars = |amount: Option<NanoUsd>| amount.unwrap_or_default().dollars();
    too_much(
        &format!("max_budget_in_team={:?}", dollars(amount)),
        &format!("the team (max_budget={:?})", dollars(most)),
    )
}

/// Takes somebody out of a team, with its limits and its keys there.
pub(in crate::admin) async fn leave(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &mut Team,
    user_id: &str,
) -> Result<(), AdminError> {
    team.members_with_roles
        .retain(|one| one.user_id.as_deref() != Some(user_id));
    if let Some(mut user) = draft.read::<User>(user_id).await? {
        user.teams.retain(|known| known != team_id);
        draft.write(user_id, &user);
    }
    let id = member_id(team_id, user_id);
    draft.body(RecordKind::TeamMember, &id).await?;
    draft.delete(RecordKind::TeamMember, &id);
    super::super::keys::delete_of_member(draft, team_id, user_id).await
}

/// Makes the members those that are named: others leave, roles are set.
pub(super) async fn set(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &mut Team,
    wanted: &[Member],
) -> Result<(), AdminError> {
    let mut stays = Vec::new();
    for member in wanted {
        let user_id = match &member.user_id {
            Some(id) => id.clone(),
            None => id_of_email(draft, member.user_email.as_deref().unwrap_or_default()).await?,
        };
        match place_of(team, &user_id) {
            Some(at) => team.members_with_roles[at].role.clone_from(&member.role),
            None => {
                let member = Member {
                    user_id: Some(user_id.clone()),
                    ..member.clone()
                };
                join(draft, team_id, team, Joining::plain(member, Power::Proxy)).await?;
            }
        }
        stays.push(user_id);
    }
    let members = team.members_with_roles.clone();
    for member in members.into_iter().filter_map(|member| member.user_id) {
        if !stays.contains(&member) {
            leave(draft, team_id, team, &member).await?;
        }
    }
    Ok(())
}

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
        let power = may_team(caller, Action::Members, id, team.as_ref())?;
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
