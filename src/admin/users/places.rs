//! A user's places in teams and organizations.

use axum::http::StatusCode;
use meridian_core::auth::{Power, fits};
use meridian_core::record::{
    Bounds, Budget, Member, Organization, OrganizationMember, RecordKind, Team, User,
};
use meridian_core::scope::Scope;
use serde_json::Value;

use super::super::authorize::{absent, too_much};
use super::super::draft::Draft;
use super::super::fields::{Fields, Given};
use super::super::keys::budget_reset_at;
use super::super::reply::AdminError;
use super::super::schema::Patch;
use super::super::teams::joining::{Joining, join};

/// A team that a new user shall belong to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) team_id: String,
    pub(super) role: String,
}

/// `teams` of a body: ids, or objects with a role.
pub(super) fn teams_of(fields: &mut Fields) -> Vec<Place> {
    let items = match fields.any("teams") {
        Given::Value(Value::Array(items)) => items,
        Given::Absent | Given::Null => return Vec::new(),
        Given::Value(other) => {
            fields.refuse("teams", "list_type", "Input should be a valid list", &other);
            return Vec::new();
        }
    };
    let mut places = Vec::new();
    for item in items {
        let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let team_id = item.as_str().map(str::to_owned).or_else(|| text("team_id"));
        let role = text("user_role").unwrap_or_else(|| "user".to_owned());
        match team_id {
            Some(team_id) if matches!(role.as_str(), "user" | "admin") => {
                places.push(Place { team_id, role });
            }
            _ => fields.refuse(
                "teams",
                "value_error",
                "Input should be team ids or {\"team_id\": .., \"user_role\": \"user\"}",
                &item,
            ),
        }
    }
    places
}

/// Adds a user that is in the draft to a team.
pub(super) async fn join_team(
    draft: &mut Draft<'_>,
    place: &Place,
    user_id: &str,
    power: Power,
) -> Result<(), AdminError> {
    let id = &place.team_id;
    let team = draft.read::<Team>(id).await?;
    let mut team = team.ok_or_else(|| absent(RecordKind::Team, id))?;
    let member = Member {
        role: place.role.clone(),
        user_id: Some(user_id.to_owned()),
        user_email: None,
    };
    join(draft, id, &mut team, Joining::plain(member, power)).await?;
    draft.write(id, &team);
    Ok(())
}

/// Gives a user a place in an organization, or changes the one it has. The user has to be in the
/// draft or in the store.
pub(in crate::admin) async fn join_organization(
    draft: &mut Draft<'_>,
    organization_id: &str,
    user_id: &str,
    role: &str,
    limits: &Patch,
) -> Result<(), AdminError> {
    let organization = draft.read::<Organization>(organization_id).await?;
    let organization =
        organization.ok_or_else(|| absent(RecordKind::Organization, organization_id))?;
    let scope = Scope::organization_member(organization_id, user_id);
    let known = draft.read::<OrganizationMember>(&scope.id).await?;
    let mut member = known.unwrap_or_else(|| OrganizationMember {
        organization_id: organization_id.to_owned(),
        user_id: user_id.to_owned(),
        ..OrganizationMember::default()
    });
    member.user_role = role.to_owned();
    limit(draft, &mut member.bounds, limits)?;
    let budget = match &organization.budget_id {
        Some(id) => draft.read::<Budget>(id).await?.unwrap_or_default(),
        None => Budget::default(),
    };
    if !fits(member.bounds.max_budget, budget.bounds.max_budget) {
        return Err(too_much("max_budget_in_organization", "the organization"));
    }
    if member.bounds != Bounds::default() {
        draft.set_period(scope.clone(), &member.bounds);
    }
    draft.write(&scope.id, &member);
    if let Some(mut user) = draft.read::<User>(user_id).await?
        && user.organization_id.is_none()
    {
        user.organization_id = Some(organization_id.to_owned());
        draft.write(user_id, &user);
    }
    Ok(())
}

fn limit(draft: &Draft<'_>, bounds: &mut Bounds, limits: &Patch) -> Result<(), AdminError> {
    limits
        .money("max_budget_in_organization")
        .write_to(&mut bounds.max_budget);
    match limits.get("budget_duration") {
        Given::Absent => {}
        Given::Null => {
            bounds.budget_duration = None;
            bounds.budget_reset_at = None;
        }
        Given::Value(text) => {
            let text = text.as_str().unwrap_or_default();
            bounds.budget_reset_at = Some(budget_reset_at(text, &draft.moment())?);
            bounds.budget_duration = Some(text.to_owned());
        }
    }
    Ok(())
}

/// Takes a user out of an organization.
pub(in crate::admin) async fn leave_organization(
    draft: &mut Draft<'_>,
    organization_id: &str,
    user_id: &str,
) -> Result<(), AdminError> {
    let id = Scope::organization_member(organization_id, user_id).id;
    if draft.read::<OrganizationMember>(&id).await?.is_none() {
        let text = format!(
            "User not found in organization. user_id={user_id}, organization_id={organization_id}"
        );
        return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
    }
    draft.delete(RecordKind::OrganizationMember, &id);
    if let Some(mut user) = draft.read::<User>(user_id).await?
        && user.organization_id.as_deref() == Some(organization_id)
    {
        user.organization_id = None;
        draft.write(user_id, &user);
    }
    Ok(())
}
