//! Moving ended requests from the journal into the store, exactly once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use meridian_core::journal::Position;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use tokio::sync::{Mutex, MutexGuard, watch};

use super::Journal;
use crate::clock;
use crate::store::{SpendBatch, Store, StoreError};

/// Most records in one transaction.
const BATCH_RECORDS_MAX: usize = 5_000;
/// Pause between looks at a journal that is drained, unless another one is set.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// First and longest pause after failures: a store that comes back is used again within the
/// longest and the time to reach it.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// Pause between two tries of `flush`.
const FLUSH_RETRY: Duration = Duration::from_millis(20);

/// Why a batch was not drained; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The segments could not be read.
    #[error("journal: {0}")]
    Journal(#[from] io::Error),
    /// The store did not take the batch.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The reading task died.
    #[error("the reading task died")]
    ReaderDied,
}

/// The consumer that keeps the store up to date. Its cursor lies in the store and moves in the
/// transaction that adds the records.
#[derive(Debug)]
pub struct Drain {
    journal: Arc<Journal>,
    store: Store,
    consumer: &'static str,
    /// Name of the cursor in the store.
    writer: String,
    interval_ms: AtomicU64,
    keeps_logs: AtomicBool,
    place: Mutex<Place>,
    drained: AtomicU64,
    listener: OnceLock<Listener>,
    /// `ended` of the oldest record that is read but not stored; `i64::MAX` for none.
    oldest: AtomicI64,
}

/// A drain between two batches, until this is dropped.
#[derive(Debug)]
pub struct Paused<'a> {
    _place: MutexGuard<'a, Place>,
}

/// One who is told of records that are stored, from a place in the journal on.
struct Listener {
    begins: Position,
    listen: Listen,
}

/// What is told of records that reached the store.
type Listen = Box<dyn Fn(&[SpendRecord]) + Send + Sync>;

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// Where the drain is.
#[derive(Debug, Default)]
struct Place {
    /// `None` where only the store knows.
    cursor: Option<Cursor>,
    /// Batches of which the store did not say whether it has one: its cursor will.
    unsure: Option<Unsure>,
}

/// What the listener is told once the store's cursor is behind it. A commit may still be under way
/// when the store is asked, and the next batch is another one: all that began at one cursor are
/// remembered until it moves, for only one of them can have moved it.
#[derive(Debug, Default)]
struct Unsure {
    /// Records of the longest of them; the others are its beginning.
    told: Vec<SpendRecord>,
    /// Where each ends, and how many records it has.
    ends: Vec<(Position, usize)>,
}

impl Unsure {
    fn add(&mut self, next: Position, told: Vec<SpendRecord>) {
        if self.ends.iter().all(|(end, _)| *end != next) {
            self.ends.push((next, told.len()));
        }
        if told.len() > self.told.len() {
            self.told = told;
        }
    }

    /// The records of the batch that brought the cursor to `at`; `Err` while none has.
    fn taken(mut self, at: Position) -> Result<Vec<SpendRecord>, Self> {
        let passed = self.ends.iter().filter(|(end, _)| *end <= at);
        let Some(count) = passed.map(|(_, count)| *count).max() else {
            return Err(self);
        };
        self.told.truncate(count);
        Ok(self.told)
    }
}

/// How far the drain has come.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Read and taken by the store.
    at: Position,
    /// What the store holds; behind `at` there was nothing to store.
    stored: Position,
}

impl Drain {
    /// A drain under a consumer name of its own. Segments are kept for it from now on.
    pub fn new(journal: Arc<Journal>, store: Store, consumer: &'static str) -> Self {
        journal.consumed(consumer, Position::default());
        let writer = store.writer_name(journal.id(), journal.life().number() == 0, consumer);
        Self {
            journal,
            store,
            consumer,
            writer,
            interval_ms: AtomicU64::new(DRAIN_INTERVAL.as_millis() as u64),
            keeps_logs: AtomicBool::new(true),
            place: Mutex::default(),
            drained: AtomicU64::new(0),
            listener: OnceLock::new(),
            oldest: AtomicI64::new(i64::MAX),
        }
    }

    /// Sets how often a drained journal is looked at; `None` is the usual pause.
    pub fn set_interval(&self, interval: Option<Duration>) {
        let ms = interval.unwrap_or(DRAIN_INTERVAL).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX).max(1);
        self.interval_ms.store(ms, Ordering::Relaxed);
    }

    /// Sets whether requests are listed in the store. They are always counted.
    pub fn set_keeps_logs(&self, keeps_logs: bool) {
        self.keeps_logs.store(keeps_logs, Ordering::Relaxed);
    }

    /// Names one who is told of records once they are stored, of those alone that were appended
    /// at `begins` or after it; the first one stays. A clock says nothing about that: it may be
    /// set back.
    pub fn tell(
        &self,
        begins: Position,
        listener: impl Fn(&[SpendRecord]) + Send + Sync + 'static,
    ) {
        let listen: Listen = Box::new(listener);
        let _ = self.listener.set(Listener { begins, listen });
    }

    /// Waits for the batch that is being stored, and begins none while it is paused: what is read
    /// of the store meanwhile has all that the listener was told, and beyond that at most a batch
    /// whose commit nobody has heard of yet.
    pub async fn pause(&self) -> Paused<'_> {
        Paused {
            _place: self.place.lock().await,
        }
    }

    /// Records stored by this process.
    pub fn drained(&self) -> u64 {
        self.drained.load(Ordering::Relaxed)
    }

    /// Age of the oldest record that waits for the store, in milliseconds; 0 when none does.
    pub fn lag_ms(&self, now: WallMs) -> u64 {
        let oldest = self.oldest.load(Ordering::Relaxed);
        u64::try_from(now.0.saturating_sub(oldest)).unwrap_or(0)
    }

    /// Drains until `stop` turns true. Never gives up: a failing store is tried again.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0u32;
        while !*stop.borrow() {
            let pause = match self.step().await {
                Ok(true) => {
                    failures = 0;
                    Duration::from_millis(self.interval_ms.load(Ordering::Relaxed))
                }
                Ok(false) => continue,
                Err(error) => {
                    tracing::warn!(%error, consumer = self.consumer, "the journal is not drained");
                    let doubled = RETRY
                        .0
                        .saturating_mul(2_u32.saturating_pow(failures.min(8)));
                    failures = failures.saturating_add(1);
                    // Spread, so that nodes do not come back at once.
                    doubled.min(RETRY.1).mul_f64(0.5 + 0.5 * clock::dice())
                }
            };
            let stopped = tokio::time::timeout(pause, stop.changed()).await;
            if matches!(stopped, Ok(Err(_))) {
                return;
            }
        }
    }

    /// Drains everything that was appended before the call; `false` if the deadline came first.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let target = self.journal.end();
        let drained = tokio::time::timeout(deadline, async {
            loop {
                match self.step().await {
                    Ok(_) if self.has_passed(target).await => return,
                    Ok(false) => {}
                    Ok(true) | Err(_) => tokio::time::sleep(FLUSH_RETRY).await,
                }
            }
        });
        drained.await.is_ok()
    }

    /// Whether the store has everything before a place; `false` also where that is not known.
    pub async fn has_passed(&self, target: Position) -> bool {
        let cursor = self.place.lock().await.cursor;
        cursor.is_some_and(|cursor| cursor.at >= target)
    }

    /// Name of the cursor. A copy of a journal has one of its own: the other one goes on with the
    /// name that both have, and what both hold is counted once.
    fn writer(&self) -> String {
        match self.journal.life().retired_as() {
            None => self.writer.clone(),
            Some(word) => format!("{}/{word}", self.writer),
        }
    }

    /// Asks the store how far it has come. A batch whose answer was lost is in it or is not.
    async fn ask(&self, place: &mut Place) -> Result<Cursor, StoreError> {
        let stored = self.store.journal_position(&self.writer()).await?;
        let at = stored.unwrap_or_default();
        self.journal.was_told(at);
        self.tell_of(place, at);
        Ok(Cursor { at, stored: at })
    }

    /// Tells what the store has taken, if its cursor at `at` says that it has.
    fn tell_of(&self, place: &mut Place, at: Position) {
        match place.unsure.take().map(|unsure| unsure.taken(at)) {
            Some(Ok(told)) => {
                if let Some(listener) = self.listener.get() {
                    (listener.listen)(&told);
                }
            }
            Some(Err(unsure)) => place.unsure = Some(unsure),
            None => {}
        }
    }

    /// Moves one batch; `true` when nothing is left.
    async fn step(&self) -> Result<bool, DrainError> {
        let mut place = self.place.lock().await;
        // Taken out: after a failure nobody knows what was stored, and the store is asked.
        let Cursor { at, stored } = match place.cursor.take() {
            Some(cursor) => cursor,
            None => self.ask(&mut place).await?,
        };
        let journal = Arc::clone(&self.journal);
        let shared = self.store.is_shared();
        let read = tokio::task::spawn_blocking(move || {
            let batch = journal.read_batch(at, BATCH_RECORDS_MAX)?;
            // A ledger that knows more than the journal after a power loss would have other sums
            // than the rows that are made from it.
            let stays = batch.records.is_empty() && batch.next.segment == at.segment;
            match !shared || stays || journal.sync() {
                true => Ok(batch),
                false => Err(io::Error::other("the journal cannot be put on disk")),
            }
        });
        let batch = read.await.map_err(|_| DrainError::ReaderDied)??;
        if let Some(oldest) = batch.records.iter().map(|record| record.ended.0).min() {
            self.oldest.fetch_min(oldest, Ordering::Relaxed);
        }
        let (count, next) = (batch.records.len() as u64, batch.next);
        // Without records the cursor need not be stored until its segment is about to go.
        let moves = count > 0 || next.segment != at.segment;
        if moves {
            let told = self.listener.get().map(|it| batch.since(it.begins));
            let spend = SpendBatch {
                writer: self.writer(),
                from: stored,
                next,
                records: batch.records,
                keeps_logs: self.keeps_logs.load(Ordering::Relaxed),
            };
            if let Some(told) = told {
                place.unsure.get_or_insert_default().add(next, told);
            }
            self.store.apply_spend(spend).await?;
            self.tell_of(&mut place, next);
        }
        place.cursor = Some(Cursor {
            at: next,
            stored: if moves { next } else { stored },
        });
        self.drained.fetch_add(count, Ordering::Relaxed);
        self.oldest.store(i64::MAX, Ordering::Relaxed);
        self.journal.consumed(self.consumer, next);
        Ok(batch.caught_up)
    }
}
