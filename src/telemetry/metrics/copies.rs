//! Families about this node's copy of the records: how old it is, and how it gets what is new.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use meridian_core::health::{Propagation, age_s};
use meridian_core::time::WallMs;

use super::catalogue::PlainFamily;
use super::exposition::Page;
use super::plain::{counter, gauge};

const STORE_UP: PlainFamily = gauge(
    "meridian_records_store_up",
    &[],
    "1 while the store answers, 0 while it does not; absent where nothing is followed",
);
const FEED_AGE: PlainFamily = gauge(
    "meridian_records_feed_age_seconds",
    &[],
    "Since memory was last known to have all that the store has",
);
const SNAPSHOT_AGE: PlainFamily = gauge(
    "meridian_records_snapshot_age_seconds",
    &[],
    "Since the snapshot on disk was written",
);
const LINK_UP: PlainFamily = gauge(
    "meridian_region_link_up",
    &["region"],
    "1 while another region's mailbox takes what is sent from here",
);
const WATERMARK_AGE: PlainFamily = gauge(
    "meridian_region_watermark_age_seconds",
    &["region"],
    "Since another region last said that it has told everything",
);
const EVENTS: PlainFamily = counter(
    "meridian_records_events_total",
    &["event"],
    "What became of records and snapshots on their way",
);

/// All of them.
pub(super) const COPIES: [&PlainFamily; 6] = [
    &STORE_UP,
    &FEED_AGE,
    &SNAPSHOT_AGE,
    &LINK_UP,
    &WATERMARK_AGE,
    &EVENTS,
];

/// What became of records and snapshots on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEvent {
    /// A message told to the region.
    Told,
    /// A message of another node, taken in.
    Heard,
    /// A batch sent to another region.
    Sent,
    /// A batch of another region, taken in.
    Received,
    /// A message or batch whose signature is not ours.
    Forged,
    /// A record from the future.
    Future,
    /// Messages dropped because too many came at once.
    Lost,
    /// Sums of a home's records that differ from ours.
    Differs,
    /// A snapshot written.
    SnapshotWritten,
    /// A snapshot that could not be written.
    SnapshotFailed,
    /// A snapshot that was torn or not ours.
    SnapshotRefused,
    /// A key that was not in memory and was found.
    KeyFound,
    /// A key that was not in memory and nowhere else.
    KeyAbsent,
    /// A key that could not be looked up.
    KeyUnavailable,
}

impl RecordEvent {
    const ALL: [Self; 14] = [
        Self::Told,
        Self::Heard,
        Self::Sent,
        Self::Received,
        Self::Forged,
        Self::Future,
        Self::Lost,
        Self::Differs,
        Self::SnapshotWritten,
        Self::SnapshotFailed,
        Self::SnapshotRefused,
        Self::KeyFound,
        Self::KeyAbsent,
        Self::KeyUnavailable,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Heard => "heard",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Forged => "forged",
            Self::Future => "future",
            Self::Lost => "lost",
            Self::Differs => "differs",
            Self::SnapshotWritten => "snapshot_written",
            Self::SnapshotFailed => "snapshot_failed",
            Self::SnapshotRefused => "snapshot_refused",
            Self::KeyFound => "key_found",
            Self::KeyAbsent => "key_absent",
            Self::KeyUnavailable => "key_unavailable",
        }
    }
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct RecordEvents([AtomicU64; RecordEvent::ALL.len()]);

impl RecordEvents {
    pub(super) fn add(&self, event: RecordEvent, count: u64) {
        self.0[event as usize].fetch_add(count, Relaxed);
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.plain_header(&EVENTS);
        for (event, count) in RecordEvent::ALL.iter().zip(&self.0) {
            page.sample(&EVENTS, &[event.label()], count.load(Relaxed) as f64);
        }
    }
}

/// The state of the copy; only headers where nothing is followed.
pub(super) fn write_state(page: &mut Page, propagation: &Propagation, now: WallMs) {
    let age = |at: Option<WallMs>| at.map(|at| age_s(at, now));
    let up = propagation.store.map(|up| f64::from(u8::from(up)));
    page.value(&STORE_UP, up);
    page.value(&FEED_AGE, age(propagation.caught_up));
    page.value(&SNAPSHOT_AGE, age(propagation.snapshot));
    page.plain_header(&LINK_UP);
    for (region, link) in &propagation.links {
        page.sample(&LINK_UP, &[region], f64::from(u8::from(link.up)));
    }
    page.plain_header(&WATERMARK_AGE);
    for (region, link) in &propagation.links {
        if let Some(age) = age(link.watermark) {
            page.sample(&WATERMARK_AGE, &[region], age);
        }
    }
}
