//! Scopes whose budget period is that of a record that they refer to: keys and others with a
//! `budget_id`, and members of teams that have only their team's budget for members.

use meridian_core::period::{BudgetDuration, period_from};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use super::Registry;
use super::parties::Entry;
use crate::store::{BorrowedPeriod, ScopePeriod};

impl Registry {
    /// All of them, with the periods that run. The records of the scopes do not name these, so
    /// that nobody but who knows both records can tell the store.
    pub fn borrowed_periods(&self, now: WallMs) -> Vec<BorrowedPeriod> {
        let linked = self.keys.borrowers().into_iter().map(|(token, budget_id)| {
            let scope = Scope::new(ScopeKind::Key, token.to_string());
            (scope, budget_id)
        });
        let parties = self.parties.with_borrowed(|entry| self.budget_of(entry));
        let all = linked.chain(parties);
        all.filter_map(|(scope, budget_id)| {
            let held = self.budgets.get(&*budget_id)?;
            let duration = held.bounds.budget_duration.clone()?;
            drop(held);
            self.borrowed(scope, duration, now)
        })
        .collect()
    }

    fn borrowed(&self, scope: Scope, duration: String, now: WallMs) -> Option<BorrowedPeriod> {
        let (_, ends) = self.running(&scope, now)?;
        let parsed = BudgetDuration::parse(&duration)?;
        let start = period_from(parsed, &self.zone, now, ends).start;
        let period = ScopePeriod { duration, ends };
        Some(BorrowedPeriod {
            scope,
            period,
            start,
        })
    }

    /// The budget whose period counts for a scope that has none of its own.
    fn budget_of(&self, entry: &Entry) -> Option<Box<str>> {
        let charter = entry.charter.as_deref();
        if charter.is_some_and(|it| it.bounds.budget_duration.is_some()) {
            return None;
        }
        let own = charter.and_then(|it| it.budget_id.clone());
        let scope = entry.party.scope();
        own.or_else(|| self.default_charter(scope, charter)?.budget_id)
    }
}
