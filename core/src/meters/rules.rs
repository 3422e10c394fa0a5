//! Limits out of a record: columns and what LiteLLM folds into `metadata`.

use serde_json::{Map, Value};

use super::{MODELS_MAX, Plain};
use crate::budget::Terms;
use crate::budget::policy::OwnPolicy;
use crate::error::GatewayError;
use crate::key::KeyRecord;
use crate::limit::Limits;
use crate::money::NanoUsd;
use crate::period::BudgetDuration;
use crate::record::Bounds;
use crate::time::WallMs;

/// Where LiteLLM folds the rates of single models.
const RATE_FIELDS: [&str; 2] = ["model_rpm_limit", "model_tpm_limit"];

/// Limits as a record writes them: its bounds, and what is folded into its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Columns, those of its budget included.
    pub bounds: &'a Bounds,
    /// `model_rpm_limit`, `model_tpm_limit`, `temp_budget_increase`, `temp_budget_expiry`.
    pub metadata: &'a Map<String, Value>,
}

impl Written<'_> {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            rpm: self.bounds.rpm_limit,
            tpm: self.bounds.tpm_limit,
            parallel: self.bounds.max_parallel_requests,
        }
    }

    /// A duration that cannot be read never ends: the strictest reading.
    pub(super) fn terms(&self) -> Terms {
        let duration = self.bounds.budget_duration.as_deref();
        Terms {
            limit: self.bounds.max_budget,
            duration: duration.and_then(BudgetDuration::parse),
            resets_at: self.bounds.budget_reset_at,
            extra: self.extra(),
        }
    }

    /// The same where no list is needed; `None` for a record with rules of single models or with
    /// several budgets.
    pub fn plain(&self) -> Option<Plain> {
        if !self.budget_limits().is_empty() || self.models().next().is_some() {
            return None;
        }
        Some(Plain {
            limits: self.limits(),
            terms: self.terms(),
            soft: self.bounds.soft_budget,
            policy: OwnPolicy::of(self.metadata).pack(),
        })
    }

    /// Further budgets with the durations that name them.
    pub(super) fn budget_limits(&self) -> Vec<(String, Terms)> {
        super::limits::read(&self.bounds.budget_limits)
    }

    fn extra(&self) -> Option<(NanoUsd, WallMs)> {
        let increase = dollars(self.metadata.get("temp_budget_increase")?)?;
        let until = self.metadata.get("temp_budget_expiry")?.as_str()?;
        Some((increase, WallMs::parse_iso(until)?))
    }

    /// Models with rules of their own. One that cannot be read allows nothing.
    pub(super) fn models(&self) -> impl Iterator<Item = (&str, Limits, Terms)> {
        let [rpm, tpm] = self.rate_maps();
        let names = [rpm, tpm, Some(&self.bounds.model_max_budget)];
        let mut names: Vec<&str> = names.into_iter().flatten().flat_map(keys).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(move |model| {
            let rate = |map: Option<&Map<String, Value>>| {
                map.and_then(|map| map.get(model))
                    .map(|value| count(value).unwrap_or(0))
            };
            let limits = Limits {
                rpm: rate(rpm),
                tpm: rate(tpm),
                parallel: None,
            };
            let terms = self.bounds.model_max_budget.get(model);
            (model, limits, terms.map_or(Terms::default(), model_terms))
        })
    }

    pub(super) fn names_model(&self, model: &str) -> bool {
        let [rpm, tpm] = self.rate_maps();
        let maps = [rpm, tpm, Some(&self.bounds.model_max_budget)];
        maps.into_iter()
            .flatten()
            .any(|map| map.contains_key(model))
    }

    /// `model_rpm_limit` and `model_tpm_limit`.
    fn rate_maps(&self) -> [Option<&Map<String, Value>>; 2] {
        RATE_FIELDS.map(|field| self.metadata.get(field).and_then(Value::as_object))
    }

    /// Whether every limit can be enforced as written; for routes that store records.
    ///
    /// # Errors
    /// `BadField` naming the field and what would be right.
    pub fn check(&self) -> Result<(), GatewayError> {
        let bad = |field: &str, wanted: &str| GatewayError::BadField {
            field: field.to_owned(),
            message: format!("{field} must be {wanted}"),
        };
        let bounds = self.bounds;
        let duration = bounds.budget_duration.as_deref();
        if duration.is_some_and(|text| BudgetDuration::parse(text).is_none()) {
            return Err(bad(
                "budget_duration",
                "a number and one of s, m, h, d, w, mo, e.g. 30d",
            ));
        }
        if bounds.max_budget.is_some_and(|limit| limit < NanoUsd::ZERO) {
            return Err(bad("max_budget", "a non-negative finite number"));
        }
        for (field, map) in RATE_FIELDS.into_iter().zip(self.rate_maps()) {
            let good = map.is_some_and(|map| map.values().all(|value| count(value).is_some()));
            if self.says(field) && !good {
                return Err(bad(field, "an object of model names and whole numbers"));
            }
        }
        let mut terms = bounds.model_max_budget.values();
        if terms.any(|value| read_model_terms(value).is_none()) {
            let wanted = r#"like {"gpt-4o": {"budget_limit": 10, "time_period": "1d"}}"#;
            return Err(bad("model_max_budget", wanted));
        }
        if !bounds.budget_limits.is_null() {
            super::limits::check_budget_limits(&bounds.budget_limits).map_err(|message| {
                let field = "budget_limits".to_owned();
                GatewayError::BadField { field, message }
            })?;
        }
        OwnPolicy::check(self.metadata).map_err(|message| {
            let field = "metadata".to_owned();
            GatewayError::BadField { field, message }
        })?;
        if self.says("temp_budget_increase") && self.extra().is_none() {
            return Err(bad(
                "temp_budget_increase",
                "a number, with temp_budget_expiry as a date",
            ));
        }
        if self.models().count() > MODELS_MAX {
            return Err(bad(
                "model limits",
                &format!("for at most {MODELS_MAX} models"),
            ));
        }
        Ok(())
    }

    fn says(&self, field: &str) -> bool {
        let value = self.metadata.get(field);
        value.is_some_and(|value| !value.is_null())
    }
}

/// The first model of a `model_max_budget` whose budget cannot be read.
pub(crate) fn bad_model_budget(budgets: &Map<String, Value>) -> Option<&str> {
    let bad = |(_, value): &(&String, &Value)| read_model_terms(value).is_none();
    budgets.iter().find(bad).map(|(model, _)| model.as_str())
}

/// [`Written::check`] for a key.
///
/// # Errors
/// The same.
pub fn check_rules(record: &KeyRecord) -> Result<(), GatewayError> {
    let written = Written {
        bounds: &record.bounds(),
        metadata: &record.metadata,
    };
    written.check()
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

pub(super) fn dollars(value: &Value) -> Option<NanoUsd> {
    let number = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_f64()?,
    };
    NanoUsd::from_dollars(number).filter(|amount| *amount >= NanoUsd::ZERO)
}

fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
