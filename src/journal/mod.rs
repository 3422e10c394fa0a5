//! The spend journal: a request's OPEN, PROGRESS and CLOSE in local files that survive `kill -9`.
//!
//! Many threads append with one `write(2)` of one complete frame each and no lock of ours. What is
//! written survives the end of the process; the fsync policy says what survives a power loss.
//! `docs/SPEND.md` has the whole path of a cent.

mod append;
mod batch;
mod drain;
mod identity;
mod inspect;
mod life;
mod lock;
mod read;
mod recent;
mod recovery;
mod segment;
mod sync;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use meridian_core::journal::Position;
use meridian_core::journal::frame::EncodeError;

pub use drain::{Drain, DrainError};
pub use inspect::{InspectOptions, Verified, inspect, verify};
pub use life::Life;
pub use lock::DirLock;
pub use recovery::{Damage, Recovery};
pub use segment::OpenTicket;

use crate::clock;
use segment::Segment;

/// Folder of the segments in the data directory.
pub const JOURNAL_DIR: &str = "journal";
/// PROGRESS, and a CLOSE without an OPEN, are taken up to this many percent of `bytes_max`. The
/// CLOSE of a request that was let in is always taken.
pub const RESERVE_PERCENT: u64 = 110;
/// Segments of a full journal.
const SEGMENTS_MIN: u64 = 2 * append::RENEW_AFTER_SEGMENTS;

/// When written frames are put on disk. A killed process loses nothing under any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Every so often, in the background: a power loss costs at most this time.
    Interval(Duration),
    /// Before an append returns; appends of other threads share the wait.
    Always,
    /// When the operating system likes.
    Never,
}

/// Sizes and policy of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// A segment that has reached this length is followed by a new one; at most a sixteenth of
    /// `bytes_max`.
    pub segment_bytes: u64,
    /// All segments together; above it no new request is accepted.
    pub bytes_max: u64,
    /// When frames are put on disk.
    pub fsync: Fsync,
}

impl Default for JournalOptions {
    /// 64 MiB segments, 4 GiB in all (some 2.5 million requests), fdatasync every 10 ms.
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            bytes_max: 4 * 1024 * 1024 * 1024,
            fsync: Fsync::Interval(Duration::from_millis(10)),
        }
    }
}

impl JournalOptions {
    /// Only whole segments go, and a long request frees the one of its OPEN only when some others
    /// were begun: a small journal has small ones, or it would be full for ever.
    fn with_segments(self) -> Self {
        let segment_bytes = self.segment_bytes.min(self.bytes_max / SEGMENTS_MIN);
        Self {
            segment_bytes,
            ..self
        }
    }
}

/// Why the journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal is as large as it may become: answer 503 with Retry-After.
    #[error("the journal holds {bytes} bytes, its limit is {bytes_max}")]
    Full {
        /// Bytes now.
        bytes: u64,
        /// `JournalOptions::bytes_max`.
        bytes_max: u64,
    },
    /// The disk is full or broken: answer 503 with Retry-After.
    #[error("journal: {0}")]
    Io(#[from] io::Error),
    /// Written, but fdatasync failed (policy `Always`).
    #[error("the journal could not be put on disk")]
    NotSynced,
    /// The record could not be turned into a frame.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Another process holds the data directory.
    #[error("another meridian process (pid {pid}) uses this directory: {}", dir.display())]
    Locked {
        /// The data directory, or the folder of a later life in it.
        dir: PathBuf,
        /// It takes nothing new and will end by itself.
        leaves: bool,
        /// What the other process wrote into the lock file.
        pid: String,
    },
    /// The journal was written by a newer version.
    #[error("segment {segment} has a frame of a newer meridian at byte {offset}")]
    Newer {
        /// Segment.
        segment: u64,
        /// Where.
        offset: u64,
    },
}

/// One node's journal. Shared by reference between all threads that serve requests.
#[derive(Debug)]
pub struct Journal {
    inner: Arc<Inner>,
    background: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    id: String,
    options: JournalOptions,
    current: ArcSwap<Segment>,
    /// Every segment that is still on disk, the current one included.
    segments: Mutex<BTreeMap<u64, Arc<Segment>>>,
    /// Held by the thread that replaces the current segment.
    rotation: Mutex<()>,
    bytes: AtomicU64,
    appended: AtomicU64,
    damaged_bytes: AtomicU64,
    write_failing: AtomicBool,
    sync_failing: AtomicBool,
    dir_dirty: AtomicBool,
    parked: Mutex<append::Parked>,
    recent: recent::Recent,
    commit: sync::GroupCommit,
    /// Cursors of everybody who reads the journal: below the lowest of them it is trimmed.
    consumers: Mutex<BTreeMap<&'static str, Position>>,
    /// Where the journal ended when this process found it, and its own first segment.
    began: (Position, u64),
    outdated: AtomicBool,
    life: Life,
}

/// Locks a mutex whose content stays sound when a thread dies with it.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Takes the data directory, settles what an earlier process left open, starts a new segment
    /// and the background thread. Call once per process; blocks while it reads the old segments.
    pub fn open(
        data_dir: &Path,
        options: JournalOptions,
    ) -> Result<(Self, Recovery), JournalError> {
        Self::of_life(Life::take(data_dir, false)?, options)
    }

    /// The same in a place that was taken before.
    pub fn of_life(life: Life, options: JournalOptions) -> Result<(Self, Recovery), JournalError> {
        let options = options.with_segments();
        let dir = life.home().join(JOURNAL_DIR);
        std::fs::create_dir_all(&dir)?;
        let id = identity::of_dir(&dir)?;
        let mut segments = BTreeMap::new();
        for (id, path) in segment::list(&dir)? {
            segments.insert(id, Arc::new(Segment::reopen(path, id)?));
        }
        let (mut recovery, orphans) = recovery::scan(&segments)?;
        let found = recovery.end;
        let first = next_id(segments.keys().next_back().copied());
        let current = Arc::new(Segment::create(&dir, first)?);
        let bytes = segments.values().map(|segment| segment.bytes()).sum();
        segments.insert(first, Arc::clone(&current));
        let inner = Arc::new(Inner {
            dir,
            id,
            options,
            current: ArcSwap::new(current),
            segments: Mutex::new(segments),
            rotation: Mutex::new(()),
            bytes: AtomicU64::new(bytes),
            appended: AtomicU64::new(0),
            damaged_bytes: AtomicU64::new(recovery.damaged_bytes()),
            write_failing: AtomicBool::new(false),
            sync_failing: AtomicBool::new(false),
            dir_dirty: AtomicBool::new(true),
            parked: Mutex::default(),
            recent: recent::Recent::default(),
            commit: sync::GroupCommit::default(),
            consumers: Mutex::default(),
            began: (found, first),
            outdated: AtomicBool::new(false),
            life,
        });
        let background = std::thread::Builder::new().name("journal".into()).spawn({
            let inner = Arc::clone(&inner);
            move || sync::run(&inner)
        })?;
        let journal = Self {
            inner,
            background: Some(background),
        };
        // What runs in a copy ends in the original.
        let orphans = match journal.life().is_retired() {
            true => Vec::new(),
            false => orphans,
        };
        let settled = recovery::settle(&journal, orphans, clock::now())?;
        for record in &settled {
            recovery.charge(record);
        }
        recovery.settled = settled;
        Ok((journal, recovery))
    }

    /// Identity of the directory: the same after every restart, another one on every node.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Directory of the segments; other files of a node's identity lie there too.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Puts everything that was appended so far on disk, whatever the policy; says whether it is.
    /// Blocks.
    pub fn sync(&self) -> bool {
        self.inner.sync_all()
    }

    /// A store was told of this place by whoever wrote the journal. One that this process neither
    /// found nor wrote shows that the journal is an older copy.
    pub(super) fn was_told(&self, place: Position) {
        let (found, first) = self.inner.began;
        if place > found && place.segment < first {
            self.inner.outdated.store(true, Ordering::Release);
        }
    }

    /// Whether it is known to be an older copy of itself.
    pub fn is_outdated(&self) -> bool {
        self.inner.outdated.load(Ordering::Acquire)
    }

    /// The place in the data directory that this journal is in.
    pub fn life(&self) -> &Life {
        &self.inner.life
    }

    /// Lets another process serve from the data directory: this one takes nothing new.
    ///
    /// # Errors
    /// When the lock file cannot be written; the journal goes on.
    pub fn leave(&self) -> io::Result<()> {
        self.inner.life.lock.leave()
    }

    /// Whether the last write and the last fdatasync worked. Recovers by itself.
    pub fn healthy(&self) -> bool {
        !self.inner.write_failing.load(Ordering::Relaxed)
            && !self.inner.sync_failing.load(Ordering::Relaxed)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Ordering::Relaxed)
    }

    /// Segments on disk.
    pub fn segments(&self) -> usize {
        hold(&self.inner.segments).len()
    }

    /// Frames appended by this process.
    pub fn appended(&self) -> u64 {
        self.inner.appended.load(Ordering::Relaxed)
    }

    /// Of those, how many are on disk for sure.
    pub fn synced(&self) -> u64 {
        self.inner.commit.synced()
    }

    /// CLOSE frames that wait in memory for the disk to work again.
    pub fn parked(&self) -> usize {
        hold(&self.inner.parked).len()
    }

    /// Bytes of segments that were no frames, at recovery and since. Zero unless a disk or a
    /// write failed.
    pub fn damaged_bytes(&self) -> u64 {
        self.inner.damaged_bytes.load(Ordering::Relaxed)
    }

    /// End of what has been appended so far.
    pub fn end(&self) -> Position {
        let current = self.inner.current.load();
        Position {
            segment: current.id,
            offset: current.bytes(),
        }
    }

    /// Says how far a consumer has come and deletes the oldest segments that everybody has passed
    /// and that hold no open request. A consumer that never said anything is not waited for, so
    /// each one must be created before the first of them runs.
    pub fn consumed(&self, consumer: &'static str, position: Position) {
        let lowest = {
            let mut consumers = hold(&self.inner.consumers);
            consumers.insert(consumer, position);
            consumers.values().copied().min().unwrap_or_default()
        };
        self.inner.trim(lowest.segment);
    }
}

impl Inner {
    /// Removes segments below `id`, oldest first, up to the first that is still needed. Only ever
    /// a prefix, so that no CLOSE goes before the OPEN it belongs to.
    fn trim(&self, id: u64) {
        let mut segments = hold(&self.segments);
        while let Some(entry) = segments.first_entry() {
            let segment = entry.get();
            if segment.id >= id || !segment.is_sealed() || segment.has_open_requests() {
                return;
            }
            if let Err(error) = segment.remove() {
                tracing::warn!(%error, segment = segment.id, "a drained segment stays on disk");
                return;
            }
            self.bytes.fetch_sub(segment.bytes(), Ordering::Relaxed);
            entry.remove();
        }
    }

    /// Puts every segment on disk; `false` if one could not be.
    fn sync_all(&self) -> bool {
        let segments: Vec<_> = hold(&self.segments).values().cloned().collect();
        let mut worked = true;
        for segment in segments {
            if let Err(error) = segment.sync() {
                // What the kernel did not get to disk it may have forgotten: start a new file.
                segment.close();
                worked = false;
                self.note_failure(&self.sync_failing, &error);
            }
        }
        if self.dir_dirty.swap(false, Ordering::Relaxed)
            && let Err(error) = std::fs::File::open(&self.dir).and_then(|dir| dir.sync_all())
        {
            self.dir_dirty.store(true, Ordering::Relaxed);
            worked = false;
            self.note_failure(&self.sync_failing, &error);
        }
        if worked {
            self.sync_failing.store(false, Ordering::Relaxed);
        }
        worked
    }

    /// Remembers a failure and logs its first occurrence.
    fn note_failure(&self, flag: &AtomicBool, error: &io::Error) {
        if !flag.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, dir = %self.dir.display(), "the journal cannot be written");
        }
    }
}

impl Drop for Journal {
    /// Writes and syncs what is left, then gives the directory free.
    fn drop(&mut self) {
        self.inner.commit.stop();
        if let Some(background) = self.background.take()
            && background.join().is_err()
        {
            tracing::error!("the journal's background thread had died");
        }
    }
}

/// Segments are named by the wall clock, so that a journal that was deleted does not begin again
/// with names that a consumer's cursor has already passed.
fn next_id(last: Option<u64>) -> u64 {
    let now = u64::try_from(clock::now().0).unwrap_or(0);
    now.max(last.map_or(0, |last| last.saturating_add(1)))
}
