//! Records for customers that requests named before anybody wrote one: the budget that customers
//! without one of their own have is counted by record.

use std::time::Duration;

use meridian_core::money::NanoUsd;
use meridian_core::record::{Customer, RecordKind};
use meridian_core::scope::{Scope, ScopeKind};
use tokio::sync::watch;

use super::access::Caller;
use super::checks::id_fault;
use super::draft::{Draft, Tries};
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;

/// Between two looks.
const TURN: Duration = Duration::from_secs(1);
/// Most records of one transaction.
const BATCH: usize = 500;
/// Looks at the ledger until nothing ends meanwhile.
const TAKE_IN_TRIES: usize = 5;

/// Writes records of customers that need one until `stop` turns true. Those that the store did
/// not take are told again by their next request.
pub async fn record(state: AdminState, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let ids = state.registry().take_newcomers(BATCH);
        let many = ids.len() == BATCH;
        if !ids.is_empty() && write(&state, &ids).await.is_err() {
            one_by_one(&state, &ids).await;
        }
        if !many {
            let _ = tokio::time::timeout(TURN, stop.changed()).await;
        }
    }
}

/// Counts what customers spent while their records were made: requests that end from now on count
/// by themselves, and the ledger has all that ended before. Where nodes share the store, it is
/// looked at again and again anyway.
async fn take_in(state: &AdminState, ids: &[String]) -> Result<(), AdminError> {
    let (registry, now) = (state.registry(), state.now());
    let scopes = ids
        .iter()
        .map(|id| Scope::new(ScopeKind::EndUser, id.as_str()));
    let scopes: Vec<Scope> = scopes.collect();
    if registry.is_watching() {
        for scope in scopes {
            registry.look_after(scope, now);
        }
        return Ok(());
    }
    let counted = || {
        let spent = |scope| registry.spent(scope, now).unwrap_or_default();
        scopes.iter().map(spent).collect::<Vec<NanoUsd>>()
    };
    for turn in 1..=TAKE_IN_TRIES {
        let before = counted();
        state.flush_spend().await;
        let stored = state.store().scope_spends(scopes.clone()).await;
        let stored = stored.map_err(store_refusal)?;
        // What ended between the two may be in both: at last that is counted twice, which refuses
        // too early and never too late.
        if turn < TAKE_IN_TRIES && counted() != before {
            continue;
        }
        for (scope, before) in scopes.iter().zip(before) {
            let stored = stored.iter().find(|stored| stored.scope == *scope);
            let spent = stored.map_or(NanoUsd::ZERO, |stored| stored.spend);
            let missed = spent.saturating_sub(before);
            if missed > NanoUsd::ZERO {
                registry.add_spent(scope, missed, now);
            }
        }
        return Ok(());
    }
    Ok(())
}

/// One that cannot be written keeps no other one from its record. Ids stay out of the log.
async fn one_by_one(state: &AdminState, ids: &[String]) {
    let mut failed = 0;
    for id in ids {
        failed += usize::from(write(state, std::slice::from_ref(id)).await.is_err());
    }
    if failed > 0 {
        tracing::warn!(failed, "new customers have no record yet");
    }
}

pub(super) async fn write(state: &AdminState, ids: &[String]) -> Result<(), AdminError> {
    // The request that named them is counted with them.
    state.flush_spend().await;
    let caller = Caller::gateway();
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, &caller).keeping_spend();
        let places = ids.iter().map(|id| (RecordKind::Customer, id.clone()));
        draft.read_all(places).await?;
        for id in ids.iter().filter(|id| id_fault(id).is_none()) {
            if draft.read::<Customer>(id).await?.is_none() {
                draft.write(id, &Customer::default());
            }
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            return take_in(state, ids).await;
        }
    }
}
