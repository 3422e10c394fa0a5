//! Answers in this node's memory: bounded in bytes, those that are asked for again stay longest.

use std::sync::Arc;

use meridian_core::cache::{CacheKey, Entry};
use meridian_core::time::WallMs;
use quick_cache::sync::{Cache as Sharded, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Shards, each behind its own lock. Few, because an answer has to fit into one.
const SHARDS: usize = 4;
/// What an answer takes beside its own bytes: its key, times, places in the table.
const OVERHEAD_BYTES: u64 = 256;
/// What a usual answer takes: for the size of the tables.
const USUAL_BYTES: u64 = 4 * 1024;

/// An answer, and how long this node may use it.
#[derive(Clone)]
struct Held {
    entry: Arc<Entry>,
    until: WallMs,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<CacheKey, Held> for Bytes {
    fn weight(&self, _: &CacheKey, held: &Held) -> u64 {
        held.entry.weight() as u64 + OVERHEAD_BYTES
    }
}

/// Answers in memory.
pub(super) struct Memory {
    held: Sharded<CacheKey, Held, Bytes>,
}

impl Memory {
    /// Room for so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let usual = usize::try_from(bytes_max / USUAL_BYTES).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .weight_capacity(bytes_max)
            .estimated_items_capacity(usual)
            .build();
        let held = match options {
            Ok(options) => Sharded::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // Only without the two figures that are given above.
            Err(_) => Sharded::with_weighter(usual, bytes_max, Bytes),
        };
        Self { held }
    }

    /// An answer that may still be used.
    pub(super) fn get(&self, key: &CacheKey, now: WallMs) -> Option<Arc<Entry>> {
        let held = self.held.get(key)?;
        (held.until > now).then_some(held.entry)
    }

    /// Keeps an answer for so many milliseconds; `false` when that is no time at all.
    pub(super) fn put(&self, entry: &Arc<Entry>, now: WallMs, millis: i64) -> bool {
        let held = Held {
            entry: Arc::clone(entry),
            until: now.plus_ms(millis),
        };
        let lasts = millis > 0;
        if lasts {
            self.held.insert(entry.key, held);
        }
        lasts
    }

    /// Deletes one; whether it was there.
    pub(super) fn remove(&self, key: &CacheKey) -> bool {
        self.held.remove(key).is_some()
    }

    /// Deletes all; how many there were.
    pub(super) fn clear(&self) -> u64 {
        let count = self.len();
        self.held.clear();
        count
    }

    /// Deletes those that are over: nobody's prompts and answers stay longer than they may.
    pub(super) fn forget(&self, now: WallMs) {
        self.held.retain(|_, held| held.until > now);
    }

    /// How many.
    pub(super) fn len(&self) -> u64 {
        self.held.len() as u64
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.held.weight()
    }
}
