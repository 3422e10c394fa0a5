//! What other nodes spend of the budgets that this node uses, read from the store they share.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::journal::Position;
use meridian_core::scope::Scope;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::clock;
use crate::journal::Drain;
use crate::registry::Registry;
use crate::state::State;
use crate::store::{Store, StoreError};

/// Between two looks.
const TURN: Duration = Duration::from_secs(2);
/// Scopes in one question.
const SCOPES_ASKED: usize = 500;
/// Tries to read while this node stores nothing.
const TRIES: usize = 3;

/// Reads the spend of scopes that were used here lately, again and again.
struct Others {
    registry: Arc<Registry>,
    store: Store,
    drain: Arc<Drain>,
    /// Where the journal began for this process. What is before it is in the counters, and until
    /// the store has all of it the two cannot be compared.
    begins: Position,
}

/// Starts reading where others use the same store.
pub(super) fn start(
    control: &Runtime,
    state: &State,
    (store, drain): (&Store, &Arc<Drain>),
    stop: &watch::Receiver<bool>,
) {
    if let Some(others) = Others::new(state, store.clone(), Arc::clone(drain)) {
        control.spawn(others.run(stop.clone()));
    }
}

impl Others {
    /// Starts counting what this process stores; `None` where nobody else uses the store. During an
    /// upgrade somebody does: the process of this node that leaves.
    fn new(state: &State, store: Store, drain: Arc<Drain>) -> Option<Self> {
        if !store.is_shared() && !state.journal.life().is_along() {
            return None;
        }
        let registry = Arc::clone(&state.registry);
        registry.watch();
        let (told, begins) = (Arc::clone(&registry), state.journal.end());
        drain.tell(begins, move |own| {
            told.mark_stored(own.iter(), clock::now());
        });
        Some(Self {
            registry,
            store,
            drain,
            begins,
        })
    }

    /// Runs until `stop` turns true.
    async fn run(self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() && !self.drain.has_passed(self.begins).await {
            let _ = tokio::time::timeout(TURN, stop.changed()).await;
        }
        while !*stop.borrow() {
            let scopes = self.registry.active_scopes();
            for some in scopes.chunks(SCOPES_ASKED) {
                // Without the store this node goes on with what it knew last.
                if let Err(error) = self.look(some.to_vec()).await {
                    tracing::debug!(%error, "the spend of other nodes is not known");
                    break;
                }
            }
            let _ = tokio::time::timeout(TURN, stop.changed()).await;
        }
    }

    async fn look(&self, scopes: Vec<Scope>) -> Result<(), StoreError> {
        for turn in 1..=TRIES {
            let before = self.drain.batches();
            let spends = self.store.scope_spends(scopes.clone()).await?;
            let undisturbed = before.is_multiple_of(2) && before == self.drain.batches();
            // At last also a disturbed answer: what was stored meanwhile counts twice until the
            // next turn, which refuses too early and never too late.
            if undisturbed || turn == TRIES {
                self.registry.take_stored(&spends, clock::now());
                return Ok(());
            }
        }
        Ok(())
    }
}
