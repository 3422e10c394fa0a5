//! Reading records back for a consumer, across segments, while the journal grows.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use meridian_core::journal::Position;
use meridian_core::journal::frame::{Item, Kind};
use meridian_core::spend::SpendRecord;

use super::read::{End, walk};
use super::segment::Segment;
use super::{Inner, Journal, hold};

/// A batch is closed when its records are as long as this in the journal: with texts of requests
/// and answers they are long.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records of ended requests, in the order in which they were appended.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<SpendRecord>,
    /// Where each of them lies.
    places: Vec<Position>,
    /// How long they are in the journal.
    bytes: usize,
    /// The cursor behind them.
    pub(crate) next: Position,
    /// Nothing follows yet.
    pub(crate) caught_up: bool,
}

impl Batch {
    /// Copies of the records that were appended at a place or after it.
    pub(super) fn since(&self, begins: Position) -> Vec<SpendRecord> {
        let placed = self.records.iter().zip(&self.places);
        let later = placed.filter(|(_, place)| **place >= begins);
        later.map(|(record, _)| record.clone()).collect()
    }
}

impl Journal {
    /// Up to `records_max` records from a cursor on. Blocks on file reads.
    pub(crate) fn read_batch(&self, from: Position, records_max: usize) -> io::Result<Batch> {
        let inner = &*self.inner;
        let mut batch = Batch::default();
        let Some(mut segment) = inner.segment_at(from.segment) else {
            batch.next = from;
            batch.caught_up = true;
            return Ok(batch);
        };
        let mut offset = if segment.id == from.segment {
            from.offset
        } else {
            0
        };
        loop {
            // Asked before reading: what is sealed now has its end where the walk finds it.
            let sealed = segment.is_sealed();
            let end = inner.collect(&segment, &mut offset, &mut batch, records_max)?;
            batch.next = Position {
                segment: segment.id,
                offset,
            };
            let End::OfFile { rest } = end else {
                return Ok(batch);
            };
            let next = match sealed {
                true => inner.segment_at(segment.id + 1),
                false => None,
            };
            let Some(next) = next else {
                batch.caught_up = true;
                return Ok(batch);
            };
            inner.damaged_bytes.fetch_add(rest, Ordering::Relaxed);
            segment = next;
            offset = 0;
        }
    }
}

impl Inner {
    /// The segment with this id or the next one after it. A cursor behind everything (the journal
    /// was deleted and the clock set back) starts over: records are counted once by their id.
    fn segment_at(&self, id: u64) -> Option<Arc<Segment>> {
        let segments = hold(&self.segments);
        let current = segments.keys().next_back().copied().unwrap_or_default();
        if id > current + 1 {
            tracing::warn!(cursor = id, current, "the journal is older than its cursor");
            return segments.values().next().cloned();
        }
        segments
            .range(id..)
            .next()
            .map(|(_, segment)| Arc::clone(segment))
    }

    /// Adds a segment's records from `offset` on, until there are `records_max` or enough bytes.
    fn collect(
        &self,
        segment: &Segment,
        offset: &mut u64,
        batch: &mut Batch,
        records_max: usize,
    ) -> io::Result<End> {
        walk(&segment.file, offset, |at, item| {
            match item {
                Item::Frame(frame) if frame.kind == Kind::Close => {
                    let here = self.recent.take(frame.call_id).map(Ok);
                    let record: serde_json::Result<SpendRecord> =
                        here.unwrap_or_else(|| serde_json::from_slice(frame.payload));
                    match record {
                        Ok(mut record) => {
                            // For this node's next recovery, not for the ledger.
                            record.context.periods.clear();
                            record.context.periods_in_part.clear();
                            batch.records.push(record);
                            batch.places.push(Position {
                                segment: segment.id,
                                offset: at,
                            });
                            batch.bytes += frame.bytes();
                        }
                        Err(error) => {
                            self.damaged_bytes
                                .fetch_add(frame.bytes() as u64, Ordering::Relaxed);
                            tracing::error!(%error, segment = segment.id, offset = at,
                                call_id = %frame.call_id, "a CLOSE frame is not readable");
                        }
                    }
                }
                Item::Frame(_) | Item::Newer => {}
                Item::Corrupt { bytes } => {
                    self.damaged_bytes
                        .fetch_add(bytes as u64, Ordering::Relaxed);
                    tracing::error!(
                        segment = segment.id,
                        offset = at,
                        bytes,
                        "journal bytes are damaged; the frames around them are whole"
                    );
                }
            }
            match batch.records.len() < records_max && batch.bytes < BATCH_BYTES_MAX {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
    }
}
