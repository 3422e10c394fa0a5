//! What scopes have spent: here, and on other nodes that share the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::{DashMap, DashSet};
use meridian_core::batch::Step;
use meridian_core::budget::Stored;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::meters::Meters;
use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use super::Registry;
use super::parties::Entry;
use crate::store::ScopeSpend;

/// Requests whose customer came too late that are remembered; what further ones spent may be missed
/// by this node until the period ends.
const UNCOUNTED_MAX: usize = 100_000;

/// How long a scope is looked after in the store since it was last used here.
const ACTIVE_MS: i64 = 600_000;

/// Scopes that were used here lately, and when.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// Whether it matters.
    on: AtomicBool,
    used: DashMap<Scope, WallMs>,
    /// Whose spend was set, until the task that shares budgets has taken it.
    resets: Mutex<Vec<Arc<Meters>>>,
    /// Requests that ended before their customer was counted here, until the store has them.
    uncounted: DashSet<CallId>,
}

impl Active {
    fn touch(&self, scope: Scope, now: WallMs) {
        self.used.insert(scope, now);
    }

    pub(super) fn sweep(&self, now: WallMs) {
        let oldest = now.plus_ms(-ACTIVE_MS);
        self.used.retain(|_, at| *at > oldest);
    }
}

impl Registry {
    /// What a key has spent in its running period, as the limits see it.
    pub fn spent_by_key(&self, hash: &KeyHash, now: WallMs) -> Option<NanoUsd> {
        let view = self.get(hash, now)?;
        match view.made_meters() {
            Some(meters) => Some(meters.spent(now)),
            None => Some(view.running(now).spent),
        }
    }

    /// The same of any scope; `None` where nothing is limited and so nothing counted.
    pub fn spent(&self, scope: &Scope, now: WallMs) -> Option<NanoUsd> {
        self.meters_of(scope, now).map(|meters| meters.spent(now))
    }

    /// What a scope has spent in its running period, and when that ends.
    pub fn running(&self, scope: &Scope, now: WallMs) -> Option<(NanoUsd, Option<WallMs>)> {
        if scope.kind == ScopeKind::Key {
            // A snapshot asks for every key: those that were never used get no counters by that.
            let hash = KeyHash::from_hex(&scope.id)?;
            let running = self.get(&hash, now)?.running(now);
            return Some((running.spent, running.resets_at));
        }
        let meters = self.meters_of(scope, now)?;
        let budget = meters.budget();
        Some((budget.spent(now), budget.resets_at(now)))
    }

    /// Sets what a scope has spent in its running period.
    pub fn set_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs) {
        if let Some(meters) = self.meters_of(scope, now) {
            meters.set_spent(spent, now);
            self.note_reset(meters);
        }
    }

    /// The same by hand: none of its `budget_limits` counts more from now on.
    pub fn reset_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs) {
        if let Some(meters) = self.meters_of(scope, now) {
            meters.reset_spent(spent, now);
            self.note_reset(meters);
        }
    }

    /// Scopes whose spend was set since the last call: it is to be set everywhere.
    pub fn take_resets(&self) -> Vec<Arc<Meters>> {
        let resets = self.active.resets.lock();
        std::mem::take(&mut *resets.unwrap_or_else(PoisonError::into_inner))
    }

    fn note_reset(&self, meters: Arc<Meters>) {
        if self.is_watching() {
            let resets = self.active.resets.lock();
            resets.unwrap_or_else(PoisonError::into_inner).push(meters);
        }
    }

    /// Region of the group that a member belongs to.
    pub fn home_of_group(&self, member: &Scope) -> Option<Arc<str>> {
        let (group, _) = member.member()?;
        let kind = match member.kind {
            ScopeKind::TeamMember => ScopeKind::Team,
            _ => ScopeKind::Organization,
        };
        self.parties.meters(&Scope::new(kind, group))?.home()
    }

    /// Adds what was spent without being counted here.
    pub fn add_spent(&self, scope: &Scope, missed: NanoUsd, now: WallMs) {
        if let Some(meters) = self.meters_of(scope, now) {
            meters.budget().charge(missed, now, now);
        }
    }

    /// Sets what a scope has spent, if it is more than what is known.
    pub fn raise_spent(&self, scope: &Scope, spent: NanoUsd, now: WallMs) {
        if self.unused(scope, now).is_some_and(|known| known >= spent) {
            return;
        }
        if let Some(meters) = self.meters_of(scope, now)
            && meters.spent(now) < spent
        {
            meters.budget().set_spent(spent, now);
        }
    }

    /// Counts what a store says is spent of one of a scope's `budget_limits`, if that runs still.
    pub fn raise_limit(&self, says: &ScopeSpend, now: WallMs) {
        let Some((scope, duration)) = says.scope.limit_of() else {
            return;
        };
        let runs = says.period_end.is_none_or(|end| end > now);
        if let (true, Some(meters)) = (runs, self.meters_of(&scope, now))
            && let Some(budget) = meters.limit(duration)
            && budget.spent(now) < says.spend
        {
            budget.set_spent(says.spend, now);
        }
    }

    /// Every key and team has spent nothing from now on.
    pub fn reset_all_spent(&self, now: WallMs) {
        let teams = self.parties.reset_all_spent(ScopeKind::Team, now);
        for meters in self.keys.reset_all_spent(now).into_iter().chain(teams) {
            self.note_reset(meters);
        }
    }

    /// Scopes with budgets for single models.
    pub fn with_model_budgets(&self, now: WallMs) -> Vec<(Scope, Arc<Meters>)> {
        let has = |meters: &Meters| !meters.model_periods(now).is_empty();
        // A key with such budgets has counters from the start.
        let keys = self.keys.find_made(has).into_iter();
        let of_key = |(token, meters): (KeyHash, Arc<Meters>)| {
            (Scope::new(ScopeKind::Key, token.to_string()), meters)
        };
        let fits = |entry: &Entry| entry.meters.as_deref().is_some_and(has);
        let parties = self.parties.find(&ScopeKind::ALL, fits).into_iter();
        let of_party = |scope: Scope| Some((scope.clone(), self.parties.meters(&scope)?));
        keys.map(of_key)
            .chain(parties.filter_map(of_party))
            .collect()
    }

    /// Counts a request of an earlier process that no store had seen when spend was loaded.
    pub fn charge(&self, record: &SpendRecord, now: WallMs) {
        for (_, meters) in self.charged(record, now) {
            meters.charge(&record.model_group, record.cost, record.started, now);
        }
    }

    /// The scopes that a record is charged to and that are counted here.
    pub fn charged(&self, record: &SpendRecord, now: WallMs) -> Vec<(Scope, Arc<Meters>)> {
        let counted = |scope: Scope| match self.meters_of(&scope, now) {
            Some(meters) => Some((scope, meters)),
            None if scope.kind == ScopeKind::Key => self.heir_of(record),
            None => None,
        };
        let scopes = Scope::of_record(record).into_iter();
        scopes.filter_map(counted).collect()
    }

    /// Who pays a batch's bill in the place of a key that was rotated since it made the batch, and
    /// whose time of grace is over.
    fn heir_of(&self, bill: &SpendRecord) -> Option<(Scope, Arc<Meters>)> {
        if bill.context.batch != Some(Step::Used) {
            return None;
        }
        let identity = bill.context.lineage.or(bill.payer.key)?;
        let heir = self.keys.of_identity(&identity)?;
        let scope = Scope::new(ScopeKind::Key, heir.policy.token.to_string());
        Some((scope, Arc::clone(heir.meters())))
    }

    /// A request ends, and nobody counts its customer here. Said before its record can be in the
    /// store.
    pub fn note_uncounted(&self, request: CallId) {
        let uncounted = &self.active.uncounted;
        if self.is_watching() && uncounted.len() < UNCOUNTED_MAX {
            uncounted.insert(request);
        }
    }

    /// Whether such a request is still to be counted here: once, and not when the store had its
    /// record first. Then it is found there, like what other nodes spend.
    pub fn take_uncounted(&self, request: &CallId) -> bool {
        !self.is_watching() || self.active.uncounted.remove(request).is_some()
    }

    /// Whether other nodes spend into the same store.
    pub fn is_watching(&self) -> bool {
        self.active.on.load(Ordering::Relaxed)
    }

    /// From now on the spend of other nodes is looked for.
    pub fn watch(&self) {
        self.active.on.store(true, Ordering::Relaxed);
    }

    /// Records of this process are in the store now.
    pub fn mark_stored<'a>(&self, records: impl Iterator<Item = &'a SpendRecord>, now: WallMs) {
        for record in records {
            let is_uncounted = self.active.uncounted.remove(&record.call_id).is_some();
            for (scope, meters) in self.charged(record, now) {
                if !(is_uncounted && scope.kind == ScopeKind::EndUser) {
                    let budget = meters.budget();
                    budget.mark_stored(record.cost, record.started, now);
                }
                self.active.touch(scope, now);
            }
        }
    }

    /// What others spent of a scope is worth a look into the store.
    pub fn look_after(&self, scope: Scope, now: WallMs) {
        self.active.touch(scope, now);
    }

    /// A budget refused: what others spent of it decides from when on it has room again.
    pub fn note_refusal(&self, scope: Scope, now: WallMs) {
        self.active.touch(scope, now);
    }

    /// Scopes that were used here lately and are worth a look into the store.
    pub fn active_scopes(&self) -> Vec<Scope> {
        self.active
            .used
            .iter()
            .map(|one| one.key().clone())
            .collect()
    }

    /// Takes what the store says that all nodes spent. See [`Stored`] for when to read it.
    pub fn take_stored(&self, spends: &[ScopeSpend], now: WallMs) {
        for stored in spends {
            if let Some(meters) = self.meters_of(&stored.scope, now) {
                let says = Stored {
                    spend: stored.spend,
                    ends: stored.period_end,
                };
                meters.budget().take_stored(says, now);
            }
        }
    }

    /// What is spent of a key that nobody has used yet: it needs no counters to say so.
    fn unused(&self, scope: &Scope, now: WallMs) -> Option<NanoUsd> {
        let hash = KeyHash::from_hex(&scope.id).filter(|_| scope.kind == ScopeKind::Key)?;
        let view = self.get(&hash, now)?;
        let unused = view.made_meters().is_none();
        unused.then(|| view.running(now).spent)
    }

    /// Counters of a scope.
    pub fn meters_of(&self, scope: &Scope, now: WallMs) -> Option<Arc<Meters>> {
        match scope.kind {
            ScopeKind::Key => {
                let hash = KeyHash::from_hex(&scope.id)?;
                Some(Arc::clone(self.get(&hash, now)?.meters()))
            }
            _ => self.parties.meters(scope),
        }
    }
}
