//! How the copy is doing, for probes, metrics and decisions about unknown keys.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use meridian_core::health::{LinkHealth, Propagation};
use meridian_core::time::WallMs;

use super::hold;
use crate::clock;

/// Never.
const NEVER: i64 = 0;

/// Whether the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It was not asked yet.
    Unasked,
    /// It answered the last time.
    Up,
    /// It did not.
    Down,
}

/// What the tasks of this module report.
#[derive(Debug, Default)]
pub struct Status {
    asked: AtomicBool,
    up: AtomicBool,
    since: AtomicI64,
    caught_up: AtomicI64,
    complete: AtomicBool,
    saved: AtomicI64,
    snapshot_records: AtomicU64,
    /// Up to when each home has told everything, and how the way to it is.
    links: Mutex<BTreeMap<String, LinkHealth>>,
}

impl Status {
    /// Whether the store answers.
    pub fn store(&self) -> StoreState {
        match (self.asked.load(Relaxed), self.up.load(Relaxed)) {
            (false, _) => StoreState::Unasked,
            (true, true) => StoreState::Up,
            (true, false) => StoreState::Down,
        }
    }

    pub(super) fn store_is(&self, up: bool) {
        let changed = self.up.swap(up, Relaxed) != up;
        if !self.asked.swap(true, Relaxed) || changed {
            self.since.store(clock::now().0, Relaxed);
        }
    }

    /// Everything in the store is in memory, as of now.
    pub(super) fn caught_up(&self) {
        self.caught_up.store(clock::now().0, Relaxed);
        self.set_complete();
    }

    pub(super) fn set_complete(&self) {
        self.complete.store(true, Relaxed);
    }

    /// Whether all that the store had at some time is in memory.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Relaxed)
    }

    pub(super) fn saved(&self, at: WallMs, records: u64) {
        self.saved.store(at.0, Relaxed);
        self.snapshot_records.store(records, Relaxed);
    }

    /// A region has told everything up to this moment.
    pub fn told(&self, home: &str, watermark: WallMs) {
        let mut links = hold(&self.links);
        let link = links.entry(home.to_owned()).or_default();
        link.watermark = link.watermark.max(Some(watermark));
    }

    /// Whether a region's mailbox can be written to.
    pub fn link_is(&self, home: &str, up: bool) {
        hold(&self.links).entry(home.to_owned()).or_default().up = up;
    }

    /// Up to when a region has told everything; `None` if it never did.
    pub fn watermark(&self, home: &str) -> Option<WallMs> {
        hold(&self.links).get(home).and_then(|link| link.watermark)
    }

    /// The watermarks of all regions.
    pub(super) fn watermarks(&self) -> BTreeMap<String, WallMs> {
        let links = hold(&self.links);
        let told = |(home, link): (&String, &LinkHealth)| Some((home.clone(), link.watermark?));
        links.iter().filter_map(told).collect()
    }

    /// All of it, for people.
    pub fn show(&self) -> Propagation {
        let moment = |at: &AtomicI64| {
            let at = at.load(Relaxed);
            (at != NEVER).then_some(WallMs(at))
        };
        Propagation {
            store: match self.store() {
                StoreState::Unasked => None,
                state => Some(state == StoreState::Up),
            },
            since: moment(&self.since),
            complete: self.is_complete(),
            caught_up: moment(&self.caught_up),
            snapshot: moment(&self.saved),
            snapshot_records: self.snapshot_records.load(Relaxed),
            links: hold(&self.links).clone(),
        }
    }
}
