//! Scopes other than keys: their records in compact form, and the objects that keys refer to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use jiff::tz::TimeZone;
use meridian_core::access::ModelRules;
use meridian_core::meters::{Meters, Whose};
use meridian_core::money::NanoUsd;
use meridian_core::party::{Charter, Party, Standing, View};
use meridian_core::record::Bounds;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use super::REMOVED_MS;

/// The scopes of this node, one map for each kind.
#[derive(Debug, Default)]
pub(super) struct Parties {
    kinds: [ByKind; ScopeKind::ALL.len()],
}

#[derive(Debug, Default)]
struct ByKind {
    /// Boxed: half of a map's places may be empty.
    entries: DashMap<Box<str>, Box<Entry>>,
    /// Those of which a live record is known: none is the common case.
    recorded: AtomicUsize,
}

/// A scope and what its record says.
#[derive(Debug)]
pub(super) struct Entry {
    /// What keys refer to.
    pub(super) party: Arc<Party>,
    /// Version of its record, also when that was deleted; zero is none.
    pub(super) version: u64,
    /// Generation of its record.
    pub(super) generation: u32,
    /// What its record says; `None` is no live record.
    pub(super) charter: Option<Box<Charter>>,
    /// When its record was deleted.
    deleted_at: Option<WallMs>,
    /// Its counters, once there was something to limit.
    meters: Option<Arc<Meters>>,
}

/// What an entry's view is made of besides its charter.
pub(super) struct Around {
    /// Its limits with those of its budget, restrictions applied.
    pub(super) bounds: Bounds,
    /// Models that its budget allows.
    pub(super) budget_models: ModelRules,
    /// A restriction that binds it.
    pub(super) restricted: Option<Standing>,
    /// What it had spent before anything was counted here.
    pub(super) spent: Option<NanoUsd>,
}

impl Entry {
    fn new(scope: Scope) -> Self {
        Self {
            party: Arc::new(Party::unknown(scope)),
            version: 0,
            generation: 0,
            charter: None,
            deleted_at: None,
            meters: None,
        }
    }

    /// Takes what a record says; `None` is a tombstone.
    pub(super) fn take(&mut self, charter: Option<Charter>, version: u64, at: WallMs) {
        self.version = version;
        self.deleted_at = charter.is_none().then_some(at);
        self.charter = charter.map(Box::new);
    }

    /// Whether its record was deleted, and keys that name it may not outlive it.
    fn is_gone(&self) -> bool {
        self.deleted_at.is_some() && self.party.must_exist()
    }

    /// Puts in force what is known of it now. `default` is a charter for those without a record.
    pub(super) fn refresh(
        &mut self,
        around: Around,
        default: Option<&Charter>,
        zone: &TimeZone,
        now: WallMs,
    ) {
        let gone = self.is_gone().then(Charter::default);
        let charter = self.charter.as_deref().or(default).or(gone.as_ref());
        let Some(charter) = charter else {
            self.party.set(None);
            return;
        };
        let written = charter.written(&around.bounds);
        let meters = match &self.meters {
            Some(meters) => {
                meters.update(written, zone, now);
                Arc::clone(meters)
            }
            None => {
                let whose = Whose::Scope(self.party.scope().clone());
                let spent = around.spent.unwrap_or_default();
                Arc::new(Meters::new(whose, written, spent, zone, now))
            }
        };
        let mut rights = charter.rights.clone();
        rights.budget_models = around.budget_models;
        if self.is_gone() {
            rights.standing = Standing::Deleted;
        } else if let Some(standing) = around.restricted {
            rights.standing = standing;
        }
        meters.set_ended(rights.standing != Standing::Active);
        self.meters = Some(Arc::clone(&meters));
        self.party.set(Some(View { rights, meters }));
    }
}

impl Parties {
    fn of(&self, kind: ScopeKind) -> &ByKind {
        &self.kinds[kind as usize]
    }

    /// The object of a scope, made if need be.
    pub(super) fn party(&self, scope: &Scope) -> Arc<Party> {
        self.with(scope, |entry| Arc::clone(&entry.party))
    }

    /// Works on the entry of a scope, made if need be.
    pub(super) fn with<T>(&self, scope: &Scope, work: impl FnOnce(&mut Entry) -> T) -> T {
        let kind = self.of(scope.kind);
        if let Some(mut entry) = kind.entries.get_mut(scope.id.as_str()) {
            return work(&mut entry);
        }
        let new = || Box::new(Entry::new(scope.clone()));
        let mut entry = kind
            .entries
            .entry(scope.id.as_str().into())
            .or_insert_with(new);
        work(&mut entry)
    }

    /// Reads the entry of a scope.
    pub(super) fn read<T>(
        &self,
        kind: ScopeKind,
        id: &str,
        look: impl FnOnce(&Entry) -> Option<T>,
    ) -> Option<T> {
        self.of(kind)
            .entries
            .get(id)
            .and_then(|entry| look(entry.value()))
    }

    /// What is known of a scope: nothing at once where no record of the kind is.
    pub(super) fn view(&self, kind: ScopeKind, id: &str) -> Option<Arc<View>> {
        if self.of(kind).recorded.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.read(kind, id, |entry| entry.party.view())
    }

    /// Counters of a scope.
    pub(super) fn meters(&self, scope: &Scope) -> Option<Arc<Meters>> {
        self.read(scope.kind, &scope.id, |entry| entry.meters.clone())
    }

    /// Counts the live records of a kind anew after one came or went.
    pub(super) fn count(&self, kind: ScopeKind, came: bool, went: bool) {
        let recorded = &self.of(kind).recorded;
        if came {
            recorded.fetch_add(1, Ordering::Relaxed);
        }
        if went {
            recorded.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Scopes whose entry fits.
    pub(super) fn find(&self, kinds: &[ScopeKind], fits: impl Fn(&Entry) -> bool) -> Vec<Scope> {
        let entries = kinds.iter().flat_map(|kind| self.of(*kind).entries.iter());
        entries
            .filter(|entry| fits(entry.value()))
            .map(|entry| entry.party.scope().clone())
            .collect()
    }

    /// Scopes that are limited, with the budget that `of` names for them. `of` may read scopes of
    /// another kind.
    pub(super) fn with_borrowed(
        &self,
        of: impl Fn(&Entry) -> Option<Box<str>>,
    ) -> Vec<(Scope, Box<str>)> {
        let entries = self.kinds.iter().flat_map(|kind| kind.entries.iter());
        let limited = entries.filter(|entry| entry.meters.is_some());
        limited
            .filter_map(|entry| Some((entry.party.scope().clone(), of(entry.value())?)))
            .collect()
    }

    /// Every scope of a kind has spent nothing from now on.
    pub(super) fn reset_all_spent(&self, kind: ScopeKind, now: WallMs) -> Vec<Arc<Meters>> {
        let entries = self.of(kind).entries.iter();
        let all: Vec<_> = entries.filter_map(|entry| entry.meters.clone()).collect();
        for meters in &all {
            meters.set_spent(NanoUsd::ZERO, now);
        }
        all
    }

    /// Drops what nobody refers to: scopes without a record, and old tombstones.
    pub(super) fn sweep(&self, now: WallMs) {
        let oldest = now.plus_ms(-REMOVED_MS);
        for kind in &self.kinds {
            kind.entries.retain(|_, entry| {
                let needed = Arc::strong_count(&entry.party) > 1 || entry.charter.is_some();
                needed || entry.deleted_at.is_some_and(|at| at > oldest)
            });
        }
    }
}
