//! `/team/*`: teams, their members and what they may spend.

mod budget;
pub(super) mod joining;
mod keys;
pub(super) mod logging;
pub(super) mod members;
pub(super) mod open;
pub(super) mod permissions;
pub(super) mod read;
pub(super) mod write;

use axum::http::StatusCode;
use meridian_core::auth::{Power, Rights, exceeds};
use meridian_core::record::{Budget, Facet, Organization, RecordKind, Team, TeamMember, User};
use serde_json::{Map, Value};

pub(super) use keys::bulk_update as bulk_update_keys;

use super::authorize::{absent, too_much};
use super::draft::Draft;
use super::fields::Given;
use super::reply::AdminError;
use super::schema::{BOUNDS, FOLDED, Field, Kind, Patch, column, extra, of_route};

/// What is stored of a team.
pub(super) const TEAM: &[Field] = &[
    column("team_alias", Kind::Text),
    column("organization_id", Kind::Id),
    column("models", Kind::Texts),
    column("model_aliases", Kind::TextMap),
    column("blocked", Kind::Flag),
    column("team_member_permissions", Kind::Texts),
    column("allowed_regions", Kind::Regions),
    extra("budget_limits", Kind::Any),
    extra("router_settings", Kind::Object),
    extra("access_group_ids", Kind::Texts),
    extra("default_team_member_models", Kind::Texts),
    extra("object_permission", Kind::Object),
    extra("allow_team_guardrail_config", Kind::Flag),
];

/// What every member gets who has nothing of its own.
const MEMBER_BUDGET: &[Field] = &[
    of_route("team_member_budget", Kind::Money),
    of_route("team_member_budget_duration", Kind::Period),
    of_route("team_member_rpm_limit", Kind::Whole),
    of_route("team_member_tpm_limit", Kind::Whole),
];

/// Who a new team has.
const MEMBERS: &[Field] = &[
    of_route("admins", Kind::Texts),
    of_route("members", Kind::Texts),
    of_route("members_with_roles", Kind::Any),
];

/// `/team/update`, without the team's id.
pub(in crate::admin) const UPDATE_FIELDS: &[&[Field]] = &[TEAM, BOUNDS, FOLDED, MEMBER_BUDGET];
/// `/team/new` and `PUT /team/{id}`, without the team's id.
pub(in crate::admin) const NEW_FIELDS: &[&[Field]] =
    &[TEAM, BOUNDS, FOLDED, MEMBER_BUDGET, MEMBERS];

/// What a team may not be, whoever says so.
fn check(team: &Team) -> Result<(), AdminError> {
    permissions::check(&team.team_member_permissions)
}

/// A team has no more than its organization, as far as it says how much it has.
async fn check_organization(draft: &mut Draft<'_>, team: &Team) -> Result<(), AdminError> {
    let Some(id) = &team.organization_id else {
        return Ok(());
    };
    let organization = draft.read::<Organization>(id).await?;
    let organization = organization.ok_or_else(|| absent(RecordKind::Organization, id))?;
    let budget = match &organization.budget_id {
        Some(budget) => draft.read::<Budget>(budget).await?.unwrap_or_default(),
        None => Budget::default(),
    };
    let ceiling = Rights::of_bounds(&organization.models, &budget.bounds);
    let mut wanted = Rights::of_team(team);
    if wanted.models.is_empty() {
        wanted.models.clone_from(&ceiling.models);
    }
    if wanted.bounds.max_budget.is_none() {
        wanted.bounds.max_budget = ceiling.bounds.max_budget;
        wanted.bounds.budget_duration = None;
    }
    // Periods of a team and of its organization are independent: both hold.
    wanted.bounds.budget_duration = None;
    wanted.bounds = wanted.bounds.or(&ceiling.bounds);
    wanted.bounds.budget_duration = None;
    match exceeds(&wanted, &ceiling) {
        None => Ok(()),
        Some(field) => {
            let text = format!(
                "{field} of the team is more than its organization has. organization_id={id}"
            );
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Whoever is no administrator of the proxy gives a team nothing that it did not have.
fn check_growth(power: Power, before: &Team, after: &Team) -> Result<(), AdminError> {
    if power != Power::Team {
        return Ok(());
    }
    match exceeds(&Rights::of_team(after), &Rights::of_team(before)) {
        None => Ok(()),
        Some(field) => Err(too_much(field, "the team")),
    }
}

/// What only administrators may write into `metadata` stays as it is when others replace it, and
/// cannot be brought in by it.
pub(super) fn guard_metadata(
    patch: &mut Patch,
    before: &Map<String, Value>,
    kind: RecordKind,
    power: Power,
) -> Result<(), AdminError> {
    let Some(allowed) = meridian_core::auth::writable(kind, power) else {
        return Ok(());
    };
    let Given::Value(Value::Object(wanted)) = patch.get("metadata") else {
        if patch.get("metadata") == Given::Null {
            return Err(super::authorize::too_much("metadata: null", "this role"));
        }
        return Ok(());
    };
    let mut wanted = wanted.clone();
    guard(&mut wanted, before, allowed)?;
    patch.set("metadata", super::schema::Place::Column, wanted.into());
    Ok(())
}

/// The same for metadata that is at hand.
pub(super) fn guard(
    wanted: &mut Map<String, Value>,
    before: &Map<String, Value>,
    allowed: &[&str],
) -> Result<(), AdminError> {
    let guarded = super::keys::FOLDED.iter().chain(&super::keys::GUARDED);
    for name in guarded.filter(|name| !allowed.contains(name)) {
        let (new, old) = (wanted.get(*name), before.get(*name));
        if new.is_some() && new != old {
            let text = format!("Only proxy admins can set: metadata.{name}");
            return Err(AdminError::detail(StatusCode::FORBIDDEN, text));
        }
        if let Some(old) = old {
            wanted.insert((*name).to_owned(), old.clone());
        }
    }
    Ok(())
}

/// Removes a team with everything that is only there because of it.
pub(super) async fn remove(draft: &mut Draft<'_>, id: &str) -> Result<bool, AdminError> {
    let Some(team) = draft.read::<Team>(id).await? else {
        return Ok(false);
    };
    super::keys::delete_all_with(draft, Facet::TeamId, id).await?;
    let members = draft.all_with(RecordKind::TeamMember, Facet::TeamId, id);
    for member in members.await? {
        draft.delete(RecordKind::TeamMember, &member.record.id);
    }
    for member in &team.members_with_roles {
        let Some(user_id) = &member.user_id else {
            continue;
        };
        if let Some(mut user) = draft.read::<User>(user_id).await? {
            user.teams.retain(|team| team != id);
            draft.write(user_id, &user);
        }
    }
    if let Some(budget) = &team.team_member_budget_id {
        draft.body(RecordKind::Budget, budget).await?;
        draft.delete(RecordKind::Budget, budget);
    }
    draft.delete(RecordKind::Team, id);
    Ok(true)
}

/// A member's own limits in a team, if it has any.
async fn membership(
    draft: &mut Draft<'_>,
    team_id: &str,
    user_id: &str,
) -> Result<TeamMember, AdminError> {
    let id = member_id(team_id, user_id);
    let known = draft.read::<TeamMember>(&id).await?;
    Ok(known.unwrap_or_else(|| TeamMember {
        team_id: team_id.to_owned(),
        user_id: user_id.to_owned(),
        ..TeamMember::default()
    }))
}

/// Id of the record of a member's limits.
fn member_id(team_id: &str, user_id: &str) -> String {
    meridian_core::scope::Scope::team_member(team_id, user_id).id
}
