//! Who is heard of those that share limits: a node that is silent is dead or cut off.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::escrow::Actor;
use crate::time::MonoUs;

/// A node that was not heard for this long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A silent node of the own region is taken for dead after this.
const DEAD_AFTER: Duration = Duration::from_secs(15);
/// A region that is silent for longer leaves the others at least an even part.
const EVEN_AFTER: Duration = Duration::from_secs(120);
/// A region that is silent for longer is nobody's any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// One process of a node: it counts from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life {
    /// The node.
    pub actor: Actor,
    /// Drawn by the process when it started.
    pub boot: u64,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was heard lately.
    Heard,
    /// Cut off: it may go on admitting.
    Silent,
    /// It left, or died beside others that are heard.
    Gone,
}

/// Who was heard when.
#[derive(Debug)]
pub struct Ears {
    me: Life,
    heard: BTreeMap<Life, MonoUs>,
}

impl Ears {
    /// Of a process that has heard nobody.
    pub fn new(me: Life) -> Self {
        Self {
            me,
            heard: BTreeMap::new(),
        }
    }

    /// The own process.
    pub fn me(&self) -> Life {
        self.me
    }

    /// A process said something; whether it does not know what was said before, being new or
    /// having been cut off.
    pub fn hear(&mut self, from: Life, now: MonoUs) -> bool {
        if from == self.me {
            return false;
        }
        let before = self.heard.insert(from, now);
        if before.is_none() {
            // An earlier process of the node is over, unless it goes on saying something.
            let earlier = |life: &Life, at: MonoUs| {
                life.actor == from.actor && *life != from && is_over(at, SILENT_AFTER, now)
            };
            self.heard.retain(|life, at| !earlier(life, *at));
        }
        before.is_none_or(|at| is_over(at, SILENT_AFTER, now))
    }

    /// A process said that it leaves.
    pub fn leave(&mut self, life: Life) {
        self.heard.remove(&life);
    }

    /// Lets go of processes that are gone. `near` is how many other nodes the own region has, as
    /// far as that is known otherwise: so many are waited for, however silent.
    pub fn forget(&mut self, near: usize, now: MonoUs) {
        let me = self.me;
        let mut siblings = self.live(now).filter(|life| is_sibling(me, *life)).count();
        let live: Vec<Actor> = self.live(now).chain([me]).map(|life| life.actor).collect();
        self.heard.retain(|life, at| {
            if !is_over(*at, SILENT_AFTER, now) {
                return true;
            }
            // Another process is in its place.
            if live.contains(&life.actor) {
                return false;
            }
            if is_sibling(me, *life) {
                siblings += 1;
                return !is_over(*at, DEAD_AFTER, now) || siblings <= near;
            }
            // Beside another one that is heard it is not cut off.
            let beside = live.iter().any(|actor| actor.region == life.actor.region);
            !beside && !is_over(*at, FORGOTTEN_AFTER, now)
        });
    }

    /// How another process is.
    pub fn standing(&self, life: Life, now: MonoUs) -> Standing {
        match self.heard.get(&life) {
            None => Standing::Gone,
            Some(at) if !is_over(*at, SILENT_AFTER, now) => Standing::Heard,
            Some(_) => Standing::Silent,
        }
    }

    /// Whether somebody is cut off.
    pub fn is_cut(&self, now: MonoUs) -> bool {
        self.heard
            .values()
            .any(|at| is_over(*at, SILENT_AFTER, now))
    }

    /// The least part of a limit for those that are heard: even by region once somebody has been
    /// cut off for long, since the region may be dead and its clients here.
    pub fn least(&self, now: MonoUs) -> f64 {
        let silent = self.heard.iter();
        let silent = silent.filter(|(_, at)| is_over(**at, SILENT_AFTER, now));
        let mut long = silent.map(|(_, at)| is_over(*at, EVEN_AFTER, now));
        match long.all(|long| long) {
            true => {
                let here = regions(self.live(now).chain([self.me]));
                let all = regions(self.heard.keys().copied().chain([self.me]));
                here as f64 / all as f64
            }
            false => 0.0,
        }
    }

    /// Processes that share limits, this one included: those that are heard, and those that may
    /// go on unheard.
    pub fn known(&self) -> impl Iterator<Item = Life> {
        self.heard.keys().copied().chain([self.me])
    }

    /// Regions of those.
    pub fn regions(&self) -> usize {
        regions(self.known())
    }

    /// Others that are heard.
    pub fn live(&self, now: MonoUs) -> impl Iterator<Item = Life> {
        let live = move |(_, at): &(&Life, &MonoUs)| !is_over(**at, SILENT_AFTER, now);
        self.heard.iter().filter(live).map(|(life, _)| *life)
    }
}

fn is_over(at: MonoUs, time: Duration, now: MonoUs) -> bool {
    now >= at.plus(time)
}

fn is_sibling(me: Life, life: Life) -> bool {
    life.actor.region == me.actor.region
}

fn regions(lives: impl Iterator<Item = Life>) -> usize {
    let mut regions: Vec<u8> = lives.map(|life| life.actor.region).collect();
    regions.sort_unstable();
    regions.dedup();
    regions.len()
}
