//! Nodes that are believed to live, and the roles that follow from it.

use std::collections::BTreeSet;

use super::ids::{Actor, ScopeId, mixed};

/// Live nodes of all regions.
#[derive(Clone, Debug, Default)]
pub struct Members {
    live: BTreeSet<Actor>,
    lost: BTreeSet<Actor>,
}

impl Members {
    /// These nodes live.
    pub fn new(live: impl IntoIterator<Item = Actor>) -> Self {
        let live = live.into_iter().collect();
        let lost = BTreeSet::new();
        Self { live, lost }
    }

    /// Changes who lives. Who is lost stays lost: it would come back as another actor.
    pub(super) fn set(&mut self, live: Vec<Actor>) {
        let lives = |actor: &Actor| !self.lost.contains(actor);
        self.live = live.into_iter().filter(lives).collect();
    }

    /// A node will not come back; says whether that is news.
    pub(super) fn lose(&mut self, actor: Actor) -> bool {
        self.live.remove(&actor);
        self.lost.insert(actor)
    }

    /// Whether a node was written off.
    pub fn is_lost(&self, actor: Actor) -> bool {
        self.lost.contains(&actor)
    }

    /// Whether a node is believed to live.
    pub fn is_live(&self, actor: Actor) -> bool {
        self.live.contains(&actor)
    }

    /// The node of a region that keeps what is not leased of a scope, and speaks for the region.
    ///
    /// A routing role: rights lie in the row of whoever got them, so that two beliefs about it
    /// cannot double them. The incarnation does not count: a restart keeps the role.
    pub fn vault(&self, scope: ScopeId, region: u8) -> Option<Actor> {
        let score = |actor: &Actor| mixed(scope.fold() ^ mixed(u64::from(actor.node)));
        self.of_region(region).max_by_key(score)
    }

    /// Nodes of a region.
    pub fn of_region(&self, region: u8) -> impl Iterator<Item = Actor> {
        let of = move |actor: &&Actor| actor.region == region;
        self.live.iter().filter(of).copied()
    }

    /// Regions with a live node.
    pub fn regions(&self) -> BTreeSet<u8> {
        self.live.iter().map(|actor| actor.region).collect()
    }

    /// Every live node.
    pub fn iter(&self) -> impl Iterator<Item = Actor> {
        self.live.iter().copied()
    }
}
