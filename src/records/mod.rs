//! This node's copy of the records: how a change that was made elsewhere gets here, what is kept
//! for a start without any store, and what happens with a key that the copy does not have.
//!
//! Three ways lead here, and every record may come by each of them, in any order and more than
//! once: the feed of the store ([`Follower`]) is complete but asks every second or two; Redis
//! (`shared`) is quick but may lose; other regions send to the region's mailbox. A record that is
//! not newer than what is known changes nothing, so none of them has to know of the others.

mod follow;
mod lookup;
mod snapshot;
mod status;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meridian_core::error::GatewayError;
use meridian_core::ids::KeyHash;
use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_core::record::versions::{Digest, Versions};
use meridian_core::record::{Record, RecordKind};
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use tokio::sync::{Notify, broadcast};

pub use follow::Follower;
pub use lookup::{Answer, Lookups, Seeker};
pub use snapshot::{Keeper, Loaded, Running, SnapshotError, load};
pub use status::{Status, StoreState};

use crate::clock;
use crate::journal::Journal;
use crate::store::{FeedCursor, RecordPlace, StoredRecord};

/// Changes made here that wait to be told; of more, the oldest are found by the feed of others.
const UNTOLD_MAX: usize = 4_096;

/// When a request with a key of a silent region may be tried again.
const STALE_RETRY_S: u64 = 5;

/// Where requests find what the records say. Older versions of what it knows are ignored by it.
pub trait Memory: Send + Sync {
    /// Takes records. Spend counts only for scopes that it has not counted yet.
    fn apply(&self, records: &[StoredRecord], now: WallMs);
    /// All that the store had at some time was applied: what is not known does not exist.
    fn complete(&self);
    /// What a scope has spent in its running period, and when that ends.
    fn running(&self, scope: &Scope, now: WallMs) -> Option<(NanoUsd, Option<WallMs>)>;
    /// A scope has spent at least this in its running period.
    fn raise_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs);
    /// Counts a request of the journal that nothing counted here has seen.
    fn charge(&self, record: &SpendRecord, now: WallMs);
    /// What the installation's own budget has spent; `None` where there is none.
    fn installation(&self, now: WallMs) -> Option<Running>;
    /// What a snapshot says that it had spent.
    fn saved_installation(&self, running: Running);
}

/// This node's copy, as the tasks share it that keep it up to date.
pub struct Records {
    memory: Arc<dyn Memory>,
    region: Arc<str>,
    versions: Mutex<Versions>,
    unsaved: Mutex<Unsaved>,
    status: Status,
    look: Notify,
    anew: AtomicBool,
    /// How long another region may be silent, in milliseconds; `None` where no region is linked.
    stale_ms: Option<i64>,
    began: WallMs,
    made_here: broadcast::Sender<Arc<[Record]>>,
}

/// What the snapshot on disk does not have yet.
#[derive(Default)]
struct Unsaved {
    records: BTreeMap<RecordPlace, StoredRecord>,
    /// How far the feed was read with all of these.
    cursor: FeedCursor,
}

impl Records {
    /// An empty copy in a region (empty: there is one only).
    pub fn new(memory: Arc<dyn Memory>, region: &str) -> Self {
        Self {
            memory,
            region: region.into(),
            versions: Mutex::default(),
            unsaved: Mutex::default(),
            status: Status::default(),
            look: Notify::new(),
            anew: AtomicBool::new(false),
            stale_ms: None,
            began: clock::now(),
            made_here: broadcast::Sender::new(UNTOLD_MAX),
        }
    }

    /// Linked to other regions, of which each may be silent for so long.
    #[must_use]
    pub fn linked(mut self, max_stale: Duration) -> Self {
        self.stale_ms = Some(i64::try_from(max_stale.as_millis()).unwrap_or(i64::MAX));
        self
    }

    /// How the copy is doing.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Name of this node's region; empty where there is one only.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Takes records that were just written by a call here, and has them told to others.
    pub fn changed_here(&self, records: &[Record]) {
        self.take(records.iter().cloned().map(without_spend).collect());
        // Nobody listens where there is no Redis.
        let _ = self.made_here.send(records.into());
        self.look_now();
    }

    /// Takes those that are newer than what is known; what takes rights away comes first. Returns
    /// how many were newer.
    pub fn take(&self, records: Vec<StoredRecord>) -> usize {
        let mut newer = self.newer(records);
        newer.sort_by_key(|stored| order(&stored.record));
        if newer.is_empty() {
            return 0;
        }
        self.memory.apply(&newer, clock::now());
        let count = newer.len();
        let mut versions = hold(&self.versions);
        let mut unsaved = hold(&self.unsaved);
        for stored in newer {
            // Another way may have brought a newer one meanwhile.
            if versions.take(&stored.record) {
                let place = (stored.record.kind, stored.record.id.clone());
                unsaved.records.insert(place, stored);
            }
        }
        count
    }

    /// What is on disk is lost: everything is read from the store once more, and kept again.
    fn ask_anew(&self) {
        self.anew.store(true, Ordering::Release);
        self.look_now();
    }

    /// Whether somebody asked for that since the last time.
    fn is_asked_anew(&self) -> bool {
        self.anew.swap(false, Ordering::AcqRel)
    }

    /// Has records written to disk that are known already.
    fn keep(&self, records: Vec<StoredRecord>) {
        let mut unsaved = hold(&self.unsaved);
        for stored in records {
            let place = (stored.record.kind, stored.record.id.clone());
            unsaved.records.entry(place).or_insert(stored);
        }
    }

    /// Takes records of the snapshot, which has them already.
    fn take_saved(&self, records: &[StoredRecord]) {
        self.memory.apply(records, clock::now());
        let mut versions = hold(&self.versions);
        for stored in records {
            versions.take(&stored.record);
        }
    }

    fn newer(&self, records: Vec<StoredRecord>) -> Vec<StoredRecord> {
        let versions = hold(&self.versions);
        let is_new = |stored: &StoredRecord| !versions.has(&stored.record);
        records.into_iter().filter(is_new).collect()
    }

    /// Counts what the journal has behind a place: what was spent after a snapshot was written.
    pub fn replay(&self, journal: &Journal, from: Position, step: usize) {
        let mut at = from;
        loop {
            let batch = match journal.read_batch(at, step) {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!(%error, "what was spent since the snapshot is not counted");
                    return;
                }
            };
            let now = clock::now();
            for record in &batch.records {
                self.memory.charge(record, now);
            }
            if batch.caught_up || batch.next == at {
                return;
            }
            at = batch.next;
        }
    }

    /// The feed was read up to here, and all of it was taken.
    fn read_up_to(&self, cursor: &FeedCursor) {
        hold(&self.unsaved).cursor.clone_from(cursor);
    }

    /// Whether a key is known to have been deleted: nobody needs to be asked.
    fn is_deleted(&self, key: KeyHash) -> bool {
        hold(&self.versions).is_deleted(RecordKind::Key, &key.to_string())
    }

    /// Has the feed read at once.
    pub fn look_now(&self) {
        self.look.notify_one();
    }

    /// Whether what a home took away is known, so that its keys can be believed.
    ///
    /// # Errors
    /// `StaleAuth` when it was silent for longer than is allowed.
    pub fn check_fresh(&self, home: &str, now: WallMs) -> Result<(), GatewayError> {
        let Some(max) = self.stale_ms.filter(|_| home != &*self.region) else {
            return Ok(());
        };
        let told = self.status.watermark(home).unwrap_or(self.began);
        match now.0.saturating_sub(told.0) > max {
            true => Err(GatewayError::StaleAuth {
                home: home.to_owned(),
                retry_after_s: STALE_RETRY_S,
            }),
            false => Ok(()),
        }
    }

    /// What calls on this node write, for those who tell others.
    pub fn listen(&self) -> broadcast::Receiver<Arc<[Record]>> {
        self.made_here.subscribe()
    }

    /// Sums of the records of one home.
    pub fn digest(&self, home: &str) -> Digest {
        hold(&self.versions).digest(home)
    }

    /// How many records are known, tombstones among them.
    pub fn len(&self) -> usize {
        hold(&self.versions).len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// In which order records of a batch are taken: restrictions, deletions, the rest.
fn order(record: &Record) -> (bool, bool, RecordKind) {
    let gives = record.kind != RecordKind::Restriction;
    (gives, gives && !record.deleted, record.kind)
}

/// A record that came without what is counted for it.
pub(crate) fn without_spend(record: Record) -> StoredRecord {
    StoredRecord {
        record,
        spend: NanoUsd::ZERO,
        resets_at: None,
    }
}

/// Nothing that is done under these locks can panic halfway.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
