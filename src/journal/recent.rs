//! Records whose CLOSE was written a moment ago, on their way past the disk.
//!
//! The drain follows the journal, and what it finds there is what is stored. But reading a frame's
//! JSON costs as much as writing it three times over, and this process has just had the record in
//! its hands: the drain takes it from here by the call id of the frame. One that is not here is
//! read from its frame, as after a restart; so is one that has texts, which may be long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use meridian_core::ids::CallId;
use meridian_core::spend::SpendRecord;

/// Most records that wait here, of three kilobytes at most: some batches of a node under full load.
/// A store that is away has the rest read back.
const RECORDS_MAX: usize = 8_192;

/// Records by their calls.
#[derive(Debug, Default)]
pub(super) struct Recent {
    records: DashMap<CallId, Arc<SpendRecord>, RandomState>,
    /// Of the map, which would have to look into all of its parts to count.
    count: AtomicUsize,
}

impl Recent {
    /// Leaves a record here. Its frame is written next: what finds the frame finds the record.
    pub(super) fn leave(&self, record: &Arc<SpendRecord>) {
        if self.count.load(Ordering::Relaxed) < RECORDS_MAX
            && self
                .records
                .insert(record.call_id, Arc::clone(record))
                .is_none()
        {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the record of a frame, if it is here.
    pub(super) fn take(&self, call_id: CallId) -> Option<SpendRecord> {
        let (_, record) = self.records.remove(&call_id)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(Arc::unwrap_or_clone(record))
    }

    /// Forgets a record whose frame was not written.
    pub(super) fn forget(&self, call_id: CallId) {
        let _never_written = self.take(call_id);
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::journal::{Bound, Open, Position};
    use meridian_core::time::WallMs;
    use serde_json::json;

    use super::*;
    use crate::journal::{Journal, JournalOptions};

    fn record(number: u8, error: &str) -> SpendRecord {
        let call_id = CallId::new(WallMs(1), [number; 16]);
        let record = json!({
            "call_id": call_id.to_string(), "endpoint": "chat_completions", "model_group": "m",
            "started": 1, "ended": 2, "usage": {"prompt": 3}, "cost": 4, "status": 200,
            "end_reason": "complete", "error": error,
        });
        serde_json::from_value(record).unwrap()
    }

    /// Writes OPEN and CLOSE of a request.
    fn closed(journal: &Journal, record: &Arc<SpendRecord>) {
        let open = Open {
            record: SpendRecord::clone(record),
            bound: Bound::default(),
        };
        let ticket = journal.append_open(&open).unwrap();
        journal.append_close_shared(ticket, record).unwrap();
    }

    /// The one record that the drain gets.
    fn read(journal: &Journal, from: Position) -> SpendRecord {
        let batch = journal.read_batch(from, 10).unwrap();
        let [read] = batch.records.try_into().unwrap();
        read
    }

    #[test]
    fn the_drain_gets_the_record_and_nothing_stays_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
        let record = Arc::new(record(1, "text"));
        let from = journal.end();
        closed(&journal, &record);
        assert_eq!(journal.inner.recent.records.len(), 1);
        assert_eq!(read(&journal, from), *record);
        assert!(journal.inner.recent.records.is_empty());
        // A second reader finds the frame alone, and the same in it.
        assert_eq!(read(&journal, from), *record);
    }

    #[test]
    fn a_record_that_its_frame_shortens_is_stored_as_the_frame_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
        let record = Arc::new(record(1, &"long ".repeat(10_000)));
        let from = journal.end();
        closed(&journal, &record);
        let read = read(&journal, from);
        assert!(read.error.unwrap().len() < 1_000);
        assert_eq!(read.cost, record.cost);
    }

    #[test]
    fn a_record_with_texts_is_read_from_its_frame() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
        let mut record = record(1, "");
        record.texts = serde_json::from_str(r#"{"request": {"a": 1}}"#).unwrap();
        let record = Arc::new(record);
        let from = journal.end();
        closed(&journal, &record);
        assert!(journal.inner.recent.records.is_empty());
        assert_eq!(read(&journal, from), *record);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let recent = Recent::default();
        for number in 0..RECORDS_MAX + 10 {
            let mut one = record(1, "");
            one.call_id = CallId::from_bytes((number as u128).to_be_bytes());
            recent.leave(&Arc::new(one));
        }
        assert_eq!(recent.records.len(), RECORDS_MAX);
        let first = CallId::from_bytes(0_u128.to_be_bytes());
        assert!(recent.take(first).is_some());
        recent.forget(CallId::from_bytes(1_u128.to_be_bytes()));
        assert_eq!(recent.count.load(Ordering::Relaxed), RECORDS_MAX - 2);
    }
}
