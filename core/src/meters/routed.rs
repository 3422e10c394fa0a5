//! Whose budgets decide where requests go: providers', deployments' and tags'.

use crate::error::BudgetScope;

/// What kind of thing has such a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoutedKind {
    /// A provider (`provider_budget_config`).
    Provider,
    /// One deployment (`max_budget` in `litellm_params`).
    Deployment,
    /// A tag of requests (`tag_budget_config`).
    Tag,
}

impl RoutedKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Deployment, Self::Tag];

    /// Its name; none is that of a scope.
    pub fn label(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Deployment => "deployment",
            Self::Tag => "routed_tag",
        }
    }

    /// The kind of a label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Routed {
    /// What it is.
    pub kind: RoutedKind,
    /// Which one: a provider's name, a deployment's id, a tag.
    pub id: String,
}

impl Routed {
    /// The one of a kind with an id.
    pub fn new(kind: RoutedKind, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { kind, id }
    }

    /// Whose budget refuses, with the length of its period.
    pub(super) fn budget_scope(&self, duration: Option<String>) -> BudgetScope {
        BudgetScope::Routed {
            of: self.clone(),
            duration,
        }
    }
}
