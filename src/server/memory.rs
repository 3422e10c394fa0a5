//! Where requests find what the records say.

use std::sync::Arc;

use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::money::NanoUsd;
use meridian_core::record::RecordKind;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use crate::keys::Keys;
use crate::records::Memory;
use crate::store::StoredRecord;

/// Keys.
pub(super) struct InKeys(pub(super) Arc<Keys>);

impl Memory for InKeys {
    fn apply(&self, records: &[StoredRecord], now: WallMs) {
        for stored in records {
            let record = &stored.record;
            let Some(hash) = KeyHash::from_hex(&record.id) else {
                continue;
            };
            match record.kind {
                RecordKind::Key if record.deleted => self.0.remove(&hash, now),
                RecordKind::Key => match KeyRecord::of_record(record) {
                    Ok(mut key) => {
                        key.spend = stored.spend;
                        self.0.put(&key, now);
                    }
                    Err(error) => tracing::error!(%error, "a record cannot be read"),
                },
                RecordKind::RotatedKey if !record.deleted => {
                    if let Ok(RotatedKey { active, revoke_at }) = record.read() {
                        self.0.put_deprecated(hash, active, revoke_at, now);
                    }
                }
                _ => {}
            }
        }
    }

    fn running(&self, scope: &Scope, now: WallMs) -> Option<(NanoUsd, Option<WallMs>)> {
        let hash = KeyHash::from_hex(&scope.id).filter(|_| scope.kind == ScopeKind::Key)?;
        let view = self.0.get(&hash, now)?;
        let budget = view.meters.budget();
        Some((budget.spent(now), budget.resets_at(now)))
    }

    fn raise_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs) {
        let known = self.running(scope, now).map(|(known, _)| known);
        let hash = KeyHash::from_hex(&scope.id);
        if let (Some(known), Some(hash)) = (known, hash)
            && known < spent
        {
            self.0.set_spent(&hash, spent, now);
        }
    }

    fn charge(&self, record: &SpendRecord, now: WallMs) {
        let view = record.payer.key.and_then(|key| self.0.get(&key, now));
        if let Some(view) = view {
            let meters = &view.meters;
            meters.charge(&record.model_group, record.cost, record.started, now);
        }
    }
}
