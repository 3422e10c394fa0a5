//! Scopes other than keys: their records in compact form, and the objects that keys refer to.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
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
use super::table::{Keyed, Table};

/// The scopes of this node, one map for each kind.
#[derive(Debug, Default)]
pub(super) struct Parties {
    kinds: [ByKind; ScopeKind::ALL.len()],
}

#[derive(Debug, Default)]
struct ByKind {
    /// Those that keys refer to or of which something is known. Requests look here.
    parties: Table<Party>,
    /// Those of which something is or was known: most users of most keys are not among them.
    entries: DashMap<Name, Box<Entry>>,
    /// Those of which a live record is known: none is the common case.
    recorded: AtomicUsize,
}

impl Keyed for Party {
    type Key = str;

    fn key(&self) -> &str {
        &self.scope().id
    }

    fn hash(key: &str, state: &RandomState) -> u64 {
        state.hash_one(key)
    }
}

/// Finds a scope by its id, which its object has already: there may be a million of them.
#[derive(Debug)]
struct Name(Arc<Party>);

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0.scope().id
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for Name {}

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
    pub(super) meters: Option<Arc<Meters>>,
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
    fn new(party: Arc<Party>) -> Self {
        Self {
            party,
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
        let parties = &self.of(scope.kind).parties;
        if let Some(known) = parties.get(&scope.id) {
            return known;
        }
        let party = Arc::new(Party::unknown(scope.clone()));
        parties.insert(Arc::clone(&party));
        if let Some((_, user)) = scope.member() {
            // Keys find a member by its user.
            let user = self.party(&Scope::new(ScopeKind::User, user));
            user.add_membership(&party);
        }
        party
    }

    /// Works on the entry of a scope, made if need be.
    pub(super) fn with<T>(&self, scope: &Scope, work: impl FnOnce(&mut Entry) -> T) -> T {
        let party = self.party(scope);
        let entries = &self.of(scope.kind).entries;
        let mut held = entries
            .entry(Name(Arc::clone(&party)))
            .or_insert_with(|| Box::new(Entry::new(party)));
        work(&mut held)
    }

    /// Reads the entry of a scope.
    pub(super) fn read<T>(
        &self,
        kind: ScopeKind,
        id: &str,
        look: impl FnOnce(&Entry) -> Option<T>,
    ) -> Option<T> {
        let held = self.of(kind).entries.get(id)?;
        look(&held)
    }

    /// What is known of a scope: nothing at once where no record of the kind is.
    pub(super) fn view(&self, kind: ScopeKind, id: &str) -> Option<Arc<View>> {
        if self.of(kind).recorded.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.of(kind).parties.get(id)?.view()
    }

    /// The same, also of a scope that has no record and is limited all the same.
    pub(super) fn view_of(&self, scope: &Scope) -> Option<Arc<View>> {
        self.of(scope.kind).parties.get(&scope.id)?.view()
    }

    /// Counters of a scope. Requests ask for those of customers: most have none.
    pub(super) fn meters(&self, scope: &Scope) -> Option<Arc<Meters>> {
        let party = self.of(scope.kind).parties.get(&scope.id)?;
        match party.view() {
            Some(view) => Some(Arc::clone(&view.meters)),
            None => self.read(scope.kind, &scope.id, |entry| entry.meters.clone()),
        }
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

    /// Scopes of which something is known, and that fits.
    pub(super) fn find(&self, kinds: &[ScopeKind], fits: impl Fn(&Entry) -> bool) -> Vec<Scope> {
        let entries = kinds.iter().flat_map(|kind| self.of(*kind).entries.iter());
        entries
            .filter(|held| fits(held.value()))
            .map(|held| held.key().0.scope().clone())
            .collect()
    }

    /// Scopes of a kind that fit, whether or not anything is known of them.
    pub(super) fn named(&self, kind: ScopeKind, fits: impl Fn(&Scope) -> bool) -> Vec<Scope> {
        let parties = self.of(kind).parties.iter();
        let fit = parties.filter(|party| fits(party.scope()));
        fit.map(|party| party.scope().clone()).collect()
    }

    /// Scopes that are limited, with the budget that `of` names for them. `of` may read scopes of
    /// another kind.
    pub(super) fn with_borrowed(
        &self,
        of: impl Fn(&Entry) -> Option<Box<str>>,
    ) -> Vec<(Scope, Box<str>)> {
        let entries = self.kinds.iter().flat_map(|kind| kind.entries.iter());
        entries
            .filter_map(|held| {
                let entry = held.value();
                entry.meters.as_ref()?;
                Some((entry.party.scope().clone(), of(entry)?))
            })
            .collect()
    }

    /// Every scope of a kind has spent nothing from now on.
    pub(super) fn reset_all_spent(&self, kind: ScopeKind, now: WallMs) -> Vec<Arc<Meters>> {
        let entries = self.of(kind).entries.iter();
        let all: Vec<_> = entries
            .filter_map(|held| held.value().meters.clone())
            .collect();
        for meters in &all {
            meters.reset_spent(NanoUsd::ZERO, now);
        }
        all
    }

    /// Drops what nobody refers to: scopes without a record, and old tombstones.
    pub(super) fn sweep(&self, now: WallMs) {
        let oldest = now.plus_ms(-REMOVED_MS);
        // Members first: they hold their users.
        for kind in ScopeKind::ALL.into_iter().rev() {
            let ByKind {
                parties, entries, ..
            } = self.of(kind);
            entries.retain(|_, entry| {
                let deleted_at = entry.deleted_at;
                let recent = deleted_at.is_some_and(|at| at > oldest);
                entry.charter.is_some() || recent || self.is_referred_to(&entry.party, true)
            });
            parties.retain(|party| {
                let kept = entries.contains_key(party.key()) || self.is_referred_to(party, false);
                if let (false, Some(user)) = (kept, self.user_of(party.scope())) {
                    user.drop_membership(party);
                }
                kept
            });
            parties.sweep();
        }
    }

    /// Whether keys or members refer to a scope; to a member, whether keys do to its user.
    fn is_referred_to(&self, party: &Arc<Party>, has_entry: bool) -> bool {
        // The table has it, and where there is an entry that has it twice.
        let own = |has_entry: bool| 1 + 2 * usize::from(has_entry);
        if party.scope().member().is_none() {
            return party.is_member() || Arc::strong_count(party) > own(has_entry);
        }
        let users = &self.of(ScopeKind::User).entries;
        self.user_of(party.scope()).is_some_and(|user| {
            let has_entry = users.contains_key(user.key());
            // This look has it too.
            Arc::strong_count(&user) > own(has_entry) + 1
        })
    }

    #[cfg(test)]
    pub(super) fn count_of(&self, kind: ScopeKind) -> usize {
        self.of(kind).parties.len()
    }

    /// The user of a member, if it is here.
    fn user_of(&self, member: &Scope) -> Option<Arc<Party>> {
        let (_, user) = member.member()?;
        self.of(ScopeKind::User).parties.get(user)
    }
}
