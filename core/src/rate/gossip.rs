//! What nodes tell each other about one bucket, and what a node does that hears nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use crate::escrow::Actor;
use crate::time::MonoUs;

/// A node that was not heard for this long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Time constant of demand.
const DEMAND_TAU_S: f64 = 30.0;
/// The least part of a limit that a cut-off region works with.
const SHARE_MIN: f64 = 0.02;

/// Counts of one node and one bucket since the node started: absolute and only growing, so losing,
/// doubling and reordering them is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Taken.
    pub taken: u64,
    /// Given back: estimates that were too high.
    pub returned: u64,
    /// Asked for, refused or not: the demand.
    pub offered: u64,
}

impl Counts {
    fn is_before(&self, other: &Self) -> bool {
        self.taken <= other.taken && self.returned <= other.returned && *self != *other
    }
}

#[derive(Debug)]
struct Peer {
    counts: Counts,
    heard: MonoUs,
    demand: Demand,
}

/// Demand per second, averaged over half a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    rate: f64,
    seen: u64,
    at: Option<MonoUs>,
}

impl Demand {
    fn look(&mut self, offered: u64, now: MonoUs) {
        let more = offered.saturating_sub(self.seen);
        self.seen = offered;
        let Some(before) = self.at.replace(now) else {
            return;
        };
        let seconds = now.since(before).as_secs_f64();
        if seconds > 0.0 {
            let weight = 1.0 - (-seconds / DEMAND_TAU_S).exp();
            self.rate += weight * (more as f64 / seconds - self.rate);
        }
    }
}

/// What one node knows of the others' use of one bucket.
#[derive(Debug)]
pub struct Gossip {
    me: Actor,
    peers: BTreeMap<Actor, Peer>,
    own: Demand,
    /// Demand by node when everybody was last heard: what shares are made of.
    agreed: BTreeMap<Actor, f64>,
    /// Part of the limit in use while somebody is silent.
    cut: bool,
}

impl Gossip {
    /// A node that has heard of nobody.
    pub fn new(me: Actor) -> Self {
        Self {
            me,
            peers: BTreeMap::new(),
            own: Demand::default(),
            agreed: BTreeMap::new(),
            cut: false,
        }
    }

    /// What to tell the others: siblings every 200 ms, other regions every second, when it has
    /// changed; and unchanged at least that often while the scope is in use, or they take this
    /// node for silent.
    pub fn counts(&self, bucket: &Bucket) -> Counts {
        bucket.counts()
    }

    /// Another node's counts. What was taken during a silence is not debited: both sides lived on
    /// their shares meanwhile.
    pub fn hear(&mut self, bucket: &Bucket, from: Actor, counts: Counts, now: MonoUs) {
        if from == self.me {
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            let demand = Demand::default();
            let heard = now;
            let mut peer = Peer {
                counts,
                heard,
                demand,
            };
            peer.demand.look(counts.offered, now);
            self.peers.insert(from, peer);
            return;
        };
        let silent = now >= peer.heard.plus(SILENT_AFTER);
        peer.heard = now;
        if !peer.counts.is_before(&counts) {
            // The same, or a late copy. A restarted node counts from zero again.
            if counts.taken.saturating_mul(2) < peer.counts.taken {
                peer.counts = counts;
            }
            return;
        }
        let (taken, returned) = (
            counts.taken - peer.counts.taken,
            counts.returned - peer.counts.returned,
        );
        peer.counts = counts;
        peer.demand.look(counts.offered, now);
        if !silent {
            bucket.debit(taken.saturating_sub(returned), now);
            bucket.credit(returned.saturating_sub(taken));
        }
    }

    /// A node that is known to be gone: nobody keeps a share for it.
    pub fn forget(&mut self, actor: Actor) {
        self.peers.remove(&actor);
        self.agreed.remove(&actor);
    }

    /// Whether some node is silent, so that only a share of the limit is in use.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Every 200 ms or so: demand, silence and the share.
    pub fn tick(&mut self, bucket: &Bucket, now: MonoUs) {
        self.own.look(bucket.counts().offered, now);
        let silent = |peer: &Peer| now >= peer.heard.plus(SILENT_AFTER);
        self.cut = self.peers.values().any(silent);
        let fresh = |peer: &Peer| now < peer.heard.plus(SILENT_AFTER / 2 + SILENT_AFTER / 4);
        if self.peers.values().all(fresh) {
            self.agree();
        }
        let regions = self.regions();
        let share = if self.cut { self.share(now) } else { 1.0 };
        bucket.set_share(share, regions);
    }

    fn agree(&mut self) {
        let peers = self.peers.iter();
        self.agreed = peers.map(|(id, peer)| (*id, peer.demand.rate)).collect();
        self.agreed.insert(self.me, self.own.rate);
    }

    fn regions(&self) -> usize {
        let known = self.peers.keys().map(|actor| actor.region);
        known
            .chain([self.me.region])
            .collect::<BTreeSet<u8>>()
            .len()
    }

    /// Part of the demand that comes to those that hear each other.
    fn share(&self, now: MonoUs) -> f64 {
        let heard = |actor: &Actor| {
            let peer = self.peers.get(actor);
            *actor == self.me || peer.is_some_and(|peer| now < peer.heard.plus(SILENT_AFTER))
        };
        let all: f64 = self.agreed.values().sum();
        let ours = self.agreed.iter().filter(|(actor, _)| heard(actor));
        let ours: f64 = ours.map(|(_, rate)| rate).sum();
        let even = 1.0 / self.regions() as f64;
        let part = if all > 0.0 { ours / all } else { even };
        let least = SHARE_MIN * self.regions() as f64;
        // Floors of all regions together must not make more than the whole.
        (SHARE_MIN + part * (1.0 - least).max(0.0)).min(1.0)
    }
}
