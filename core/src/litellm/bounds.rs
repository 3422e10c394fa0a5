//! Money and rates of a row: the columns that LiteLLM repeats in every table.

use serde_json::{Map, Value};

use super::row::{Refused, Row};
use super::{SourcePeriod, SourceSpend};
use crate::meters::bad_model_budget;
use crate::money::NanoUsd;
use crate::period::BudgetDuration;
use crate::record::Bounds;

/// Columns that the query adds: those of the budget that a row refers to.
const BUDGET_DURATION: &str = "meridian_budget_duration";
const BUDGET_RESET_AT: &str = "meridian_budget_reset_at";

impl Row {
    /// The limits of a row.
    pub(super) fn bounds(&mut self) -> Result<Bounds, Refused> {
        Ok(Bounds {
            budget_limits: Value::Null,
            max_budget: self.money("max_budget")?,
            soft_budget: self.money("soft_budget")?,
            budget_duration: self.duration("budget_duration")?,
            budget_reset_at: self.moment("budget_reset_at")?,
            tpm_limit: self.count("tpm_limit")?,
            rpm_limit: self.count("rpm_limit")?,
            max_parallel_requests: self.count("max_parallel_requests")?,
            model_max_budget: self.model_budgets("model_max_budget")?,
        })
    }

    /// A duration that cannot be read would never end: it is refused instead.
    pub(super) fn duration(&mut self, column: &str) -> Result<Option<String>, Refused> {
        let Some(text) = self.text(column)? else {
            return Ok(None);
        };
        match BudgetDuration::parse(&text) {
            Some(_) => Ok(Some(text)),
            None => {
                let reason = format!(
                    "expected a number and one of s, m, h, d, w, mo, e.g. 30d, found {text:?}"
                );
                Err(self.refuse(column, reason))
            }
        }
    }

    fn model_budgets(&mut self, column: &str) -> Result<Map<String, Value>, Refused> {
        let budgets = self.object(column)?;
        match bad_model_budget(&budgets) {
            None => Ok(budgets),
            Some(model) => {
                let path = format!("{column}.{model}");
                let wanted = r#"expected {"budget_limit": dollars, "time_period": "1d"}"#;
                Err(self.refuse(path, wanted))
            }
        }
    }

    /// What a row with a period of its own has spent.
    pub(super) fn own_spend(&mut self, bounds: &Bounds) -> Result<SourceSpend, Refused> {
        let spend = self.spent("spend")?;
        let ends = bounds.budget_reset_at;
        Ok(SourceSpend { spend, ends })
    }

    /// What a row has spent whose period is that of the budget it refers to.
    pub(super) fn budget_spend(&mut self) -> Result<(SourceSpend, Option<SourcePeriod>), Refused> {
        let period = self.budget_period()?;
        let spend = self.spent("spend")?;
        let ends = period.as_ref().and_then(|period| period.ends);
        Ok((SourceSpend { spend, ends }, period))
    }

    /// The period of the budget that a row refers to.
    pub(super) fn budget_period(&mut self) -> Result<Option<SourcePeriod>, Refused> {
        let duration = self.duration(BUDGET_DURATION)?;
        let ends = self.moment(BUDGET_RESET_AT)?;
        Ok(duration.map(|duration| SourcePeriod { duration, ends }))
    }
}

impl SourceSpend {
    /// What of it belongs to the period that runs at `now`. LiteLLM resets late: until then the
    /// column still shows the period that has ended.
    #[must_use]
    pub fn running(self, now: crate::time::WallMs) -> NanoUsd {
        match self.ends {
            Some(ends) if ends <= now => NanoUsd::ZERO,
            _ => self.spend,
        }
    }
}
