//! Virtual keys: LiteLLM stores the digest that Meridian stores, so the keys people hold keep
//! working.

use serde_json::{Map, Value};

use super::groups::{NO_DAY_LIMIT, NO_PERMISSIONS, NO_POLICIES, NO_WINDOWS, done, models};
use super::row::{Refused, Row};
use super::{DASHBOARD_TEAM, Mapped, Outcome, SourceSpend};
use crate::error::GatewayError;
use crate::ids::KeyHash;
use crate::key::{KeyOverrides, KeyRecord, RotatedKey};
use crate::meters::check_rules;
use crate::money::NanoUsd;
use crate::record::Record;
use crate::time::WallMs;

/// How many keys that are older have the same alias, and itself.
const ALIAS_RANK: &str = "meridian_alias_rank";

const SESSION: Outcome = Outcome::Left {
    why: "session keys of LiteLLM's user interface; they end after a day",
    tell: true,
};

/// Columns that are stored and shown, and what of their effect is missing.
const KEPT: [(&str, Option<&str>); 19] = [
    ("agent_id", Some("agents are not served")),
    (
        "project_id",
        Some(
            "projects are not imported: their models, limits and budgets no longer bind this key; \
             give it a team, or limits of its own",
        ),
    ),
    ("config", None),
    ("permissions", Some("these permissions have no effect")),
    ("allowed_cache_controls", None),
    ("object_permission_id", Some(NO_PERMISSIONS)),
    ("budget_id", None),
    ("access_group_ids", None),
    ("budget_limits", Some(NO_WINDOWS)),
    (
        "budget_fallbacks",
        Some("no other model is chosen when a budget is used up: the request is refused"),
    ),
    ("policies", Some(NO_POLICIES)),
    (
        "auto_rotate",
        Some("keys are not rotated by themselves: use /key/{key}/regenerate"),
    ),
    ("rotation_interval", None),
    ("rotation_count", None),
    ("last_rotation_at", None),
    ("key_rotation_at", None),
    ("tpd_limit", Some(NO_DAY_LIMIT)),
    ("key_type", None),
    ("soft_budget_cooldown", None),
];

/// What changes with every request, or says the same as something else.
const DROPPED: [&str; 4] = [
    "last_active",
    "model_spend",
    "total_spend",
    "settings_updated_at",
];

pub(super) fn key(mut row: Row) -> Result<Outcome, Refused> {
    let token = token(&mut row, "token")?;
    let team_id = row.text("team_id")?;
    if team_id.as_deref() == Some(DASHBOARD_TEAM) {
        return Ok(SESSION);
    }
    let budget = row.budget_period()?;
    let mut key = read(&mut row, token, team_id)?;
    key.key_alias = alias(&mut row, key.key_alias)?;
    check(&mut row, &mut key)?;
    let own = key.budget_duration.is_some();
    let period = budget.filter(|_| !own);
    let ends = match &period {
        Some(period) => period.ends,
        None => key.budget_reset_at,
    };
    let spend = row.spent("spend")?;
    Ok(done(Mapped {
        record: key.to_record(),
        spend: Some(SourceSpend { spend, ends }),
        period,
        notes: row.finish(),
    }))
}

/// A key that was deleted: a tombstone, so that nothing brings it back.
pub(super) fn deleted(mut row: Row) -> Result<Outcome, Refused> {
    let token = token(&mut row, "token")?;
    let team_id = row.text("team_id")?;
    if team_id.as_deref() == Some(DASHBOARD_TEAM) {
        return Ok(Outcome::Left {
            why: "session keys of LiteLLM's user interface that were deleted",
            tell: false,
        });
    }
    let deleted_at = row.moment("deleted_at")?.unwrap_or(WallMs(0));
    let by = row.text("deleted_by")?;
    row.drop_columns(&["id", "deleted_by_api_key", "litellm_changed_by"]);
    let mut key = read(&mut row, token, team_id)?;
    // It binds nobody: what is wrong with it is of no interest.
    key.extra
        .insert("deleted_at".to_owned(), deleted_at.0.into());
    if let Some(by) = by {
        key.extra.insert("deleted_by".to_owned(), by.into());
    }
    let mut record = key.to_record();
    record.deleted = true;
    record.updated_at = deleted_at.max(record.created_at);
    Ok(done(Mapped {
        record,
        spend: None,
        period: None,
        notes: Vec::new(),
    }))
}

pub(super) fn rotated(mut row: Row) -> Result<Outcome, Refused> {
    let old = token(&mut row, "token")?;
    let body = RotatedKey {
        active: token(&mut row, "active_token_id")?,
        revoke_at: match row.moment("revoke_at")? {
            Some(moment) => moment,
            None => return Err(row.refuse("revoke_at", "is empty")),
        },
    };
    row.drop_columns(&["id"]);
    let created_at = row.moment("created_at")?.unwrap_or(WallMs(0));
    Ok(done(Mapped {
        record: Record::new(old.to_string(), &body, created_at),
        spend: None,
        period: None,
        notes: row.finish(),
    }))
}

fn token(row: &mut Row, column: &str) -> Result<KeyHash, Refused> {
    let text = row.required(column)?;
    KeyHash::from_hex(&text)
        .ok_or_else(|| row.refuse(column, "expected 64 hexadecimal digits (the key's SHA-256)"))
}

fn read(row: &mut Row, token: KeyHash, team_id: Option<String>) -> Result<KeyRecord, Refused> {
    row.drop_columns(&DROPPED);
    let mut extra = Map::new();
    row.keep(&KEPT, &mut extra)?;
    row.keep(&[("router_settings", None)], &mut extra)?;
    let bounds = row.bounds()?;
    let created_at = row.moment("created_at")?.unwrap_or(WallMs(0));
    let updated_at = row.moment("updated_at")?.unwrap_or(created_at);
    Ok(KeyRecord {
        token,
        lineage: None,
        key_name: row.text("key_name")?.unwrap_or_else(|| "sk-...".to_owned()),
        key_alias: row.text("key_alias")?,
        expires: row.moment("expires")?,
        blocked: row.flag("blocked")?,
        models: models(row)?,
        aliases: row.text_map("aliases")?,
        allowed_routes: row.texts("allowed_routes")?,
        allowed_regions: Vec::new(),
        user_id: row.text("user_id")?,
        team_id,
        organization_id: row.text("organization_id")?,
        max_budget: bounds.max_budget,
        soft_budget: bounds.soft_budget,
        budget_duration: bounds.budget_duration,
        budget_reset_at: bounds.budget_reset_at,
        model_max_budget: bounds.model_max_budget,
        spend: NanoUsd::ZERO,
        tpm_limit: bounds.tpm_limit,
        rpm_limit: bounds.rpm_limit,
        max_parallel_requests: bounds.max_parallel_requests,
        metadata: row.object("metadata")?,
        extra,
        created_at,
        created_by: row.text("created_by")?,
        updated_at: updated_at.max(created_at),
        updated_by: row.text("updated_by")?,
        version: 0,
        home: String::new(),
        generation: 0,
    })
}

/// An alias names one key: of several with the same, the oldest keeps it as it is.
fn alias(row: &mut Row, alias: Option<String>) -> Result<Option<String>, Refused> {
    let rank = row.count(ALIAS_RANK)?.unwrap_or(1);
    match alias {
        Some(alias) if rank > 1 => {
            row.note(
                "key_alias",
                "an older key has the same alias: this one has its number behind it",
            );
            Ok(Some(format!("{alias} ({rank})")))
        }
        alias => Ok(alias),
    }
}

/// Rules that cannot be enforced as written refuse the key. Settings of the router take nothing
/// away: those that a key cannot have are left out.
fn check(row: &mut Row, key: &mut KeyRecord) -> Result<(), Refused> {
    if let Err(error) = check_rules(key) {
        return Err(refused_by(row, error));
    }
    while let Err(error) = KeyOverrides::of(key) {
        let GatewayError::BadField { field, message } = &error else {
            return Err(refused_by(row, error));
        };
        let (column, name) = field.split_once('.').unwrap_or((field, ""));
        if column != "router_settings" {
            return Err(refused_by(row, error));
        }
        row.note(field, format!("left out: {message}"));
        leave_out(key, name);
    }
    Ok(())
}

fn leave_out(key: &mut KeyRecord, name: &str) {
    let settings = key.extra.get_mut("router_settings");
    let settings = settings.and_then(Value::as_object_mut);
    let empty = match settings {
        Some(settings) => settings.remove(name).is_none() || settings.is_empty(),
        None => true,
    };
    if empty {
        key.extra.remove("router_settings");
    }
}

fn refused_by(row: &Row, error: GatewayError) -> Refused {
    match error {
        GatewayError::BadField { field, message } => row.refuse(field, message),
        other => row.refuse("", other.to_string()),
    }
}
