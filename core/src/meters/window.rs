//! One budget as the node's task sees it, and the limits beside it: a scope's own, or those of one
//! of its models.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::admission::Lacking;
use super::models::ModelMeters;
use super::purse::Purse;
use super::{Meters, Whose};
use crate::budget::policy::Policy;
use crate::escrow::{Gate, ScopeId};
use crate::limit::RateSlot;
use crate::money::NanoUsd;
use crate::scope::{Scope, ScopeKind};
use crate::time::WallMs;

/// Id of the installation's own budget; no key has it.
const INSTALLATION: &str = "installation";

/// One budget.
#[derive(Clone, Debug)]
pub struct Window {
    meters: Arc<Meters>,
    part: Part,
}

/// Which of a scope's budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its own (`max_budget`).
    Whole,
    /// One of `budget_limits`, by its place in the scope's list.
    Limit(usize),
    /// That of a model, by its place in the scope's list.
    Model(usize),
}

/// A budget by name, for nodes that have it under another address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowName {
    /// Kind of the scope, as in tables; empty for the installation.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// The model whose budget it is; `None` for the scope's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The duration that names it among the scope's `budget_limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

impl From<&Lacking> for Window {
    fn from(lacking: &Lacking) -> Self {
        Self {
            meters: Arc::clone(&lacking.meters),
            part: lacking.part,
        }
    }
}

impl Window {
    pub(super) fn of(meters: &Arc<Meters>, part: Part) -> Self {
        Self {
            meters: Arc::clone(meters),
            part,
        }
    }

    /// A scope's own budget.
    pub fn whole(meters: &Arc<Meters>) -> Self {
        Self::of(meters, Part::Whole)
    }

    /// Every budget of a scope that limits now.
    pub fn limited(meters: &Arc<Meters>, now: WallMs) -> Vec<Self> {
        let limits = (0..meters.limits.iter().count()).map(Part::Limit);
        let models = (0..meters.models.iter().count()).map(Part::Model);
        let parts = std::iter::once(Part::Whole).chain(limits).chain(models);
        let all = parts.map(|part| Self::of(meters, part));
        all.filter(|one| one.limit(now).is_some()).collect()
    }

    /// A scope's own budget, and those of its `budget_limits`.
    pub fn of_scope(meters: &Arc<Meters>) -> impl Iterator<Item = Self> {
        let limits = 0..meters.limits.iter().count();
        let parts = std::iter::once(Part::Whole).chain(limits.map(Part::Limit));
        let meters = Arc::clone(meters);
        parts.map(move |part| Self::of(&meters, part))
    }

    /// The budget of a scope that a name means; its kind and id are not looked at.
    pub fn find(meters: &Arc<Meters>, name: &WindowName) -> Option<Self> {
        let part = match (&name.model, &name.limit) {
            (None, None) => Part::Whole,
            (Some(model), _) => Part::Model(meters.models.find(model)?.0),
            (None, Some(duration)) => Part::Limit(meters.limits.find(duration)?),
        };
        Some(Self::of(meters, part))
    }

    /// Where its rights are put.
    pub fn gate(&self) -> &Gate {
        &self.purse().gate
    }

    /// What may be spent in the running period; `None` is not limited.
    pub fn limit(&self, now: WallMs) -> Option<NanoUsd> {
        self.purse().slot.limit(now)
    }

    /// End of the running period; `None` is never.
    pub fn resets_at(&self, now: WallMs) -> Option<WallMs> {
        self.purse().slot.resets_at(now)
    }

    /// What it does when it is used up and when those who decide are out of reach; `all` is what
    /// holds for those that say nothing.
    pub fn policy(&self, all: Policy) -> Policy {
        self.meters.policy(all)
    }

    /// Settled, and settled and held by requests that run, as this node has counted it.
    pub fn committed(&self, now: WallMs) -> (NanoUsd, NanoUsd) {
        let slot = &self.purse().slot;
        (slot.spent(now), slot.used(now))
    }

    /// Whether its scope was blocked or deleted.
    pub fn has_ended(&self) -> bool {
        self.meters.has_ended()
    }

    /// What this node has counted, and what it was told of others through the store.
    pub fn counted(&self, now: WallMs) -> NanoUsd {
        self.purse().slot.spent(now)
    }

    /// Region of its record; `None` where that is not known.
    pub fn home(&self) -> Option<Arc<str>> {
        self.meters.home()
    }

    /// Its name.
    pub fn name(&self) -> WindowName {
        let (kind, id) = match &self.meters.whose {
            Whose::Key(token) => {
                let token = self.meters.heir().unwrap_or(*token);
                (ScopeKind::Key.label(), token.to_string())
            }
            Whose::Scope(scope) => (scope.kind.label(), scope.id.clone()),
            Whose::Installation => ("", INSTALLATION.to_owned()),
            Whose::Routed(of) => (of.kind.label(), of.id.clone()),
        };
        let limit = match self.part {
            Part::Limit(at) => self.meters.limits.at(at),
            Part::Whole | Part::Model(_) => None,
        };
        WindowName {
            kind: kind.to_owned(),
            id,
            model: self.model().map(|model| model.name().to_owned()),
            limit: limit.map(|limit| limit.duration().to_owned()),
        }
    }

    /// The scope, if it is no key's and not the installation.
    pub fn scope(&self) -> Option<&Scope> {
        self.meters.scope()
    }

    /// Its number. One with another length of period is another budget.
    pub fn scope_id(&self) -> ScopeId {
        let name = self.name();
        let kind = ScopeKind::of_label(&name.kind);
        let id = match kind {
            // No key has such an id.
            None if !name.kind.is_empty() => format!("{}/{}", name.kind, name.id),
            _ => name.id,
        };
        let kind = kind.unwrap_or(ScopeKind::Key);
        let duration = self.purse().slot.duration();
        let duration = duration.map(|duration| duration.to_string());
        let duration = duration.unwrap_or_default();
        let window = match (&name.model, &name.limit) {
            (Some(model), _) => format!("{duration}|{model}"),
            (None, Some(limit)) => format!("limit|{limit}"),
            (None, None) => duration,
        };
        ScopeId::of(&Scope::new(kind, id), &window)
    }

    /// The limits per minute and at the same time beside the budget.
    pub fn rates(&self) -> &RateSlot {
        self.model()
            .map_or(&self.meters.rates, |model| &model.rates)
    }

    /// The number of those limits: the same for every node.
    pub fn rates_id(&self) -> ScopeId {
        let name = self.name();
        let kind = ScopeKind::of_label(&name.kind).unwrap_or(ScopeKind::Key);
        let model = name.model.as_deref().unwrap_or_default();
        // Nodes hear of a rotation one after the other, and a key has one set of limits meanwhile.
        let id = self.meters.lineage().map(|key| key.to_string());
        let scope = Scope::new(kind, id.unwrap_or(name.id));
        ScopeId::of(&scope, &format!("rates|{model}"))
    }

    fn purse(&self) -> &Purse {
        let purse = match self.part {
            Part::Whole => None,
            Part::Limit(at) => self.meters.limits.at(at).map(|limit| &limit.purse),
            Part::Model(_) => self.model().map(|model| &model.budget),
        };
        purse.unwrap_or(&self.meters.budget)
    }

    fn model(&self) -> Option<&ModelMeters> {
        match self.part {
            Part::Model(at) => self.meters.models.at(at),
            Part::Whole | Part::Limit(_) => None,
        }
    }
}
