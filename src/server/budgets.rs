//! Budgets at start: what was spent before this process lived counts on.

use std::sync::Arc;

use jiff::tz::TimeZone;
use meridian_core::budget::Terms;
use meridian_core::config::Config;
use meridian_core::meters::{Due, Meters, Whose};
use meridian_core::money::NanoUsd;
use meridian_core::period::{BudgetDuration, period_from, period_of};
use meridian_core::record::RecordKind;
use meridian_core::time::WallMs;

use crate::clock;
use crate::registry::{Counted, Registry};
use crate::store::{Store, StoreError, TimeRange};

/// The zone that calendar budgets are aligned to.
pub(super) fn zone(config: &Config) -> TimeZone {
    TimeZone::get(&config.settings.timezone).unwrap_or(TimeZone::UTC)
}

/// Records that are read at once.
const WALK_RECORDS: u32 = 10_000;

/// Loads every record that requests follow, with what is spent in the running periods.
pub(super) async fn load(store: &Store, registry: &Registry) -> Result<(), StoreError> {
    let now = clock::now();
    // Keys come last, so that each finds its scopes.
    let mut kinds = RecordKind::ALL;
    kinds.sort_by_key(|kind| *kind == RecordKind::Key);
    for kind in kinds {
        load_kind(store, registry, kind, now).await?;
    }
    Ok(())
}

async fn load_kind(
    store: &Store,
    registry: &Registry,
    kind: RecordKind,
    now: WallMs,
) -> Result<(), StoreError> {
    let mut after = (kind, String::new());
    loop {
        let step = store.records_after(Some(after), WALK_RECORDS).await?;
        let Some(last) = step.last().map(|last| &last.record) else {
            return Ok(());
        };
        let done = last.kind != kind;
        after = (last.kind, last.id.clone());
        let of_kind = step.iter().filter(|stored| stored.record.kind == kind);
        let counted = of_kind.map(|stored| (&stored.record, Some(Counted::of(stored))));
        for why in registry.apply_all(counted, now) {
            tracing::error!(why, "a stored record cannot be read");
        }
        if done {
            return Ok(());
        }
    }
}

/// The installation's own budget (`litellm_settings.max_budget`), with what the ledger says was
/// spent in its running period.
pub(super) async fn shared(
    store: &Store,
    config: &Config,
    zone: &TimeZone,
    up: bool,
) -> Result<Vec<Due>, StoreError> {
    let Some(budget) = &config.settings.budget else {
        return Ok(Vec::new());
    };
    let now = clock::now();
    let duration = budget.duration.as_deref().and_then(BudgetDuration::parse);
    let from = duration.map(|duration| period_of(duration, zone, now).start);
    let range = from.map(|from| TimeRange { from, to: now });
    // A shared store that does not answer now is asked by nobody who serves requests.
    let spent = match up {
        true => store.global_spend(range).await?,
        false => NanoUsd::ZERO,
    };
    let terms = Terms {
        limit: Some(budget.max),
        duration,
        ..Terms::default()
    };
    let meters = Meters::budget_of(Whose::Installation, terms, spent, zone, now);
    Ok(vec![Due::of(Arc::new(meters))])
}

/// When the period of a duration ends that `at` lies in.
pub(super) fn next_reset(duration: &str, zone: &TimeZone, at: WallMs) -> Option<WallMs> {
    let duration = BudgetDuration::parse(duration)?;
    Some(period_from(duration, zone, at, Some(at)).end)
}
