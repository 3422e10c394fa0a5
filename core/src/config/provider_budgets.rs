//! `router_settings.provider_budget_config`, resolved.

use super::problem::Problems;
use super::section::Area;
use crate::money::NanoUsd;
use crate::period::BudgetDuration;

/// What may be spent with one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderBudget {
    /// The provider, as in `model: openai/...`.
    pub provider: String,
    /// Money per period.
    pub limit: NanoUsd,
    /// The period.
    pub period: BudgetDuration,
    /// The same as it was written.
    pub written: String,
}

pub(super) fn resolve(router: &Area<'_>, problems: &mut Problems) -> Vec<ProviderBudget> {
    let all = router.child("provider_budget_config");
    let names = all.all_json();
    let one = |provider: &String| {
        let own = all.child(provider);
        let limit = own
            .number("budget_limit")
            .or_else(|| own.number("max_budget"));
        let written = own
            .text("time_period")
            .or_else(|| own.text("budget_duration"));
        let limit = limit.and_then(NanoUsd::from_dollars);
        let period = written.and_then(BudgetDuration::parse);
        let (Some(limit), Some(period), Some(written)) = (limit, period, written) else {
            let message = "expected `budget_limit` in dollars and `time_period` such as `1d`";
            problems.error(all.at(provider), &all.path_of(provider), message);
            return None;
        };
        Some(ProviderBudget {
            provider: provider.clone(),
            limit,
            period,
            written: written.to_owned(),
        })
    };
    names.keys().filter_map(one).collect()
}
