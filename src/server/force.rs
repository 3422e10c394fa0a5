//! Puts records in force, and the configuration: after a reload, and when a record of it was
//! written, here or on another node.

use std::sync::Arc;

use meridian_core::price::PriceBook;
use meridian_core::record::Record;

use crate::clock;
use crate::merged::Merged;
use crate::state::State;

/// Takes records that were stored; requests that arrive from now on follow them.
pub(super) fn take(state: &State, merged: &Merged, records: &[Record]) {
    let records_alone = records.iter().map(|record| (record, None));
    for why in state.registry.apply_all(records_alone, clock::now()) {
        tracing::error!(why, "a stored record cannot be read");
    }
    if merged.take(records) {
        put(state, merged, None);
    }
}

/// Puts files and records in force as they are now, with these prices or the ones there are.
pub(super) fn put(state: &State, merged: &Merged, prices: Option<Arc<PriceBook>>) {
    // The configuration is made while no other one can be put in force: the last one sees all.
    state.update_rules(|old| {
        let prices = prices.unwrap_or_else(|| Arc::clone(&old.prices));
        match merged.config() {
            Some(config) => old.next(Arc::new(config), prices),
            // A reload takes no files with errors, so this is never seen.
            None => old.next(Arc::clone(&old.config), prices),
        }
    });
}
