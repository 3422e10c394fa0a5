//! One budget as the node's task sees it, and the limits beside it: a scope's own, or those of one
//! of its models.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::admission::Lacking;
use super::purse::Purse;
use super::{Meters, Whose};
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
    model: Option<usize>,
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
}

impl From<&Lacking> for Window {
    fn from(lacking: &Lacking) -> Self {
        Self {
            meters: Arc::clone(&lacking.meters),
            model: lacking.model,
        }
    }
}

impl Window {
    pub(super) fn of(meters: &Arc<Meters>, model: Option<usize>) -> Self {
        Self {
            meters: Arc::clone(meters),
            model,
        }
    }

    /// The budget of a scope, or of one of its models by name.
    pub fn find(meters: &Arc<Meters>, model: Option<&str>) -> Option<Self> {
        let model = match model {
            None => None,
            Some(name) => Some(meters.models.find(name)?.0),
        };
        Some(Self {
            meters: Arc::clone(meters),
            model,
        })
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
        };
        let model = self.model.and_then(|at| self.meters.models.at(at));
        WindowName {
            kind: kind.to_owned(),
            id,
            model: model.map(|model| model.name().to_owned()),
        }
    }

    /// The scope, if it is no key's and not the installation.
    pub fn scope(&self) -> Option<&Scope> {
        self.meters.scope()
    }

    /// Its number. One with another length of period is another budget.
    pub fn scope_id(&self) -> ScopeId {
        let name = self.name();
        let kind = ScopeKind::of_label(&name.kind).unwrap_or(ScopeKind::Key);
        let duration = self.purse().slot.duration();
        let duration = duration.map(|duration| duration.to_string());
        let duration = duration.unwrap_or_default();
        let window = match &name.model {
            None => duration,
            Some(model) => format!("{duration}|{model}"),
        };
        ScopeId::of(&Scope::new(kind, name.id), &window)
    }

    /// The limits per minute and at the same time beside the budget.
    pub fn rates(&self) -> &RateSlot {
        let model = self.model.and_then(|at| self.meters.models.at(at));
        model.map_or(&self.meters.rates, |model| &model.rates)
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
        let model = self.model.and_then(|at| self.meters.models.at(at));
        model.map_or(&self.meters.budget, |model| &model.budget)
    }
}
