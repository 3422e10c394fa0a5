//! Who is heard: nodes of all regions that said something lately.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, ClockHealth, clock_health};

/// A node of the own region that is silent for longer is taken for dead.
const SILENT_NEAR: Duration = Duration::from_secs(3);
/// The same for other regions, whose frames are rarer.
const SILENT_FAR: Duration = Duration::from_secs(10);
/// Offsets of clocks are believed this long.
const OFFSET_TIME: Duration = Duration::from_secs(10);

/// Nodes that are heard.
#[derive(Debug)]
pub(super) struct Members {
    me: Actor,
    heard: BTreeMap<Actor, Heard>,
    told: Vec<Actor>,
}

/// When and how a node was heard last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) at: Instant,
    /// Its clock less this node's, in milliseconds, the way included.
    pub(super) offset_ms: i64,
    /// It does not hear the region's Redis.
    pub(super) deaf: bool,
}

impl Members {
    pub(super) fn new(me: Actor) -> Self {
        Self {
            me,
            heard: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// A node said something.
    pub(super) fn hear(&mut self, from: Actor, heard: Heard) {
        // A life before this one says nothing more.
        let later = |known: &Actor| known.incarnation > from.incarnation;
        let same = |known: &Actor| (known.region, known.node) == (from.region, from.node);
        if self.heard.keys().any(|known| same(known) && later(known)) {
            return;
        }
        self.heard.retain(|known, _| !same(known) || *known == from);
        self.heard.insert(from, heard);
    }

    /// A node said that it leaves.
    pub(super) fn leave(&mut self, actor: Actor) {
        self.heard.remove(&actor);
    }

    /// Looks who is there now.
    pub(super) fn look(&mut self, now: Instant) {
        let me = self.me;
        self.heard.retain(|actor, heard| {
            let silent = match actor.region == me.region {
                true => SILENT_NEAR,
                false => SILENT_FAR,
            };
            now.saturating_duration_since(heard.at) < silent
        });
        let mut live: Vec<Actor> = self.heard.keys().copied().collect();
        live.push(me);
        live.sort_unstable();
        self.told = live;
    }

    /// Everybody, as of the last look.
    pub(super) fn live(&self) -> &[Actor] {
        &self.told
    }

    /// Nodes of the own region, this one included.
    pub(super) fn near(&self) -> usize {
        let near = |actor: &&Actor| actor.region == self.me.region;
        self.told.iter().filter(near).count().max(1)
    }

    /// Whether Redis reaches all nodes of the region, of which Postgres knows so many others.
    pub(super) fn all_listen(&self, others: usize) -> bool {
        let me = self.me.region;
        let deaf = |(actor, heard): (&Actor, &Heard)| actor.region == me && heard.deaf;
        others < self.near() && !self.heard.iter().any(deaf)
    }

    /// Whether this node's clock agrees with those of the others in the region.
    pub(super) fn clock(&self, now: Instant) -> ClockHealth {
        let recent = |heard: &Heard| now.saturating_duration_since(heard.at) < OFFSET_TIME;
        let near = self.heard.iter();
        let near = near.filter(|(actor, heard)| actor.region == self.me.region && recent(heard));
        let mut offsets: Vec<i64> = near.map(|(_, heard)| heard.offset_ms).collect();
        // One other alone cannot say which of the two is wrong: its own clock is a voice too.
        offsets.push(0);
        clock_health(&mut offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn heard(at: Instant, offset_ms: i64) -> Heard {
        let deaf = false;
        Heard {
            at,
            offset_ms,
            deaf,
        }
    }

    fn actor(region: u8, node: u16, incarnation: u32) -> Actor {
        Actor {
            region,
            node,
            incarnation,
        }
    }

    #[test]
    fn who_is_silent_or_left_is_gone_and_an_earlier_life_stays_gone() {
        let (me, start) = (actor(1, 1, 0), clock::mono());
        let mut members = Members::new(me);
        let at = |seconds| start + Duration::from_secs(seconds);
        members.hear(actor(1, 2, 1), heard(at(0), 0));
        members.hear(actor(1, 2, 0), heard(at(0), 0));
        members.hear(actor(2, 7, 0), heard(at(0), 0));
        members.look(at(1));
        assert_eq!(members.live(), [me, actor(1, 2, 1), actor(2, 7, 0)]);
        members.look(at(4));
        assert_eq!(members.live(), [me, actor(2, 7, 0)]);
        members.leave(actor(2, 7, 0));
        members.look(at(4));
        assert_eq!(members.live(), [me]);
    }

    #[test]
    fn redis_is_not_enough_while_one_of_the_region_is_silent_or_deaf() {
        let (me, now) = (actor(1, 1, 0), clock::mono());
        let mut members = Members::new(me);
        assert!(members.all_listen(0) && !members.all_listen(1));
        members.hear(actor(1, 2, 0), heard(now, 0));
        members.hear(
            actor(2, 3, 0),
            Heard {
                deaf: true,
                ..heard(now, 0)
            },
        );
        members.look(now);
        assert!(members.all_listen(1) && !members.all_listen(2));
        members.hear(
            actor(1, 2, 0),
            Heard {
                deaf: true,
                ..heard(now, 0)
            },
        );
        assert!(!members.all_listen(1));
    }

    #[test]
    fn a_clock_is_off_when_most_others_say_so() {
        let (me, now) = (actor(1, 1, 0), clock::mono());
        let mut members = Members::new(me);
        assert_eq!(members.clock(now), ClockHealth::Healthy);
        for node in 2..5 {
            members.hear(actor(1, node, 0), heard(now, 5_000));
        }
        assert_eq!(members.clock(now), ClockHealth::Off(5_000));
    }
}
