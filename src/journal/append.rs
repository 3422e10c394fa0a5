//! Appending: what a request does to the journal, and what happens when the disk refuses.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;
use meridian_core::ids::CallId;
use meridian_core::journal::frame::{self, EncodeError};
use meridian_core::journal::{Open, Progress, Transfer};
use meridian_core::spend::{EndReason, SpendRecord};

use super::segment::{OpenTicket, Segment, WriteFault};
use super::{Fsync, Inner, Journal, JournalError, RESERVE_PERCENT, hold, next_id};

/// Segments tried for one frame before the append fails.
const SEGMENTS_TRIED: usize = 4;
/// A request whose OPEN is this many segments back should write it again.
pub(super) const RENEW_AFTER_SEGMENTS: u64 = 8;
/// CLOSE frames kept in memory while the disk refuses them. Requests that are not closed on disk
/// when the process ends are settled by the next recovery.
const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;

thread_local! {
    /// Where this thread builds its frames.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// CLOSE frames that wait for the disk, oldest first.
#[derive(Debug, Default)]
pub(super) struct Parked {
    frames: VecDeque<(Box<[u8]>, Option<OpenTicket>)>,
    bytes: usize,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

impl Journal {
    /// Writes a request's OPEN. It must not be dispatched without: on an error answer 503.
    pub fn append_open(&self, open: &Open) -> Result<OpenTicket, JournalError> {
        let inner = &*self.inner;
        let bytes = self.bytes();
        if bytes >= inner.options.bytes_max {
            return Err(JournalError::Full {
                bytes,
                bytes_max: inner.options.bytes_max,
            });
        }
        let ticket = with_frame(
            |out| frame::encode_open(out, open),
            |frame| {
                let segment = inner.write(frame, true)?;
                Ok(OpenTicket::counted(Guard::into_inner(segment)))
            },
        )?;
        if let Err(error) = inner.commit_if_asked() {
            // It will not be dispatched: a recovery must not settle it.
            let void = SpendRecord {
                end_reason: EndReason::InternalError,
                status: 503,
                ..open.record.clone()
            };
            self.append_close(Some(ticket), &void)?;
            return Err(error);
        }
        Ok(ticket)
    }

    /// Whether so much was written since this request's OPEN that the journal cannot be trimmed
    /// because of it. Ask beside `append_progress`; answer with `renew`.
    pub fn wants_renewal(&self, ticket: &OpenTicket) -> bool {
        ticket.segments_behind(&self.inner.current.load()) >= RENEW_AFTER_SEGMENTS
    }

    /// Writes the OPEN of a long request once more, so that the segment of the first can go. The
    /// old ticket stays good if this fails.
    pub fn renew(&self, ticket: &mut OpenTicket, open: &Open) -> Result<(), JournalError> {
        let inner = &*self.inner;
        with_frame(
            |out| frame::encode_open(out, open),
            |frame| {
                let segment = inner.write(frame, true)?;
                let renewed = OpenTicket::counted(Guard::into_inner(segment));
                std::mem::replace(ticket, renewed).settle();
                Ok(())
            },
        )
    }

    /// Writes how far a stream has come. An error costs precision after a crash, nothing else.
    pub fn append_progress(
        &self,
        call_id: CallId,
        progress: &Progress,
    ) -> Result<(), JournalError> {
        let inner = &*self.inner;
        inner.refuse_above_reserve()?;
        with_frame(
            |out| frame::encode_progress(out, call_id, progress),
            |frame| inner.write(frame, false).map(drop),
        )
    }

    /// Writes the own row of a period of a shared budget. Nothing of it may be shown to anybody
    /// before [`Journal::sync`] has worked after it.
    pub fn append_transfer(&self, transfer: &Transfer) -> Result<(), JournalError> {
        let inner = &*self.inner;
        inner.refuse_above_reserve()?;
        with_frame(
            |out| frame::encode_transfer(out, transfer),
            |frame| inner.write(frame, false).map(drop),
        )
    }

    /// Writes a request's record. When the disk refuses it, it is kept in memory and written as
    /// soon as it can be; an error means that not even that was possible.
    pub fn append_close(
        &self,
        ticket: Option<OpenTicket>,
        record: &SpendRecord,
    ) -> Result<(), JournalError> {
        self.close(ticket, record, None)
    }

    /// The same, and the drain gets the record as it is instead of reading its frame.
    pub fn append_close_shared(
        &self,
        ticket: OpenTicket,
        record: &Arc<SpendRecord>,
    ) -> Result<(), JournalError> {
        self.close(Some(ticket), record, Some(record))
    }

    fn close(
        &self,
        ticket: Option<OpenTicket>,
        record: &SpendRecord,
        shared: Option<&Arc<SpendRecord>>,
    ) -> Result<(), JournalError> {
        let inner = &*self.inner;
        let closed = with_frame_and(
            |out| frame::encode_close(out, record),
            |frame, is_whole| {
                if let Some(shared) = shared.filter(|_| is_whole && record.texts.is_none()) {
                    inner.recent.leave(shared);
                }
                // A CLOSE that has an OPEN is never refused for size: it is what lets segments go,
                // and there are no more of them than requests that were let in.
                let room = match &ticket {
                    Some(_) => Ok(()),
                    None => inner.refuse_above_reserve(),
                };
                let written = room.and_then(|()| inner.write(frame, false).map(drop));
                if let Err(error) = written {
                    return inner.park(frame, ticket, error);
                }
                if let Some(ticket) = ticket {
                    ticket.settle();
                }
                inner.commit_if_asked()
            },
        );
        if matches!(closed, Err(JournalError::Io(_) | JournalError::Full { .. })) {
            inner.recent.forget(record.call_id);
        }
        closed
    }
}

/// Builds a frame in this thread's buffer and hands it to `write`.
fn with_frame<T>(
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    write: impl FnOnce(&[u8]) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    with_frame_and(encode, |frame, ()| write(frame))
}

/// The same, with what encoding said.
fn with_frame_and<S, T>(
    encode: impl FnOnce(&mut Vec<u8>) -> Result<S, EncodeError>,
    write: impl FnOnce(&[u8], S) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    FRAME.with_borrow_mut(|frame| {
        frame.clear();
        let said = encode(frame)?;
        write(frame, said)
    })
}

impl Inner {
    /// Appends a frame to the current segment, replacing that if need be.
    fn write(&self, frame: &[u8], opens: bool) -> Result<Guard<Arc<Segment>>, JournalError> {
        for _ in 0..SEGMENTS_TRIED {
            let segment = self.current.load();
            match segment.append(frame, opens) {
                Ok(bytes) => {
                    self.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
                    self.appended.fetch_add(1, Ordering::SeqCst);
                    if self.write_failing.load(Ordering::Relaxed) {
                        self.write_failing.store(false, Ordering::Relaxed);
                        tracing::info!("the journal can be written again");
                    }
                    if bytes >= self.options.segment_bytes {
                        self.rotate(&segment);
                    }
                    return Ok(segment);
                }
                Err(WriteFault::Closed) => self.replace(&segment)?,
                Err(WriteFault::Torn(bytes)) => {
                    self.bytes.fetch_add(bytes, Ordering::Relaxed);
                    self.replace(&segment)?;
                }
                Err(WriteFault::Io(error)) => return Err(self.refused(&segment, error)),
            }
        }
        let error = io::Error::other("frames are cut short again and again");
        Err(self.refused(&self.current.load(), error))
    }

    /// Follows a full segment by a new one, unless another thread is already doing it. If it
    /// cannot be done now, the full one goes on.
    fn rotate(&self, full: &Segment) {
        let Ok(_rotation) = self.rotation.try_lock() else {
            return;
        };
        if self.current.load().id == full.id
            && let Err(error) = self.begin_segment()
        {
            self.note_failure(&self.write_failing, &error);
        }
    }

    /// Follows a closed segment by a new one; waits if another thread is doing it.
    fn replace(&self, closed: &Segment) -> Result<(), JournalError> {
        let _rotation = hold(&self.rotation);
        if self.current.load().id != closed.id {
            return Ok(());
        }
        self.begin_segment().map_err(|error| {
            self.note_failure(&self.write_failing, &error);
            JournalError::Io(error)
        })
    }

    /// Makes a new segment the current one. The caller holds `rotation`.
    fn begin_segment(&self) -> io::Result<()> {
        let old = self.current.load();
        let segment = Arc::new(Segment::follow(&self.dir, &old, next_id(Some(old.id)))?);
        hold(&self.segments).insert(segment.id, Arc::clone(&segment));
        self.dir_dirty.store(true, Ordering::Relaxed);
        self.current.swap(segment).close();
        Ok(())
    }

    /// Notes a refused write. After anything but a full disk the file itself is suspect and the
    /// next append begins another one, but an empty file is never replaced by an empty file.
    fn refused(&self, segment: &Segment, error: io::Error) -> JournalError {
        self.note_failure(&self.write_failing, &error);
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if !full && segment.bytes() > 0 {
            segment.close();
        }
        JournalError::Io(error)
    }

    fn refuse_above_reserve(&self) -> Result<(), JournalError> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let bytes_max = self.options.bytes_max / 100 * RESERVE_PERCENT;
        match bytes >= bytes_max.max(self.options.bytes_max) {
            true => Err(JournalError::Full { bytes, bytes_max }),
            false => Ok(()),
        }
    }

    fn commit_if_asked(&self) -> Result<(), JournalError> {
        match self.options.fsync {
            Fsync::Always => self.commit.wait(self.appended.load(Ordering::SeqCst)),
            Fsync::Interval(_) | Fsync::Never => Ok(()),
        }
    }

    /// Keeps a CLOSE that could not be written.
    fn park(
        &self,
        frame: &[u8],
        ticket: Option<OpenTicket>,
        error: JournalError,
    ) -> Result<(), JournalError> {
        let mut parked = hold(&self.parked);
        if parked.bytes + frame.len() > PARKED_BYTES_MAX {
            return Err(error);
        }
        parked.bytes += frame.len();
        parked.frames.push_back((frame.into(), ticket));
        Ok(())
    }

    /// Writes parked frames, oldest first, until the disk refuses one.
    pub(super) fn write_parked(&self) {
        let mut parked = hold(&self.parked);
        while let Some((frame, ticket)) = parked.frames.pop_front() {
            let room = match &ticket {
                Some(_) => Ok(()),
                None => self.refuse_above_reserve(),
            };
            let written = room.and_then(|()| self.write(&frame, false).map(drop));
            if written.is_err() {
                parked.frames.push_front((frame, ticket));
                return;
            }
            parked.bytes -= frame.len();
            if let Some(ticket) = ticket {
                ticket.settle();
            }
        }
    }
}
