//! Every virtual key in memory: what a request needs to know of it, found by its digest.

use std::hash::{BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use dashmap::DashMap;
use jiff::tz::TimeZone;
use meridian_core::auth::{Counters, KeyView, PartiesOfKey, Shared};
use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::meters::{Meters, Whose, Written};
use meridian_core::money::NanoUsd;
use meridian_core::record::Bounds;
use meridian_core::time::WallMs;

use super::alike::Alike;
use super::restrictions::Binding;
use super::table::{Keyed, Table};
use super::{REMOVED_MAX, REMOVED_MS};

/// How long the counters of a deleted key are kept for a successor that is still to come.
const COUNTERS_KEPT_MS: i64 = 60_000;

/// The keys of this node. Writers come one at a time; a request that finds its key, by its own or
/// by a rotated digest, takes no lock. Only the counters of a key are waited for, if they are just
/// being made.
#[derive(Debug, Default)]
pub(super) struct Keys {
    active: Table<KeyView>,
    /// Digests that a rotation replaced; they work until their grace period is over.
    rotated: Table<Rotated>,
    /// Digests that are to take over the counters of another one.
    heirs: ByDigest<KeyHash>,
    /// Keys that were deleted.
    removed: ByDigest<Removed>,
    /// What keys say themselves that also refer to a budget.
    linked: ByDigest<Linked>,
    /// What keys say themselves that restrictions bind.
    unrestricted: ByDigest<Unrestricted>,
    alike: Alike,
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

impl Keyed for KeyView {
    type Key = KeyHash;

    fn key(&self) -> &KeyHash {
        &self.policy.token
    }

    fn hash(key: &KeyHash, _: &RandomState) -> u64 {
        let head = key.as_bytes().first_chunk();
        head.map_or(0, |head| u64::from_le_bytes(*head))
    }
}

impl Keyed for Rotated {
    type Key = KeyHash;

    fn key(&self) -> &KeyHash {
        &self.old
    }

    fn hash(key: &KeyHash, state: &RandomState) -> u64 {
        KeyView::hash(key, state)
    }
}

#[derive(Clone, Copy, Debug)]
struct Rotated {
    old: KeyHash,
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
    pub(super) parties: PartiesOfKey,
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
        self.active.get(hash)
    }

    /// The key of this identity, under whatever digest it goes now. Looks at every key: for what
    /// is seldom.
    pub(super) fn of_identity(&self, identity: &KeyHash) -> Option<Arc<KeyView>> {
        let is_it = |view: &Arc<KeyView>| view.policy.identity() == *identity;
        if let Some(view) = self.active(identity).filter(is_it) {
            return Some(view);
        }
        self.active.iter().find(is_it)
    }

    /// Counters that fit, of those that have been made. Looks at every key.
    pub(super) fn find_made(&self, fits: impl Fn(&Meters) -> bool) -> Vec<(KeyHash, Arc<Meters>)> {
        let all = self.active.iter();
        all.filter_map(|view| {
            let meters = view.made_meters().filter(|meters| fits(meters))?;
            Some((view.policy.token, Arc::clone(meters)))
        })
        .collect()
    }

    /// The digest that replaced a rotated one, while its grace period runs.
    pub(super) fn active_of(&self, hash: &KeyHash, now: WallMs) -> Option<KeyHash> {
        let rotated = self.rotated.get(hash)?;
        (now < rotated.revoke_at).then_some(rotated.active)
    }

    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    /// Keys that have a budget, at most `count_max` of them.
    pub(super) fn with_budget(&self, count_max: usize, now: WallMs) -> Vec<Arc<KeyView>> {
        let limited = |view: &Arc<KeyView>| view.budget_limit(now).is_some();
        self.active.iter().filter(limited).take(count_max).collect()
    }

    /// Version of what is known under this digest, tombstones included.
    pub(super) fn version(&self, hash: &KeyHash) -> Option<u64> {
        let active = self.active.get(hash).map(|view| view.version);
        active.or_else(|| self.removed.get(hash).map(|removed| removed.version))
    }

    /// Takes the version that is in force once more when it comes: what bound it is lifted.
    pub(super) fn reopen(&self, hash: &KeyHash) {
        if let Some(view) = self.active(hash) {
            let mut reopened = view.with(|_| {});
            reopened.version = view.version.saturating_sub(1);
            self.active.insert(Arc::new(reopened));
        }
    }

    pub(super) fn generation(&self, hash: &KeyHash) -> Option<u32> {
        self.active.get(hash).map(|view| view.policy.generation)
    }

    /// Puts a key in force and keeps its counters, or those of the key that it replaces. A key that
    /// has none, and needs no lists in them, gets them at its first use. One that has not been used
    /// yet gets them here, before it is changed: a request that found it a moment ago counts in
    /// the same.
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
        let mut policy = self.alike.policy(record);
        let plain = written.plain();
        let kept = self.active(&token).map(|view| Arc::clone(view.meters()));
        let meters = match kept.or_else(|| self.inherited(&token)) {
            Some(meters) => {
                meters.update(written, zone, now);
                Some(meters)
            }
            None if plain.is_some() => None,
            None => {
                let whose = Whose::Key(token);
                let meters = Meters::new(whose, written, record.spend, zone, now);
                Some(Arc::new(meters))
            }
        };
        let mut limits = plain.unwrap_or_default();
        let start = limits.start(record.spend, zone, now);
        let counters = match meters {
            Some(meters) => {
                policy.tell(&meters);
                Counters::Made(meters)
            }
            None => Counters::AtFirstUse(start),
        };
        self.link(record);
        policy.change(|shared| {
            shared.limits = limits;
            shared.zone = zone.clone();
        });
        let mut view = KeyView::new(policy, record.version, parties, counters);
        self.alike.share(&mut view);
        self.active.insert(Arc::new(view));
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
                Some((linked.clone(), Arc::clone(view.meters())))
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
        let meters = self.running(&old)?;
        meters.set_heir(*token);
        Some(meters)
    }

    /// Counters of a key that is in force or was a moment ago; of the latter they are given away.
    fn running(&self, token: &KeyHash) -> Option<Arc<Meters>> {
        let running = self.active(token).map(|view| Arc::clone(view.meters()));
        running.or_else(|| self.removed.get_mut(token)?.meters.take())
    }

    /// Binds a key that is in force, or frees it again.
    pub(super) fn restrict(&self, token: &KeyHash, binding: Binding) {
        let Some(view) = self.active(token) else {
            return;
        };
        let own = *self.unrestricted.entry(*token).or_insert(Unrestricted {
            blocked: view.policy.blocked,
            limit: view.meters().budget().own_limit(),
        });
        if binding == Binding::default() {
            self.unrestricted.remove(token);
        }
        let blocked = own.blocked || binding.blocked;
        view.meters().set_ended(blocked);
        let lowest = own.limit.into_iter().chain(binding.lowered).min();
        view.meters().budget().set_limit(lowest);
        self.change(token, |shared| shared.blocked = blocked);
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

    /// Changes a key in place of its record: restrictions and scopes do.
    pub(super) fn change(&self, hash: &KeyHash, change: impl FnOnce(&mut Shared)) {
        if let Some(view) = self.active(hash) {
            let mut changed = view.with(|policy| policy.change(change));
            self.alike.share(&mut changed);
            self.active.insert(Arc::new(changed));
        }
    }

    /// Keys of a team.
    pub(super) fn of_team(&self, team_id: &str) -> Vec<Arc<KeyView>> {
        let is_of_team = |view: &Arc<KeyView>| view.policy.team_id.as_deref() == Some(team_id);
        self.active.iter().filter(is_of_team).collect()
    }

    /// Forgets a deleted key; what runs under it is to be cut, unless another digest goes on.
    pub(super) fn remove(&self, hash: &KeyHash, version: u64, now: WallMs) {
        if self.removed.len() >= REMOVED_MAX {
            self.sweep(now);
        }
        let view = self.active(hash);
        let meters = view.map(|view| Arc::clone(view.meters()));
        let successor = self.rotated.get(hash).map(|rotated| rotated.active);
        let successor = successor.and_then(|active| self.active(&active));
        let succeeded = successor.is_some();
        let goes_on = successor.zip(meters.as_ref());
        let goes_on = goes_on.is_some_and(|(view, meters)| Arc::ptr_eq(view.meters(), meters));
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

    /// When a key was deleted; `None` where there is one, and where nobody remembers.
    pub(super) fn gone_since(&self, hash: &KeyHash) -> Option<WallMs> {
        let removed = self.removed.get(hash).map(|removed| removed.at);
        removed.filter(|_| !self.active.contains(hash))
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
            old,
            active,
            revoke_at,
            version,
        };
        self.rotated.insert(Arc::new(entry));
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
        let Some(meters) = self.running(old) else {
            return;
        };
        let budget = view.meters().budget();
        let sum = budget.spent(now).saturating_add(meters.budget().spent(now));
        budget.set_spent(sum, now);
    }

    /// Every key has spent nothing from now on.
    pub(super) fn reset_all_spent(&self, now: WallMs) -> Vec<Arc<Meters>> {
        let views = self.active.iter();
        let all: Vec<_> = views.map(|view| Arc::clone(view.meters())).collect();
        for meters in &all {
            meters.reset_spent(NanoUsd::ZERO, now);
        }
        all
    }

    /// Drops what is not needed any more: old notes and unused lists.
    pub(super) fn sweep(&self, now: WallMs) {
        let oldest = now.plus_ms(-REMOVED_MS);
        self.rotated.retain(|rotated| rotated.revoke_at > oldest);
        let heirless = now.plus_ms(-COUNTERS_KEPT_MS);
        self.removed.retain(|_, removed| {
            if removed.at <= heirless {
                removed.meters = None;
            }
            removed.at > oldest
        });
        self.heirs
            .retain(|_, old| self.active.contains(old) || self.removed.contains_key(old));
        self.active.sweep();
        self.rotated.sweep();
        self.alike.sweep();
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
    pub(super) fn notes(&self) -> (usize, usize, usize, usize) {
        let (lists, shared) = self.alike.len();
        (self.removed.len(), self.rotated.len(), lists, shared)
    }
}
