//! Money and rates of a record: the fields that LiteLLM repeats in every table.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::money::NanoUsd;
use crate::time::WallMs;

/// Limits of one scope. A record that refers to a [`super::Budget`] takes from it what it does not
/// say itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Money per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_budget: Option<NanoUsd>,
    /// Alert level; never blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_budget: Option<NanoUsd>,
    /// Period of `max_budget` (`30d`, `1mo`, ...); `None` is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<String>,
    /// End of the running period as it was set; the store knows the running one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_reset_at: Option<WallMs>,
    /// Tokens per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_limit: Option<u64>,
    /// Requests per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm_limit: Option<u64>,
    /// Requests at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u64>,
    /// Money per model: `{"gpt-4o": {"budget_limit": 10, "time_period": "1d"}}`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub model_max_budget: Map<String, Value>,
    /// Further budgets with periods of their own, as LiteLLM's `budget_limits`; it lies in the
    /// record's `extra`.
    #[serde(skip)]
    pub budget_limits: Value,
}

/// The field of `budget_limits` in `extra`.
const LIMITS: &str = "budget_limits";

impl Bounds {
    /// These bounds with what a record's `extra` says of further budgets.
    #[must_use]
    pub fn with_limits(mut self, extra: &Map<String, Value>) -> Self {
        self.budget_limits = extra.get(LIMITS).cloned().unwrap_or_default();
        self
    }

    /// These bounds with what `budget` says where they say nothing. A period goes with its amount.
    #[must_use]
    pub fn or(&self, budget: &Self) -> Self {
        let money = if self.max_budget.is_some() {
            self
        } else {
            budget
        };
        let per_model = match self.model_max_budget.is_empty() {
            true => &budget.model_max_budget,
            false => &self.model_max_budget,
        };
        Self {
            max_budget: money.max_budget,
            budget_duration: money.budget_duration.clone(),
            budget_reset_at: money.budget_reset_at,
            soft_budget: self.soft_budget.or(budget.soft_budget),
            tpm_limit: self.tpm_limit.or(budget.tpm_limit),
            rpm_limit: self.rpm_limit.or(budget.rpm_limit),
            max_parallel_requests: self.max_parallel_requests.or(budget.max_parallel_requests),
            model_max_budget: per_model.clone(),
            budget_limits: self.budget_limits.clone(),
        }
    }
}
