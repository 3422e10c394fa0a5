//! Budgets at start: what was spent before this process lived counts on.

use std::sync::Arc;

use jiff::tz::TimeZone;
use meridian_core::budget::{BudgetSlot, Terms};
use meridian_core::config::Config;
use meridian_core::error::BudgetScope;
use meridian_core::meters::ScopeBudget;
use meridian_core::money::NanoUsd;
use meridian_core::period::{BudgetDuration, period_from, period_of};
use meridian_core::time::WallMs;

use crate::clock;
use crate::keys::Keys;
use crate::store::{Store, StoreError, TimeRange};

/// The zone that calendar budgets are aligned to.
pub(super) fn zone(config: &Config) -> TimeZone {
    TimeZone::get(&config.settings.timezone).unwrap_or(TimeZone::UTC)
}

/// Loads every key, its spend in the running period, and keys that were rotated.
pub(super) async fn load_keys(store: &Store, keys: &Keys) -> Result<(), StoreError> {
    let now = clock::now();
    for record in store.load_keys().await? {
        keys.insert(&record, now);
    }
    for old in store.load_deprecated_keys(now).await? {
        keys.put_deprecated(old.token, old.active, old.revoke_at, now);
    }
    Ok(())
}

/// The installation's own budget (`litellm_settings.max_budget`), with what the ledger says was
/// spent in its running period.
pub(super) async fn shared(
    store: &Store,
    config: &Config,
    zone: &TimeZone,
    up: bool,
) -> Result<Vec<ScopeBudget>, StoreError> {
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
    let slot = Arc::new(BudgetSlot::new(terms, spent, zone, now));
    Ok(vec![ScopeBudget {
        scope: BudgetScope::Global,
        slot,
    }])
}

/// When the period of a duration ends that `at` lies in.
pub(super) fn next_reset(duration: &str, zone: &TimeZone, at: WallMs) -> Option<WallMs> {
    let duration = BudgetDuration::parse(duration)?;
    Some(period_from(duration, zone, at, Some(at)).end)
}
