//! Joining and leaving a team: a user record knows its teams and a team its members, and both are
//! written together.

use axum::http::StatusCode;
use meridian_core::auth::{Power, fits};
use meridian_core::money::NanoUsd;
use meridian_core::record::{Facet, Member, RecordKind, Team, User};
use meridian_core::scope::Scope;
use serde_json::Value;

use super::super::access::ADMIN_USER;
use super::super::authorize::too_much;
use super::super::checks::id_fault;
use super::super::draft::Draft;
use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::super::schema::{Field, Kind, Patch, of_route};
use super::{budget, member_id, membership};

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
    pub(super) member: Member,
    /// As what the caller adds it.
    pub(super) power: Power,
    /// What it may spend there.
    pub(super) limits: Option<&'a Patch>,
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

pub(super) fn place_of(team: &Team, user_id: &str) -> Option<usize> {
    let mut members = team.members_with_roles.iter();
    members.position(|one| one.user_id.as_deref() == Some(user_id))
}

pub(super) fn already_there(member: &Member) -> AdminError {
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
pub(super) async fn limit(
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
