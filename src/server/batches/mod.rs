//! Batches at providers are billed when they are done: those that somebody has read at once, the
//! others by a look now and then. Whoever is at one holds a lease of it in the store.
//!
//! What a batch used is written down once (`decide_batch`), goes through the journal as its bills
//! do, and the transaction that adds a bill to the ledger marks it: however many nodes do this, and
//! wherever one of them dies, it counts once.

mod bill;
mod look;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::batch;
use meridian_core::ids::CallId;
use meridian_core::time::WallMs;
use tokio::sync::{mpsc, watch};

use look::{Seen, Trouble};

use crate::clock;
use crate::journal::Drain;
use crate::state::State;
use crate::store::{BatchClaim, BatchKey, NextLook, OpenBatch, Store, StoreError, Which};

/// Batches that were read and wait to be billed; further ones are found by the look.
pub(super) const OVER_MAX: usize = 1_024;
/// Longest pause between two looks at what is due.
const TURN: Duration = Duration::from_secs(10);
/// Batches that are taken at once: a lease begins with the look at its batch.
const CLAIMED_MAX: u32 = 1;
/// Batches that are remembered as billed; then the memory starts over.
const DONE_MAX: usize = 10_000;
/// Batches that are looked at in one turn.
const TURN_MAX: usize = 200;
/// How long a batch is this node's. A look takes less.
const LEASE_MS: i64 = 15 * 60_000;
/// Longest time of one look.
const LOOK_MAX: Duration = Duration::from_secs(12 * 60);
/// First pause after a look that failed; it doubles up to the longest.
const RETRY_MS: (i64, i64) = (30_000, 6 * 3_600_000);
/// Batches of another region are looked at when nobody there has for two intervals and this long.
const ELSEWHERE_MS: i64 = 600_000;
/// How long bills may take into the ledger before somebody looks again.
const LEDGER_WITHIN: Duration = Duration::from_secs(20);
/// Label of batches that are never billed.
const GIVEN_UP: &str = "given_up";
/// A batch is given up when its provider has not had it, or its output, for this long.
const GONE_MS: i64 = 3 * 86_400_000;

/// Bills batches.
pub(super) struct Biller {
    state: Arc<State>,
    store: Store,
    drain: Arc<Drain>,
    over: mpsc::Receiver<String>,
    /// Of this process, and of one that takes its place after a crash.
    name: String,
    /// Batches that need no look when they are read again.
    done: HashSet<String>,
    /// Bills that this process has counted and the ledger does not have yet.
    counted: HashSet<CallId>,
}

impl Biller {
    pub(super) fn new(
        state: &Arc<State>,
        (store, drain): (&Store, &Arc<Drain>),
        over: mpsc::Receiver<String>,
    ) -> Self {
        Self {
            state: Arc::clone(state),
            store: store.clone(),
            drain: Arc::clone(drain),
            over,
            name: format!("{}/{}", state.journal.id(), state.journal.life().number()),
            done: HashSet::new(),
            counted: HashSet::new(),
        }
    }

    /// Runs until `stop` turns true.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut due_at = clock::mono();
        while !*stop.borrow() {
            tokio::select! {
                changed = stop.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(due_at.into()) => {
                    if self.state.is_in_charge() {
                        self.bill_due(&stop).await;
                    }
                    due_at = clock::mono() + self.interval().min(TURN);
                }
                Some(id) = self.over.recv() => self.bill_one(id).await,
            }
        }
    }

    fn interval(&self) -> Duration {
        self.state.rules.load().config.general.batch_polling
    }

    /// One that is over. Its row comes with the record of the request that made it.
    async fn bill_one(&mut self, id: String) {
        if self.done.contains(&id) {
            return;
        }
        let which = Which::One(id.clone());
        let mut claimed = self.claim(which.clone()).await;
        if matches!(&claimed, Ok(none) if none.is_empty()) {
            self.drain.flush(LEDGER_WITHIN).await;
            claimed = self.claim(which).await;
        }
        match claimed {
            // Billed, somebody else's now, or not made here.
            Ok(batches) if batches.is_empty() => self.is_done(id),
            Ok(batches) => drop(self.bill_all(batches).await),
            Err(error) => tracing::warn!(%error, "a batch that is over is billed later"),
        }
    }

    fn is_done(&mut self, id: String) {
        if self.done.len() >= DONE_MAX {
            self.done.clear();
        }
        self.done.insert(id);
    }

    async fn bill_due(&mut self, stop: &watch::Receiver<bool>) {
        let mut looked = 0;
        while looked < TURN_MAX && !*stop.borrow() {
            let grace = 2 * millis(self.interval()) + ELSEWHERE_MS;
            let due = Which::Due {
                region: self.state.region.clone().unwrap_or_default(),
                elsewhere_before: clock::now().plus_ms(-grace),
                most: CLAIMED_MAX,
            };
            match self.claim(due).await {
                Ok(batches) if batches.is_empty() => return,
                Ok(batches) => {
                    looked += batches.len();
                    if !self.bill_all(batches).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "batches are not looked at");
                    return;
                }
            }
        }
    }

    async fn claim(&self, which: Which) -> Result<Vec<OpenBatch>, StoreError> {
        let now = clock::now();
        let until = now.plus_ms(LEASE_MS);
        let by = self.name.clone();
        let claim = BatchClaim {
            by,
            which,
            now,
            until,
        };
        self.store.claim_batches(claim).await
    }

    /// Whether the store does its part: where it does not, the next turn begins anew.
    async fn bill_all(&mut self, batches: Vec<OpenBatch>) -> bool {
        for open in batches {
            let batch = BatchKey::of(&open.made);
            let gone_since = open.gone_since;
            let Err(error) = self.bill(&batch, open).await else {
                continue;
            };
            tracing::warn!(%error, batch = batch.id, "a batch is billed later");
            let at = clock::now().plus_ms(RETRY_MS.0);
            if self.fail(&batch, at, gone_since).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Looks in a task of its own: a defect there is not to end all bills.
    async fn look(&self, open: &OpenBatch) -> Result<Seen, Trouble> {
        let (state, made) = (Arc::clone(&self.state), open.made.clone());
        let mut look = tokio::spawn(async move { look::at(&state, &made).await });
        match tokio::time::timeout(LOOK_MAX, &mut look).await {
            Ok(seen) => seen.unwrap_or(Err(Trouble::Broken)),
            Err(_) => {
                look.abort();
                Err(Trouble::Late)
            }
        }
    }

    /// Looks at a batch and bills it, or says when it is looked at again.
    async fn bill(&mut self, batch: &BatchKey, open: OpenBatch) -> Result<(), StoreError> {
        let now = clock::now();
        if !open.is_decided {
            let parts = match self.look(&open).await {
                Ok(Seen::Running) => {
                    let at = now.plus_ms(millis(self.interval()));
                    return self.run_on(batch, at).await;
                }
                Ok(Seen::Over(parts)) => parts,
                Err(trouble) if is_given_up(&open, &trouble, now) => {
                    self.give_up(batch, &trouble);
                    Vec::new()
                }
                Err(trouble) => return self.retry(batch, &open, &trouble).await,
            };
            let bills = batch::bill(&open.made, parts, clock::now());
            self.store.decide_batch(batch.clone(), bills).await?;
        }
        let bills = self.store.open_bills(batch.clone()).await?;
        for bill in &bills {
            if self.counted.contains(&bill.call_id) {
                continue;
            }
            match bill::charge(&self.state, bill.clone()).await {
                Ok(()) => drop(self.counted.insert(bill.call_id)),
                Err(error) => {
                    let id = &batch.id;
                    tracing::error!(%error, batch = id, "a batch's bill is not in the journal");
                    return self.fail(batch, now.plus_ms(RETRY_MS.0), None).await;
                }
            }
        }
        if !bills.is_empty() {
            self.drain.flush(LEDGER_WITHIN).await;
        }
        match self.store.end_batch(batch.clone(), clock::now()).await? {
            true => {
                for bill in bills {
                    self.counted.remove(&bill.call_id);
                }
                self.is_done(batch.id.clone());
                Ok(())
            }
            false => self.fail(batch, now.plus_ms(RETRY_MS.0), None).await,
        }
    }

    async fn retry(
        &self,
        batch: &BatchKey,
        open: &OpenBatch,
        trouble: &Trouble,
    ) -> Result<(), StoreError> {
        let tries = open.tries;
        self.state.metrics.batch_failed(trouble.label());
        let doubled = RETRY_MS.0.saturating_mul(1 << tries.min(20));
        let wait = doubled.min(RETRY_MS.1);
        let (id, deployment) = (&batch.id, &batch.deployment_id);
        tracing::warn!(batch = id, deployment, error = %trouble, tries, "a batch is billed later");
        let now = clock::now();
        // Failures of another kind do not say that it is there again.
        let gone_since = open.gone_since.or(trouble.is_gone().then_some(now));
        self.fail(batch, now.plus_ms(wait), gone_since).await
    }

    fn give_up(&self, batch: &BatchKey, trouble: &Trouble) {
        self.state.metrics.batch_failed(GIVEN_UP);
        let (id, deployment) = (&batch.id, &batch.deployment_id);
        tracing::error!(batch = id, deployment, error = %trouble, "a batch is never billed");
    }

    async fn fail(
        &self,
        batch: &BatchKey,
        at: WallMs,
        gone_since: Option<WallMs>,
    ) -> Result<(), StoreError> {
        let next = NextLook {
            at,
            failed: true,
            gone_since,
        };
        self.store.put_off_batch(batch.clone(), next).await
    }

    async fn run_on(&self, batch: &BatchKey, at: WallMs) -> Result<(), StoreError> {
        let next = NextLook {
            at,
            failed: false,
            gone_since: None,
        };
        self.store.put_off_batch(batch.clone(), next).await
    }
}

/// Whether looking again is in vain. By age and not by number: who reads a batch often does not
/// make it free.
fn is_given_up(open: &OpenBatch, trouble: &Trouble, now: WallMs) -> bool {
    let age = open.gone_since.map(|since| now.0.saturating_sub(since.0));
    trouble.is_gone() && age.is_some_and(|age| age >= GONE_MS)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
