//! `default_key_generate_params`, `upperbound_key_generate_params`, `key_generation_settings`.

use axum::http::StatusCode;
use meridian_core::config::NewKeys;
use serde_json::{Map, Value};

use super::super::fields::{Fields, Given};
use super::super::reply::{AdminError, python_float};
use super::patch::KeyPatch;
use super::time::duration_ms;

/// Fills and checks a `/key/generate` body.
pub(super) fn bound(mut patch: KeyPatch, rules: &NewKeys) -> Result<KeyPatch, AdminError> {
    patch = fill(patch, &rules.defaults, Gap::Any)?;
    check(&patch, rules)?;
    fill(patch, &rules.upper_bounds, Gap::Any)
}

/// The same for a key that exists: what is not mentioned stays, and `null`, which would lift a
/// limit, becomes the most that is allowed.
pub(super) fn bound_change(patch: KeyPatch, rules: &NewKeys) -> Result<KeyPatch, AdminError> {
    check(&patch, rules)?;
    fill(patch, &rules.upper_bounds, Gap::Null)
}

/// What a configured value fills.
#[derive(Clone, Copy, PartialEq)]
enum Gap {
    /// Fields that are absent or null.
    Any,
    /// Fields that are null.
    Null,
}

impl Gap {
    fn fill<T>(self, given: Given<T>, value: Option<T>) -> Given<T> {
        match given {
            Given::Absent if self == Self::Null => Given::Absent,
            given => given.or_default(value),
        }
    }
}

/// Whether what is given is within the upper bounds.
fn check(patch: &KeyPatch, rules: &NewKeys) -> Result<(), AdminError> {
    check_durations(patch, &rules.upper_bounds)?;
    check_numbers(patch, &rules.upper_bounds)
}

/// Fields that `key_generation_settings` require of this kind of key.
pub(super) fn check_required(patch: &KeyPatch, rules: &NewKeys) -> Result<(), AdminError> {
    let required = match patch.team_id.as_value() {
        Some(_) => &rules.required_of_team,
        None => &rules.required_of_person,
    };
    match required.iter().find(|name| !patch.has(name)) {
        None => Ok(()),
        Some(name) => {
            let text = format!("Required param {name} not in data");
            Err(AdminError::plain(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Uses the configured values for what was not given.
fn fill(
    mut patch: KeyPatch,
    values: &Map<String, Value>,
    gap: Gap,
) -> Result<KeyPatch, AdminError> {
    if values.is_empty() {
        return Ok(patch);
    }
    let mut fields = Fields::of_object(values.clone());
    let from = KeyPatch::read(&mut fields);
    fields.finish()?;
    patch.max_budget = gap.fill(patch.max_budget, from.max_budget.value());
    patch.user_id = gap.fill(patch.user_id, from.user_id.value());
    patch.team_id = gap.fill(patch.team_id, from.team_id.value());
    patch.max_parallel_requests = gap.fill(
        patch.max_parallel_requests,
        from.max_parallel_requests.value(),
    );
    patch.tpm_limit = gap.fill(patch.tpm_limit, from.tpm_limit.value());
    patch.rpm_limit = gap.fill(patch.rpm_limit, from.rpm_limit.value());
    patch.budget_duration = gap.fill(patch.budget_duration, from.budget_duration.value());
    patch.duration = gap.fill(patch.duration, from.duration.value());
    if gap == Gap::Any {
        patch.models = non_empty(patch.models).or_default(from.models.value());
        patch.allowed_regions =
            non_empty(patch.allowed_regions).or_default(from.allowed_regions.value());
        patch.metadata = non_empty_map(patch.metadata).or_default(from.metadata.value());
    }
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
    let bound = bounds.get("max_budget").and_then(Value::as_f64);
    if let (Some(&given), Some(bound)) = (patch.max_budget.as_value(), bound)
        && given > bound
    {
        return Err(over(
            "max_budget",
            &python_float(given),
            &python_float(bound),
        ));
    }
    for (name, given) in [
        ("max_parallel_requests", &patch.max_parallel_requests),
        ("tpm_limit", &patch.tpm_limit),
        ("rpm_limit", &patch.rpm_limit),
    ] {
        let bound = bounds.get(name).and_then(Value::as_u64);
        if let (Some(given), Some(bound)) = (given.as_value(), bound)
            && *given > bound
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
