//! Where requests find what the records say: keys and scopes in the registry, models and settings
//! in the configuration in force.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use super::force;
use crate::clock;
use crate::merged::Merged;
use crate::records::{Memory, Running};
use crate::registry::{Counted, Registry, Unread};
use crate::state::State;
use crate::store::StoredRecord;
use crate::telemetry::logs::whose;

/// All that follows the records.
pub(super) struct InForce {
    registry: Arc<Registry>,
    merged: Arc<Merged>,
    /// Who serves requests; nobody at first.
    state: OnceLock<Weak<State>>,
    installation: Mutex<Installation>,
}

/// What the installation's own budget had spent, for a start without the store.
#[derive(Clone, Copy, Default)]
pub(super) struct Installation {
    /// What the snapshot said.
    saved: Option<Running>,
    /// What the journal had behind the snapshot: in the period that ran then, and later.
    replayed: (NanoUsd, NanoUsd),
}

impl Installation {
    /// What is spent in the period that runs now, as far as this node knows.
    pub(super) fn spent(&self, now: WallMs) -> NanoUsd {
        let (within, later) = self.replayed;
        match self.saved {
            Some(saved) if saved.ends.is_some_and(|ends| ends <= now) => later,
            Some(saved) => saved.spend.saturating_add(within).saturating_add(later),
            None => within.saturating_add(later),
        }
    }

    fn charge(&mut self, record: &SpendRecord) {
        let ends = self.saved.and_then(|saved| saved.ends);
        let (within, later) = &mut self.replayed;
        let sum = match ends.is_some_and(|ends| record.started >= ends) {
            true => later,
            false => within,
        };
        *sum = sum.saturating_add(record.cost);
    }
}

impl InForce {
    /// Nothing is served yet.
    pub(super) fn new(registry: Arc<Registry>, merged: Arc<Merged>) -> Self {
        Self {
            registry,
            merged,
            state: OnceLock::new(),
            installation: Mutex::default(),
        }
    }

    /// Keys and scopes.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What was saved of the installation's own budget.
    pub(super) fn saved(&self) -> Installation {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Installation> {
        let locked = self.installation.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a changed configuration is put in force.
    pub(super) fn serve(&self, state: &Arc<State>) {
        // Called once, at start.
        let _ = self.state.set(Arc::downgrade(state));
    }

    /// Takes records that were written: requests that arrive from now on follow them.
    pub(super) fn take<'a>(
        &self,
        records: impl Iterator<Item = (&'a Record, Option<Counted>)> + Clone,
    ) {
        let of_configuration = records.clone().map(|(record, _)| record);
        tell_unread(&self.registry.apply_all(records, clock::now()));
        let changed = self.merged.take(of_configuration);
        let state = self.state.get().and_then(Weak::upgrade);
        if let Some(state) = state.filter(|_| changed) {
            force::put(&state, &self.merged, None);
        }
    }
}

/// The one place where records that cannot be read get into the log.
pub(super) fn tell_unread(unread: &[Unread]) {
    for Unread { kind, id, why } in unread {
        tracing::error!(kind, id = %whose(id), why, "a record cannot be read");
    }
}

impl Memory for InForce {
    fn apply(&self, records: &[StoredRecord], _: WallMs) {
        let counted = |stored: &StoredRecord| {
            let says = stored.spend != NanoUsd::ZERO || stored.resets_at.is_some();
            says.then(|| Counted::of(stored))
        };
        let records = records.iter();
        self.take(records.map(|stored| (&stored.record, counted(stored))));
    }

    fn complete(&self) {
        self.registry.set_complete(true);
    }

    fn running(&self, scope: &Scope, now: WallMs) -> Option<(NanoUsd, Option<WallMs>)> {
        self.registry.running(scope, now)
    }

    fn raise_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs) {
        self.registry.raise_spent(scope, spent, now);
    }

    fn charge(&self, record: &SpendRecord, now: WallMs) {
        self.registry.charge(record, now);
        self.lock().charge(record);
    }

    fn installation(&self, now: WallMs) -> Option<Running> {
        let Some(state) = self.state.get().and_then(Weak::upgrade) else {
            return self.saved().saved;
        };
        let budget = state.shared_budgets.first()?.meters.budget();
        Some(Running {
            spend: budget.spent(now),
            ends: budget.resets_at(now),
        })
    }

    fn saved_installation(&self, running: Running) {
        self.lock().saved = Some(running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(started: i64, cost: i64) -> SpendRecord {
        let record = serde_json::json!({
            "call_id": meridian_core::ids::CallId::from_bytes([1; 16]),
            "endpoint": "chat_completions", "model_group": "m", "started": started,
            "ended": started, "usage": {}, "cost": cost, "end_reason": "complete", "status": 200,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn what_was_saved_and_what_the_journal_adds_is_spent_in_its_period() {
        let saved = |ends: Option<i64>| Installation {
            saved: Some(Running {
                spend: NanoUsd(100),
                ends: ends.map(WallMs),
            }),
            ..Installation::default()
        };
        for (ends, now, spent) in [(Some(50), 40, 111), (Some(50), 60, 1), (None, 60, 111)] {
            let mut installation = saved(ends);
            installation.charge(&request(30, 10));
            installation.charge(&request(55, 1));
            assert_eq!(
                installation.spent(WallMs(now)),
                NanoUsd(spent),
                "{ends:?} {now}"
            );
        }
        let mut unknown = Installation::default();
        unknown.charge(&request(30, 10));
        assert_eq!(unknown.spent(WallMs(40)), NanoUsd(10));
    }
}
