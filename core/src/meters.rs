//! Everything of a scope that changes with every request: its rates, its budget, its models'.
//!
//! One admission takes those of every scope of a request or none; one settlement gives them back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16};

use arc_swap::ArcSwapOption;
use jiff::tz::TimeZone;

use crate::budget::policy::{OwnPolicy, Policy};
use crate::budget::{BudgetRefusal, BudgetSlot, Terms};
use crate::error::{BudgetScope, GatewayError};
use crate::ids::KeyHash;
use crate::key::KeyRecord;
use crate::limit::{Level, Limits, RateSlot};
use crate::money::NanoUsd;
use crate::scope::{Scope, ScopeKind};
use crate::time::WallMs;

mod admission;
mod chain;
mod held;
mod limits;
mod models;
mod plain;
mod purse;
mod routed;
mod rules;
mod window;

pub use admission::{Admission, Covered, Crossing, Denied, Due, Grows, Lacking, Need};
use limits::LimitChain;
pub use limits::{LIMITS_MAX, check_budget_limits, limit_periods, shown_budget_limits};
pub use models::MODELS_MAX;
use models::ModelChain;
pub use plain::{Plain, Start};
pub use purse::Decides;
use purse::Purse;
pub use routed::{Routed, RoutedKind};
pub(crate) use rules::bad_model_budget;
pub use rules::{Written, check_rules};
pub use window::{Part, Window, WindowName};

/// Whose counters they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A virtual key's.
    Key(KeyHash),
    /// A team's, a user's, ...
    Scope(Scope),
    /// The whole installation's (`litellm_settings.max_budget`).
    Installation,
    /// A provider's, a deployment's or a tag's: they decide where requests go.
    Routed(Routed),
}

/// The counters of one scope: 240 bytes when it has no limits but its own.
#[derive(Debug)]
pub struct Meters {
    whose: Whose,
    rates: RateSlot,
    budget: Purse,
    models: ModelChain,
    /// Further budgets, each with a period of its own.
    limits: LimitChain,
    /// Amount that is worth an alert; never blocks.
    soft: AtomicI64,
    /// What runs under it is to be cut.
    ended: AtomicBool,
    /// What its record says of policies: [`OwnPolicy::pack`].
    policy: AtomicU16,
    /// Absent where there is one region and the key was not rotated.
    place: ArcSwapOption<Place>,
}

/// What decides where a scope's budget lives.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Region that its record was made in.
    home: Option<Arc<str>>,
    rotation: Option<Box<Rotation>>,
}

/// What few keys have: apart, for there may be a million with a home.
#[derive(Clone, Debug, Default)]
struct Rotation {
    /// The key that took over from the one that it was made for.
    heir: Option<KeyHash>,
    /// The key's identity, where that is another than its digest.
    lineage: Option<KeyHash>,
}

const NO_ALERT: i64 = i64::MAX;

impl Meters {
    /// Counters of a scope that is loaded: spent as stored, rates empty. A rule that cannot be
    /// read is taken at its strictest; [`Written::check`] refuses such rules before they are
    /// stored.
    pub fn new(
        whose: Whose,
        written: Written<'_>,
        spent: NanoUsd,
        zone: &TimeZone,
        now: WallMs,
    ) -> Self {
        let meters = Self {
            whose,
            rates: RateSlot::new(written.limits()),
            budget: Purse::new(written.terms(), spent, zone, now),
            models: ModelChain::default(),
            limits: LimitChain::default(),
            soft: AtomicI64::new(NO_ALERT),
            ended: AtomicBool::new(false),
            policy: AtomicU16::new(0),
            place: ArcSwapOption::default(),
        };
        meters.update_rest(written, zone, now);
        meters
    }

    /// Counters of a key that is loaded.
    pub fn of_key(record: &KeyRecord, zone: &TimeZone, now: WallMs) -> Self {
        let written = Written {
            bounds: &record.bounds(),
            metadata: &record.metadata,
        };
        Self::new(Whose::Key(record.token), written, record.spend, zone, now)
    }

    /// Counters without limits: the master key's.
    pub fn unlimited(token: KeyHash, zone: &TimeZone, now: WallMs) -> Self {
        Self::budget_of(
            Whose::Key(token),
            Terms::default(),
            NanoUsd::ZERO,
            zone,
            now,
        )
    }

    /// Counters with a budget and nothing else.
    pub fn budget_of(
        whose: Whose,
        terms: Terms,
        spent: NanoUsd,
        zone: &TimeZone,
        now: WallMs,
    ) -> Self {
        Self {
            whose,
            rates: RateSlot::new(Limits::default()),
            budget: Purse::new(terms, spent, zone, now),
            models: ModelChain::default(),
            limits: LimitChain::default(),
            soft: AtomicI64::new(NO_ALERT),
            ended: AtomicBool::new(false),
            policy: AtomicU16::new(0),
            place: ArcSwapOption::default(),
        }
    }

    /// Takes over changed limits and keeps all counters.
    pub fn update(&self, written: Written<'_>, zone: &TimeZone, now: WallMs) {
        self.rates.set(written.limits());
        self.budget.slot.update(written.terms(), now);
        self.update_rest(written, zone, now);
    }

    /// Whose they are.
    pub fn whose(&self) -> &Whose {
        &self.whose
    }

    /// The scope, if they are no key's.
    pub fn scope(&self) -> Option<&Scope> {
        match &self.whose {
            Whose::Scope(scope) => Some(scope),
            Whose::Key(_) | Whose::Installation | Whose::Routed(_) => None,
        }
    }

    /// Settled in the running period.
    pub fn spent(&self, now: WallMs) -> NanoUsd {
        self.budget.spent(now)
    }

    /// Whether the scope's own budget would hold `need` now, as far as can be seen without trying.
    pub fn has_room(&self, need: NanoUsd, decides: Decides, now: WallMs) -> bool {
        self.budget.has_room(need, decides, now)
    }

    /// What a request is told when the scope's own budget is used up; `None` while it is not.
    pub fn exceeded(&self, now: WallMs) -> Option<GatewayError> {
        let (used, limit) = (self.budget.decisive(now), self.budget.slot.limit(now)?);
        let refusal = BudgetRefusal {
            used: self.spent(now),
            limit,
            resets_at: self.budget.slot.resets_at(now),
        };
        (used >= limit).then(|| refusal.error(self.budget_scope()))
    }

    /// The budget: `spent`, `used`, `limit`, `resets_at`, `set_spent`, `charge`.
    pub fn budget(&self) -> &BudgetSlot {
        &self.budget.slot
    }

    /// The budget of `budget_limits` with this duration.
    pub fn limit(&self, duration: &str) -> Option<&BudgetSlot> {
        let limit = self.limits.at(self.limits.find(duration)?)?;
        Some(&limit.purse.slot)
    }

    /// Sets what is spent in the running period, for all who share the budget.
    pub fn set_spent(&self, spent: NanoUsd, now: WallMs) {
        self.budget.slot.set_spent(spent, now);
        self.budget.gate.ask_reset(spent);
    }

    /// The same by hand: what is spent of one of `budget_limits` is part of it, so none counts
    /// more. Budgets of single models go on.
    pub fn reset_spent(&self, spent: NanoUsd, now: WallMs) {
        self.set_spent(spent, now);
        let above = self.limits.iter().map(|limit| &limit.purse);
        for purse in above.filter(|purse| purse.spent(now) > spent) {
            purse.slot.set_spent(spent, now);
            purse.gate.ask_reset(spent);
        }
    }

    /// When the running periods of the budgets of single models began; `None` is never.
    pub fn model_periods(&self, now: WallMs) -> BTreeSet<Option<WallMs>> {
        let models = self.models.iter().map(|model| &model.budget.slot);
        let limited = models.filter(|slot| slot.limit(now).is_some());
        limited.map(|slot| slot.begins(now)).collect()
    }

    /// What the ledger says was spent since then, by the name that clients ask by: counted in the
    /// budgets of models whose period began then, where it is more than what is known.
    pub fn raise_models(&self, since: Option<WallMs>, spent: &[(String, NanoUsd)], now: WallMs) {
        for (at, model) in self.models.iter().enumerate() {
            let slot = &model.budget.slot;
            if slot.limit(now).is_none() || slot.begins(now) != since {
                continue;
            }
            let its = |group: &str| self.models.find(group).is_some_and(|found| found.0 == at);
            let its = spent.iter().filter(|(group, _)| its(group));
            let sum = its.fold(NanoUsd::ZERO, |sum, one| sum.saturating_add(one.1));
            if slot.spent(now) < sum {
                slot.set_spent(sum, now);
            }
        }
    }

    /// Says in which region the scope's record was made.
    pub fn set_home(&self, home: &Arc<str>) {
        if self.home().as_ref() != Some(home) {
            self.change_place(|place| place.home = Some(Arc::clone(home)));
        }
    }

    /// Region in which the scope's record was made, if there is one.
    pub fn home(&self) -> Option<Arc<str>> {
        self.place.load().as_ref()?.home.clone()
    }

    /// Says that the key was rotated and goes on under this digest.
    pub fn set_heir(&self, token: KeyHash) {
        self.change_rotation(|rotation| rotation.heir = Some(token));
    }

    /// Says whose the limits per minute are: they go on through a rotation.
    pub fn set_lineage(&self, lineage: KeyHash) {
        if self.lineage() != Some(lineage) {
            self.change_rotation(|rotation| rotation.lineage = Some(lineage));
        }
    }

    fn lineage(&self) -> Option<KeyHash> {
        self.place.load().as_ref()?.rotation.as_ref()?.lineage
    }

    fn heir(&self) -> Option<KeyHash> {
        self.place.load().as_ref()?.rotation.as_ref()?.heir
    }

    fn change_rotation(&self, change: impl Fn(&mut Rotation)) {
        self.change_place(|place| change(place.rotation.get_or_insert_default()));
    }

    fn change_place(&self, change: impl Fn(&mut Place)) {
        self.place.rcu(|place| {
            let mut changed = place.as_deref().cloned().unwrap_or_default();
            change(&mut changed);
            Some(Arc::new(changed))
        });
    }

    /// The rates: `levels` for headers, `in_flight`.
    pub fn rates(&self) -> &RateSlot {
        &self.rates
    }

    /// Rate limits of one model of the scope and what is left of them, for
    /// `x-litellm-key-remaining-{requests,tokens}-{model}`.
    pub fn model_levels(&self, model: &str, now: WallMs) -> Vec<Level> {
        let meters = self.models.find(model);
        meters.map_or(Vec::new(), |(_, meters)| meters.rates.levels(now).collect())
    }

    /// Replays a cost from the journal into the periods that hold `at`.
    pub fn charge(&self, model: &str, cost: NanoUsd, at: WallMs, now: WallMs) {
        self.budget.slot.charge(cost, at, now);
        for limit in self.limits.iter() {
            limit.purse.slot.charge(cost, at, now);
        }
        if let Some((_, meters)) = self.models.find(model) {
            meters.budget.slot.charge(cost, at, now);
        }
    }

    /// What it does when it is used up and when others are out of reach; `all` is what holds for
    /// those that say nothing.
    pub fn policy(&self, all: Policy) -> Policy {
        OwnPolicy::unpack(self.policy.load(Relaxed)).or(all)
    }

    /// Whether what runs under the scope is to be cut: it was blocked or deleted.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Says whether what runs under the scope is to be cut.
    pub fn set_ended(&self, ended: bool) {
        self.ended.store(ended, Relaxed);
    }

    fn update_rest(&self, written: Written<'_>, zone: &TimeZone, now: WallMs) {
        let soft = written.bounds.soft_budget;
        self.soft
            .store(soft.map_or(NO_ALERT, |amount| amount.0), Relaxed);
        let policy = OwnPolicy::of(written.metadata).pack();
        self.policy.store(policy, Relaxed);
        self.limits.set(&written.budget_limits(), zone, now);
        for (model, limits, terms) in written.models() {
            self.models.set(model, limits, terms, zone, now);
        }
        self.models
            .clear_except(|model| written.names_model(model), now);
    }

    /// Whose budget refuses.
    fn budget_scope(&self) -> BudgetScope {
        let Whose::Scope(scope) = &self.whose else {
            return match self.whose {
                Whose::Installation => BudgetScope::Global,
                Whose::Routed(ref of) => {
                    let duration = self.budget.slot.duration();
                    of.budget_scope(duration.map(|duration| duration.to_string()))
                }
                _ => BudgetScope::Key,
            };
        };
        let id = scope.id.clone();
        let (group, user) = scope.member().unwrap_or_default();
        let (group, user) = (group.to_owned(), user.to_owned());
        match scope.kind {
            ScopeKind::Key => BudgetScope::Key,
            ScopeKind::User => BudgetScope::User(id),
            ScopeKind::Team => BudgetScope::Team(id),
            ScopeKind::TeamMember => BudgetScope::TeamMember { team: group, user },
            ScopeKind::Organization => BudgetScope::Organization(id),
            ScopeKind::OrganizationMember => BudgetScope::OrganizationMember {
                organization: group,
                user,
            },
            ScopeKind::EndUser => BudgetScope::EndUser(id),
            ScopeKind::Tag => BudgetScope::Tag(id),
        }
    }

    /// Whose budget of one duration refuses.
    fn limit_scope(&self, duration: &str) -> BudgetScope {
        BudgetScope::Limit {
            of: Box::new(self.budget_scope()),
            duration: duration.to_owned(),
        }
    }

    /// Whose budget of one model refuses.
    fn model_budget_scope(&self, key_alias: Option<&str>, model: &str) -> BudgetScope {
        let model = model.to_owned();
        match &self.whose {
            Whose::Key(key) => BudgetScope::KeyModel {
                key: key.to_string(),
                alias: key_alias.unwrap_or("None").to_owned(),
                model,
            },
            Whose::Scope(scope) => BudgetScope::ScopeModel {
                scope: scope.clone(),
                model,
            },
            Whose::Installation => BudgetScope::Global,
            Whose::Routed(of) => of.budget_scope(None),
        }
    }

    /// LiteLLM's name of the limit, and whose it is.
    fn rate_scope(&self) -> (&'static str, String) {
        match &self.whose {
            Whose::Key(key) => ("api_key", key.to_string()),
            Whose::Installation => ("global", String::new()),
            Whose::Routed(of) => (of.kind.label(), of.id.clone()),
            Whose::Scope(scope) => {
                let id = match scope.member() {
                    Some((group, user)) => format!("{group}:{user}"),
                    None => scope.id.clone(),
                };
                (scope.kind.label(), id)
            }
        }
    }

    /// The same for one model.
    fn model_rate_scope(&self, model: &str) -> (&'static str, String) {
        let (_, id) = self.rate_scope();
        let name = match &self.whose {
            Whose::Key(_) | Whose::Installation | Whose::Routed(_) => "model_per_key",
            Whose::Scope(scope) => match scope.kind {
                ScopeKind::Key => "model_per_key",
                ScopeKind::User => "model_per_user",
                ScopeKind::Team => "model_per_team",
                ScopeKind::TeamMember => "model_per_team_member",
                ScopeKind::Organization => "model_per_organization",
                ScopeKind::OrganizationMember => "model_per_organization_member",
                ScopeKind::EndUser => "model_per_end_user",
                ScopeKind::Tag => "model_per_tag",
            },
        };
        (name, format!("{id}:{model}"))
    }
}

#[cfg(test)]
mod tests;
