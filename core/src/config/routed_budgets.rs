//! What may be spent with providers, with single deployments and on tags, wherever it is written:
//! budgets that decide where requests go.

use super::Config;
use super::deployment::Deployment;
use super::problem::Problems;
use super::section::Area;
use crate::meters::{Routed, RoutedKind};
use crate::money::NanoUsd;
use crate::period::BudgetDuration;

/// What may be spent with one provider, with one deployment or on one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedBudget {
    /// Whose.
    pub of: Routed,
    /// Money per period.
    pub limit: NanoUsd,
    /// The period; `None` is one that never ends.
    pub period: Option<BudgetDuration>,
    /// The same as it was written.
    pub written: Option<String>,
}

impl Config {
    /// All of them, those of deployments included.
    pub fn routed_budgets(&self) -> Vec<RoutedBudget> {
        let of_models = self.models.iter().filter_map(of_deployment);
        let written = self.routed.iter().cloned();
        written.chain(of_models).collect()
    }
}

fn of_deployment(model: &Deployment) -> Option<RoutedBudget> {
    let budget = model.budget.as_ref()?;
    let written = budget.duration.clone();
    Some(RoutedBudget {
        of: Routed::new(RoutedKind::Deployment, model.id.as_str()),
        limit: budget.limit,
        period: written.as_deref().and_then(BudgetDuration::parse),
        written,
    })
}

/// `router_settings.provider_budget_config` and `litellm_settings.tag_budget_config`.
pub(super) fn resolve(
    router: &Area<'_>,
    litellm: &Area<'_>,
    problems: &mut Problems,
) -> Vec<RoutedBudget> {
    let provider = router.child("provider_budget_config");
    let tag = litellm.child("tag_budget_config");
    let mut all = section(&provider, RoutedKind::Provider, problems);
    all.extend(section(&tag, RoutedKind::Tag, problems));
    all
}

fn section(all: &Area<'_>, kind: RoutedKind, problems: &mut Problems) -> Vec<RoutedBudget> {
    let names = all.all_json();
    let one = |name: &String| {
        let own = all.child(name);
        let limit = own
            .number("budget_limit")
            .or_else(|| own.number("max_budget"));
        let written = own
            .text("time_period")
            .or_else(|| own.text("budget_duration"));
        let limit = limit.and_then(NanoUsd::from_dollars);
        let limit = limit.filter(|limit| *limit >= NanoUsd::ZERO);
        let period = written.and_then(BudgetDuration::parse);
        let (Some(limit), Some(period)) = (limit, period) else {
            let message = "expected `budget_limit` in dollars and `time_period` such as `1d`";
            problems.error(all.at(name), &all.path_of(name), message);
            return None;
        };
        Some(RoutedBudget {
            of: Routed::new(kind, name.as_str()),
            limit,
            period: Some(period),
            written: written.map(str::to_owned),
        })
    };
    names.keys().filter_map(one).collect()
}
