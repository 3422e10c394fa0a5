//! Where requests find what the records say: the registry.

use std::sync::Arc;

use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use crate::clock;
use crate::records::Memory;
use crate::registry::{Counted, Registry};
use crate::store::StoredRecord;

/// The registry, for those who keep the node's copy of the records.
pub(super) struct InRegistry(pub(super) Arc<Registry>);

impl Memory for InRegistry {
    fn apply(&self, records: &[StoredRecord], _: WallMs) {
        let counted = |stored: &StoredRecord| {
            let says = stored.spend != NanoUsd::ZERO || stored.resets_at.is_some();
            says.then(|| Counted::of(stored))
        };
        let records = records.iter();
        take(
            &self.0,
            records.map(|stored| (&stored.record, counted(stored))),
        );
    }

    fn complete(&self) {
        self.0.set_complete(true);
    }

    fn running(&self, scope: &Scope, now: WallMs) -> Option<(NanoUsd, Option<WallMs>)> {
        self.0.running(scope, now)
    }

    fn raise_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs) {
        let known = self.0.spent_of(scope, now);
        if known.is_some_and(|known| known < spent) {
            self.0.set_spent(scope, spent, now);
        }
    }

    fn charge(&self, record: &SpendRecord, now: WallMs) {
        self.0.charge(record, now);
    }
}

/// Takes records into the registry.
pub(super) fn take<'a>(
    registry: &Registry,
    records: impl IntoIterator<Item = (&'a Record, Option<Counted>)>,
) {
    for why in registry.apply_all(records, clock::now()) {
        tracing::error!(why, "a record cannot be read");
    }
}
