//! What nodes tell each other about one limit per minute, and what a node does that hears nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::ears::{Ears, Life, Standing};
use super::minute::{AGES, Minute};
use crate::time::{MonoUs, WallMs};

/// Time constant of demand.
const DEMAND_TAU_S: f64 = 30.0;
/// The least part of a limit that a cut-off region works with.
const SHARE_MIN: f64 = 0.02;
/// For so long after a limit came into use here the others know more of it.
const YOUNG_MS: i64 = 5_000;
/// Between two notes of what was taken, and how many are kept: a minute.
const NOTE_MS: i64 = 5_000;
const NOTES: usize = 12;

/// Counts of one process and one limit since it started. They only grow, so losing, doubling and
/// reordering them is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Taken.
    #[serde(rename = "t")]
    pub taken: u64,
    /// Given back: estimates that were too high.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub returned: u64,
    /// Asked for, refused or not: the demand.
    #[serde(rename = "o")]
    pub offered: u64,
    /// For who has not heard of it before or was cut off; said once in a while.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Past>,
}

/// The last minute of one limit, as one process knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Taken by this process, in parts of five seconds, the youngest first.
    #[serde(rename = "m")]
    pub own: [u64; AGES],
    /// Taken by all; absent while it has hardly heard the others.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub ages: Option<[u64; AGES]>,
}

impl Counts {
    /// Whether there is something to tell after the other one.
    pub fn differ(before: Self, after: Self) -> bool {
        let only_grow = |counts: Self| (counts.taken, counts.returned, counts.offered);
        only_grow(before) != only_grow(after)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde wants"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug)]
struct Peer {
    taken: u64,
    returned: u64,
    demand: Demand,
    /// It was cut off: both sides lived on their shares.
    silent: bool,
}

/// Demand per second, averaged over half a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    rate: f64,
    seen: u64,
    at: Option<WallMs>,
}

impl Demand {
    fn look(&mut self, offered: u64, now: WallMs) {
        let more = offered.saturating_sub(self.seen);
        self.seen = offered.max(self.seen);
        let Some(before) = self.at.replace(now) else {
            return;
        };
        let seconds = now.0.saturating_sub(before.0) as f64 / 1e3;
        if seconds > 0.0 {
            let weight = 1.0 - (-seconds / DEMAND_TAU_S).exp();
            self.rate += weight * (more as f64 / seconds - self.rate);
        }
    }
}

/// What one process knows of the others' use of one limit.
#[derive(Debug, Default)]
pub struct Gossip {
    peers: BTreeMap<Life, Peer>,
    own: Demand,
    /// Demand when everybody was last heard: what shares are made of.
    agreed: BTreeMap<Life, f64>,
    /// What this process had taken, every five seconds.
    notes: VecDeque<(WallMs, u64)>,
    /// When the first note was made.
    began: Option<WallMs>,
    /// Somebody has said what all took before that.
    told: bool,
}

impl Gossip {
    /// What to tell the others: soon, when it has changed.
    pub fn counts(&self, minute: &Minute) -> Counts {
        let totals = minute.totals();
        Counts {
            taken: totals.taken,
            returned: totals.returned,
            offered: totals.offered,
            past: None,
        }
    }

    /// The same with the last minute: to who was met just now, and to all once in a while.
    pub fn counts_and_past(&self, minute: &Minute, now: WallMs) -> Counts {
        let counts = self.counts(minute);
        let net = counts.taken.saturating_sub(counts.returned);
        let past = Past {
            own: self.own(net, now),
            ages: (!self.is_young(now)).then(|| minute.ages(now)),
        };
        Counts {
            past: Some(past),
            ..counts
        }
    }

    /// Another process's counts. While it was cut off both sides lived on their shares; afterwards
    /// its last minute counts.
    pub fn hear(&mut self, minute: &Minute, from: Life, counts: Counts, now: WallMs) {
        let young = self.is_young(now);
        let peer = self.peers.get_mut(&from).filter(|peer| !peer.silent);
        let Some(peer) = peer else {
            // Without its last minute nobody can say what it took: it says so soon.
            if let Some(past) = counts.past {
                match past.ages.filter(|_| young) {
                    // What one knows of all the others know too: added up it would be too much.
                    Some(_) if self.told => {}
                    Some(ages) => {
                        self.told = true;
                        minute.raise(ages, now);
                    }
                    None => minute.debit_ages(past.own, now),
                }
                self.meet(from, counts, now);
            }
            return;
        };
        let (taken, returned) = (
            counts.taken.saturating_sub(peer.taken),
            counts.returned.saturating_sub(peer.returned),
        );
        peer.taken = peer.taken.max(counts.taken);
        peer.returned = peer.returned.max(counts.returned);
        peer.demand.look(counts.offered, now);
        minute.debit(taken.saturating_sub(returned), now);
        minute.credit(returned.saturating_sub(taken));
    }

    fn meet(&mut self, from: Life, counts: Counts, now: WallMs) {
        let known = self.peers.remove(&from);
        let mut demand = known.map_or_else(Demand::default, |peer| peer.demand);
        demand.look(counts.offered, now);
        let peer = Peer {
            taken: counts.taken,
            returned: counts.returned,
            demand,
            silent: false,
        };
        self.peers.insert(from, peer);
    }

    /// What this process took of `net` in the last minute, by age.
    fn own(&self, net: u64, now: WallMs) -> [u64; AGES] {
        let mut ages = [0; AGES];
        let mut later = (now, net);
        for note in self.notes.iter().rev() {
            let age = now.0.saturating_sub(later.0.0) / NOTE_MS;
            let age = usize::try_from(age).unwrap_or(0);
            if let Some(sum) = ages.get_mut(age) {
                *sum += later.1.saturating_sub(note.1);
            }
            later = *note;
        }
        // It took that before the first note, a moment ago.
        if self.is_young(now) {
            ages[0] += later.1;
        }
        ages
    }

    fn is_young(&self, now: WallMs) -> bool {
        self.began
            .is_none_or(|began| now.0 < began.0.saturating_add(YOUNG_MS))
    }

    /// Every 200 ms or so: demand, silence and the share.
    pub fn tick(&mut self, minute: &Minute, ears: &Ears, (now, at): (WallMs, MonoUs)) {
        minute.advance(now);
        let totals = minute.totals();
        self.own.look(totals.offered, now);
        self.note(totals.taken.saturating_sub(totals.returned), now);
        let cut = ears.is_cut(at);
        self.peers.retain(|life, peer| {
            let standing = ears.standing(*life, at);
            peer.silent |= standing == Standing::Silent;
            standing != Standing::Gone
        });
        if !cut {
            self.agree(ears.me());
        }
        let share = if cut { self.share(ears, at) } else { 1.0 };
        minute.set_share(share);
    }

    /// Whether nothing was taken or asked for here or elsewhere lately.
    pub fn is_idle(&self, minute: &Minute) -> bool {
        let asked = |demand: &Demand| demand.rate > 1e-4;
        let mut demands = self.peers.values().map(|peer| &peer.demand);
        minute.level() == 0 && !asked(&self.own) && !demands.any(asked)
    }

    fn note(&mut self, net: u64, now: WallMs) {
        self.began.get_or_insert(now);
        let last = self.notes.back().map(|(at, _)| at.0);
        if last.is_some_and(|last| (last..last + NOTE_MS).contains(&now.0)) {
            return;
        }
        self.notes.push_back((now, net));
        if self.notes.len() > NOTES + 1 {
            self.notes.pop_front();
        }
    }

    fn agree(&mut self, me: Life) {
        let peers = self.peers.iter();
        self.agreed = peers.map(|(id, peer)| (*id, peer.demand.rate)).collect();
        self.agreed.insert(me, self.own.rate);
    }

    /// Part of the demand that comes to those that hear each other.
    fn share(&self, ears: &Ears, at: MonoUs) -> f64 {
        let me = ears.me();
        let heard = |life: &Life| *life == me || ears.standing(*life, at) == Standing::Heard;
        let all: f64 = self.agreed.values().sum();
        let ours = self.agreed.iter().filter(|(life, _)| heard(life));
        let ours: f64 = ours.map(|(_, rate)| rate).sum();
        let even = 1.0 / ears.regions() as f64;
        let part = if all > 0.0 { ours / all } else { even };
        let least = SHARE_MIN * ears.regions() as f64;
        // Floors of all regions together must not make more than the whole.
        let share = SHARE_MIN + part * (1.0 - least).max(0.0);
        share.max(ears.least(at)).min(1.0)
    }
}
