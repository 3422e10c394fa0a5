//! Every virtual key in memory: what a request needs to know of it, found by its digest.
//!
//! A request never waits for the store: keys are loaded at start and every change goes through
//! here before it is answered. A record that is older than what is known is ignored, so a slow
//! writer cannot undo a block or bring a deleted key back.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::{DashMap, Entry};
use jiff::tz::TimeZone;
use meridian_core::access::{Listed, ModelRules};
use meridian_core::auth::{KeyPolicy, KeyView};
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::meters::KeyMeters;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;

/// How long a deleted key is remembered, against writers that read it before.
const REMOVED_MS: i64 = 3_600_000;
/// Most deleted keys that are remembered; the oldest are forgotten first.
const REMOVED_KEYS_MAX: usize = 100_000;

/// The keys of this node.
#[derive(Debug)]
pub struct Keys {
    /// The clock that budget periods follow.
    zone: TimeZone,
    active: ByDigest<Held>,
    /// Rotated keys that still work.
    deprecated: ByDigest<Deprecated>,
    /// When keys were deleted.
    removed: ByDigest<WallMs>,
    /// Model lists, each once: a thousand keys of a team have the same. Only writers come here.
    lists: Mutex<HashSet<Arc<Listed>>>,
}

type ByDigest<V> = DashMap<KeyHash, V, BuildHasherDefault<DigestHasher>>;

/// A digest is uniform already: eight bytes of it are its hash.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let (32, Some(head)) = (bytes.len(), bytes.first_chunk()) {
            self.0 = u64::from_le_bytes(*head);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Held {
    view: Arc<KeyView>,
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Deprecated {
    active: KeyHash,
    revoke_at: WallMs,
}

impl Keys {
    /// No key. Budget periods follow the calendar of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            active: ByDigest::default(),
            deprecated: ByDigest::default(),
            removed: ByDigest::default(),
            lists: Mutex::default(),
        }
    }

    /// The zone whose calendar budget periods follow.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The key with this digest, or the one that replaced it while its grace period runs.
    pub fn get(&self, hash: &KeyHash, now: WallMs) -> Option<Arc<KeyView>> {
        if let Some(held) = self.active.get(hash) {
            return Some(Arc::clone(&held.view));
        }
        let active = self.active_of(hash, now)?;
        self.active.get(&active).map(|held| Arc::clone(&held.view))
    }

    /// The digest that replaced a rotated one, while its grace period runs.
    pub fn active_of(&self, hash: &KeyHash, now: WallMs) -> Option<KeyHash> {
        if self.deprecated.is_empty() {
            return None;
        }
        let replaced = self.deprecated.get(hash)?;
        (now < replaced.revoke_at).then_some(replaced.active)
    }

    /// Number of keys, rotated ones not counted.
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Keys that have a budget, at most `count_max` of them.
    pub fn with_budget(&self, count_max: usize, now: WallMs) -> Vec<Arc<KeyView>> {
        let views = self.active.iter().map(|held| Arc::clone(&held.view));
        views
            .filter(|view| view.meters.budget().limit(now).is_some())
            .take(count_max)
            .collect()
    }

    /// Takes a key that was just made here: also one whose value was deleted before.
    pub fn insert(&self, record: &KeyRecord, now: WallMs) {
        self.removed.remove(&record.token);
        self.put(record, now);
    }

    /// Takes a stored key and keeps its counters. Ignored (`false`) when a newer version is known
    /// or the key was deleted after this record was made.
    pub fn put(&self, record: &KeyRecord, now: WallMs) -> bool {
        match self.active.entry(record.token) {
            Entry::Occupied(mut place) => {
                if place.get().version >= record.version {
                    return false;
                }
                let meters = Arc::clone(&place.get().view.meters);
                meters.update(record, &self.zone, now);
                place.insert(self.hold(record, meters));
            }
            Entry::Vacant(place) => {
                let removed = self.removed.get(&record.token).map(|at| *at);
                if removed.is_some_and(|at| record.created_at <= at) {
                    return false;
                }
                let meters = Arc::new(KeyMeters::new(record, &self.zone, now));
                place.insert(self.hold(record, meters));
            }
        }
        true
    }

    /// Forgets a deleted key, and the rotated keys that stood for it.
    pub fn remove(&self, hash: &KeyHash, now: WallMs) {
        if self.removed.len() >= REMOVED_KEYS_MAX {
            self.sweep(now);
        }
        // First the note, then the key: in between a stale writer already finds the note.
        self.removed.insert(*hash, now);
        self.active.remove(hash);
        self.deprecated
            .retain(|_, replaced| replaced.active != *hash);
    }

    /// Gives a key its new digest. The old one works until `revoke_at`; the counters go on.
    pub fn rotate(&self, old: &KeyHash, record: &KeyRecord, revoke_at: WallMs, now: WallMs) {
        let meters = self
            .active
            .get(old)
            .map(|held| Arc::clone(&held.view.meters));
        let meters = match meters {
            Some(meters) => {
                meters.update(record, &self.zone, now);
                meters
            }
            None => Arc::new(KeyMeters::new(record, &self.zone, now)),
        };
        self.removed.remove(&record.token);
        self.active.insert(record.token, self.hold(record, meters));
        for mut replaced in self.deprecated.iter_mut() {
            if replaced.active == *old {
                replaced.active = record.token;
            }
        }
        self.put_deprecated(*old, record.token, revoke_at, now);
        self.removed.insert(*old, now);
        self.active.remove(old);
    }

    /// Takes a rotated key from the store.
    pub fn put_deprecated(&self, old: KeyHash, active: KeyHash, revoke_at: WallMs, now: WallMs) {
        if now < revoke_at {
            self.deprecated
                .insert(old, Deprecated { active, revoke_at });
        }
    }

    /// What a key has spent in its running period, as the limits see it.
    pub fn spent(&self, hash: &KeyHash, now: WallMs) -> Option<NanoUsd> {
        self.get(hash, now).map(|view| view.meters.spent(now))
    }

    /// Sets what a key has spent in its running period.
    pub fn set_spent(&self, hash: &KeyHash, spent: NanoUsd, now: WallMs) {
        if let Some(view) = self.get(hash, now) {
            view.meters.budget().set_spent(spent, now);
        }
    }

    /// Every key has spent nothing from now on.
    pub fn reset_all_spent(&self, now: WallMs) {
        for held in self.active.iter() {
            held.view.meters.budget().set_spent(NanoUsd::ZERO, now);
        }
    }

    fn hold(&self, record: &KeyRecord, meters: Arc<KeyMeters>) -> Held {
        let mut policy = KeyPolicy::of(record);
        if let ModelRules::Listed(list) = &mut policy.models {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            match lists.get(list) {
                Some(same) => *list = Arc::clone(same),
                None => {
                    lists.insert(Arc::clone(list));
                }
            }
        }
        Held {
            view: Arc::new(KeyView { policy, meters }),
            version: record.version,
        }
    }

    /// Drops rotated keys whose grace period is over, old notes of deleted ones and unused lists.
    /// To be called once a minute; nothing depends on its being on time.
    pub fn sweep(&self, now: WallMs) {
        self.deprecated
            .retain(|_, replaced| now < replaced.revoke_at);
        let oldest = now.plus_ms(-REMOVED_MS);
        self.removed.retain(|_, at| *at > oldest);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|list| Arc::strong_count(list) > 1);
        drop(lists);
        let excess = self.removed.len().saturating_sub(REMOVED_KEYS_MAX - 1);
        if excess > 0 {
            let mut times: Vec<WallMs> = self.removed.iter().map(|note| *note.value()).collect();
            let (_, cut, _) = times.select_nth_unstable(excess - 1);
            let cut = *cut;
            self.removed.retain(|_, at| *at > cut);
        }
    }
}

#[cfg(test)]
mod tests;
