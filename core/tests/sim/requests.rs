//! Requests from their arrival to their bill.

use std::sync::Arc;

use meridian_core::escrow::{
    Escrow, Event, Holds, Pid, Refused, Rights, Running as Excess, Short, Slot,
};
use meridian_core::journal::Rates;
use meridian_core::time::MonoUs;

use crate::demand::{Arrival, INPUT_ERROR_PERMILLE, SLICE, SPEED, STEP};
use crate::disk::Frame;
use crate::mutants::Mutant;
use crate::world::{Happening, SECOND, World};

/// A request waits this long at most for rights from elsewhere.
const WAIT_US: u64 = 1_500_000;
/// Output tokens that a provider may bill after a stream was cut.
const LATE_TOKENS: u64 = 8;

/// What one running request holds.
pub(crate) struct Running {
    pub(crate) pids: Vec<Pid>,
    pub(crate) holds: Holds,
    pub(crate) tokens: u64,
    pub(crate) since: u64,
}

/// How an attempt to admit ended.
enum Admission {
    Admitted,
    Waits,
    Refused(Vec<Pid>),
    Unavailable,
}

impl World {
    pub(crate) fn arrive(&mut self, request: usize) {
        if let Some(next) = self.scenario.demand.arrivals.get(request + 1) {
            self.at(next.at_us, Happening::Arrive(request + 1));
        }
        let arrival = self.scenario.demand.arrivals[request].clone();
        let Some(node) = self.node_for(&arrival) else {
            self.report.unavailable += 1;
            return;
        };
        match self.admit(node, request as u64) {
            Admission::Admitted => self.report.admitted += 1,
            Admission::Unavailable => self.report.unavailable += 1,
            Admission::Refused(pids) => self.refuse(&arrival, &pids),
            Admission::Waits => {
                self.report.waited += 1;
                let (life, request) = (self.nodes[node].life, request as u64);
                self.nodes[node].waiting.insert(request);
                self.after(
                    WAIT_US,
                    Happening::GiveUp {
                        node,
                        life,
                        request,
                    },
                );
            }
        }
    }

    /// The node that the client's name leads to: of its region, else of the next one.
    fn node_for(&self, arrival: &Arrival) -> Option<usize> {
        let near = |index: &usize| {
            let actor = self.nodes[*index].actor;
            let far = (actor.region + 3 - arrival.region) % 3;
            (far, (actor.node + arrival.node) % 2)
        };
        let open = |index: &usize| self.nodes[*index].is_up() && !self.nodes[*index].leaving;
        let open = (0..self.nodes.len()).filter(open);
        open.min_by_key(near)
    }

    fn admit(&mut self, node: usize, request: u64) -> Admission {
        let arrival = self.scenario.demand.arrivals[request as usize].clone();
        if arrival
            .budgets
            .iter()
            .any(|budget| self.nodes[node].revoked.contains(budget))
        {
            return Admission::Refused(Vec::new());
        }
        let mut pids = Vec::new();
        for budget in arrival.budgets {
            match self.pid_of(node, budget) {
                Some(pid) => pids.push(pid),
                None => return Admission::Unavailable,
            }
        }
        let need = arrival.input_estimate() + SLICE as Rights * arrival.price;
        match self.reserve(node, &pids, need) {
            Ok(holds) => self.open(node, request, &arrival, pids, holds),
            Err(Short::Frozen) => return Admission::Refused(Vec::new()),
            Err(Short::Rights { missing: 0 }) => return Admission::Refused(pids),
            Err(_) if self.nodes[node].waiting.contains(&request) => {
                return Admission::Refused(pids);
            }
            Err(_) => return Admission::Waits,
        }
        Admission::Admitted
    }

    fn reserve(&mut self, node: usize, pids: &[Pid], need: Rights) -> Result<Holds, Short> {
        let slots: Vec<Arc<Slot>> = pids.iter().map(|pid| self.slot(node, *pid)).collect();
        let Refused { at, short } = match Holds::reserve(&slots, need) {
            Ok(holds) => return Ok(holds),
            Err(refused) => refused,
        };
        let pid = pids[at];
        self.step(node, Event::Short { pid, need });
        if self.scenario.mutant == Some(Mutant::SpendsWithoutRights) {
            return Holds::reserve(&slots, 0).map_err(|refused| refused.short);
        }
        let now = MonoUs(self.now);
        let may_find = |one: &mut Escrow| one.may_find(now, pid, need);
        let hope = self.nodes[node].escrow.as_mut().is_some_and(may_find);
        match hope {
            true => Err(short),
            false => Err(Short::Rights { missing: 0 }),
        }
    }

    fn slot(&mut self, node: usize, pid: Pid) -> Arc<Slot> {
        let of = |world: &Self| world.nodes[node].escrow.as_ref()?.slot(pid);
        if of(self).is_none() {
            self.step(node, Event::Opened(pid));
            self.tell_homes(node);
        }
        of(self).unwrap()
    }

    fn open(&mut self, node: usize, request: u64, arrival: &Arrival, pids: Vec<Pid>, holds: Holds) {
        self.check_admission(node, arrival, &pids);
        for pid in &pids {
            *self.truth.committed.entry(*pid).or_insert(0) += arrival.cost();
        }
        self.nodes[node].disk.append(Frame::Open {
            request,
            pids: pids.clone(),
            input: arrival.input_cost.max(arrival.input_estimate()),
            price: arrival.price,
            output: arrival.output_tokens,
        });
        self.note(|| format!("request {request} admitted at node {node}: {pids:?}"));
        let running = Running {
            pids,
            holds,
            tokens: 0,
            since: self.now,
        };
        self.nodes[node].running.insert(request, running);
        self.next_step(node, request, arrival.output_tokens);
    }

    fn next_step(&mut self, node: usize, request: u64, left: u64) {
        let life = self.nodes[node].life;
        let us = left.min(STEP) * SECOND / SPEED;
        self.after(
            us,
            Happening::Progress {
                node,
                life,
                request,
            },
        );
    }

    /// A stream has come one step further.
    pub(crate) fn progress(&mut self, node: usize, request: u64) {
        let arrival = self.scenario.demand.arrivals[request as usize].clone();
        let now = self.now;
        let Some(running) = self.nodes[node].running.get_mut(&request) else {
            return;
        };
        running.tokens = (running.tokens + STEP).min(arrival.output_tokens);
        running.since = now;
        let tokens = running.tokens;
        if tokens == arrival.output_tokens {
            self.close(node, request, &arrival, tokens);
            return;
        }
        self.nodes[node]
            .disk
            .append(Frame::Progress { request, tokens });
        let seen = arrival.input_estimate() + tokens as Rights * arrival.price;
        let step = STEP as Rights * arrival.price;
        let reserved = self.reserved(node, request);
        // One step early: what is missing may be fetched meanwhile.
        if reserved - seen < 2 * step {
            let more = SLICE as Rights * arrival.price;
            if !self.extend(node, request, more) && reserved - seen < step {
                self.report.cut += 1;
                let late = self.rng.below(LATE_TOKENS as usize + 1) as u64;
                let billed = (tokens + late).min(arrival.output_tokens);
                self.close(node, request, &arrival, billed);
                return;
            }
        }
        self.next_step(node, request, arrival.output_tokens - tokens);
    }

    fn reserved(&self, node: usize, request: u64) -> Rights {
        let running = self.nodes[node].running.get(&request);
        running.map_or(0, |running| running.holds.reserved())
    }

    /// Extends in every budget or in none.
    fn extend(&mut self, node: usize, request: u64, more: Rights) -> bool {
        if self.scenario.mutant == Some(Mutant::SpendsWithoutRights) {
            return true;
        }
        let Some(running) = self.nodes[node].running.get_mut(&request) else {
            return false;
        };
        let Err(Refused { at, .. }) = running.holds.extend(more) else {
            return true;
        };
        let pid = running.pids[at];
        self.step(node, Event::Short { pid, need: more });
        false
    }

    fn close(&mut self, node: usize, request: u64, arrival: &Arrival, tokens: u64) {
        let Some(running) = self.nodes[node].running.remove(&request) else {
            return;
        };
        let cost = arrival.cost_of(tokens);
        self.nodes[node].disk.append(Frame::Close {
            request,
            pids: running.pids.clone(),
            cost,
        });
        for pid in &running.pids {
            self.check_excess(*pid, arrival, cost - running.holds.reserved());
        }
        running.holds.settle(cost);
        self.note(|| format!("request {request} settled at node {node}: {cost}"));
        self.bill(request, arrival, running.pids, cost);
    }

    /// What the provider bills, whatever the gateway thinks.
    pub(crate) fn bill(&mut self, request: u64, arrival: &Arrival, pids: Vec<Pid>, cost: Rights) {
        for pid in &pids {
            *self.truth.spent.entry(*pid).or_insert(0) += cost;
            *self.truth.committed.entry(*pid).or_insert(0) += cost - arrival.cost();
        }
        self.truth.billed.insert(request, (pids, cost));
    }

    /// A node dies: providers notice, and bill what was produced until then.
    pub(crate) fn abandon(&mut self, node: usize) {
        let running = std::mem::take(&mut self.nodes[node].running);
        for (request, running) in running {
            let arrival = self.scenario.demand.arrivals[request as usize].clone();
            let produced = (self.now - running.since) * SPEED / SECOND;
            let tokens = (running.tokens + produced.min(STEP)).min(arrival.output_tokens);
            self.bill(request, &arrival, running.pids, arrival.cost_of(tokens));
        }
        self.report.unavailable += std::mem::take(&mut self.nodes[node].waiting).len() as u64;
    }

    /// Rights came: whoever waits tries again.
    pub(crate) fn wake(&mut self, node: usize, _pid: Pid) {
        let waiting: Vec<u64> = self.nodes[node].waiting.iter().copied().collect();
        for request in waiting {
            match self.admit(node, request) {
                Admission::Admitted => {
                    self.nodes[node].waiting.remove(&request);
                    self.report.admitted += 1;
                }
                Admission::Refused(_) | Admission::Waits | Admission::Unavailable => {}
            }
        }
    }

    pub(crate) fn give_up(&mut self, node: usize, request: u64) {
        if !self.nodes[node].waiting.contains(&request) {
            return;
        }
        let arrival = self.scenario.demand.arrivals[request as usize].clone();
        let last = self.admit(node, request);
        self.nodes[node].waiting.remove(&request);
        match last {
            Admission::Admitted => self.report.admitted += 1,
            Admission::Refused(pids) => self.refuse(&arrival, &pids),
            Admission::Waits | Admission::Unavailable => self.report.unavailable += 1,
        }
    }

    /// Refused: rightly, unless 2 % of every budget were left, and enough for this request.
    fn refuse(&mut self, arrival: &Arrival, pids: &[Pid]) {
        self.report.refused += 1;
        if pids.is_empty() {
            return;
        }
        let need = arrival.input_estimate() + SLICE as Rights * arrival.price;
        let left = |world: &Self, pid: &Pid| {
            let ceiling =
                world.office.ceiling(*pid) - world.office.lowered.get(pid).copied().unwrap_or(0);
            let left = ceiling - world.truth.committed.get(pid).copied().unwrap_or(0);
            left >= (ceiling / 50).max(need)
        };
        let wrong = pids.iter().all(|pid| left(self, pid));
        if wrong {
            self.report.wrong += 1;
            self.note(|| format!("wrongly refused at {pids:?}"));
        }
        let empty: Vec<Pid> = pids
            .iter()
            .copied()
            .filter(|pid| !left(self, pid))
            .collect();
        for pid in empty {
            *self.truth.refused.entry(pid).or_insert(0) += 1;
        }
    }
}

/// What a request may cost over its reservation, by the product's formula.
pub(crate) fn excess_bound(arrival: &Arrival) -> Rights {
    let running = Excess {
        prompt_tokens: arrival.input_tokens,
        prompt_error_permille: INPUT_ERROR_PERMILLE,
        tokens_per_s: SPEED,
        cut_ms: 0,
        chunk_tokens: LATE_TOKENS,
        rates: Rates {
            prompt_nano_per_mtok: arrival.price * 200_000,
            completion_nano_per_mtok: arrival.price * 1_000_000,
        },
    };
    running.excess().0
}
