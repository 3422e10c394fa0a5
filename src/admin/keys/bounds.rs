//! `default_key_generate_params`, `upperbound_key_generate_params`, `key_generation_settings`.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::patch::KeyPatch;
use super::time::duration_ms;

/// The three settings as the configuration holds them; absent ones are empty.
#[derive(Clone, Debug, Default)]
pub struct KeyRules {
    /// Values for fields that a request leaves out.
    pub defaults: Map<String, Value>,
    /// Ceilings; they also fill what a request leaves out.
    pub upper_bounds: Map<String, Value>,
    /// Who may make which keys, and which fields they must give.
    pub generation: Map<String, Value>,
}

/// Fills and checks a `/key/generate` body.
pub(super) fn bound(mut patch: KeyPatch, rules: &KeyRules) -> Result<KeyPatch, AdminError> {
    patch = fill(patch, &rules.defaults)?;
    check_durations(&patch, &rules.upper_bounds)?;
    check_numbers(&patch, &rules.upper_bounds)?;
    fill(patch, &rules.upper_bounds)
}

/// Fields that `key_generation_settings` require of this kind of key.
pub(super) fn check_required(patch: &KeyPatch, rules: &KeyRules) -> Result<(), AdminError> {
    let kind = if patch.team_id.as_value().is_some() {
        "team_key_generation"
    } else {
        "personal_key_generation"
    };
    let required = rules
        .generation
        .get(kind)
        .and_then(|kind| kind.get("required_params"));
    let names = required.and_then(Value::as_array).into_iter().flatten();
    for name in names.filter_map(Value::as_str) {
        if !patch.has(name) {
            let text = format!("Required param {name} not in data");
            return Err(AdminError::plain(StatusCode::BAD_REQUEST, text));
        }
    }
    Ok(())
}

/// Uses the configured values for what was not given.
fn fill(mut patch: KeyPatch, values: &Map<String, Value>) -> Result<KeyPatch, AdminError> {
    if values.is_empty() {
        return Ok(patch);
    }
    let mut fields = Fields::of_object(values.clone());
    let from = KeyPatch::read(&mut fields);
    fields.finish()?;
    patch.max_budget = patch.max_budget.or_default(from.max_budget.value());
    patch.user_id = patch.user_id.or_default(from.user_id.value());
    patch.team_id = patch.team_id.or_default(from.team_id.value());
    patch.max_parallel_requests =
        (patch.max_parallel_requests).or_default(from.max_parallel_requests.value());
    patch.tpm_limit = patch.tpm_limit.or_default(from.tpm_limit.value());
    patch.rpm_limit = patch.rpm_limit.or_default(from.rpm_limit.value());
    patch.budget_duration = patch
        .budget_duration
        .or_default(from.budget_duration.value());
    patch.duration = patch.duration.or_default(from.duration.value());
    patch.models = non_empty(patch.models).or_default(from.models.value());
    patch.allowed_regions =
        non_empty(patch.allowed_regions).or_default(from.allowed_regions.value());
    patch.metadata = non_empty_map(patch.metadata).or_default(from.metadata.value());
    Ok(patch)
}

fn non_empty(list: Given<Vec<String>>) -> Given<Vec<String>> {
    match list {
        Given::Value(list) if list.is_empty() => Given::Absent,
        other => other,
    }
}

fn non_empty_map(map: Given<Map<String, Value>>) -> Given<Map<String, Value>> {
    match map {
        Given::Value(map) if map.is_empty() => Given::Absent,
        other => other,
    }
}

fn check_numbers(patch: &KeyPatch, bounds: &Map<String, Value>) -> Result<(), AdminError> {
    let whole = |given: &Given<u64>| given.as_value().map(|&number| number as f64);
    for (name, given) in [
        ("max_budget", patch.max_budget.as_value().copied()),
        ("max_parallel_requests", whole(&patch.max_parallel_requests)),
        ("tpm_limit", whole(&patch.tpm_limit)),
        ("rpm_limit", whole(&patch.rpm_limit)),
    ] {
        let bound = bounds.get(name).and_then(Value::as_f64);
        if let (Some(given), Some(bound)) = (given, bound)
            && given > bound
        {
            return Err(over(name, &given.to_string(), &bound.to_string()));
        }
    }
    Ok(())
}

fn check_durations(patch: &KeyPatch, bounds: &Map<String, Value>) -> Result<(), AdminError> {
    for (name, given) in [
        ("duration", patch.duration.as_value()),
        ("budget_duration", patch.budget_duration.as_value()),
    ] {
        let bound = bounds.get(name).and_then(Value::as_str);
        let (Some(given), Some(bound)) = (given, bound) else {
            continue;
        };
        let given_ms = match given.as_str() {
            "-1" => i64::MAX,
            text => duration_ms(text)?,
        };
        if given_ms > duration_ms(bound)? {
            return Err(over(name, given, bound));
        }
    }
    Ok(())
}

fn over(name: &str, given: &str, bound: &str) -> AdminError {
    let text =
        format!("{name} is over max limit set in config - user_value={given}; max_value={bound}");
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
