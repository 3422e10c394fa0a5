//! Budgets of providers, deployments and tags: they decide where requests go.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::budget::Terms;
use meridian_core::config::RoutedBudget;
use meridian_core::error::GatewayError;
use meridian_core::meters::{Due, Meters, Routed, RoutedKind, Whose};
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;

use super::Registry;

/// Those that are configured now, with their counters.
#[derive(Debug, Default)]
pub struct RoutedBudgets {
    all: BTreeMap<Routed, Arc<Meters>>,
}

impl RoutedBudgets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The counters of one.
    pub fn get(&self, of: &Routed) -> Option<&Arc<Meters>> {
        self.all.get(of)
    }

    /// Everything that a request of these tags is charged to at a deployment of a provider.
    pub fn dues(&self, provider: &str, deployment: &str, tags: &[String]) -> Vec<Due> {
        if self.is_empty() {
            return Vec::new();
        }
        let tags = tags.iter().map(|tag| (RoutedKind::Tag, tag.as_str()));
        let place = [
            (RoutedKind::Provider, provider),
            (RoutedKind::Deployment, deployment),
        ];
        let names = place.into_iter().chain(tags);
        let found = names.filter_map(|(kind, id)| self.get(&Routed::new(kind, id)));
        found.map(|meters| Due::of(Arc::clone(meters))).collect()
    }

    /// The budget that is used up for such a request, if one is.
    pub fn exceeded(
        &self,
        (provider, deployment): (&str, &str),
        tags: &[String],
        now: WallMs,
    ) -> Option<GatewayError> {
        let dues = self.dues(provider, deployment, tags);
        dues.iter().find_map(|due| due.meters.exceeded(now))
    }
}

impl Registry {
    /// Those that are configured now.
    pub fn routed(&self) -> Arc<RoutedBudgets> {
        self.routed.load_full()
    }

    /// Puts these in force. Counters of those that stay go on; returns those that are new.
    pub fn set_routed(&self, wanted: &[RoutedBudget], now: WallMs) -> Vec<Arc<Meters>> {
        let before = self.routed();
        let mut new = Vec::new();
        let mut all = BTreeMap::new();
        for budget in wanted {
            let terms = Terms {
                limit: Some(budget.limit),
                duration: budget.period,
                ..Terms::default()
            };
            let meters = match before.get(&budget.of) {
                Some(meters) => {
                    meters.budget().update(terms, now);
                    Arc::clone(meters)
                }
                None => {
                    let whose = Whose::Routed(budget.of.clone());
                    let made = Meters::budget_of(whose, terms, NanoUsd::ZERO, &self.zone, now);
                    let made = Arc::new(made);
                    new.push(Arc::clone(&made));
                    made
                }
            };
            all.insert(budget.of.clone(), meters);
        }
        // Whoever still holds something of one that is gone is not limited by it.
        let gone = before.all.iter().filter(|(of, _)| !all.contains_key(*of));
        gone.for_each(|(_, meters)| meters.budget().set_limit(None));
        self.routed.store(Arc::new(RoutedBudgets { all }));
        new
    }
}
