//! Where requests find what the records say: keys and scopes in the registry, models and settings
//! in the configuration in force.

use std::sync::{Arc, OnceLock, Weak};

use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use super::force;
use crate::clock;
use crate::merged::Merged;
use crate::records::Memory;
use crate::registry::{Counted, Registry};
use crate::state::State;
use crate::store::StoredRecord;

/// All that follows the records.
pub(super) struct InForce {
    registry: Arc<Registry>,
    merged: Arc<Merged>,
    /// Who serves requests; nobody at first.
    state: OnceLock<Weak<State>>,
}

impl InForce {
    /// Nothing is served yet.
    pub(super) fn new(registry: Arc<Registry>, merged: Arc<Merged>) -> Self {
        Self {
            registry,
            merged,
            state: OnceLock::new(),
        }
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
        for why in self.registry.apply_all(records, clock::now()) {
            tracing::error!(why, "a record cannot be read");
        }
        let changed = self.merged.take(of_configuration);
        let state = self.state.get().and_then(Weak::upgrade);
        if let Some(state) = state.filter(|_| changed) {
            force::put(&state, &self.merged, None);
        }
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
        let known = self.registry.spent_of(scope, now);
        if known.is_some_and(|known| known < spent) {
            self.registry.set_spent(scope, spent, now);
        }
    }

    fn charge(&self, record: &SpendRecord, now: WallMs) {
        self.registry.charge(record, now);
    }
}
