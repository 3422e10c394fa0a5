//! The copy on disk, for a start without a store: written when something changed, signed, and
//! read only if the signature is ours.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::journal::Position;
use meridian_core::scope::Scope;
use meridian_core::signature::Signer;
use tokio::sync::watch;

use file::{Head, Line};
pub use file::{Running, SnapshotError};

use super::{Records, Unsaved, hold};
use crate::clock;
use crate::journal::Journal;
use crate::store::{FeedCursor, StoredRecord};
use crate::telemetry::metrics::{Metrics, RecordEvent};

/// The file in the data directory.
const FILE: &str = "records.snapshot";
/// Name under which the journal keeps what was spent since the snapshot.
const CONSUMER: &str = "snapshot";
/// Between two looks whether something is to be written.
const TURN: Duration = Duration::from_secs(1);
/// Shortest time between two snapshots of changed records.
const CHANGED_GAP: Duration = Duration::from_secs(3);
/// Shortest time between two snapshots of what was spent alone.
const SPENT_GAP: Duration = Duration::from_secs(60);
/// A large snapshot is written less often: at most this share of the time goes into it.
const SHARE: u32 = 20;
/// So many changes are written at once: what waits is bounded.
const UNSAVED_MAX: usize = 20_000;
/// Records that are taken at a time while it is read.
const STEP_RECORDS: usize = 1_000;

/// What a snapshot said beside its records.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Where the feed goes on.
    pub cursor: FeedCursor,
    /// What the journal has behind this is not in its spend.
    pub journal: Position,
    /// How many records it had.
    pub records: u64,
    /// They were all that the store had.
    pub complete: bool,
}

/// Takes the records of the snapshot of a data directory. `None` where there is none, or where it
/// is torn or not ours: then it is moved aside, and nothing of it was taken.
///
/// # Errors
/// When it cannot be read.
pub fn load(
    data_dir: &Path,
    signer: &Signer,
    records: &Records,
    metrics: &Metrics,
) -> Result<Option<Loaded>, SnapshotError> {
    match load_trusted(data_dir, signer, records) {
        Err(error) if error.is_damage() => {
            let path = data_dir.join(FILE);
            tracing::error!(
                %error, path = %path.display(),
                "the snapshot of records is refused and moved aside; the store is needed"
            );
            metrics.record_events(RecordEvent::SnapshotRefused, 1);
            file::set_aside(&path);
            Ok(None)
        }
        other => other,
    }
}

fn load_trusted(
    data_dir: &Path,
    signer: &Signer,
    records: &Records,
) -> Result<Option<Loaded>, SnapshotError> {
    let path = data_dir.join(FILE);
    let Some(mut reader) = file::Reader::open(&path, signer)? else {
        return Ok(None);
    };
    let head = reader.head().clone();
    let mut step = Vec::with_capacity(STEP_RECORDS);
    let mut count = 0;
    while let Some(line) = reader.next()? {
        step.push(line.into_stored());
        if step.len() == STEP_RECORDS {
            count += step.len() as u64;
            records.take_saved(&step);
            step.clear();
        }
    }
    count += step.len() as u64;
    records.take_saved(&step);
    if let Some(running) = head.installation {
        records.memory.saved_installation(running);
    }
    if head.complete {
        records.status().set_complete();
    }
    let cursor = FeedCursor(head.cursor);
    records.read_up_to(&cursor);
    records.status().saved(head.written, count);
    for (home, watermark) in &head.watermarks {
        records.status().told(home, *watermark);
    }
    Ok(Some(Loaded {
        cursor,
        journal: head.journal,
        records: count,
        complete: head.complete,
    }))
}

/// Writes the snapshot again and again.
pub struct Keeper {
    records: Arc<Records>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    signer: Signer,
    path: PathBuf,
    last: Option<Last>,
    failing: bool,
}

struct Last {
    at: Instant,
    took: Duration,
    journal: Position,
    count: u64,
}

impl Keeper {
    /// `loaded` is what a snapshot at start said. Must be made before the journal is drained: it
    /// keeps what the snapshot needs.
    pub fn new(
        records: Arc<Records>,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
        signer: Signer,
        data_dir: &Path,
        loaded: Option<&Loaded>,
    ) -> Self {
        let start = loaded.map(|loaded| loaded.journal).unwrap_or_default();
        journal.consumed(CONSUMER, start);
        Self {
            records,
            journal,
            metrics,
            signer,
            path: data_dir.join(FILE),
            last: None,
            failing: false,
        }
    }

    /// Runs until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let turn = tokio::time::timeout(TURN, stop.wait_for(|stop| *stop));
            let stopping = turn.await.is_ok();
            if !stopping && !self.is_due() {
                continue;
            }
            self = match tokio::task::spawn_blocking(move || self.write()).await {
                Ok(keeper) => keeper,
                Err(error) => {
                    tracing::error!(%error, "the snapshot of records is no longer written");
                    return;
                }
            };
            if stopping {
                return;
            }
        }
    }

    fn is_due(&self) -> bool {
        let waiting = hold(&self.records.unsaved).records.len();
        let Some(last) = &self.last else {
            return waiting > 0;
        };
        let passed = clock::mono().saturating_duration_since(last.at);
        let pause = last.took * SHARE;
        let full = u64::try_from(waiting).unwrap_or(u64::MAX) >= many(last.count);
        let changed = waiting > 0 && (full || passed >= pause.max(CHANGED_GAP));
        let spent = self.journal.end() != last.journal && passed >= pause.max(SPENT_GAP);
        changed || spent
    }

    fn write(mut self) -> Self {
        let began = clock::mono();
        // First the place in the journal, then what was spent: a request that ends in between is
        // counted twice after a crash, and never lost.
        let journal = self.journal.end();
        let (cursor, changes) = {
            let mut unsaved = hold(&self.records.unsaved);
            (unsaved.cursor.clone(), std::mem::take(&mut unsaved.records))
        };
        let now = clock::now();
        let head = Head {
            cursor: cursor.0,
            journal,
            written: now,
            complete: self.records.status().is_complete(),
            installation: self.records.memory.installation(now),
            watermarks: self.records.status().watermarks(),
        };
        let memory = Arc::clone(&self.records.memory);
        let running = move |scope: &Scope| memory.running(scope, now);
        let written = file::write(&self.path, &self.signer, &head, &changes, running);
        let event = match &written {
            Ok(_) => RecordEvent::SnapshotWritten,
            Err(error) if error.is_damage() => RecordEvent::SnapshotRefused,
            Err(_) => RecordEvent::SnapshotFailed,
        };
        self.metrics.record_events(event, 1);
        match written {
            Ok(count) => {
                self.records.status().saved(now, count);
                self.journal.consumed(CONSUMER, journal);
                let at = clock::mono();
                let took = at.saturating_duration_since(began);
                self.last = Some(Last {
                    at,
                    took,
                    journal,
                    count,
                });
                self.failing = false;
            }
            Err(error) => self.failed(&error, changes, began),
        }
        self
    }

    /// What was not written waits on.
    fn failed(&mut self, error: &SnapshotError, changes: Waiting, began: Instant) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "the snapshot of records is not written; it is tried again");
        }
        if error.is_damage() {
            // What cannot be trusted is not copied either: all of it is asked for anew.
            file::set_aside(&self.path);
            self.records.ask_anew();
        }
        let mut unsaved: std::sync::MutexGuard<'_, Unsaved> = hold(&self.records.unsaved);
        for (place, stored) in changes {
            unsaved.records.entry(place).or_insert(stored);
        }
        let at = clock::mono();
        let took = at.saturating_duration_since(began);
        let (journal, count) = match &self.last {
            Some(last) => (last.journal, last.count),
            None => (Position::default(), 0),
        };
        self.last = Some(Last {
            at,
            took,
            journal,
            count,
        });
    }
}

type Waiting = std::collections::BTreeMap<crate::store::RecordPlace, StoredRecord>;

/// So many changes to a snapshot of this size are many. With a quarter, a copy that grows from
/// nothing is written about twenty times until it has a million.
fn many(count: u64) -> u64 {
    (count / 4).max(UNSAVED_MAX as u64)
}

impl Line {
    fn into_stored(self) -> StoredRecord {
        StoredRecord {
            record: self.record,
            spend: self.spend,
            resets_at: self.resets_at,
        }
    }
}
