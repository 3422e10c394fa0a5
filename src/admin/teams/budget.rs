//! The budget that members of a team get who have none of their own.

use meridian_core::record::{Budget, RecordKind, Team};
use meridian_core::scope::Scope;

use super::super::draft::Draft;
use super::super::fields::Given;
use super::super::keys::{Moment, budget_reset_at};
use super::super::reply::AdminError;
use super::super::schema::Patch;
use super::{MEMBER_BUDGET, member_id, membership};

/// Writes what a request says about it, and lets every member have it.
pub(super) async fn set(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &mut Team,
    patch: &Patch,
    at: &Moment,
) -> Result<(), AdminError> {
    let said = |field: &super::Field| patch.get(field.name) != Given::Absent;
    if !MEMBER_BUDGET.iter().any(said) {
        return Ok(());
    }
    let id = match &team.team_member_budget_id {
        Some(id) => id.clone(),
        None => format!("team-member-budget-{team_id}"),
    };
    let mut budget = draft.read::<Budget>(&id).await?.unwrap_or_default();
    let bounds = &mut budget.bounds;
    let period_before = bounds.budget_duration.clone();
    patch
        .money("team_member_budget")
        .write_to(&mut bounds.max_budget);
    patch
        .whole("team_member_rpm_limit")
        .write_to(&mut bounds.rpm_limit);
    patch
        .whole("team_member_tpm_limit")
        .write_to(&mut bounds.tpm_limit);
    match patch.get("team_member_budget_duration") {
        Given::Absent => {}
        Given::Null => bounds.budget_duration = None,
        Given::Value(text) => bounds.budget_duration = text.as_str().map(str::to_owned),
    }
    if bounds.budget_duration != period_before {
        let duration = bounds.budget_duration.as_deref();
        let ends = duration.map(|text| budget_reset_at(text, at)).transpose()?;
        bounds.budget_reset_at = ends;
    }
    draft.write(&id, &budget);
    team.team_member_budget_id = Some(id);
    let members: Vec<String> = team
        .members_with_roles
        .iter()
        .filter_map(|member| member.user_id.clone())
        .collect();
    for user_id in members {
        give(draft, team_id, team, &user_id, &budget).await?;
    }
    Ok(())
}

/// Lets one member have the team's budget for members, unless it has its own.
async fn give(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &Team,
    user_id: &str,
    budget: &Budget,
) -> Result<(), AdminError> {
    let mut member = membership(draft, team_id, user_id).await?;
    let own = member.bounds.max_budget.is_some()
        || (member.budget_id.is_some() && member.budget_id != team.team_member_budget_id);
    if own {
        return Ok(());
    }
    member.budget_id.clone_from(&team.team_member_budget_id);
    draft.write(&member_id(team_id, user_id), &member);
    draft.set_period(Scope::team_member(team_id, user_id), &budget.bounds);
    Ok(())
}

/// The same for somebody who joins.
pub(super) async fn give_to_new(
    draft: &mut Draft<'_>,
    team_id: &str,
    team: &Team,
    user_id: &str,
) -> Result<(), AdminError> {
    let Some(id) = team.team_member_budget_id.clone() else {
        return Ok(());
    };
    draft.body(RecordKind::Budget, &id).await?;
    match draft.read::<Budget>(&id).await? {
        Some(budget) => give(draft, team_id, team, user_id, &budget).await,
        None => Ok(()),
    }
}
