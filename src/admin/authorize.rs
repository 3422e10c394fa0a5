//! Where decisions of `core::auth` meet stored records: who the caller is, and what it may do to
//! an object.

use axum::http::StatusCode;
use meridian_core::auth::{Action, Object, Power, Principal, Role, Standing, decide, writable};
use meridian_core::key::KeyRecord;
use meridian_core::record::{Facet, OrganizationMember, RecordKind, Team, User};

use super::access::{ADMIN_USER, Caller};
use super::draft::{body_of, every, find, live, named};
use super::reply::AdminError;
use super::state::AdminState;
use crate::store::RecordQuery;

/// LiteLLM's role of a member of an organization who administrates it.
pub(super) const ORG_ADMIN: &str = "org_admin";

/// What a caller is, as the store knows it now.
pub(super) async fn standing(
    state: &AdminState,
    principal: &Principal,
) -> Result<Standing, AdminError> {
    let Principal::Key(key) = principal else {
        return Ok(Standing::master(ADMIN_USER));
    };
    let policy = &key.policy;
    let mut who = Standing {
        role: key.role(),
        user_id: key.user_id().map(str::to_owned),
        key: Some(policy.token),
        key_team: policy.team_id.as_deref().map(str::to_owned),
        ..Standing::default()
    };
    let Some(user_id) = who.user_id.clone() else {
        return Ok(who);
    };
    if let Some(user) = find::<User>(state, &user_id).await? {
        who.role = role_of(&user);
        who.known = true;
        for stored in named(state, RecordKind::Team, &user.teams).await? {
            let team: Team = body_of(&stored)?;
            let member = team.members_with_roles.iter();
            let mut member = member.filter(|one| one.user_id.as_ref() == Some(&user_id));
            if let Some(member) = member.next() {
                who.teams.insert(stored.record.id, member.role == "admin");
            }
        }
    }
    let members = RecordQuery::all(RecordKind::OrganizationMember).with(Facet::UserId, user_id);
    for stored in every(state, &members).await? {
        let member: OrganizationMember = body_of(&stored)?;
        let admin = member.user_role == ORG_ADMIN;
        who.organizations.insert(member.organization_id, admin);
    }
    Ok(who)
}

/// The role of a user: a word that is none gives no right to change anything.
fn role_of(user: &User) -> Role {
    match user.user_role.as_deref() {
        None => Role::InternalUser,
        Some(word) => Role::parse(word).unwrap_or(Role::InternalUserViewer),
    }
}

/// Lets the caller act on an object, or says no.
pub(super) fn may(
    caller: &Caller,
    action: Action,
    object: &Object<'_>,
) -> Result<Power, AdminError> {
    let power = decide(caller.standing(), action, object);
    power.ok_or_else(|| refusal(caller, action, object))
}

/// In LiteLLM's words where it has some.
fn refusal(caller: &Caller, action: Action, object: &Object<'_>) -> AdminError {
    let (route, role, id) = (caller.route(), caller.role_name(), object.id);
    let text = match (object.kind, action) {
        (RecordKind::Key, _) if object.team_id.is_some() && of_member(caller, object) => {
            return member_refusal(caller, object);
        }
        (RecordKind::Key, Action::Create) => {
            "User can only create keys for themselves, or for a team that lets them".to_owned()
        }
        (RecordKind::Key, _) => {
            format!("You are not allowed to access this key's info. Your role={role}")
        }
        (RecordKind::Team, Action::See) => {
            format!("key not allowed to access this team's info. team_id={id}")
        }
        (RecordKind::Team, _) => format!(
            "Call not allowed. User not proxy admin OR team admin. route={route}, team_id={id}"
        ),
        (RecordKind::User, _) => {
            let own = caller.user_id();
            let own = own.as_deref().unwrap_or("None");
            let what = "key not allowed to access this user's info.";
            format!("{what} user_id={id}, key's user_id={own}")
        }
        (RecordKind::Organization, _) => {
            format!("You do not have the required role within organization_id={id} to call {route}")
        }
        _ => format!("Your role={role} may not call {route}"),
    };
    AdminError::Refused {
        status: StatusCode::FORBIDDEN,
        kind: "auth_error",
        param: "None",
        message: text,
    }
}

fn of_member(caller: &Caller, key: &Object<'_>) -> bool {
    let team = key.team_id.unwrap_or_default();
    caller.standing().teams.contains_key(team)
}

fn member_refusal(caller: &Caller, key: &Object<'_>) -> AdminError {
    let (route, team) = (caller.route(), key.team_id.unwrap_or_default());
    AdminError::Refused {
        status: StatusCode::UNAUTHORIZED,
        kind: "team_member_permission_error",
        param: "None",
        message: format!(
            "Team member does not have permissions for endpoint: {route}. You only have access \
             to the following endpoints: {} for team {team}",
            meridian_core::error::python_list(key.permissions)
        ),
    }
}

/// Refuses fields that this power does not reach.
pub(super) fn check_fields<'a>(
    kind: RecordKind,
    power: Power,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), AdminError> {
    let Some(allowed) = writable(kind, power) else {
        return Ok(());
    };
    let refused: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let refused = refused.join(", ");
    let text = format!("Only proxy admins can set: {refused}");
    Err(AdminError::detail(StatusCode::FORBIDDEN, text))
}

/// The refusal to give more than there is to give.
pub(super) fn too_much(field: &str, of: &str) -> AdminError {
    let text = format!("{field} is more than {of} has, and nobody grants what it does not have");
    AdminError::detail(StatusCode::FORBIDDEN, text)
}

/// Where a key is: what the decision over it needs to know.
pub(super) struct KeySite {
    id: String,
    user_id: Option<String>,
    team_id: Option<String>,
    organizations: Vec<String>,
    permissions: Vec<String>,
    /// Its team; `None` where it has none or the team is gone.
    pub(super) team: Option<Team>,
}

impl KeySite {
    /// Of a key as it is or as it would be.
    pub(super) async fn of(state: &AdminState, key: &KeyRecord) -> Result<Self, AdminError> {
        let team = match &key.team_id {
            Some(id) => find::<Team>(state, id).await?,
            None => None,
        };
        let mut organizations: Vec<String> = key.organization_id.iter().cloned().collect();
        let of_team = team.as_ref().and_then(|team| team.organization_id.clone());
        organizations.extend(of_team);
        let permissions = match &team {
            Some(team) => team.team_member_permissions.clone(),
            None => Vec::new(),
        };
        Ok(Self {
            id: key.token.to_string(),
            user_id: key.user_id.clone(),
            team_id: key.team_id.clone(),
            organizations,
            permissions,
            team,
        })
    }

    /// What `decide` looks at.
    pub(super) fn object(&self) -> Object<'_> {
        Object {
            user_id: self.user_id.as_deref(),
            team_id: self.team_id.as_deref(),
            organizations: &self.organizations,
            permissions: &self.permissions,
            ..Object::new(RecordKind::Key, &self.id)
        }
    }
}

/// Lets the caller act on a team.
pub(super) fn may_team(
    caller: &Caller,
    action: Action,
    id: &str,
    team: Option<&Team>,
) -> Result<Power, AdminError> {
    let organization = team.and_then(|team| team.organization_id.clone());
    let organizations: Vec<String> = organization.into_iter().collect();
    let object = Object {
        organizations: &organizations,
        ..Object::new(RecordKind::Team, id)
    };
    may(caller, action, &object)
}

/// Lets the caller act on a user.
pub(super) async fn may_user(
    state: &AdminState,
    caller: &Caller,
    action: Action,
    id: &str,
) -> Result<Power, AdminError> {
    let organizations = organizations_of(state, id).await?;
    let object = Object {
        organizations: &organizations,
        ..Object::new(RecordKind::User, id)
    };
    may(caller, action, &object)
}

/// Organizations that a user belongs to.
pub(super) async fn organizations_of(
    state: &AdminState,
    user_id: &str,
) -> Result<Vec<String>, AdminError> {
    let members = RecordQuery::all(RecordKind::OrganizationMember).with(Facet::UserId, user_id);
    let found = every(state, &members).await?;
    let organization = |stored| Ok(body_of::<OrganizationMember>(stored)?.organization_id);
    found.iter().map(organization).collect()
}

/// Refuses an id of something that is not there.
pub(super) async fn must_exist(
    state: &AdminState,
    kind: RecordKind,
    id: &str,
) -> Result<(), AdminError> {
    match live(state, kind, id).await? {
        Some(_) => Ok(()),
        None => Err(absent(kind, id)),
    }
}

/// What a request refers to and is not there.
pub(super) fn absent(kind: RecordKind, id: &str) -> AdminError {
    let text = match kind {
        RecordKind::Team => format!("Team not found, passed team_id={id}"),
        RecordKind::User => format!("User not found, passed user_id={id}"),
        RecordKind::Organization => {
            format!("Organization not found for organization_id={id}")
        }
        RecordKind::Budget => format!("Budget not found, passed budget_id={id}"),
        RecordKind::Customer => format!("End User Id={id} does not exist in db"),
        RecordKind::Tag => format!("Tag {id} not found"),
        _ => format!("{} {id} not found", kind.as_str()),
    };
    AdminError::detail(StatusCode::NOT_FOUND, text)
}
