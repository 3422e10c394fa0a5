//! The promises, looked at while a run goes on and at its end. Numbers as in docs/BUDGETS.md.

use std::collections::{BTreeMap, BTreeSet};

use meridian_core::escrow::{Actor, Pid, Rights, Row, SKEW_MAX_MS};

use crate::demand::Arrival;
use crate::requests::excess_bound;
use crate::world::{SECOND, WALL_MS, World};

/// A revocation holds after this long in every region that could hear of it.
const REVOKED_US: u64 = 2 * SECOND;

/// Every row, of the living, the stopped and the lost.
pub(crate) type Rows = Vec<(Actor, BTreeMap<Pid, Row>)>;

impl World {
    fn every_row(&self) -> Rows {
        let alive = self.nodes.iter().map(|node| (node.actor, node.all_rows()));
        alive.chain(self.truth.tombs.iter().cloned()).collect()
    }

    /// Checker 4: nobody ever sees a cell shrink.
    pub(crate) fn show(&mut self, pid: Pid, actor: Actor, row: &Row) {
        let shown = self.truth.shown.entry((pid, actor)).or_default();
        if !row.covers(shown) {
            let text = format!("{actor} shows {row:?} after {shown:?}");
            self.fail(4, text);
            return;
        }
        shown.merge(row);
    }

    /// Checkers 9 and 10, at every admission.
    pub(crate) fn check_admission(&mut self, node: usize, arrival: &Arrival, pids: &[Pid]) {
        let region = self.nodes[node].actor.region;
        for (budget, pid) in arrival.budgets.iter().zip(pids) {
            let revoked = self.office.revoked.get(budget).copied();
            if revoked.is_some_and(|at| self.now > at + REVOKED_US)
                && self.has_heard(*budget, region)
            {
                self.fail(
                    9,
                    format!("budget {budget} admitted in {region} after its revocation"),
                );
            }
            let Some(length) = self.scenario.demand.budgets[*budget].period_ms else {
                continue;
            };
            let at = WALL_MS + (self.now / 1_000) as i64;
            let from = pid.index - SKEW_MAX_MS;
            if !(from..pid.index + length + 2 * SKEW_MAX_MS).contains(&at) {
                self.fail(10, format!("node {node} charges {pid:?} at {at}"));
            }
        }
    }

    /// Whether a region has known of a revocation for two seconds.
    fn has_heard(&self, budget: usize, region: u8) -> bool {
        self.office.facts.iter().any(|known| {
            let this =
                matches!(known.fact, crate::office::Fact::Revoked { budget: b } if b == budget);
            let since = known.since[usize::from(region)];
            this && since.is_some_and(|since| since + REVOKED_US < self.now)
        })
    }

    /// Checker 1, for one request: what is over its reservation is within the formula.
    pub(crate) fn check_excess(&mut self, pid: Pid, arrival: &Arrival, over: Rights) {
        if over > excess_bound(arrival) {
            let bound = excess_bound(arrival);
            self.fail(
                1,
                format!("{pid:?}: {over} over a reservation, bound {bound}"),
            );
        }
        *self.truth.excess.entry(pid).or_insert(0) += over.max(0);
    }

    /// Checkers 1, 2 and 5, every second.
    pub(crate) fn check_rows(&mut self) {
        let rows = self.every_row();
        self.check_pairs(&rows);
        self.check_mints(&rows);
        self.check_spend(&rows);
        self.check_fenced(&rows);
        self.check_slots();
    }

    /// Nobody has received what was not sent.
    fn check_pairs(&mut self, rows: &Rows) {
        let by_actor: BTreeMap<Actor, &BTreeMap<Pid, Row>> =
            rows.iter().map(|(actor, rows)| (*actor, rows)).collect();
        let mut problems = Vec::new();
        for (actor, rows) in rows {
            for (pid, row) in rows {
                for (from, received) in &row.received {
                    let giver = by_actor.get(from).and_then(|rows| rows.get(pid));
                    let sent = giver.map_or(0, |giver| giver.sent_to(*actor));
                    if *received > sent {
                        problems.push(format!(
                            "{actor} got {received} of {sent} from {from}: {pid:?}"
                        ));
                    }
                }
            }
        }
        if let Some(problem) = problems.pop() {
            self.fail(2, problem);
        }
    }

    /// Slots and rows tell the same story.
    fn check_slots(&mut self) {
        let mut problem = None;
        for node in &self.nodes {
            for escrow in node.escrow.iter() {
                for pid in escrow.pids() {
                    let (Some(slot), Some(row)) = (escrow.slot(pid), escrow.row(pid)) else {
                        continue;
                    };
                    let above = escrow.ceiling(pid).map_or(0, |ceiling| ceiling.above);
                    if slot.avail() + slot.reserved() + above != row.held() {
                        problem = Some(format!("{}: slot {slot:?}, row {row:?}", node.actor));
                    }
                }
            }
        }
        if let Some(problem) = problem {
            self.fail(2, problem);
        }
    }

    /// Checker 5: every claim is minted once, and no more than was planned and raised.
    fn check_mints(&mut self, rows: &Rows) {
        let mut minted: BTreeMap<Pid, Rights> = BTreeMap::new();
        let mut burned: BTreeMap<Pid, Rights> = BTreeMap::new();
        for (pid, row) in rows.iter().flat_map(|(_, rows)| rows) {
            *minted.entry(*pid).or_insert(0) += row.minted_total();
            *burned.entry(*pid).or_insert(0) += row.burned;
        }
        for (pid, amount) in minted {
            if amount > self.office.ceiling(pid) {
                let ceiling = self.office.ceiling(pid);
                self.fail(5, format!("{amount} minted of {ceiling}: {pid:?}"));
            }
        }
        for (pid, amount) in burned {
            let lowered = self.office.lowered.get(&pid).copied().unwrap_or(0);
            if amount > lowered {
                self.fail(2, format!("{amount} destroyed of {lowered}: {pid:?}"));
            }
        }
    }

    /// Checker 1: what providers billed is within what was minted and not destroyed, and the bound.
    fn check_spend(&mut self, rows: &Rows) {
        let mut budget: BTreeMap<Pid, Rights> = BTreeMap::new();
        for (pid, row) in rows.iter().flat_map(|(_, rows)| rows) {
            *budget.entry(*pid).or_insert(0) += row.minted_total() - row.burned;
        }
        let spent: Vec<(Pid, Rights)> = self.truth.spent.iter().map(|(p, s)| (*p, *s)).collect();
        for (pid, spent) in spent {
            let budget = budget.get(&pid).copied().unwrap_or(0);
            let of = |terms: &BTreeMap<Pid, Rights>| terms.get(&pid).copied().unwrap_or(0);
            let bound = of(&self.truth.excess) + of(&self.truth.unsynced);
            if spent > budget + bound {
                let text = format!("{spent} billed of {budget}, bound {bound}: {pid:?}");
                self.fail(1, text);
            }
            if spent - budget > self.report.over {
                self.report.over = spent - budget;
                self.report.bound = bound;
            }
        }
    }

    /// At the end, after everything has healed and settled.
    pub(crate) fn check_end(&mut self) {
        self.check_rows();
        self.check_arrivals_of_rights();
        self.check_lifted();
        self.check_ledger();
        self.sum_up();
    }

    /// Checker 11: every transfer has arrived, digests agree, journals are drained.
    fn check_arrivals_of_rights(&mut self) {
        let lost: BTreeSet<Actor> = self.truth.tombs.iter().map(|(actor, _)| *actor).collect();
        let mut problems = Vec::new();
        for node in &self.nodes {
            let Some(escrow) = &node.escrow else {
                problems.push(format!("{} did not come back", node.actor));
                continue;
            };
            if !escrow.is_settled() {
                problems.push(format!("{} has transfers under way", node.actor));
            }
            if node.shipped < node.disk.closes().count() {
                problems.push(format!("{} has not shipped its ledger", node.actor));
            }
            for other in self
                .nodes
                .iter()
                .filter(|other| !lost.contains(&other.actor))
            {
                let theirs = other
                    .escrow
                    .as_ref()
                    .map(|escrow| escrow.digest(node.actor));
                if theirs.is_some_and(|theirs| theirs != escrow.digest(other.actor)) {
                    problems.push(format!("{} and {} differ", node.actor, other.actor));
                }
            }
        }
        if let Some(problem) = problems.first() {
            self.fail(11, problem.clone());
        }
    }

    /// Checker 3: each bill is in the ledger once, and the ledger's sums are what rows say.
    fn check_ledger(&mut self) {
        let mut seen: BTreeMap<u64, (usize, Rights)> = BTreeMap::new();
        let mut used: BTreeMap<(Actor, Pid), Rights> = BTreeMap::new();
        for (writer, entries) in self.postgres.iter().flat_map(|postgres| &postgres.ledger) {
            for entry in entries {
                let times = seen.entry(entry.request).or_insert((0, entry.cost));
                times.0 += 1;
                for pid in &entry.pids {
                    *used.entry((*writer, *pid)).or_insert(0) += entry.cost;
                }
            }
        }
        let mut problems = Vec::new();
        for (request, (_, billed)) in &self.truth.billed {
            let lost = self.truth.lost.contains_key(request);
            match seen.get(request) {
                Some((1, cost)) if cost >= billed || lost => {}
                Some((1, cost)) if !self.truth.unsynced.is_empty() && cost < billed => {}
                None if lost => {}
                entry => problems.push(format!("request {request} billed {billed}: {entry:?}")),
            }
        }
        for node in &self.nodes {
            for (pid, row) in node.all_rows() {
                let sum = used.get(&(node.actor, pid)).copied().unwrap_or(0);
                if sum != row.used {
                    problems.push(format!(
                        "{}: ledger {sum}, row {}: {pid:?}",
                        node.actor, row.used
                    ));
                }
            }
        }
        let strangers = seen
            .keys()
            .find(|request| !self.truth.billed.contains_key(request));
        problems.extend(strangers.map(|request| format!("request {request} was never billed")));
        if let Some(problem) = problems.first() {
            self.fail(3, problem.clone());
        }
    }

    fn sum_up(&mut self) {
        for escrow in self.nodes.iter().filter_map(|node| node.escrow.as_ref()) {
            let proposals = |pid| escrow.ceiling(pid).map_or(0, |one| one.proposals);
            self.report.proposals += escrow.pids().map(proposals).sum::<u64>();
        }
        let pids: Vec<Pid> = self.office.plans.keys().copied().collect();
        for pid in pids {
            let lowered = self.office.lowered.get(&pid).copied().unwrap_or(0);
            let budget = self.office.ceiling(pid) - lowered;
            let spent = self.truth.spent.get(&pid).copied().unwrap_or(0);
            self.report.budget += budget;
            self.report.billed += spent;
            if self.truth.refused.get(&pid).copied().unwrap_or(0) > 5 {
                self.report.exhausted += budget;
                self.report.unused += (budget - spent).max(0);
            }
        }
    }
}
