//! Puts a configuration in force: after a reload, and when a record of it was written, here or on
//! another node.

use std::sync::Arc;

use meridian_core::price::PriceBook;

use crate::merged::Merged;
use crate::state::State;

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
