//! Users, members of groups and the callers' customers.

use serde_json::Map;

use super::groups::{NO_DAY_LIMIT, NO_PERMISSIONS, NO_POLICIES, done, record};
use super::row::{Refused, Row};
use super::{Mapped, Outcome, PROXY_BUDGET_USER};
use crate::record::{Bounds, Customer, OrganizationMember, TeamMember, User};
use crate::scope::Scope;

/// Roles of users; an unknown one could mean more rights than its user had.
const USER_ROLES: [&str; 7] = [
    "proxy_admin",
    "proxy_admin_viewer",
    "org_admin",
    "internal_user",
    "internal_user_viewer",
    "team",
    "customer",
];
/// Roles within an organization.
const MEMBER_ROLES: [&str; 3] = ["org_admin", "internal_user", "internal_user_viewer"];

/// Stands behind the address of a user who is not the first to have it.
const EMAIL_RANK: &str = "meridian_email_rank";

pub(super) fn user(mut row: Row) -> Result<Outcome, Refused> {
    let id = row.required("user_id")?;
    if id == PROXY_BUDGET_USER {
        return Ok(Outcome::Left {
            why: "the row of LiteLLM's budget for the whole proxy: set litellm_settings.max_budget",
            tell: true,
        });
    }
    row.drop_told(&[
        (
            "password",
            "passwords of the user interface are not imported: these users need a new way in",
        ),
        (
            "password_reset_required",
            "of the user interface; not imported",
        ),
    ]);
    row.drop_columns(&["model_spend", "last_breach_check_at"]);
    let mut extra = Map::new();
    row.keep(
        &[
            (
                "sso_user_id",
                Some("kept, but single sign-on is not served"),
            ),
            ("team_id", None),
            ("object_permission_id", Some(NO_PERMISSIONS)),
            ("policies", Some(NO_POLICIES)),
            ("allowed_cache_controls", None),
        ],
        &mut extra,
    )?;
    let bounds = row.bounds()?;
    let spend = row.own_spend(&bounds)?;
    let body = User {
        user_alias: row.text("user_alias")?,
        user_email: email(&mut row)?,
        user_role: role(&mut row, &USER_ROLES)?,
        teams: row.texts("teams")?,
        organization_id: row.text("organization_id")?,
        models: row.texts("models")?,
        bounds,
        metadata: row.object("metadata")?,
        extra,
        created_by: row.text("created_by")?,
        updated_by: row.text("updated_by")?,
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period: None,
        notes: row.finish(),
    }))
}

/// An address belongs to one user: of several with the same, the oldest keeps it.
fn email(row: &mut Row) -> Result<Option<String>, Refused> {
    let rank = row.count(EMAIL_RANK)?.unwrap_or(1);
    let email = row.text("user_email")?;
    if email.is_some() && rank > 1 {
        row.note(
            "user_email",
            "an older user has the same address: this one was imported without it",
        );
        return Ok(None);
    }
    Ok(email)
}

fn role(row: &mut Row, known: &[&str]) -> Result<Option<String>, Refused> {
    let Some(role) = row.text("user_role")? else {
        return Ok(None);
    };
    match known.contains(&role.as_str()) {
        true => Ok(Some(role)),
        false => {
            let known = known.join(", ");
            Err(row.refuse("user_role", format!("{role:?} is none of {known}")))
        }
    }
}

pub(super) fn team_member(mut row: Row) -> Result<Outcome, Refused> {
    let (team_id, user_id) = (row.required("team_id")?, row.required("user_id")?);
    let id = Scope::team_member(&team_id, &user_id).id;
    let (spend, period) = row.budget_spend()?;
    row.drop_columns(&["total_spend"]);
    let body = TeamMember {
        team_id,
        user_id,
        budget_id: row.text("budget_id")?,
        ..TeamMember::default()
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period,
        notes: row.finish(),
    }))
}

pub(super) fn organization_member(mut row: Row) -> Result<Outcome, Refused> {
    let organization_id = row.required("organization_id")?;
    let user_id = row.required("user_id")?;
    let id = Scope::organization_member(&organization_id, &user_id).id;
    let (spend, period) = row.budget_spend()?;
    let role = role(&mut row, &MEMBER_ROLES)?;
    let body = OrganizationMember {
        organization_id,
        user_id,
        user_role: role.unwrap_or_else(|| "internal_user".to_owned()),
        budget_id: row.text("budget_id")?,
        bounds: Bounds::default(),
        extra: Map::new(),
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period,
        notes: row.finish(),
    }))
}

pub(super) fn customer(mut row: Row) -> Result<Outcome, Refused> {
    let id = row.required("user_id")?;
    let mut extra = Map::new();
    row.keep(
        &[
            ("object_permission_id", Some(NO_PERMISSIONS)),
            ("models", Some("customers are not narrowed to models")),
            ("tpd_limit", Some(NO_DAY_LIMIT)),
        ],
        &mut extra,
    )?;
    let (spend, period) = row.budget_spend()?;
    let body = Customer {
        alias: row.text("alias")?,
        blocked: row.flag("blocked")?,
        budget_id: row.text("budget_id")?,
        allowed_model_region: row.text("allowed_model_region")?,
        default_model: row.text("default_model")?,
        bounds: Bounds::default(),
        extra,
        created_by: None,
        updated_by: None,
    };
    let record = record(id, &body, &mut row)?;
    Ok(done(Mapped {
        record,
        spend: Some(spend),
        period,
        notes: row.finish(),
    }))
}
