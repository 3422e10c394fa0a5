//! Moving ended requests from the journal into the store, exactly once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use meridian_core::journal::Position;
use meridian_core::time::WallMs;
use tokio::sync::{Mutex, watch};

use super::Journal;
use crate::store::{Store, StoreError};

/// Most records in one transaction.
const BATCH_RECORDS_MAX: usize = 5_000;
/// Pause between looks at a journal that is drained.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause after failures: a store that comes back is used again within this time.
const RETRY_MAX: Duration = Duration::from_secs(5);
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
    position: Mutex<Option<Position>>,
    drained: AtomicU64,
    /// `ended` of the oldest record that is read but not stored; `i64::MAX` for none.
    oldest: AtomicI64,
}

impl Drain {
    /// A drain under a consumer name of its own. Segments are kept for it from now on.
    pub fn new(journal: Arc<Journal>, store: Store, consumer: &'static str) -> Self {
        journal.consumed(consumer, Position::default());
        Self {
            journal,
            store,
            consumer,
            position: Mutex::new(None),
            drained: AtomicU64::new(0),
            oldest: AtomicI64::new(i64::MAX),
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
        let mut pause = DRAIN_INTERVAL;
        while !*stop.borrow() {
            match self.step().await {
                Ok(true) => pause = DRAIN_INTERVAL,
                Ok(false) => continue,
                Err(error) => {
                    pause = (pause * 2).min(RETRY_MAX);
                    tracing::warn!(%error, consumer = self.consumer, "the journal is not drained");
                }
            }
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
                    Ok(_) if *self.position.lock().await >= Some(target) => return,
                    Ok(false) => {}
                    Ok(true) | Err(_) => tokio::time::sleep(FLUSH_RETRY).await,
                }
            }
        });
        drained.await.is_ok()
    }

    /// Moves one batch; `true` when nothing is left.
    async fn step(&self) -> Result<bool, DrainError> {
        let mut position = self.position.lock().await;
        let from = match *position {
            Some(position) => position,
            None => {
                let stored = self.store.journal_position(self.consumer).await?;
                stored.unwrap_or_default()
            }
        };
        let journal = Arc::clone(&self.journal);
        let read = tokio::task::spawn_blocking(move || journal.read_batch(from, BATCH_RECORDS_MAX));
        let batch = read.await.map_err(|_| DrainError::ReaderDied)??;
        if let Some(oldest) = batch.records.iter().map(|record| record.ended.0).min() {
            self.oldest.fetch_min(oldest, Ordering::Relaxed);
        }
        let count = batch.records.len() as u64;
        // Without records the cursor need not be stored until its segment is about to go.
        if count > 0 || batch.next.segment != from.segment {
            let next = batch.next;
            self.store
                .apply_spend(self.consumer, batch.records, next)
                .await?;
        }
        *position = Some(batch.next);
        self.drained.fetch_add(count, Ordering::Relaxed);
        self.oldest.store(i64::MAX, Ordering::Relaxed);
        self.journal.consumed(self.consumer, batch.next);
        Ok(batch.caught_up)
    }
}
