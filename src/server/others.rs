//! What other nodes spend of the budgets that this node uses, read from the store they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// Longest wait of somebody who asks what others spent. Then it is said as it was known last.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Reads the spend of scopes that were used here lately, again and again, and of others when
/// somebody asks.
pub(super) struct Others {
    registry: Arc<Registry>,
    store: Store,
    drain: Arc<Drain>,
    /// Where the journal began for this process. What is before it is in the counters, and until
    /// the store has all of it the two cannot be compared.
    begins: Position,
    /// Whether it has.
    has_past: AtomicBool,
}

/// Starts reading where others use the same store.
pub(super) fn start(
    control: &Runtime,
    state: &State,
    (store, drain): (&Store, &Arc<Drain>),
    stop: &watch::Receiver<bool>,
) -> Option<Arc<Others>> {
    let others = Others::new(state, store.clone(), Arc::clone(drain)).map(Arc::new)?;
    control.spawn(Arc::clone(&others).run(stop.clone()));
    Some(others)
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
            has_past: AtomicBool::new(false),
        })
    }

    /// Runs until `stop` turns true.
    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() && !self.drain.has_passed(self.begins).await {
            let _ = tokio::time::timeout(TURN, stop.changed()).await;
        }
        self.has_past.store(true, Ordering::Release);
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

    /// Counts what others spent of scopes as the store has it now: who asks about one of them
    /// need not wait for the next turn.
    pub(super) async fn ask(&self, scopes: Vec<Scope>) {
        if !self.has_past.load(Ordering::Acquire) {
            return;
        }
        if let Ok(Err(error)) = tokio::time::timeout(ASK_MAX, self.look(scopes)).await {
            tracing::debug!(%error, "the spend of other nodes is not known");
        }
    }

    /// One look. A batch whose commit this process has not heard of counts twice until the next
    /// one, which refuses too early and never too late.
    async fn look(&self, scopes: Vec<Scope>) -> Result<(), StoreError> {
        // What this process knows to be stored does not move between the read and the comparison.
        let _paused = self.drain.pause().await;
        let spends = self.store.scope_spends(scopes).await?;
        self.registry.take_stored(&spends, clock::now());
        Ok(())
    }
}
