//! What the task is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::escrow::{Actor, Pid, RegionNumbers, Row, Settings};
use meridian_core::meters::Due;
use meridian_core::signature::Signer;

use super::super::identity;
use super::{NeighboursEnd, Orders, Rights};
use crate::journal::Journal;
use crate::registry::Registry;
use crate::shared::WireEnd;
use crate::store::Store;

/// A node whose journal is new takes nothing from other regions for so long, where ceilings are
/// kept: it hears meanwhile who is fenced.
const LISTENING: Duration = Duration::from_secs(5);

/// What the task is made of.
pub struct Parts {
    /// The end that requests have.
    pub rights: Arc<Rights>,
    /// What they ask.
    pub orders: Orders,
    /// Name of this node's region; empty where there is only one.
    pub region: String,
    /// The store of the region.
    pub store: Store,
    /// This node's journal.
    pub journal: Arc<Journal>,
    /// Rows of the journal, as recovery found them.
    pub rows: BTreeMap<Pid, Row>,
    /// Who this node was before its disk was put back from a copy.
    pub gone: Vec<Actor>,
    /// A supervisor follows this process to the one that takes its place.
    pub supervised: bool,
    /// Scopes and their budgets.
    pub registry: Arc<Registry>,
    /// The installation's own budgets.
    pub shared: Vec<Due>,
    /// For what nodes tell each other.
    pub signer: Signer,
    /// The way to the other nodes of the region.
    pub near: Option<WireEnd>,
    /// Ways to other regions.
    pub far: Vec<(String, WireEnd)>,
    /// The way to other nodes of the region without Redis.
    pub posts: NeighboursEnd,
    /// How long a region that is cut off can go on, at least, where ceilings are kept.
    pub isolation: Option<Duration>,
}

impl Parts {
    /// Numbers of all regions.
    pub(super) fn numbers(&self) -> RegionNumbers {
        let far = self.far.iter().map(|(region, _)| region.clone());
        RegionNumbers::new(far.chain([self.region.clone()]))
    }

    /// The dials of the state machine. Who has nobody to be cut off from keeps no ceilings.
    pub(super) fn settings(&self, is_new: bool) -> Settings {
        let isolation = self.isolation.filter(|_| !self.far.is_empty());
        let listens = is_new && isolation.is_some();
        Settings {
            isolation,
            listening: if listens { LISTENING } else { Duration::ZERO },
            ..Settings::default()
        }
    }

    /// Whether this node got its number a moment ago: it may have been started again since.
    pub(super) fn is_young(&self) -> bool {
        identity::age(&self.journal).is_none_or(|age| age < LISTENING)
    }
}
