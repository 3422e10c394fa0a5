//! Budgets, organizations, teams and tags.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::row::{Refused, Row};
use super::{Mapped, Outcome};
use crate::record::{Body, Budget, Member, Organization, Record, Tag, Team};
use crate::time::WallMs;

/// Aliases of the team's model table, which the query adds.
const TEAM_ALIASES: &str = "meridian_model_aliases";
/// Models of the access groups that a row names, which the query adds.
const GROUP_MODELS: &str = "meridian_group_models";

pub(super) const NO_DAY_LIMIT: &str =
    "tokens per day are not limited: use tpm_limit or a budget instead";
pub(super) const NO_PERMISSIONS: &str = "permissions on MCP servers, vector stores and agents \
                                         have no effect: Meridian serves none of them";
pub(super) const NO_POLICIES: &str = "policies and guardrails are not applied";
pub(super) const COPIED_GROUPS: &str = "the models of its access groups were added to its models: \
                                        a later change of a group does not reach it";

/// A record with the moments of its row. LiteLLM moves `updated_at` with every request, so it
/// decides nothing; without `created_at` a row is as old as time.
pub(super) fn record<B: Body>(id: String, body: &B, row: &mut Row) -> Result<Record, Refused> {
    let created_at = row.moment("created_at")?.unwrap_or(WallMs(0));
    let updated_at = row.moment("updated_at")?.unwrap_or(created_at);
    let mut record = Record::new(id, body, created_at);
    record.updated_at = updated_at.max(created_at);
    Ok(record)
}

pub(super) fn done(mapped: Mapped) -> Outcome {
    Outcome::Mapped(Box::new(mapped))
}

pub(super) fn budget(mut row: Row) -> Result<Outcome, Refused> {
    let id = row.required("budget_id")?;
    let mut extra = Map::new();
    let raised = "a temporary increase of a shared budget has no effect: \
                  raise max_budget, or set temp_budget_increase on the keys";
    row.keep(
        &[
            ("tpd_limit", Some(NO_DAY_LIMIT)),
            ("temp_budget_increase", Some(raised)),
            ("temp_budget_expiry", None),
        ],
        &mut extra,
    )?;
    let body = Budget {
        bounds: row.bounds()?,
        allowed_models: row.texts("allowed_models")?,
        extra,
        created_by: row.text("created_by")?,
        updated_by: row.text("updated_by")?,
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: None,
        period: None,
        notes: row.finish(),
    }))
}

pub(super) fn organization(mut row: Row) -> Result<Outcome, Refused> {
    let id = row.required("organization_id")?;
    let mut extra = Map::new();
    row.keep(
        &[("object_permission_id", Some(NO_PERMISSIONS))],
        &mut extra,
    )?;
    row.drop_columns(&["model_spend"]);
    let (spend, period) = row.budget_spend()?;
    let body = Organization {
        organization_alias: row.text("organization_alias")?,
        budget_id: row.text("budget_id")?,
        models: row.texts("models")?,
        blocked: row.flag("blocked")?,
        metadata: row.object("metadata")?,
        extra,
        created_by: row.text("created_by")?,
        updated_by: row.text("updated_by")?,
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period,
        notes: row.finish(),
    }))
}

pub(super) fn team(mut row: Row) -> Result<Outcome, Refused> {
    let id = row.required("team_id")?;
    let mut extra = Map::new();
    row.keep(
        &[
            ("tpd_limit", Some(NO_DAY_LIMIT)),
            ("budget_limits", None),
            ("object_permission_id", Some(NO_PERMISSIONS)),
            ("policies", Some(NO_POLICIES)),
            (
                "router_settings",
                Some("router settings of a team have no effect"),
            ),
            ("access_group_ids", None),
            (
                "default_team_member_models",
                Some("new members are not narrowed to these models"),
            ),
            ("allow_team_guardrail_config", Some(NO_POLICIES)),
        ],
        &mut extra,
    )?;
    row.drop_columns(&["model_spend", "model_id"]);
    let metadata = row.object("metadata")?;
    let member_budget = metadata.get("team_member_budget_id");
    let bounds = row.bounds()?;
    let spend = row.own_spend(&bounds)?;
    let body = Team {
        team_alias: row.text("team_alias")?,
        organization_id: row.text("organization_id")?,
        members_with_roles: members(&mut row)?,
        models: models(&mut row)?,
        model_aliases: aliases(&mut row)?,
        blocked: row.flag("blocked")?,
        team_member_permissions: row.texts("team_member_permissions")?,
        team_member_budget_id: member_budget.and_then(Value::as_str).map(str::to_owned),
        allowed_regions: Vec::new(),
        bounds,
        metadata,
        extra,
        created_by: None,
        updated_by: None,
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period: None,
        notes: row.finish(),
    }))
}

fn aliases(row: &mut Row) -> Result<BTreeMap<String, String>, Refused> {
    row.text_map(TEAM_ALIASES)
}

/// Models that a row may use. An empty list is all, whatever its groups say.
pub(super) fn models(row: &mut Row) -> Result<Vec<String>, Refused> {
    let mut models = row.texts("models")?;
    let of_groups = row.texts(GROUP_MODELS)?;
    if models.is_empty() || of_groups.is_empty() {
        return Ok(models);
    }
    row.note("access_group_ids", COPIED_GROUPS);
    let new: Vec<String> = of_groups
        .into_iter()
        .filter(|model| !models.contains(model))
        .collect();
    models.extend(new);
    Ok(models)
}

/// `members_with_roles`; the lists of older rows where that is empty.
fn members(row: &mut Row) -> Result<Vec<Member>, Refused> {
    const COLUMN: &str = "members_with_roles";
    let admins = row.texts("admins")?;
    let others = row.texts("members")?;
    let listed = match row.structured(COLUMN)? {
        Some(Value::Array(items)) => items,
        Some(Value::Object(fields)) if fields.is_empty() => Vec::new(),
        None => Vec::new(),
        Some(_) => return Err(row.refuse(COLUMN, "expected a list of members")),
    };
    let mut members = Vec::with_capacity(listed.len());
    for item in listed {
        let member: Member = serde_json::from_value(item)
            .map_err(|error| row.refuse(COLUMN, format!("a member: {error}")))?;
        if !matches!(member.role.as_str(), "admin" | "user") {
            return Err(row.refuse(COLUMN, "the role of a member is neither admin nor user"));
        }
        if member.user_id.is_some() || member.user_email.is_some() {
            members.push(member);
        }
    }
    if members.is_empty() {
        let role = |role: &'static str| {
            move |user_id: String| Member {
                role: role.to_owned(),
                user_id: Some(user_id),
                user_email: None,
            }
        };
        let plain = others.into_iter().filter(|user| !admins.contains(user));
        let plain: Vec<Member> = plain.map(role("user")).collect();
        members.extend(admins.into_iter().map(role("admin")));
        members.extend(plain);
    }
    Ok(members)
}

pub(super) fn tag(mut row: Row) -> Result<Outcome, Refused> {
    let id = row.required("tag_name")?;
    let mut extra = Map::new();
    row.keep(&[("model_info", None)], &mut extra)?;
    let (spend, period) = row.budget_spend()?;
    let body = Tag {
        description: row.text("description")?,
        models: row.texts("models")?,
        budget_id: row.text("budget_id")?,
        bounds: Default::default(),
        extra,
        created_by: row.text("created_by")?,
        updated_by: row.text("updated_by")?,
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period,
        notes: row.finish(),
    }))
}
