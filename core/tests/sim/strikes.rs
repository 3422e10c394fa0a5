//! Faults and administrators' deeds as they happen, and as they end.

use meridian_core::escrow::{Actor, Book, BookEntry, Event, Pid, Rights, Row};

use crate::demand::REGIONS;
use crate::disk::Disk;
use crate::faults::Fault;
use crate::node::{Node, rows_of};
use crate::office::Fact;
use crate::world::{Happening, SECOND, World};

impl World {
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        let until = self.scenario.seconds * SECOND;
        let lasts = match &fault {
            Fault::Cut { for_us, .. }
            | Fault::Isolate { for_us, .. }
            | Fault::Loss { for_us, .. }
            | Fault::Double { for_us, .. }
            | Fault::Kill { for_us, .. }
            | Fault::Power { for_us, .. }
            | Fault::Pause { for_us, .. }
            | Fault::Leave { for_us, .. }
            | Fault::DiskLost { for_us, .. }
            | Fault::SlowDisk { for_us, .. }
            | Fault::RedisDown { for_us, .. }
            | Fault::PostgresDown { for_us, .. }
            | Fault::Clock { for_us, .. }
            | Fault::LoseRegion { for_us, .. }
            | Fault::Split { for_us, .. } => Some(*for_us),
            Fault::Flap { .. } => Some(700_000),
            Fault::CallLost { .. } => Some(5_000_000),
            _ => None,
        };
        if let Some(us) = lasts {
            let end = (self.now + us).min(until);
            self.at(end, Happening::Over(fault.clone()));
        }
        self.begin_fault(fault);
    }

    fn begin_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { from, to, .. } => self.network.cut(from, to),
            Fault::Isolate { region, .. } => self.isolate(region, true),
            Fault::Flap { a, b, .. } => {
                self.network.cut(a, b);
                self.network.cut(b, a);
            }
            Fault::Loss { permille, .. } => self.network.loss = f64::from(permille) / 1e3,
            Fault::Double { permille, .. } => self.network.double = f64::from(permille) / 1e3,
            Fault::Kill { node, .. } => self.take_down(node, false),
            Fault::Power { node, .. } => self.take_down(node, true),
            Fault::Pause { node, .. } => self.nodes[node].paused = true,
            Fault::Leave { node, .. } => self.leave(node),
            Fault::DiskLost { node, .. } => self.lose_disk(node),
            Fault::LoseRegion { region, .. } => self.lose_region(region),
            Fault::CallLost { .. } => {}
            Fault::Fence { region, for_us } => {
                self.fences.insert(region, self.now + for_us);
            }
            Fault::SlowDisk { node, .. } => self.nodes[node].slow_disk += 1,
            Fault::RedisDown { region, .. } => self.redis[usize::from(region)].down += 1,
            Fault::RedisFlush { region } => self.redis[usize::from(region)].flush(),
            Fault::RedisFailOver { region } => self.redis[usize::from(region)].fail_over(),
            Fault::PostgresDown { region, .. } => self.postgres[usize::from(region)].down += 1,
            Fault::Clock { node, ms, .. } => self.nodes[node].clock_ms += ms,
            Fault::Split { node, .. } => self.nodes[node].split += 1,
            Fault::Raise {
                budget,
                region,
                permille,
            } => self.raise(budget, region, permille),
            Fault::Lower {
                budget,
                region,
                permille,
            } => self.lower(budget, region, permille),
            Fault::Reset { budget, region } => self.reset(budget, region),
            Fault::Revoke { budget, region } => {
                if self.office.revoked.insert(budget, self.now).is_none() {
                    self.office
                        .decide(Fact::Revoked { budget }, region, self.now);
                }
            }
        }
    }

    pub(crate) fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { from, to, .. } => self.network.mend(from, to),
            Fault::Isolate { region, .. } => self.isolate(region, false),
            Fault::Flap { a, b, times } => {
                self.network.mend(a, b);
                self.network.mend(b, a);
                let again = Fault::Flap {
                    a,
                    b,
                    times: times.saturating_sub(1),
                };
                if times > 1 && self.in_trouble() {
                    self.strike(again);
                }
            }
            Fault::Loss { .. } => self.network.loss = 0.0,
            Fault::Double { .. } => self.network.double = 0.0,
            Fault::Kill { node, .. } | Fault::Power { node, .. } | Fault::DiskLost { node, .. } => {
                if self.nodes[node].escrow.is_none() {
                    self.boot(node);
                }
            }
            Fault::LoseRegion { region, .. } => {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].actor.region == region && self.nodes[node].escrow.is_none()
                    {
                        self.boot(node);
                    }
                }
            }
            Fault::CallLost { region } => self.call_lost(region),
            Fault::Pause { node, .. } => self.nodes[node].paused = false,
            Fault::Leave { node, .. } => {
                self.take_down(node, false);
                if self.nodes[node].escrow.is_none() {
                    self.boot(node);
                }
            }
            Fault::SlowDisk { node, .. } => self.nodes[node].slow_disk -= 1,
            Fault::RedisDown { region, .. } => self.redis[usize::from(region)].down -= 1,
            Fault::PostgresDown { region, .. } => self.postgres[usize::from(region)].down -= 1,
            Fault::Clock { node, ms, .. } => self.nodes[node].clock_ms -= ms,
            Fault::Split { node, .. } => self.nodes[node].split -= 1,
            Fault::RedisFlush { .. }
            | Fault::RedisFailOver { .. }
            | Fault::Raise { .. }
            | Fault::Lower { .. }
            | Fault::Reset { .. }
            | Fault::Fence { .. }
            | Fault::Revoke { .. } => {}
        }
    }

    fn isolate(&mut self, region: u8, cut: bool) {
        for other in (0..REGIONS).filter(|other| *other != region) {
            for (from, to) in [(region, other), (other, region)] {
                match cut {
                    true => self.network.cut(from, to),
                    false => self.network.mend(from, to),
                }
            }
        }
    }

    fn leave(&mut self, index: usize) {
        if self.nodes[index].is_up() {
            self.nodes[index].leaving = true;
            self.tick(index);
            self.step(index, Event::Leaving);
        }
    }

    fn take_down(&mut self, index: usize, power: bool) {
        if self.nodes[index].escrow.is_none() {
            return;
        }
        let touched = match power {
            true => self.nodes[index].disk.lose_tail(),
            false => Vec::new(),
        };
        let running: Vec<u64> = self.nodes[index].running.keys().copied().collect();
        self.abandon(index);
        let node = &mut self.nodes[index];
        node.escrow = None;
        node.down_since = Some(self.now);
        node.life += 1;
        if power {
            self.count_unsynced(index, touched.into_iter().chain(running));
        }
        self.nodes[index].rows = rows_of(&self.nodes[index].disk);
    }

    /// What a power loss took of charges: the difference between the bill and what is left of it.
    fn count_unsynced(&mut self, index: usize, touched: impl Iterator<Item = u64>) {
        let touched: std::collections::BTreeSet<u64> = touched.collect();
        let disk = &self.nodes[index].disk;
        let orphans = disk.replay().orphans;
        let closes = disk.closes().map(|(request, _, cost)| (request, cost));
        let orphans = orphans.iter().map(|(request, _, cost)| (*request, *cost));
        let kept: std::collections::BTreeMap<u64, Rights> = closes.chain(orphans).collect();
        for request in touched {
            let Some((pids, billed)) = self.truth.billed.get(&request).cloned() else {
                continue;
            };
            let charged = kept.get(&request).copied().unwrap_or(0);
            if !kept.contains_key(&request) {
                self.truth.lost.insert(request, "power");
            }
            for pid in pids {
                let unsynced = self.truth.unsynced.entry(pid).or_insert(0);
                *unsynced += (billed - charged).max(0);
            }
        }
    }

    /// The machine is gone; a new actor takes its place, and the region writes the old one off.
    fn lose_disk(&mut self, index: usize) {
        if self.nodes[index].escrow.is_none() {
            return;
        }
        let rows = self.nodes[index].all_rows();
        let running: Vec<u64> = self.nodes[index].running.keys().copied().collect();
        self.abandon(index);
        let node = &self.nodes[index];
        let (old, life) = (node.actor, node.life);
        let unshipped: Vec<u64> = node
            .disk
            .closes()
            .skip(node.shipped)
            .map(|one| one.0)
            .collect();
        for request in unshipped.into_iter().chain(running) {
            self.truth.lost.insert(request, "disk");
        }
        self.truth.tombs.push((old, rows));
        let actor = Actor {
            incarnation: old.incarnation + 1,
            ..old
        };
        let mut fresh = Node::new(actor, self.scenario.demand.budgets.len());
        fresh.life = life + 1;
        fresh.disk = Disk::default();
        fresh.down_since = Some(self.now);
        fresh.slow_disk = self.nodes[index].slow_disk;
        fresh.split = self.nodes[index].split;
        fresh.clock_ms = self.nodes[index].clock_ms;
        self.nodes[index] = fresh;
        self.office
            .decide(Fact::WrittenOff { actor: old }, old.region, self.now);
    }

    /// The running period of a budget, as its home region sees it.
    fn running_pid(&self, budget: usize) -> Option<Pid> {
        let scope = self.scenario.demand.budgets[budget].scope;
        let of_scope = self.office.plans.keys().filter(|pid| pid.scope == scope);
        of_scope
            .copied()
            .max_by_key(|pid| (pid.generation, pid.index))
    }

    fn home_node(&self, budget: usize) -> Option<Actor> {
        let home = self.scenario.demand.budgets[budget].home;
        let up = self.nodes.iter().filter(|node| node.is_up());
        up.map(|node| node.actor).find(|actor| actor.region == home)
    }

    /// Home alone raises: elsewhere it is refused while home cannot be reached.
    fn raise(&mut self, budget: usize, region: u8, permille: u32) {
        let known = &self.scenario.demand.budgets[budget];
        let (home, amount) = (known.home, known.amount * Rights::from(permille) / 1_000);
        let reached = region == home || !self.network.is_cut(region, home);
        let (Some(pid), Some(by)) = (self.running_pid(budget), self.home_node(budget)) else {
            return;
        };
        if !reached || self.postgres[usize::from(home)].down > 0 {
            return;
        }
        self.mint_at(pid, amount, by);
    }

    /// Lowered anywhere; destroyed by one node of home.
    fn lower(&mut self, budget: usize, region: u8, permille: u32) {
        let (Some(pid), Some(home)) = (self.running_pid(budget), self.home_node(budget)) else {
            return;
        };
        let left = self.office.ceiling(pid) - self.office.lowered.get(&pid).copied().unwrap_or(0);
        let by = left * Rights::from(permille) / 1_000;
        let to = *self.office.burner.entry(pid).or_insert(home);
        self.decide_lowering(pid, by, to, region);
    }

    pub(crate) fn decide_lowering(&mut self, pid: Pid, by: Rights, to: Actor, region: u8) {
        *self.office.lowered.entry(pid).or_insert(0) += by;
        *self.office.burns.entry((pid, to)).or_insert(0) += by;
        self.office.lowerings += 1;
        let lowering = self.office.lowerings;
        let fact = Fact::Lowered {
            pid,
            lowering,
            by,
            to,
        };
        self.office.decide(fact, region, self.now);
    }

    /// All nodes of a region die; somewhat later the operator calls it lost.
    fn lose_region(&mut self, region: u8) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].actor.region == region {
                self.take_down(index, false);
            }
        }
        self.strike(Fault::CallLost { region });
    }

    /// What the lost region held of budgets that are at home elsewhere is made anew there.
    fn call_lost(&mut self, region: u8) {
        for budget in 0..self.scenario.demand.budgets.len() {
            let home = self.scenario.demand.budgets[budget].home;
            if home == region || self.postgres[usize::from(home)].down > 0 {
                continue;
            }
            let Some(pid) = self.running_pid(budget) else {
                continue;
            };
            if let Some([taken, anew]) = self.entries_for_lost(pid, region, home) {
                self.check_lost(pid, region, anew);
                self.decide_lowering(pid, anew.amount, taken.by, home);
                self.mint_at(pid, anew.amount, anew.by);
                self.report.regained += anew.amount;
            }
        }
    }

    /// What the vault of a budget's home writes into its book.
    fn entries_for_lost(&self, pid: Pid, region: u8, home: u8) -> Option<[BookEntry; 2]> {
        let at_home = self.nodes.iter().filter(|node| node.is_up());
        let mut at_home = at_home.filter(|node| node.actor.region == home);
        at_home.find_map(|node| {
            let lost = node.escrow.as_ref()?.lost(pid, region)?;
            let book = self.book(pid, node.actor);
            lost.entries(&book, node.actor)
        })
    }

    /// The book of a period, as it would be in the store of its home.
    pub(crate) fn book(&self, pid: Pid, by: Actor) -> Book {
        let made = BookEntry {
            amount: self.office.ceiling(pid),
            by,
        };
        let of_pid = self.office.burns.iter().filter(|((of, _), _)| *of == pid);
        let lowered = of_pid.map(|((_, by), amount)| BookEntry {
            amount: -amount,
            by: *by,
        });
        Book {
            pid,
            base: 0,
            entries: [made].into_iter().chain(lowered).collect(),
        }
    }

    /// No more is made anew than the region holds, what it was sent included, and what it has spent
    /// since it was heard; a tenth of that it need not have said.
    fn check_lost(&mut self, pid: Pid, region: u8, anew: BookEntry) {
        let told = |node: &Node| {
            let known = node.escrow.as_ref()?.regions(pid);
            let of_region = known.into_iter().find(|(id, ..)| *id == region);
            of_region.map(|(.., used)| used)
        };
        let vault = self.nodes.iter().find(|node| node.actor == anew.by);
        let said = vault.and_then(told).unwrap_or(0);
        let rows: Vec<(Actor, Row)> = self.rows_of_period(pid);
        let (mut held, mut sent, mut received) = (-said, 0, 0);
        // What one of its nodes gave another and that has not taken counts as on its way there too.
        for (actor, row) in &rows {
            let to_there = row.sent.iter().filter(|(to, _)| to.region == region);
            sent += to_there.map(|(_, amount)| amount).sum::<Rights>();
            if actor.region == region {
                held += row.held() + row.used;
                received += row.received.values().sum::<Rights>();
            }
        }
        let most = held + (sent - received).max(0);
        if anew.amount > most + most / 10 + self.office.ceiling(pid) / 20 {
            self.fail(6, format!("{} made anew of {most}: {pid:?}", anew.amount));
        }
    }

    fn rows_of_period(&self, pid: Pid) -> Vec<(Actor, Row)> {
        let nodes = self.nodes.iter();
        let live = nodes.map(|node| (node.actor, node.all_rows()));
        let tombs = self.truth.tombs.iter().cloned();
        let of_pid = |(actor, mut rows): (Actor, std::collections::BTreeMap<Pid, Row>)| {
            Some((actor, rows.remove(&pid)?))
        };
        live.chain(tombs).filter_map(of_pid).collect()
    }

    pub(crate) fn mint_at(&mut self, pid: Pid, amount: Rights, by: Actor) {
        let home = by.region;
        let number = self.office.claims.entry(pid).or_insert(0);
        *number += 1;
        let claim = *number;
        self.postgres[usize::from(home)].claim(pid, claim, by, amount);
        *self.office.raised.entry(pid).or_insert(0) += amount;
        let fact = Fact::Raised {
            pid,
            claim,
            amount,
            by,
        };
        self.office.decide(fact, home, self.now);
    }

    fn reset(&mut self, budget: usize, region: u8) {
        let home = self.scenario.demand.budgets[budget].home;
        if region != home && self.network.is_cut(region, home) {
            return;
        }
        let generation = self.office.generations.entry(budget).or_insert(0);
        *generation += 1;
        let generation = *generation;
        self.office
            .decide(Fact::Reset { budget, generation }, home, self.now);
    }
}
