//! What has limits that nodes share: a scope of requests, one of its models, or a deployment.

use std::sync::Arc;

use meridian_core::escrow::ScopeId;
use meridian_core::limit::RateSlot;
use meridian_core::meters::{RoutedKind, Window};
use meridian_core::routing::health::Health;
use meridian_core::scope::{Scope, ScopeKind};

/// One of them, as requests of this node use it.
#[derive(Debug)]
pub(crate) enum Limited {
    /// A scope or one of its models.
    Window(Window),
    /// A deployment with one credential, and the number of its limits.
    Deployment(ScopeId, Arc<Health>),
}

impl Limited {
    /// A deployment. Its id comes from the configuration: nodes that have the same have the same.
    pub(super) fn deployment(id: &str, health: &Arc<Health>) -> Self {
        // No key has such an id.
        let id = format!("{}/{id}", RoutedKind::Deployment.label());
        let scope = Scope::new(ScopeKind::Key, id);
        Self::Deployment(ScopeId::of(&scope, "rates|"), Arc::clone(health))
    }

    /// The number of its limits: the same for every node.
    pub(super) fn id(&self) -> ScopeId {
        match self {
            Self::Window(window) => window.rates_id(),
            Self::Deployment(id, _) => *id,
        }
    }

    /// Where requests look here.
    pub(super) fn rates(&self) -> &RateSlot {
        match self {
            Self::Window(window) => window.rates(),
            Self::Deployment(_, health) => health.rates(),
        }
    }

    /// Whether it was blocked or deleted. A deployment that is configured no more is let go when
    /// its last request is a while ago.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Window(window) => window.has_ended(),
            Self::Deployment(..) => false,
        }
    }
}
