//! Customers without a budget of their own, and those that requests named and nobody has a record
//! of: what `max_end_user_budget_id` is about.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use meridian_core::party::Charter;
use meridian_core::record::Bounds;
use meridian_core::scope::ScopeKind;
use meridian_core::time::WallMs;

use super::Registry;

/// Most customers that wait for a record of theirs; of others a later request tells again.
const NEWCOMERS_MAX: usize = 10_000;

/// What holds for customers of whom nothing is said.
#[derive(Debug, Default)]
pub(super) struct Customers {
    /// Id of their budget; `None` is none.
    budget_id: ArcSwapOption<String>,
    newcomers: Mutex<BTreeSet<Box<str>>>,
}

impl Registry {
    /// From now on customers without a budget of their own have this one, or none.
    pub fn set_customer_budget(&self, budget_id: Option<&str>, now: WallMs) {
        let _writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &self.customers.budget_id;
        if held.load().as_ref().map(|id| id.as_str()) == budget_id {
            return;
        }
        held.store(budget_id.map(|id| Arc::new(id.to_owned())));
        self.refresh_customers(now);
    }

    /// Whether customers without a budget of their own have this one.
    pub(super) fn is_of_customers(&self, budget_id: &str) -> bool {
        let held = self.customers.budget_id.load();
        held.as_ref().is_some_and(|id| id.as_str() == budget_id)
    }

    /// Puts in force what holds for every customer.
    pub(super) fn refresh_customers(&self, now: WallMs) {
        let kinds = [ScopeKind::EndUser];
        let recorded = self.parties.find(&kinds, |entry| entry.charter.is_some());
        for scope in recorded {
            self.refresh(&scope, None, now);
        }
    }

    /// What holds for a customer whose record says nothing about money or rates.
    pub(super) fn default_of_customer(&self, charter: Option<&Charter>) -> Option<Charter> {
        let own = charter?;
        if own.budget_id.is_some() || own.bounds != Bounds::default() {
            return None;
        }
        let budget_id = self.customers.budget_id.load_full()?;
        Some(Charter {
            budget_id: Some(budget_id.as_str().into()),
            ..Charter::default()
        })
    }

    /// A request named a customer that has no record. It needs one where customers have a budget:
    /// what is spent of it is counted by record, on every node.
    pub fn note_newcomer(&self, id: &str) {
        if self.customers.budget_id.load().is_none() {
            return;
        }
        let newcomers = self.customers.newcomers.lock();
        let mut newcomers = newcomers.unwrap_or_else(PoisonError::into_inner);
        if newcomers.len() < NEWCOMERS_MAX {
            newcomers.insert(id.into());
        }
    }

    /// Customers that need a record, some of them; they are not told again unless a request names
    /// them again.
    pub fn take_newcomers(&self, count_max: usize) -> Vec<String> {
        let newcomers = self.customers.newcomers.lock();
        let mut newcomers = newcomers.unwrap_or_else(PoisonError::into_inner);
        let first = std::iter::from_fn(|| newcomers.pop_first());
        first.take(count_max).map(String::from).collect()
    }
}
