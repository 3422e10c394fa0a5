//! Every virtual key in memory: what a request needs to know of it, found by its digest.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use jiff::tz::TimeZone;
use meridian_core::access::{Listed, ModelRules};
use meridian_core::auth::{KeyPolicy, KeyView};
use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::meters::{Meters, Whose, Written};
use meridian_core::money::NanoUsd;
use meridian_core::party::PartiesOfKey;
use meridian_core::record::Bounds;
use meridian_core::time::WallMs;

use super::restrictions::Binding;
use super::{REMOVED_MAX, REMOVED_MS};

/// How long the counters of a deleted key are kept for a successor that is still to come.
const COUNTERS_KEPT_MS: i64 = 60_000;

/// The keys of this node. Readers take one shard of a map; writers come one at a time.
#[derive(Debug, Default)]
pub(super) struct Keys {
    active: ByDigest<Held>,
    /// Digests that a rotation replaced; they work until their grace period is over.
    rotated: ByDigest<Rotated>,
    /// Digests that are to take over the counters of another one.
    heirs: ByDigest<KeyHash>,
    /// Keys that were deleted.
    removed: ByDigest<Removed>,
    /// What keys say themselves that also refer to a budget.
    linked: ByDigest<Linked>,
    /// What keys say themselves that restrictions bind.
    unrestricted: ByDigest<Unrestricted>,
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
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Rotated {
    active: KeyHash,
    revoke_at: WallMs,
    version: u64,
}

#[derive(Debug)]
struct Removed {
    version: u64,
    at: WallMs,
    meters: Option<Arc<Meters>>,
}

/// What a key says itself, to be in force again when restrictions are lifted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unrestricted {
    pub(super) blocked: bool,
    pub(super) limit: Option<NanoUsd>,
}

/// A key's own limits, to be put together with those of its budget again when that changes.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) token: KeyHash,
    pub(super) budget_id: Box<str>,
    pub(super) bounds: Bounds,
    pub(super) metadata: serde_json::Map<String, serde_json::Value>,
}

/// A key as it is to be put in force.
pub(super) struct Incoming<'a> {
    /// The key, restrictions applied.
    pub(super) record: &'a KeyRecord,
    /// Its limits with those of its budget.
    pub(super) bounds: Bounds,
    /// Its scopes.
    pub(super) parties: Option<Arc<PartiesOfKey>>,
}

impl Keys {
    /// The key with this digest, or the one that replaced it while its grace period runs.
    pub(super) fn get(&self, hash: &KeyHash, now: WallMs) -> Option<Arc<KeyView>> {
        if let Some(view) = self.active(hash) {
            return Some(view);
        }
        self.active(&self.active_of(hash, now)?)
    }

    /// The key with this very digest.
    pub(super) fn active(&self, hash: &KeyHash) -> Option<Arc<KeyView>> {
        self.active.get(hash).map(|held| Arc::clone(&held.view))
    }

    /// The key of this identity, under whatever digest it goes now. Looks at every key: for what
    /// is seldom.
    pub(super) fn of_identity(&self, identity: &KeyHash) -> Option<Arc<KeyView>> {
        let is_it = |view: &Arc<KeyView>| view.policy.identity() == *identity;
        if let Some(view) = self.active(identity).filter(is_it) {
            return Some(view);
        }
        self.active
            .iter()
            .map(|held| Arc::clone(&held.view))
            .find(is_it)
    }

    /// Keys that fit. Looks at every key.
    pub(super) fn find(&self, fits: impl Fn(&KeyView) -> bool) -> Vec<Arc<KeyView>> {
        let all = self.active.iter();
        let found = all.filter(|held| fits(&held.view));
        found.map(|held| Arc::clone(&held.view)).collect()
    }

    /// The digest that replaced a rotated one, while its grace period runs.
    pub(super) fn active_of(&self, hash: &KeyHash, now: WallMs) -> Option<KeyHash> {
        if self.rotated.is_empty() {
            return None;
        }
        let rotated = self.rotated.get(hash)?;
        (now < rotated.revoke_at).then_some(rotated.active)
    }

    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    /// Keys that have a budget, at most `count_max` of them.
    pub(super) fn with_budget(&self, count_max: usize, now: WallMs) -> Vec<Arc<KeyView>> {
        let views = self.active.iter().map(|held| Arc::clone(&held.view));
        views
            .filter(|view| view.meters.budget().limit(now).is_some())
            .take(count_max)
            .collect()
    }

    /// Version of what is known under this digest, tombstones included.
    pub(super) fn version(&self, hash: &KeyHash) -> Option<u64> {
        let active = self.active.get(hash).map(|held| held.version);
        active.or_else(|| self.removed.get(hash).map(|removed| removed.version))
    }

    /// Takes the version that is in force once more when it comes: what bound it is lifted.
    pub(super) fn reopen(&self, hash: &KeyHash) {
        if let Some(mut held) = self.active.get_mut(hash) {
            held.version = held.version.saturating_sub(1);
        }
    }

    pub(super) fn generation(&self, hash: &KeyHash) -> Option<u32> {
        self.active.get(hash).map(|held| held.generation)
    }

    /// Puts a key in force and keeps its counters, or those of the key that it replaces.
    pub(super) fn put(&self, key: Incoming<'_>, zone: &TimeZone, now: WallMs) {
        let Incoming {
            record,
            bounds,
            parties,
        } = key;
        let written = Written {
            bounds: &bounds,
            metadata: &record.metadata,
        };
        let token = record.token;
        let kept = self.active(&token).map(|view| Arc::clone(&view.meters));
        let inherited = || {
            let meters = self.inherited(&token)?;
            meters.set_heir(token);
            Some(meters)
        };
        let meters = match kept.or_else(inherited) {
            Some(meters) => {
                meters.update(written, zone, now);
                meters
            }
            None => {
                let whose = Whose::Key(token);
                Arc::new(Meters::new(whose, written, record.spend, zone, now))
            }
        };
        if let Some(lineage) = record.lineage {
            meters.set_lineage(lineage);
        }
        meters.set_ended(record.blocked);
        self.link(record);
        let mut policy = KeyPolicy::of(record);
        self.share_list(&mut policy.models);
        let view = Arc::new(KeyView {
            policy,
            meters,
            parties,
        });
        let (version, generation) = (record.version, record.generation);
        let held = Held {
            view,
            version,
            generation,
        };
        self.active.insert(token, held);
        self.removed.remove(&token);
    }

    /// Remembers what a key with a budget says itself.
    fn link(&self, record: &KeyRecord) {
        let Some(budget_id) = record.budget_id() else {
            self.linked.remove(&record.token);
            return;
        };
        let linked = Linked {
            token: record.token,
            budget_id: budget_id.into(),
            bounds: record.bounds(),
            metadata: record.metadata.clone(),
        };
        self.linked.insert(record.token, linked);
    }

    /// Keys that refer to a budget, with their counters.
    pub(super) fn linked_to(&self, budget_id: &str) -> Vec<(Linked, Arc<Meters>)> {
        let linked = self.linked.iter();
        let of_budget = linked.filter(|linked| &*linked.budget_id == budget_id);
        of_budget
            .filter_map(|linked| {
                let view = self.active(linked.key())?;
                Some((linked.clone(), Arc::clone(&view.meters)))
            })
            .collect()
    }

    /// Keys whose budget period is that of the budget that they refer to.
    pub(super) fn borrowers(&self) -> Vec<(KeyHash, Box<str>)> {
        let linked = self.linked.iter();
        let borrowers = linked.filter(|linked| linked.bounds.budget_duration.is_none());
        borrowers
            .map(|linked| (linked.token, linked.budget_id.clone()))
            .collect()
    }

    /// Counters of the key that this one replaces.
    fn inherited(&self, token: &KeyHash) -> Option<Arc<Meters>> {
        let (_, old) = self.heirs.remove(token)?;
        let running = self.active(&old).map(|view| Arc::clone(&view.meters));
        running.or_else(|| self.removed.get_mut(&old)?.meters.take())
    }

    /// Binds a key that is in force, or frees it again.
    pub(super) fn restrict(&self, token: &KeyHash, binding: Binding) {
        let Some(view) = self.active(token) else {
            return;
        };
        let own = *self.unrestricted.entry(*token).or_insert(Unrestricted {
            blocked: view.policy.blocked,
            limit: view.meters.budget().own_limit(),
        });
        if binding == Binding::default() {
            self.unrestricted.remove(token);
        }
        let blocked = own.blocked || binding.blocked;
        view.meters.set_ended(blocked);
        let lowest = own.limit.into_iter().chain(binding.lowered).min();
        view.meters.budget().set_limit(lowest);
        self.change_view(token, |view| view.policy.blocked = blocked);
    }

    /// Remembers what a key says itself that is put in force under a restriction.
    pub(super) fn note_unrestricted(&self, token: KeyHash, own: Option<Unrestricted>) {
        match own {
            Some(own) => {
                self.unrestricted.insert(token, own);
            }
            None => {
                self.unrestricted.remove(&token);
            }
        }
    }

    /// Changes the view of a key in place of its record: restrictions and scopes do.
    pub(super) fn change_view(&self, hash: &KeyHash, change: impl FnOnce(&mut KeyView)) {
        if let Some(mut held) = self.active.get_mut(hash) {
            let mut view = KeyView {
                policy: held.view.policy.clone(),
                meters: Arc::clone(&held.view.meters),
                parties: held.view.parties.clone(),
            };
            change(&mut view);
            held.view = Arc::new(view);
        }
    }

    /// Keys of a team.
    pub(super) fn of_team(&self, team_id: &str) -> Vec<Arc<KeyView>> {
        let held = self.active.iter();
        let of_team = held.filter(|held| held.view.policy.team_id.as_deref() == Some(team_id));
        of_team.map(|held| Arc::clone(&held.view)).collect()
    }

    /// Forgets a deleted key; what runs under it is to be cut, unless another digest goes on.
    pub(super) fn remove(&self, hash: &KeyHash, version: u64, now: WallMs) {
        if self.removed.len() >= REMOVED_MAX {
            self.sweep(now);
        }
        let view = self.active(hash);
        let meters = view.map(|view| Arc::clone(&view.meters));
        let successor = self.rotated.get(hash).map(|rotated| rotated.active);
        let successor = successor.and_then(|active| self.active(&active));
        let succeeded = successor.is_some();
        let goes_on = successor.zip(meters.as_ref());
        let goes_on = goes_on.is_some_and(|(view, meters)| Arc::ptr_eq(&view.meters, meters));
        if let Some(meters) = meters.as_ref().filter(|_| !goes_on) {
            meters.set_ended(true);
        }
        let at = now;
        let removed = Removed {
            version,
            at,
            meters: meters.filter(|_| !succeeded),
        };
        // First the note, then the key: in between a reader finds either.
        self.removed.insert(*hash, removed);
        self.active.remove(hash);
        self.linked.remove(hash);
        self.unrestricted.remove(hash);
    }

    /// Takes what a rotation left of an old digest. `None` is the end of that.
    pub(super) fn put_rotated(
        &self,
        old: KeyHash,
        rotated: Option<RotatedKey>,
        version: u64,
        now: WallMs,
    ) -> bool {
        let known = self.rotated.get(&old).map(|known| known.version);
        if known.is_some_and(|known| known >= version) {
            return false;
        }
        let RotatedKey { active, revoke_at } = rotated.unwrap_or(RotatedKey {
            active: old,
            revoke_at: now,
        });
        let entry = Rotated {
            active,
            revoke_at,
            version,
        };
        self.rotated.insert(old, entry);
        if active != old {
            self.succeed(&old, active, now);
        }
        true
    }

    /// The counters of `old` go on under `active`.
    fn succeed(&self, old: &KeyHash, active: KeyHash, now: WallMs) {
        let Some(view) = self.active(&active) else {
            self.heirs.insert(active, *old);
            return;
        };
        // The new key came first and counts on its own: what the old one had spent is added.
        let running = self.active(old).map(|view| Arc::clone(&view.meters));
        let ended = || self.removed.get_mut(old)?.meters.take();
        let Some(meters) = running.or_else(ended) else {
            return;
        };
        let budget = view.meters.budget();
        let sum = budget.spent(now).saturating_add(meters.budget().spent(now));
        budget.set_spent(sum, now);
    }

    /// Every key has spent nothing from now on.
    pub(super) fn reset_all_spent(&self, now: WallMs) -> Vec<Arc<Meters>> {
        let held = self.active.iter();
        let all: Vec<_> = held.map(|held| Arc::clone(&held.view.meters)).collect();
        for meters in &all {
            meters.reset_spent(NanoUsd::ZERO, now);
        }
        all
    }

    fn share_list(&self, models: &mut ModelRules) {
        if let ModelRules::Listed(list) = models {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            match lists.get(list) {
                Some(same) => *list = Arc::clone(same),
                None => {
                    lists.insert(Arc::clone(list));
                }
            }
        }
    }

    /// Drops what is not needed any more: old notes and unused lists.
    pub(super) fn sweep(&self, now: WallMs) {
        let oldest = now.plus_ms(-REMOVED_MS);
        self.rotated.retain(|_, rotated| rotated.revoke_at > oldest);
        let heirless = now.plus_ms(-COUNTERS_KEPT_MS);
        self.removed.retain(|_, removed| {
            if removed.at <= heirless {
                removed.meters = None;
            }
            removed.at > oldest
        });
        self.heirs
            .retain(|_, old| self.active.contains_key(old) || self.removed.contains_key(old));
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|list| Arc::strong_count(list) > 1);
        drop(lists);
        let excess = self.removed.len().saturating_sub(REMOVED_MAX / 2);
        if self.removed.len() >= REMOVED_MAX {
            // The oldest are forgotten first, half of them at once: a sweep for each would be slow.
            let mut versions: Vec<u64> = self.removed.iter().map(|note| note.version).collect();
            let (_, cut, _) = versions.select_nth_unstable(excess - 1);
            let cut = *cut;
            self.removed.retain(|_, removed| removed.version > cut);
        }
    }

    #[cfg(test)]
    pub(super) fn notes(&self) -> (usize, usize, usize) {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        (self.removed.len(), self.rotated.len(), lists.len())
    }
}
