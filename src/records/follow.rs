//! The feed of the store: what others wrote to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::record::{Record, RecordKind, Restriction};
use meridian_core::scope::Scope;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Records, without_spend};
use crate::clock;

use crate::store::{FeedCursor, RecordPlace, Store, StoreError, StoredRecord};
use crate::telemetry::Report;

/// Longest time between two looks when nobody rings.
const LOOK_EVERY: Duration = Duration::from_millis(1_900);
/// Shortest time between two looks, however often somebody rings.
const LOOK_GAP: Duration = Duration::from_millis(100);
/// Records of one step.
const STEP_RECORDS: u32 = 1_000;
/// Longest wait for one step; a store behind a network that swallows everything answers never.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the feed of the store and takes what is new.
pub struct Follower {
    records: Arc<Records>,
    store: Store,
    cursor: FeedCursor,
    report: Report,
    /// Also what is known goes to disk once more.
    keeps_all: bool,
    /// What was spent before this process lived was looked up.
    counted: bool,
}

impl Follower {
    /// Goes on at `cursor`; an empty one begins with everything that there is.
    pub fn new(records: Arc<Records>, store: Store, cursor: FeedCursor) -> Self {
        Self {
            records,
            store,
            cursor,
            report: Report::default(),
            keeps_all: false,
            counted: false,
        }
    }

    /// Takes everything that is there, once: before anything is served.
    pub async fn look_once(&mut self) {
        let outcome = self.look().await;
        self.say(outcome.err());
    }

    /// Runs until `stop` turns true; without a store it tries again, for ever.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let records = Arc::clone(&self.records);
        while !*stop.borrow() {
            let began = Instant::now();
            let outcome = self.look().await;
            self.say(outcome.err());
            // Nodes that started together do not ask together.
            let pause = LOOK_EVERY.mul_f64(0.5 + 0.5 * clock::dice());
            let rung = tokio::select! {
                () = tokio::time::sleep_until(began + pause) => false,
                () = records.look.notified() => true,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if rung {
                tokio::time::sleep(LOOK_GAP).await;
            }
        }
    }

    /// Takes everything that is new.
    async fn look(&mut self) -> Result<(), StoreError> {
        if self.records.is_asked_anew() {
            self.cursor = FeedCursor::default();
            self.keeps_all = true;
        }
        if self.cursor == FeedCursor::default() {
            self.restrictions().await?;
        }
        loop {
            let changes = self.store.changes_after(self.cursor.clone(), STEP_RECORDS);
            let changes = in_time(changes).await?;
            let stored = self.with_spend(changes.records).await?;
            self.absorb(&stored).await?;
            if self.keeps_all {
                self.records.keep(stored.clone());
            }
            let lifted: Vec<Record> = stored
                .iter()
                .map(|one| &one.record)
                .filter(|record| record.kind == RecordKind::Restriction && record.deleted)
                .cloned()
                .collect();
            self.records.take(stored);
            self.lift(lifted).await?;
            self.cursor = changes.next;
            self.records.read_up_to(&self.cursor);
            self.records.status().store_is(true);
            if changes.caught_up {
                break;
            }
        }
        self.keeps_all = false;
        self.records.status().caught_up();
        self.records.memory.complete();
        if !self.counted {
            self.count().await?;
            self.counted = true;
        }
        Ok(())
    }

    /// Before everything else of a store that is new here: what other regions take away.
    async fn restrictions(&self) -> Result<(), StoreError> {
        const KIND: RecordKind = RecordKind::Restriction;
        let mut after = (KIND, String::new());
        loop {
            let step = self.store.records_after(Some(after), STEP_RECORDS);
            let mut step = in_time(step).await?;
            let whole = step.len();
            step.retain(|stored| stored.record.kind == KIND);
            let Some(last) = step.last() else {
                return Ok(());
            };
            after = (KIND, last.record.id.clone());
            let done = step.len() < whole;
            self.records.take(step);
            if done {
                return Ok(());
            }
        }
    }

    /// Adds what was spent for those that are not counted here yet.
    async fn with_spend(&self, records: Vec<Record>) -> Result<Vec<StoredRecord>, StoreError> {
        let now = clock::now();
        let unknown = |scope: &Scope| self.records.memory.running(scope, now).is_none();
        let scopes: Vec<Scope> = records
            .iter()
            .filter(|record| !record.deleted)
            .filter_map(Record::scope)
            .filter(unknown)
            .collect();
        let mut spends = HashMap::new();
        if !scopes.is_empty() {
            let found = in_time(self.store.scope_spends(scopes)).await?;
            spends.extend(found.into_iter().map(|one| (one.scope.clone(), one)));
        }
        let stored = |record: Record| {
            let spend = record.scope().and_then(|scope| spends.get(&scope));
            let mut stored = without_spend(record);
            if let Some(spend) = spend {
                (stored.spend, stored.resets_at) = (spend.spend, spend.period_end);
            }
            stored
        };
        Ok(records.into_iter().map(stored).collect())
    }

    /// Once, after a start from the snapshot: the store knows what other nodes have spent.
    async fn count(&self) -> Result<(), StoreError> {
        let mut after: Option<RecordPlace> = None;
        loop {
            let step = self.store.records_after(after.take(), STEP_RECORDS);
            let step = in_time(step).await?;
            let now = clock::now();
            for stored in &step {
                let scope = stored.record.scope().filter(|_| !stored.record.deleted);
                if let Some(scope) = scope.filter(|_| stored.spend.0 > 0) {
                    let memory = &self.records.memory;
                    memory.raise_spent(&scope, stored.spend, now);
                }
            }
            match step.last() {
                Some(last) => after = Some((last.record.kind, last.record.id.clone())),
                None => return Ok(()),
            }
        }
    }

    /// What other regions took from records of this one goes into them, so that it is seen here
    /// and can be given back. Nodes of the region do it at once; the first one wins.
    async fn absorb(&self, stored: &[StoredRecord]) -> Result<(), StoreError> {
        let own = self.records.region();
        let theirs = stored.iter().map(|one| &one.record).filter(|record| {
            record.kind == RecordKind::Restriction && !record.deleted && record.home != own
        });
        for record in theirs.filter(|_| !own.is_empty()) {
            let restriction: Restriction = record.read()?;
            let (kind, id) = (restriction.target_kind, restriction.target_id);
            match in_time(self.store.absorb(kind, &id)).await {
                Ok(absorbed) if absorbed.is_empty() => {}
                Ok(absorbed) => self.records.changed_here(&absorbed),
                // Somebody else was first, or changed it: the restriction stands all the same.
                Err(StoreError::Conflict { .. } | StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is lifted shows in its record, of which memory has no more than what was left of it.
    async fn lift(&self, lifted: Vec<Record>) -> Result<(), StoreError> {
        for record in lifted {
            let Restriction {
                target_kind,
                target_id,
                ..
            } = record.read()?;
            let stored = in_time(self.store.get_record(target_kind, target_id)).await?;
            if let Some(stored) = stored {
                self.records.memory.apply(&[stored], clock::now());
            }
        }
        Ok(())
    }

    fn say(&mut self, error: Option<StoreError>) {
        self.records.status().store_is(error.is_none());
        let Some(line) = self.report.line(error.is_none(), clock::mono()) else {
            return;
        };
        let (unshown, known) = (line.unshown, self.records.len());
        match error {
            None => tracing::info!(unshown, known, "the store answers; changes are followed"),
            Some(error) => tracing::warn!(
                %error, unshown, known,
                "the store is not reached; what is known is served, and it is tried again"
            ),
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(STEP_TIMEOUT, Box::pin(answer)).await;
    answer.unwrap_or(Err(StoreError::Busy))
}
