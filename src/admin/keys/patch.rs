//! The writable fields of a key, as `/key/generate`, `/key/update` and `/key/regenerate` take them.
//!
//! An allow-list: a field that is not named here cannot be written, whoever asks.

use std::collections::BTreeMap;

use meridian_core::budget::policy::{DEGRADED, ON_EXHAUSTED, OVERDRAFT};
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use serde_json::{Map, Value};

use super::super::checks::{
    check_amount, check_limits, check_model_budgets, check_policy, check_regions,
};
use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::time::{Moment, budget_reset_at, expiry};

/// Fields that are folded into `metadata`, as LiteLLM does with most of them.
pub(in crate::admin) const FOLDED: [&str; 21] = [
    ON_EXHAUSTED,
    DEGRADED,
    OVERDRAFT,
    "model_rpm_limit",
    "model_tpm_limit",
    "rpm_limit_type",
    "tpm_limit_type",
    "enforced_params",
    "temp_budget_increase",
    "temp_budget_expiry",
    "allowed_vector_store_indexes",
    "enforced_batch_output_expires_after",
    "enforced_file_expires_after",
    "guardrails",
    "policies",
    "tags",
    "team_member_key_duration",
    "prompts",
    "logging",
    "secret_manager_settings",
    "allowed_passthrough_routes",
];

/// Columns that are stored as they are given.
const EXTRA: [&str; 12] = [
    "agent_id",
    "project_id",
    "config",
    "permissions",
    "allowed_cache_controls",
    "object_permission",
    "budget_id",
    "router_settings",
    "access_group_ids",
    "budget_limits",
    "auto_rotate",
    "rotation_interval",
];

const LIMIT_TYPES: &[&str] = &["guaranteed_throughput", "best_effort_throughput", "dynamic"];
const KEY_TYPES: &[&str] = &["llm_api", "management", "read_only", "default"];

/// What a request says about a key.
#[derive(Clone)]
pub(in crate::admin) struct KeyPatch {
    pub(super) key_alias: Given<String>,
    pub(super) duration: Given<String>,
    pub(super) models: Given<Vec<String>>,
    pub(super) aliases: Given<BTreeMap<String, String>>,
    pub(super) spend: Given<f64>,
    pub(super) max_budget: Given<f64>,
    pub(super) soft_budget: Given<f64>,
    pub(super) budget_duration: Given<String>,
    pub(super) model_max_budget: Given<Map<String, Value>>,
    pub(super) user_id: Given<String>,
    pub(super) team_id: Given<String>,
    pub(super) organization_id: Given<String>,
    pub(super) max_parallel_requests: Given<u64>,
    pub(super) tpm_limit: Given<u64>,
    pub(super) rpm_limit: Given<u64>,
    pub(super) metadata: Given<Map<String, Value>>,
    pub(super) blocked: Given<bool>,
    pub(super) allowed_routes: Given<Vec<String>>,
    pub(super) allowed_regions: Given<Vec<String>>,
    pub(super) key_type: Given<String>,
    pub(super) folded: Vec<(&'static str, Given<Value>)>,
    pub(super) extra: Vec<(&'static str, Given<Value>)>,
}

/// Fields that have a place of their own in a key, and what a call may say about its value.
const OWN: [&str; 22] = [
    "key",
    "new_key",
    "key_alias",
    "duration",
    "models",
    "aliases",
    "spend",
    "max_budget",
    "soft_budget",
    "budget_duration",
    "model_max_budget",
    "user_id",
    "team_id",
    "organization_id",
    "max_parallel_requests",
    "tpm_limit",
    "rpm_limit",
    "metadata",
    "blocked",
    "allowed_routes",
    "allowed_regions",
    "key_type",
];

/// Those names of a body that are fields of a key: the others are ignored.
pub(super) fn known(names: Vec<String>) -> Vec<String> {
    let known = |name: &String| {
        let lists = [OWN.as_slice(), FOLDED.as_slice(), EXTRA.as_slice()];
        lists.iter().any(|list| list.contains(&name.as_str()))
    };
    names.into_iter().filter(known).collect()
}

impl KeyPatch {
    /// Takes the fields out of a body; problems stay in `fields`.
    pub(in crate::admin) fn read(fields: &mut Fields) -> Self {
        // These two are checked before they are folded away.
        for name in ["rpm_limit_type", "tpm_limit_type"] {
            if let Given::Value(word) = fields.word(name, LIMIT_TYPES) {
                fields.put(name, Value::String(word));
            }
        }
        Self {
            key_alias: fields.text("key_alias"),
            duration: fields.text("duration"),
            models: fields.texts("models"),
            aliases: fields.text_map("aliases"),
            spend: fields.number("spend"),
            max_budget: fields.number("max_budget"),
            soft_budget: fields.number("soft_budget"),
            budget_duration: fields.text("budget_duration"),
            model_max_budget: fields.object("model_max_budget"),
            user_id: fields.text("user_id"),
            team_id: fields.text("team_id"),
            organization_id: fields.text("organization_id"),
            max_parallel_requests: fields.whole("max_parallel_requests"),
            tpm_limit: fields.whole("tpm_limit"),
            rpm_limit: fields.whole("rpm_limit"),
            metadata: fields.object("metadata"),
            blocked: fields.flag("blocked"),
            allowed_routes: fields.texts("allowed_routes"),
            allowed_regions: fields.texts("allowed_regions"),
            key_type: fields.word("key_type", KEY_TYPES),
            folded: FOLDED.map(|name| (name, fields.any(name))).into(),
            extra: EXTRA.map(|name| (name, fields.any(name))).into(),
        }
    }

    /// Whether any of the named fields was given a value.
    pub(super) fn has(&self, name: &str) -> bool {
        let given = |value: &Given<Value>| value.as_value().is_some();
        match name {
            "key_alias" => self.key_alias.as_value().is_some(),
            "duration" => self.duration.as_value().is_some(),
            "models" => self.models.as_value().is_some(),
            "max_budget" => self.max_budget.as_value().is_some(),
            "budget_duration" => self.budget_duration.as_value().is_some(),
            "user_id" => self.user_id.as_value().is_some(),
            "team_id" => self.team_id.as_value().is_some(),
            "max_parallel_requests" => self.max_parallel_requests.as_value().is_some(),
            "tpm_limit" => self.tpm_limit.as_value().is_some(),
            "rpm_limit" => self.rpm_limit.as_value().is_some(),
            "allowed_regions" => self.allowed_regions.as_value().is_some(),
            "metadata" => self.metadata.as_value().is_some(),
            other => self
                .folded
                .iter()
                .chain(&self.extra)
                .any(|(field, value)| *field == other && given(value)),
        }
    }

    /// The checks that need no store.
    pub(super) fn check(&self) -> Result<(), AdminError> {
        for (name, amount) in [
            ("max_budget", &self.max_budget),
            ("soft_budget", &self.soft_budget),
            ("spend", &self.spend),
        ] {
            check_amount(name, amount.as_value().copied())?;
        }
        if let Some(budgets) = self.model_max_budget.as_value() {
            check_model_budgets(budgets)?;
        }
        check_regions(self.allowed_regions.as_value().into_iter().flatten())?;
        let limits = self.extra.iter().find(|(name, _)| *name == "budget_limits");
        match limits.and_then(|(_, limits)| limits.as_value()) {
            Some(limits) => check_limits(limits),
            None => Ok(()),
        }
    }

    /// Writes what was given into `record`. Durations count from `at`.
    pub(super) fn apply(self, record: &mut KeyRecord, at: &Moment) -> Result<(), AdminError> {
        let Self {
            key_alias,
            duration,
            models,
            aliases,
            spend,
            max_budget,
            soft_budget,
            budget_duration,
            model_max_budget,
            user_id,
            team_id,
            organization_id,
            max_parallel_requests,
            tpm_limit,
            rpm_limit,
            metadata,
            blocked,
            allowed_routes,
            allowed_regions,
            key_type,
            folded,
            extra,
        } = self;
        apply_times(duration, budget_duration, record, at)?;
        key_alias.write_to(&mut record.key_alias);
        models.write_or_empty(&mut record.models);
        aliases.write_or_empty(&mut record.aliases);
        money(spend).write_or_empty(&mut record.spend);
        money(max_budget).write_to(&mut record.max_budget);
        money(soft_budget).write_to(&mut record.soft_budget);
        model_max_budget.write_or_empty(&mut record.model_max_budget);
        user_id.write_to(&mut record.user_id);
        team_id.write_to(&mut record.team_id);
        organization_id.write_to(&mut record.organization_id);
        max_parallel_requests.write_to(&mut record.max_parallel_requests);
        tpm_limit.write_to(&mut record.tpm_limit);
        rpm_limit.write_to(&mut record.rpm_limit);
        blocked.write_or_empty(&mut record.blocked);
        allowed_routes.write_or_empty(&mut record.allowed_routes);
        allowed_regions.write_or_empty(&mut record.allowed_regions);
        if let Some(group) = key_type.value().as_deref().and_then(route_group) {
            record.allowed_routes = vec![group.to_owned()];
        }
        metadata.write_or_empty(&mut record.metadata);
        write_map(folded, &mut record.metadata);
        check_policy(&record.metadata)?;
        write_map(extra, &mut record.extra);
        at.end_limits(&mut record.extra);
        Ok(())
    }
}

/// Durations become moments: LiteLLM stores both for budgets, only the moment for expiry.
fn apply_times(
    duration: Given<String>,
    budget_duration: Given<String>,
    record: &mut KeyRecord,
    at: &Moment,
) -> Result<(), AdminError> {
    match duration {
        Given::Absent => {}
        Given::Null => record.expires = None,
        Given::Value(text) => record.expires = expiry(&text, at.now)?,
    }
    match budget_duration {
        Given::Absent => {}
        Given::Null => {
            record.budget_duration = None;
            record.budget_reset_at = None;
        }
        Given::Value(text) => {
            record.budget_reset_at = Some(budget_reset_at(&text, at)?);
            record.budget_duration = Some(text);
        }
    }
    Ok(())
}

fn write_map(given: Vec<(&'static str, Given<Value>)>, map: &mut Map<String, Value>) {
    for (name, value) in given {
        match value {
            Given::Absent => {}
            Given::Null => {
                map.remove(name);
            }
            Given::Value(value) => {
                map.insert(name.to_owned(), value);
            }
        }
    }
}

fn money(given: Given<f64>) -> Given<NanoUsd> {
    match given {
        Given::Absent => Given::Absent,
        Given::Null => Given::Null,
        // `check` refused what does not fit.
        Given::Value(dollars) => NanoUsd::from_dollars(dollars).map_or(Given::Null, Given::Value),
    }
}

/// Route group of a `key_type`.
fn route_group(key_type: &str) -> Option<&'static str> {
    match key_type {
        "llm_api" => Some("llm_api_routes"),
        "management" => Some("management_routes"),
        "read_only" => Some("info_routes"),
        _ => None,
    }
}
