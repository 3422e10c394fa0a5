//! At start: read what an earlier process left, cut torn tails, settle what it left open.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use memchr::memmem;
use meridian_core::escrow::{Pid, Row};
use meridian_core::ids::CallId;
use meridian_core::journal::frame::{Frame, Item, Kind};
use meridian_core::journal::{Open, Position, Progress, Transfer, orphan_settlement};
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use super::read::{End, walk};
use super::segment::{OpenTicket, Segment};
use super::{Journal, JournalError};

/// What the journal of an earlier process held.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Segments read.
    pub segments: usize,
    /// Frames read.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Where it ended. A store that was told of a later place knows more than this disk.
    pub end: Position,
    /// Bytes cut off ends of segments: frames that were being written when the process died.
    pub torn_bytes: u64,
    /// Damage in the middle, with valid frames behind it.
    pub corrupt: Vec<Damage>,
    /// Requests that were running, now settled by estimate and closed in the journal.
    pub settled: Vec<SpendRecord>,
    /// Rows of this node in periods of shared budgets, with all that was closed in them.
    pub rows: BTreeMap<Pid, Row>,
}

impl Recovery {
    /// Counts a charge in the periods that it was made in.
    pub(super) fn charge(&mut self, record: &SpendRecord) {
        for pid in &record.context.periods {
            let row = self.rows.entry(*pid).or_default();
            row.used = row.used.saturating_add(record.cost.0);
        }
        for (pid, cost) in &record.context.periods_in_part {
            let row = self.rows.entry(*pid).or_default();
            row.used = row.used.saturating_add(cost.0);
        }
    }

    /// Takes what a frame says about rights.
    fn follow_rights(&mut self, frame: &Frame<'_>) {
        match frame.kind {
            Kind::Transfer => {
                if let Ok(Transfer { pid, row }) = serde_json::from_slice(frame.payload) {
                    let known = self.rows.entry(pid).or_default();
                    // What was closed before it is in it.
                    known.used = row.used;
                    known.merge(&row);
                }
            }
            Kind::Close if memmem::find(frame.payload, PERIODS).is_some() => {
                if let Ok(record) = serde_json::from_slice::<SpendRecord>(frame.payload) {
                    self.charge(&record);
                }
            }
            Kind::Open | Kind::Progress | Kind::Close => {}
        }
    }

    /// Bytes in the middle of segments that were no frames.
    pub fn damaged_bytes(&self) -> u64 {
        self.corrupt.iter().map(|damage| damage.bytes).sum()
    }
}

/// Bytes in the middle of a segment that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Segment.
    pub segment: u64,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// In every CLOSE that is charged to a shared budget, whole or in part: the others need not be
/// parsed.
const PERIODS: &[u8] = b"\"periods";

/// A request with an OPEN and no CLOSE, as payloads.
#[derive(Debug)]
pub(super) struct Orphan {
    segment: Arc<Segment>,
    open: Box<[u8]>,
    progress: Option<Box<[u8]>>,
}

/// Reads all segments, oldest first. Holds at most the requests that were open at the same time.
pub(super) fn scan(
    segments: &BTreeMap<u64, Arc<Segment>>,
) -> Result<(Recovery, Vec<Orphan>), JournalError> {
    let mut recovery = Recovery::default();
    let mut running: HashMap<CallId, Orphan> = HashMap::new();
    for segment in segments.values() {
        let mut offset = 0;
        let mut newer = None;
        let end = walk(&segment.file, &mut offset, |at, item| {
            match item {
                Item::Frame(frame) => {
                    recovery.frames += 1;
                    recovery.follow_rights(&frame);
                    follow(&mut running, segment, frame);
                }
                Item::Corrupt { bytes } => recovery.corrupt.push(Damage {
                    segment: segment.id,
                    offset: at,
                    bytes: bytes as u64,
                }),
                Item::Newer => {
                    newer = Some(at);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(offset) = newer {
            let segment = segment.id;
            return Err(JournalError::Newer { segment, offset });
        }
        recovery.segments += 1;
        recovery.bytes += offset;
        recovery.end = Position {
            segment: segment.id,
            offset,
        };
        if let End::OfFile { rest: 1.. } = end {
            recovery.torn_bytes += segment.bytes() - offset;
            segment.cut(offset)?;
        }
    }
    Ok((recovery, running.into_values().collect()))
}

/// Takes one frame into account.
fn follow(running: &mut HashMap<CallId, Orphan>, segment: &Arc<Segment>, frame: Frame<'_>) {
    match frame.kind {
        Kind::Open => {
            let orphan = Orphan {
                segment: Arc::clone(segment),
                open: frame.payload.into(),
                // A long request writes its OPEN again; how far it had come stays true.
                progress: running
                    .remove(&frame.call_id)
                    .and_then(|earlier| earlier.progress),
            };
            running.insert(frame.call_id, orphan);
        }
        Kind::Progress => {
            if let Some(orphan) = running.get_mut(&frame.call_id) {
                orphan.progress = Some(frame.payload.into());
            }
        }
        Kind::Close => {
            running.remove(&frame.call_id);
        }
        Kind::Transfer => {}
    }
}

/// Closes every orphan in the journal. If this process dies in between, the next recovery finds
/// the rest; the store counts a call id once in any case.
pub(super) fn settle(
    journal: &Journal,
    orphans: Vec<Orphan>,
    now: WallMs,
) -> Result<Vec<SpendRecord>, JournalError> {
    let mut settled = Vec::with_capacity(orphans.len());
    for orphan in orphans {
        let ticket = OpenTicket::of_orphan(orphan.segment);
        let open: Open = match serde_json::from_slice(&orphan.open) {
            Ok(open) => open,
            Err(error) => {
                // The ticket is dropped, so its segment stays for a look at it.
                tracing::error!(%error, "an OPEN frame of an earlier run is not readable");
                continue;
            }
        };
        let progress: Option<Progress> = orphan
            .progress
            .and_then(|payload| serde_json::from_slice(&payload).ok());
        let record = orphan_settlement(&open, progress.as_ref(), now);
        journal.append_close(Some(ticket), &record)?;
        settled.push(record);
    }
    settled.sort_by_key(|record| record.started);
    Ok(settled)
}
