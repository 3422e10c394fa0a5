//! Limits out of a stored key: columns and what LiteLLM folds into `metadata`.

use serde_json::{Map, Value};

use super::MODELS_MAX;
use crate::budget::Terms;
use crate::error::GatewayError;
use crate::key::KeyRecord;
use crate::limit::Limits;
use crate::money::NanoUsd;
use crate::period::BudgetDuration;
use crate::time::WallMs;

/// Where LiteLLM folds the rates of single models.
const RATE_FIELDS: [&str; 2] = ["model_rpm_limit", "model_tpm_limit"];

pub(super) fn limits(record: &KeyRecord) -> Limits {
    Limits {
        rpm: record.rpm_limit,
        tpm: record.tpm_limit,
        parallel: record.max_parallel_requests,
    }
}

/// A duration that cannot be read never ends: the strictest reading.
pub(super) fn terms(record: &KeyRecord) -> Terms {
    Terms {
        limit: record.max_budget,
        duration: record
            .budget_duration
            .as_deref()
            .and_then(BudgetDuration::parse),
        resets_at: record.budget_reset_at,
        extra: extra(record),
    }
}

fn extra(record: &KeyRecord) -> Option<(NanoUsd, WallMs)> {
    let increase = dollars(record.metadata.get("temp_budget_increase")?)?;
    let until = record.metadata.get("temp_budget_expiry")?.as_str()?;
    Some((increase, WallMs::parse_iso(until)?))
}

/// Models with rules of their own. One that cannot be read allows nothing.
pub(super) fn models(record: &KeyRecord) -> impl Iterator<Item = (&str, Limits, Terms)> {
    let [rpm, tpm] = rate_maps(record);
    let names = [rpm, tpm, Some(&record.model_max_budget)];
    let mut names: Vec<&str> = names.into_iter().flatten().flat_map(keys).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(move |model| {
        let limits = Limits {
            rpm: rpm
                .and_then(|map| map.get(model))
                .map(|value| count(value).unwrap_or(0)),
            tpm: tpm
                .and_then(|map| map.get(model))
                .map(|value| count(value).unwrap_or(0)),
            parallel: None,
        };
        let terms = record.model_max_budget.get(model);
        (model, limits, terms.map_or(Terms::default(), model_terms))
    })
}

pub(super) fn names_model(record: &KeyRecord, model: &str) -> bool {
    let [rpm, tpm] = rate_maps(record);
    let maps = [rpm, tpm, Some(&record.model_max_budget)];
    maps.into_iter()
        .flatten()
        .any(|map| map.contains_key(model))
}

/// Whether every limit of the key can be enforced as written; for routes that store keys.
///
/// # Errors
/// `BadField` naming the field and what would be right.
pub fn check_rules(record: &KeyRecord) -> Result<(), GatewayError> {
    let bad = |field: &str, wanted: &str| GatewayError::BadField {
        field: field.to_owned(),
        message: format!("{field} must be {wanted}"),
    };
    let duration = record.budget_duration.as_deref();
    if duration.is_some_and(|text| BudgetDuration::parse(text).is_none()) {
        return Err(bad(
            "budget_duration",
            "a number and one of s, m, h, d, w, mo, e.g. 30d",
        ));
    }
    if record.max_budget.is_some_and(|limit| limit < NanoUsd::ZERO) {
        return Err(bad("max_budget", "a non-negative finite number"));
    }
    for (field, map) in RATE_FIELDS.into_iter().zip(rate_maps(record)) {
        let present = record
            .metadata
            .get(field)
            .is_some_and(|value| !value.is_null());
        let good = map.is_some_and(|map| map.values().all(|value| count(value).is_some()));
        if present && !good {
            return Err(bad(field, "an object of model names and whole numbers"));
        }
    }
    if record
        .model_max_budget
        .values()
        .any(|value| read_model_terms(value).is_none())
    {
        let wanted = r#"like {"gpt-4o": {"budget_limit": 10, "time_period": "1d"}}"#;
        return Err(bad("model_max_budget", wanted));
    }
    let raised = |field: &str| {
        record
            .metadata
            .get(field)
            .is_some_and(|value| !value.is_null())
    };
    if raised("temp_budget_increase") && extra(record).is_none() {
        return Err(bad(
            "temp_budget_increase",
            "a number, with temp_budget_expiry as a date",
        ));
    }
    if models(record).count() > MODELS_MAX {
        return Err(bad(
            "model limits",
            &format!("for at most {MODELS_MAX} models"),
        ));
    }
    Ok(())
}

/// The first model of a `model_max_budget` whose budget cannot be read.
pub(crate) fn bad_model_budget(budgets: &Map<String, Value>) -> Option<&str> {
    let bad = |(_, value): &(&String, &Value)| read_model_terms(value).is_none();
    budgets.iter().find(bad).map(|(model, _)| model.as_str())
}

/// `model_rpm_limit` and `model_tpm_limit`.
fn rate_maps(record: &KeyRecord) -> [Option<&Map<String, Value>>; 2] {
    RATE_FIELDS.map(|field| record.metadata.get(field).and_then(Value::as_object))
}

fn keys(map: &Map<String, Value>) -> impl Iterator<Item = &str> {
    map.keys().map(String::as_str)
}

fn model_terms(value: &Value) -> Terms {
    read_model_terms(value).unwrap_or(Terms {
        limit: Some(NanoUsd::ZERO),
        ..Terms::default()
    })
}

/// `{"budget_limit": 10, "time_period": "1d"}`, with LiteLLM's other names, or a bare number.
fn read_model_terms(value: &Value) -> Option<Terms> {
    let Some(fields) = value.as_object() else {
        let limit = dollars(value)?;
        return Some(Terms {
            limit: Some(limit),
            ..Terms::default()
        });
    };
    let field = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| fields.get(name));
        found.filter(|value| !value.is_null())
    };
    let limit = dollars(field(["budget_limit", "max_budget"])?)?;
    let duration = match field(["time_period", "budget_duration"]) {
        None => None,
        Some(text) => Some(BudgetDuration::parse(text.as_str()?)?),
    };
    Some(Terms {
        limit: Some(limit),
        duration,
        ..Terms::default()
    })
}

fn dollars(value: &Value) -> Option<NanoUsd> {
    let number = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_f64()?,
    };
    NanoUsd::from_dollars(number).filter(|amount| *amount >= NanoUsd::ZERO)
}

fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
