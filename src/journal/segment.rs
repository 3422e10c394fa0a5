//! One file of the journal: complete frames, appended by many threads with one `write` each.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Ending of a segment's file name.
const SUFFIX: &str = ".journal";

/// A segment, growing or sealed.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: u64,
    pub(super) file: File,
    /// Segments that this process began before it.
    sequence: u64,
    path: PathBuf,
    bytes: AtomicU64,
    bytes_synced: AtomicU64,
    writers: AtomicU32,
    closed: AtomicBool,
    open_requests: AtomicU32,
}

/// Why a frame was not written whole.
#[derive(Debug)]
pub(super) enum WriteFault {
    /// The segment takes no more frames.
    Closed,
    /// So many bytes of the frame are in the segment, which is now closed.
    Torn(u64),
    /// Nothing was written.
    Io(io::Error),
}

/// Counts one thread that may be writing.
struct Writing<'a>(&'a Segment);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Segment {
    /// Begins a new segment; it must not exist.
    pub(super) fn create(dir: &Path, id: u64) -> io::Result<Self> {
        let path = dir.join(format!("{id:020}{SUFFIX}"));
        let file = File::options()
            .create_new(true)
            .read(true)
            .append(true)
            .open(&path)?;
        Ok(Self::of_file(id, path, file, 0, false))
    }

    /// Begins the segment after `previous`.
    pub(super) fn follow(dir: &Path, previous: &Self, id: u64) -> io::Result<Self> {
        let mut segment = Self::create(dir, id)?;
        segment.sequence = previous.sequence + 1;
        Ok(segment)
    }

    /// A segment of an earlier run: readable and sealed.
    pub(super) fn reopen(path: PathBuf, id: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::of_file(id, path, file, bytes, true))
    }

    fn of_file(id: u64, path: PathBuf, file: File, bytes: u64, closed: bool) -> Self {
        Self {
            id,
            file,
            sequence: 0,
            path,
            bytes: AtomicU64::new(bytes),
            bytes_synced: AtomicU64::new(bytes),
            writers: AtomicU32::new(0),
            closed: AtomicBool::new(closed),
            open_requests: AtomicU32::new(0),
        }
    }

    /// Appends a whole frame and returns the length of the segment. `opens` counts the request as
    /// open here before anybody can take the segment for finished.
    pub(super) fn append(&self, frame: &[u8], opens: bool) -> Result<u64, WriteFault> {
        // Enter first, look second: `is_sealed` reads the two in the other order, so either this
        // thread sees `closed` or the reader sees this thread.
        self.writers.fetch_add(1, Ordering::SeqCst);
        let _writing = Writing(self);
        if self.closed.load(Ordering::SeqCst) {
            return Err(WriteFault::Closed);
        }
        let written = loop {
            match (&self.file).write(frame) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(WriteFault::Io)?,
            }
        };
        let bytes = self.bytes.fetch_add(written as u64, Ordering::Relaxed) + written as u64;
        if written < frame.len() {
            self.close();
            return Err(WriteFault::Torn(written as u64));
        }
        if opens {
            self.open_requests.fetch_add(1, Ordering::SeqCst);
        }
        Ok(bytes)
    }

    /// Takes no more frames, except from threads that are already writing.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether it will never grow again.
    pub(super) fn is_sealed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) && self.writers.load(Ordering::SeqCst) == 0
    }

    /// Bytes written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it holds the OPEN of a request that is not closed.
    pub(super) fn has_open_requests(&self) -> bool {
        self.open_requests.load(Ordering::SeqCst) > 0
    }

    /// Puts what was written on disk, if anything is not; says whether it had to.
    pub(super) fn sync(&self) -> io::Result<bool> {
        let bytes = self.bytes();
        if self.bytes_synced.load(Ordering::Relaxed) >= bytes {
            return Ok(false);
        }
        self.file.sync_data()?;
        self.bytes_synced.store(bytes, Ordering::Relaxed);
        Ok(true)
    }

    /// Cuts a torn tail off a segment of an earlier run.
    pub(super) fn cut(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.bytes.store(bytes, Ordering::Relaxed);
        self.file.sync_data()
    }

    /// Deletes the file.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Proof that a request's OPEN is in the journal. Its segment is kept until the ticket is handed
/// back with the CLOSE; a ticket that is dropped leaves the request to the next recovery.
#[derive(Debug)]
#[must_use = "hand it back with the CLOSE, or its segment is kept until the next start"]
pub struct OpenTicket {
    segment: Arc<Segment>,
}

impl OpenTicket {
    /// A ticket for a request that `Segment::append` already counted.
    pub(super) fn counted(segment: Arc<Segment>) -> Self {
        Self { segment }
    }

    /// A ticket for the OPEN of an earlier run.
    pub(super) fn of_orphan(segment: Arc<Segment>) -> Self {
        segment.open_requests.fetch_add(1, Ordering::SeqCst);
        Self { segment }
    }

    /// How many segments were begun after the one that holds the OPEN.
    pub(super) fn segments_behind(&self, current: &Segment) -> u64 {
        current.sequence.saturating_sub(self.segment.sequence)
    }

    /// The CLOSE is written.
    pub(super) fn settle(self) {
        self.segment.open_requests.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Segment files of a directory, oldest first. Other files are ignored.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(id) = id {
            found.push((id, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}
