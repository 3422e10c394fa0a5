//! What the cache has done since the start of the process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use meridian_core::cache::Answer;

use super::Place;
use crate::telemetry::metrics::CacheGauges;

/// What a request found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An answer.
    Hit(Place),
    /// The answer of an equal request that was on its way.
    Followed,
    /// Nothing.
    Miss,
    /// It did not look: `no-cache`.
    Bypassed,
}

impl Lookup {
    /// Value of a header.
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit(Place::Memory) => "hit-memory",
            Self::Hit(Place::Redis) => "hit-redis",
            Self::Followed => "followed",
            Self::Miss => "miss",
            Self::Bypassed => "bypassed",
        }
    }

    /// Whether the answer came from the cache.
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Hit(_) | Self::Followed)
    }
}

/// Counters of one kind.
#[derive(Clone, Copy)]
pub(super) enum Count {
    HitMemory,
    HitRedis,
    Followed,
    Miss,
    Bypassed,
    Stored,
    TooLarge,
    ReadLate,
    ReadFailed,
    WriteFailed,
    WriteDropped,
    Malformed,
    SavedNano,
    SavedTokens,
}

const COUNTS: usize = Count::SavedTokens as usize + 1;

/// Counters.
#[derive(Default)]
pub struct Counts {
    cells: [AtomicU64; COUNTS],
}

impl Counts {
    /// Counts what a request found.
    pub fn looked(&self, lookup: Lookup) {
        self.add(match lookup {
            Lookup::Hit(Place::Memory) => Count::HitMemory,
            Lookup::Hit(Place::Redis) => Count::HitRedis,
            Lookup::Followed => Count::Followed,
            Lookup::Miss => Count::Miss,
            Lookup::Bypassed => Count::Bypassed,
        });
    }

    /// Counts what an answer from the cache has saved.
    pub fn saved(&self, answer: &Answer) {
        let nano = u64::try_from(answer.cost.0).unwrap_or(0);
        let tokens = answer
            .prompt_tokens
            .saturating_add(answer.completion_tokens);
        self.cells[Count::SavedNano as usize].fetch_add(nano, Relaxed);
        self.cells[Count::SavedTokens as usize].fetch_add(tokens, Relaxed);
    }

    /// Counts an answer that is larger than what is kept.
    pub fn too_large(&self) {
        self.add(Count::TooLarge);
    }

    pub(super) fn add(&self, count: Count) {
        self.cells[count as usize].fetch_add(1, Relaxed);
    }

    fn get(&self, count: Count) -> u64 {
        self.cells[count as usize].load(Relaxed)
    }

    pub(super) fn gauges(&self) -> CacheGauges {
        CacheGauges {
            lookups: [
                ("hit_memory", self.get(Count::HitMemory)),
                ("hit_redis", self.get(Count::HitRedis)),
                ("followed", self.get(Count::Followed)),
                ("miss", self.get(Count::Miss)),
                ("bypassed", self.get(Count::Bypassed)),
            ],
            stored: self.get(Count::Stored),
            too_large: self.get(Count::TooLarge),
            errors: [
                ("read_late", self.get(Count::ReadLate)),
                ("read_failed", self.get(Count::ReadFailed)),
                ("write_failed", self.get(Count::WriteFailed)),
                ("write_dropped", self.get(Count::WriteDropped)),
                ("malformed", self.get(Count::Malformed)),
            ],
            saved_nano: self.get(Count::SavedNano),
            saved_tokens: self.get(Count::SavedTokens),
            ..CacheGauges::default()
        }
    }
}
