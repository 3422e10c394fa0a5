//! A node around the state machine: does what effects say, feeds it what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_core::escrow::{
    Actor, ClockHealth, Entry, Escrow, Event, Pid, Rights, Rollover, Row, Settings, clock_health,
};
use meridian_core::time::{MonoUs, WallMs};

use crate::demand::REGIONS;
use crate::disk::{Disk, Frame};
use crate::mutants::Mutant;
use crate::office::Fact;
use crate::requests::Running;
use crate::world::{Happening, SECOND, WALL_MS, World};

pub(crate) struct Node {
    pub(crate) actor: Actor,
    /// Grows with every start, so that what was under way for an earlier one is dropped.
    pub(crate) life: u32,
    pub(crate) escrow: Option<Escrow>,
    pub(crate) paused: bool,
    pub(crate) down_since: Option<u64>,
    pub(crate) disk: Disk,
    pub(crate) slow_disk: u32,
    pub(crate) clock_ms: i64,
    pub(crate) split: u32,
    /// It takes no requests and gives back what it holds.
    pub(crate) leaving: bool,
    /// Entries that Postgres is known to have.
    pub(crate) shipped: usize,
    pub(crate) shipping: bool,
    /// What orphans were charged over their bills: of each once, however often a start finds it
    /// again because power was lost before its end was on disk.
    credits: BTreeMap<(Pid, u64), Rights>,
    pub(crate) running: BTreeMap<u64, Running>,
    pub(crate) waiting: BTreeSet<u64>,
    rollovers: BTreeMap<usize, Rollover>,
    generations: Vec<u32>,
    pub(crate) revoked: BTreeSet<usize>,
    heard: BTreeSet<usize>,
    /// Periods that it was told are at home in its region.
    at_home: BTreeSet<Pid>,
    /// Actors that it has fenced by all: what was decided of them when it began.
    pub(crate) fencing: BTreeMap<(Pid, Actor), u32>,
    /// While it is down: what its journal says.
    pub(crate) rows: BTreeMap<Pid, Row>,
    pub(crate) last_sync: u64,
    /// When its last frame to each region left, and when all its turns would have been used.
    pub(crate) framed: [(u64, u64); REGIONS as usize],
    /// For the mutant that sends differences.
    pub(crate) told: BTreeMap<(Pid, Actor), Rights>,
}

impl Node {
    pub(crate) fn new(actor: Actor, budgets: usize) -> Self {
        Self {
            actor,
            life: 0,
            escrow: None,
            paused: false,
            down_since: None,
            disk: Disk::default(),
            slow_disk: 0,
            clock_ms: 0,
            split: 0,
            leaving: false,
            shipped: 0,
            shipping: false,
            credits: BTreeMap::new(),
            running: BTreeMap::new(),
            waiting: BTreeSet::new(),
            rollovers: BTreeMap::new(),
            generations: vec![0; budgets],
            revoked: BTreeSet::new(),
            heard: BTreeSet::new(),
            at_home: BTreeSet::new(),
            fencing: BTreeMap::new(),
            rows: BTreeMap::new(),
            last_sync: 0,
            framed: [(0, 0); REGIONS as usize],
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.escrow.is_some() && !self.paused
    }

    pub(crate) fn is_alive(&self, life: u32) -> bool {
        self.life == life && self.is_up()
    }

    /// Own rows, running or not.
    pub(crate) fn all_rows(&self) -> BTreeMap<Pid, Row> {
        match &self.escrow {
            None => self.rows.clone(),
            Some(escrow) => {
                let row = |pid| Some((pid, escrow.row(pid)?));
                escrow.pids().filter_map(row).collect()
            }
        }
    }
}

impl World {
    /// Starts a node from its journal.
    pub(crate) fn boot(&mut self, index: usize) {
        let now = MonoUs(self.now);
        let node = &mut self.nodes[index];
        node.life += 1;
        let replay = node.disk.replay();
        node.leaving = false;
        for (request, pids, cost) in &replay.orphans {
            node.disk.append(Frame::Close {
                request: *request,
                pids: pids.clone(),
                cost: *cost,
            });
        }
        let isolation = self.scenario.isolation_s.map(Duration::from_secs);
        let is_new = isolation.is_some() && node.actor.incarnation > 1;
        let settings = Settings {
            isolation,
            listening: Duration::from_secs(if is_new { 10 } else { 0 }),
            ..Settings::default()
        };
        let mut escrow = Escrow::new(node.actor, settings);
        node.at_home.clear();
        node.fencing.clear();
        node.rows = rows_of(&node.disk);
        node.rollovers.clear();
        for (pid, row) in std::mem::take(&mut node.rows) {
            escrow.restore(pid, row, now);
        }
        node.escrow = Some(escrow);
        node.down_since = None;
        node.heard.clear();
        node.revoked.clear();
        node.shipping = false;
        node.shipped = 0;
        node.last_sync = self.now;
        let life = node.life;
        self.hear(index);
        self.tick(index);
        self.reconcile(index, &replay.orphans);
        let first = self.rng_below(100_000);
        self.after(first, Happening::Tick { node: index, life });
    }

    /// Three seconds later providers have said what orphans really cost: the rest is credited.
    fn reconcile(&mut self, index: usize, orphans: &[(u64, Vec<Pid>, Rights)]) {
        for (request, pids, charged) in orphans {
            let billed = self
                .truth
                .billed
                .get(request)
                .map_or(0, |(_, billed)| *billed);
            let credit = (charged - billed).max(0);
            let of = pids.iter().map(|pid| ((*pid, *request), credit));
            self.nodes[index].credits.extend(of);
        }
        let mut totals: BTreeMap<Pid, Rights> = BTreeMap::new();
        for ((pid, _), credit) in &self.nodes[index].credits {
            *totals.entry(*pid).or_insert(0) += credit;
        }
        let life = self.nodes[index].life;
        for (pid, total) in totals {
            let event = Event::Refunded { pid, total };
            let node = index;
            self.after(3 * SECOND, Happening::Step { node, life, event });
        }
    }

    fn rng_below(&mut self, count: usize) -> u64 {
        self.rng.below(count) as u64
    }

    pub(crate) fn tick(&mut self, index: usize) {
        self.hear(index);
        self.tell_homes(index);
        let members = self.members(index);
        self.step(index, Event::Members(members));
        self.step(index, Event::Tick);
        self.group_commit(index);
        self.ship(index);
    }

    /// Who is at home has no ceiling, where ceilings are kept.
    pub(crate) fn tell_homes(&mut self, index: usize) {
        if self.scenario.isolation_s.is_none() {
            return;
        }
        let region = self.nodes[index].actor.region;
        for pid in self.pids_of(index) {
            let mut budgets = self.scenario.demand.budgets.iter();
            let home = budgets.find(|budget| budget.scope == pid.scope);
            let here = home.is_some_and(|budget| budget.home == region);
            if here && self.nodes[index].at_home.insert(pid) {
                self.step(index, Event::AtHome(pid));
            }
        }
    }

    /// The journal is synced all the time, also when nobody waits for it.
    fn group_commit(&mut self, index: usize) {
        let us = self.sync_time(index);
        let node = &self.nodes[index];
        let (life, up_to) = (node.life, node.disk.len());
        self.after(
            us,
            Happening::Committed {
                node: index,
                life,
                up_to,
            },
        );
    }

    pub(crate) fn sync_time(&mut self, index: usize) -> u64 {
        let slow = self.nodes[index].slow_disk > 0;
        let mean = if slow { 800_000.0 } else { 3_000.0 };
        self.rng.exponential(mean) as u64 + 500
    }

    /// Who lives, as a node believes: deaths are noticed after three seconds.
    fn members(&self, index: usize) -> Vec<Actor> {
        let split = self.nodes[index].split > 0;
        let region = self.nodes[index].actor.region;
        let live = |(other, node): &(usize, &Node)| {
            let gone = node
                .down_since
                .is_some_and(|since| since + 3 * SECOND < self.now);
            let cut = split && *other != index && node.actor.region == region;
            !gone && !cut && !node.leaving
        };
        let nodes = self.nodes.iter().enumerate().filter(live);
        nodes.map(|(_, node)| node.actor).collect()
    }

    /// Takes what administrators decided from the region's stores.
    fn hear(&mut self, index: usize) {
        let region = usize::from(self.nodes[index].actor.region);
        for at in 0..self.office.facts.len() {
            let known = &self.office.facts[at];
            let told = known.since[region].is_some_and(|since| since <= self.now);
            if told && self.nodes[index].heard.insert(at) {
                let fact = known.fact.clone();
                self.take_fact(index, fact);
            }
        }
    }

    fn take_fact(&mut self, index: usize, fact: Fact) {
        let me = self.nodes[index].actor;
        match fact {
            Fact::Raised {
                pid,
                claim,
                amount,
                by,
            } => {
                self.step(
                    index,
                    Event::Claimed {
                        pid,
                        claim,
                        amount,
                        by,
                    },
                );
            }
            Fact::Lowered {
                pid,
                lowering,
                by,
                to,
            } => {
                self.step(
                    index,
                    Event::Lowered {
                        pid,
                        lowering,
                        by,
                        to,
                    },
                );
                if to == me {
                    let total = self.office.burns.get(&(pid, to)).copied().unwrap_or(0);
                    self.step(index, Event::BurnOrdered { pid, total });
                }
            }
            Fact::Reset { budget, generation } => {
                self.nodes[index].generations[budget] = generation;
                let scope = self.scenario.demand.budgets[budget].scope;
                for pid in self.pids_of(index) {
                    if pid.scope == scope && pid.generation < generation {
                        self.step(index, Event::Frozen(pid));
                    }
                }
            }
            Fact::Revoked { .. } if self.scenario.mutant == Some(Mutant::DeafToRevocations) => {}
            Fact::Revoked { budget } => {
                self.nodes[index].revoked.insert(budget);
                let scope = self.scenario.demand.budgets[budget].scope;
                for pid in self.pids_of(index) {
                    if pid.scope == scope {
                        self.step(index, Event::Frozen(pid));
                    }
                }
            }
            Fact::WrittenOff { actor } => self.step(index, Event::WrittenOff(actor)),
        }
    }

    fn pids_of(&self, index: usize) -> Vec<Pid> {
        let escrow = self.nodes[index].escrow.as_ref();
        escrow.map_or(Vec::new(), |escrow| escrow.pids().collect())
    }

    pub(crate) fn wall(&self, index: usize) -> WallMs {
        WallMs(WALL_MS + (self.now / 1_000) as i64 + self.nodes[index].clock_ms)
    }

    /// The period that a request is charged to; `None` while the clock is not to be trusted.
    pub(crate) fn pid_of(&mut self, index: usize, budget: usize) -> Option<Pid> {
        let wall = self.wall(index);
        let own = self.nodes[index].clock_ms;
        let raw = self.scenario.mutant == Some(Mutant::TrustsAnyClock);
        let mut offsets: Vec<i64> = self.nodes.iter().map(|node| node.clock_ms - own).collect();
        let health = match raw {
            true => ClockHealth::Healthy,
            false => clock_health(&mut offsets),
        };
        let known = &self.scenario.demand.budgets[budget];
        let (scope, period) = (known.scope, known.period_ms);
        let start_of = |at: WallMs| match period {
            Some(length) => WallMs(at.0 - at.0.rem_euclid(length)),
            None => WallMs(0),
        };
        let node = &mut self.nodes[index];
        let of_scope = node
            .escrow
            .iter()
            .flat_map(Escrow::pids)
            .filter(|pid| pid.scope == scope);
        let last = of_scope.map(|pid| pid.index).max();
        let rollover = node.rollovers.entry(budget);
        let rollover = rollover.or_insert_with(|| Rollover::new(WallMs(last.unwrap_or(0))));
        let index = match rollover.enter(wall, health, start_of) {
            Entry::Period(_) if raw => start_of(wall).0,
            Entry::Period(start) => start.0,
            Entry::Quarantined => return None,
        };
        let generation = node.generations[budget];
        Some(Pid {
            scope,
            index,
            generation,
        })
    }
}

/// What a journal says of its node's rows, settled requests included.
pub(crate) fn rows_of(disk: &Disk) -> BTreeMap<Pid, Row> {
    let mut replay = disk.replay();
    let mut used: BTreeMap<Pid, Rights> = BTreeMap::new();
    let orphans = replay.orphans.iter().map(|(_, pids, cost)| (pids, *cost));
    let closes = disk.closes().map(|(_, pids, cost)| (pids, cost));
    for (pids, cost) in closes.chain(orphans) {
        for pid in pids {
            *used.entry(*pid).or_insert(0) += cost;
        }
    }
    for (pid, used) in used {
        replay.rows.entry(pid).or_default().used = used;
    }
    replay.rows
}
