//! Budgets at start: what was spent before this process lived counts on.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::tz::TimeZone;
use meridian_core::budget::Terms;
use meridian_core::config::Config;
use meridian_core::meters::{Due, Meters, RoutedKind, Whose};
use meridian_core::money::NanoUsd;
use meridian_core::period::{BudgetDuration, period_from, period_of};
use meridian_core::record::RecordKind;
use meridian_core::scope::Scope;
use meridian_core::time::WallMs;

use super::memory::{InForce, tell_unread};
use crate::clock;
use crate::registry::{Counted, Registry};
use crate::store::{
    BorrowedPeriod, GroupBy, ReportQuery, ScopeSpend, SpendTotals, Store, StoreError, TimeRange,
};

/// The zone that calendar budgets are aligned to.
pub(super) fn zone(config: &Config) -> TimeZone {
    TimeZone::get(&config.settings.timezone).unwrap_or(TimeZone::UTC)
}

/// A day, in milliseconds; summer time makes none shorter than 23 hours.
const DAY_MS: i64 = 23 * 3_600_000;
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
    for says in store.limit_spends().await? {
        registry.raise_limit(&says, now);
    }
    load_models(store, registry, now).await
}

/// Counts what the running periods of budgets of single models had, by the ledger.
async fn load_models(store: &Store, registry: &Registry, now: WallMs) -> Result<(), StoreError> {
    let mut periods: BTreeMap<_, BTreeMap<String, Arc<Meters>>> = BTreeMap::new();
    for (scope, meters) in registry.with_model_budgets(now) {
        for since in meters.model_periods(now) {
            let of_period = periods.entry((scope.kind, since)).or_default();
            of_period.insert(scope.id.clone(), Arc::clone(&meters));
        }
    }
    for ((kind, since), scopes) in periods {
        let ids: Vec<String> = scopes.keys().cloned().collect();
        for some in ids.chunks(PERIODS_AT_ONCE) {
            let mut spent: BTreeMap<String, Vec<_>> = BTreeMap::new();
            for (id, group, amount) in store.model_spends(kind, some.to_vec(), since).await? {
                spent.entry(id).or_default().push((group, amount));
            }
            for (id, spent) in spent {
                if let Some(meters) = scopes.get(&id) {
                    meters.raise_models(since, &spent, now);
                }
            }
        }
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
        tell_unread(&registry.apply_all(counted, now));
        if done {
            return Ok(());
        }
    }
}

/// What is shared by many: periods of budgets that others refer to are loaded, budgets of providers
/// and the like are put in force; returned is the
/// installation's own budget (`litellm_settings.max_budget`), with what the ledger says was spent
/// in its running period, or what was `saved` where the store does not answer.
pub(super) async fn shared(
    store: &Store,
    config: &Config,
    in_force: &InForce,
    up: bool,
) -> Result<Vec<Due>, StoreError> {
    let (registry, saved) = (in_force.registry(), in_force.saved());
    if up {
        load_borrowed(store, registry, !config.general.disable_spend_logs).await;
    }
    routed(store, config, registry, up).await?;
    let zone = registry.zone();
    let Some(budget) = &config.settings.budget else {
        return Ok(Vec::new());
    };
    let now = clock::now();
    let duration = budget.duration.as_deref().and_then(BudgetDuration::parse);
    let from = duration.map(|duration| period_of(duration, zone, now).start);
    let range = from.map(|from| TimeRange { from, to: now });
    // A shared store that does not answer now is asked by nobody who serves requests.
    let spent = match up {
        true => match store.global_spend(range).await {
            Err(error) if store.is_shared() => {
                tracing::warn!(%error, "what the installation spent is what this node remembers");
                saved.spent(now)
            }
            spent => spent?,
        },
        false => saved.spent(now),
    };
    let terms = Terms {
        limit: Some(budget.max),
        duration,
        ..Terms::default()
    };
    let meters = Meters::budget_of(Whose::Installation, terms, spent, zone, now);
    Ok(vec![Due::of(Arc::new(meters))])
}

/// Budgets of providers, deployments and tags. What the ledger's days of their running periods say
/// was spent counts on; a period shorter than a day begins with the process, unless nodes share it.
async fn routed(
    store: &Store,
    config: &Config,
    registry: &Registry,
    up: bool,
) -> Result<(), StoreError> {
    let now = clock::now();
    let new = registry.set_routed(&config.routed_budgets(), now);
    if !up {
        return Ok(());
    }
    let mut read: BTreeMap<(RoutedKind, WallMs), Vec<SpendTotals>> = BTreeMap::new();
    for meters in new {
        let Whose::Routed(of) = meters.whose() else {
            continue;
        };
        let period = meters.budget().duration();
        let period = period.map(|period| period_of(period, registry.zone(), now));
        if period.is_some_and(|period| period.end.0 - period.start.0 < DAY_MS) {
            continue;
        }
        let start = period.map_or(WallMs(0), |period| period.start);
        let totals = match read.entry((of.kind, start)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let asked = ReportQuery {
                    range: Some(TimeRange {
                        from: start,
                        to: now.plus_ms(1),
                    }),
                    ..ReportQuery::default()
                };
                match store.spend_by(group_of(of.kind), asked).await {
                    Err(error) if store.is_shared() => {
                        tracing::warn!(%error, "what providers were paid is not known");
                        return Ok(());
                    }
                    totals => unknown.insert(totals?),
                }
            }
        };
        let spent = totals.iter().find(|total| total.group == of.id);
        let spent = spent.map_or(NanoUsd::ZERO, |total| total.spend);
        meters.budget().charge(spent, now, now);
    }
    Ok(())
}

fn group_of(kind: RoutedKind) -> GroupBy {
    match kind {
        RoutedKind::Provider => GroupBy::Provider,
        RoutedKind::Deployment => GroupBy::Deployment,
        RoutedKind::Tag => GroupBy::Tag,
    }
}

/// Scopes that one statement changes.
const PERIODS_AT_ONCE: usize = 500;

/// Tells the store the periods of scopes that take their budget from another record. What it knows
/// is in `known`, with the length of the period, and is not told again. Returns those that it did
/// not know.
pub(super) async fn tell_borrowed(
    store: &Store,
    registry: &Registry,
    known: &mut HashMap<Scope, String>,
    listed: bool,
) -> Result<Vec<ScopeSpend>, StoreError> {
    let mut borrowed = registry.borrowed_periods(clock::now());
    let is_new = |one: &BorrowedPeriod| known.get(&one.scope) != Some(&one.period.duration);
    borrowed.retain(is_new);
    borrowed.sort_by(|one, two| one.scope.cmp(&two.scope));
    let mut begun = Vec::new();
    for some in borrowed.chunks(PERIODS_AT_ONCE) {
        begun.extend(store.begin_borrowed_periods(some.to_vec(), listed).await?);
        let told = some.iter();
        known.extend(told.map(|one| (one.scope.clone(), one.period.duration.clone())));
    }
    Ok(begun)
}

/// The same at start, before anything is spent: memory begins with what the store says then, also
/// of scopes that have no record themselves.
async fn load_borrowed(store: &Store, registry: &Registry, listed: bool) {
    let told = tell_borrowed(store, registry, &mut HashMap::new(), listed).await;
    let loaded = match told {
        Ok(begun) => read_borrowed(store, registry, &begun).await,
        Err(error) => Err(error),
    };
    if let Err(error) = loaded {
        // What is known counts: too early a refusal, never one too late.
        tracing::warn!(%error, "periods of budgets that are shared are not known from the store");
    }
}

async fn read_borrowed(
    store: &Store,
    registry: &Registry,
    begun: &[ScopeSpend],
) -> Result<(), StoreError> {
    let now = clock::now();
    for says in begun {
        // What earlier periods cost was loaded with it.
        registry.set_spent(&says.scope, says.spend, now);
    }
    let scopes = registry.borrowed_periods(now).into_iter();
    let scopes: Vec<Scope> = scopes.map(|one| one.scope).collect();
    for some in scopes.chunks(PERIODS_AT_ONCE) {
        for says in store.scope_spends(some.to_vec()).await? {
            if says.period_end.is_none_or(|end| end > now) {
                registry.raise_spent(&says.scope, says.spend, now);
            }
        }
    }
    Ok(())
}

/// When the period of a duration ends that `at` lies in.
pub(super) fn next_reset(duration: &str, zone: &TimeZone, at: WallMs) -> Option<WallMs> {
    let duration = BudgetDuration::parse(duration)?;
    Some(period_from(duration, zone, at, Some(at)).end)
}
