//! Regions, nodes, clients and providers in simulated time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use meridian_core::escrow::{Actor, Event, Message, Pid, Rights, Row, Ticket};

use crate::demand::{Demand, NODES, REGIONS};
use crate::faults::{Fault, Turn};
use crate::mutants::Mutant;
use crate::network::Network;
use crate::node::Node;
use crate::office::Office;
use crate::rng::Rng;
use crate::stores::{Postgres, Redis};

pub(crate) const SECOND: u64 = 1_000_000;
/// Wall clock of the start.
pub(crate) const WALL_MS: i64 = 1_795_003_200_000;
/// After the last fault everything has this long to settle.
pub(crate) const SETTLE_US: u64 = 45 * SECOND;
const TICK_US: u64 = 100_000;

/// One run, complete: what it does depends on nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) demand: Demand,
    pub(crate) turns: Vec<Turn>,
    pub(crate) seconds: u64,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) trace: bool,
    /// Ceilings are kept, with room for so many seconds of demand.
    pub(crate) isolation_s: Option<u64>,
    /// Busy nodes: messages to other regions are late by so much at most, in microseconds.
    pub(crate) late_us: u64,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) checker: u8,
    pub(crate) text: String,
    pub(crate) trace: Vec<String>,
}

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    /// Refused although 2 % of every budget was left.
    pub(crate) wrong: u64,
    pub(crate) cut: u64,
    pub(crate) unavailable: u64,
    pub(crate) waited: u64,
    pub(crate) messages_between: u64,
    pub(crate) budget: Rights,
    pub(crate) billed: Rights,
    /// Largest spend over what a budget had, over all periods.
    pub(crate) over: Rights,
    /// What the bound allowed there.
    pub(crate) bound: Rights,
    /// Left at the end of budgets that refused somebody.
    pub(crate) unused: Rights,
    pub(crate) exhausted: Rights,
    /// Rights of lost regions that were made anew.
    pub(crate) regained: Rights,
    /// The same of fenced ones.
    pub(crate) reclaimed: Rights,
    /// Proposals of ceilings.
    pub(crate) proposals: u64,
}

#[derive(Debug)]
pub(crate) enum Happening {
    Arrive(usize),
    Tick {
        node: usize,
        life: u32,
    },
    Deliver {
        node: usize,
        from: Actor,
        message: Message,
        gain: Option<Rights>,
    },
    Synced {
        node: usize,
        life: u32,
        ticket: Ticket,
        up_to: usize,
    },
    Committed {
        node: usize,
        life: u32,
        up_to: usize,
    },
    Step {
        node: usize,
        life: u32,
        event: Event,
    },
    Progress {
        node: usize,
        life: u32,
        request: u64,
    },
    GiveUp {
        node: usize,
        life: u32,
        request: u64,
    },
    Shipped {
        node: usize,
        life: u32,
        acked: usize,
    },
    Turn(usize),
    Over(Fault),
    Second,
    Spread,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    order: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) redis: Vec<Redis>,
    pub(crate) postgres: Vec<Postgres>,
    pub(crate) office: Office,
    /// Regions that are to be fenced, until then.
    pub(crate) fences: BTreeMap<u8, u64>,
    pub(crate) report: Report,
    pub(crate) truth: Truth,
    pub(crate) trace: Vec<String>,
    pub(crate) violation: Option<Violation>,
}

/// What only the simulator knows.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// By request: periods and what the provider billed.
    pub(crate) billed: BTreeMap<u64, (Vec<Pid>, Rights)>,
    pub(crate) spent: BTreeMap<Pid, Rights>,
    /// With what runs at its whole cost: the oracle's view.
    pub(crate) committed: BTreeMap<Pid, Rights>,
    /// Costs over reservations, and charges that power losses took.
    pub(crate) excess: BTreeMap<Pid, Rights>,
    pub(crate) unsynced: BTreeMap<Pid, Rights>,
    /// Requests whose frames a power loss or a lost disk took.
    pub(crate) lost: BTreeMap<u64, &'static str>,
    pub(crate) refused: BTreeMap<Pid, u64>,
    /// Largest copy of a row that anybody was shown.
    pub(crate) shown: BTreeMap<(Pid, Actor), Row>,
    /// Rows of actors that are gone for good.
    pub(crate) tombs: Vec<(Actor, BTreeMap<Pid, Row>)>,
    /// What fenced actors were told to destroy.
    pub(crate) fenced: BTreeMap<(Pid, Actor), Rights>,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let mut nodes = Vec::new();
        for region in 0..REGIONS {
            for node in 0..NODES {
                let actor = Actor {
                    region,
                    node: u16::from(region) * NODES + node,
                    incarnation: 1,
                };
                nodes.push(Node::new(actor, scenario.demand.budgets.len()));
            }
        }
        let mut world = Self {
            now: 0,
            rng: Rng(scenario.seed ^ 0x5eed),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            order: 0,
            nodes,
            network: Network::new(scenario.late_us),
            redis: (0..REGIONS).map(|_| Redis::default()).collect(),
            postgres: (0..REGIONS).map(|_| Postgres::default()).collect(),
            office: Office::default(),
            fences: BTreeMap::new(),
            report: Report::default(),
            truth: Truth::default(),
            trace: Vec::new(),
            violation: None,
            scenario,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.boot(node);
        }
        for index in 0..self.scenario.turns.len() {
            let at = self.scenario.turns[index].at_us;
            self.at(at, Happening::Turn(index));
        }
        if let Some(first) = self.scenario.demand.arrivals.first() {
            self.at(first.at_us, Happening::Arrive(0));
        }
        self.at(SECOND, Happening::Second);
        self.at(100_000, Happening::Spread);
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((at.max(self.now), self.order)));
        self.happenings.insert(self.order, happening);
    }

    pub(crate) fn after(&mut self, us: u64, happening: Happening) {
        self.at(self.now + us, happening);
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.scenario.trace {
            let at = self.now as f64 / SECOND as f64;
            self.trace.push(format!("{at:10.4} {}", text()));
        }
    }

    pub(crate) fn fail(&mut self, checker: u8, text: String) {
        if self.violation.is_none() {
            let tail = self.trace.len().saturating_sub(40);
            self.violation = Some(Violation {
                checker,
                text: format!("at {:.3} s: {text}", self.now as f64 / SECOND as f64),
                trace: self.trace[tail..].to_vec(),
            });
        }
    }

    /// Runs to the end or to the first broken promise.
    pub(crate) fn run(mut self) -> Result<Report, Violation> {
        let end = self.scenario.seconds * SECOND + SETTLE_US;
        while let Some(Reverse((at, order))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            if let Some(happening) = self.happenings.remove(&order) {
                self.happen(happening);
            }
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.check_end();
        match self.violation {
            Some(violation) => Err(violation),
            None => Ok(self.report),
        }
    }

    fn happen(&mut self, happening: Happening) {
        let alive = |world: &Self, node: usize, life: u32| world.nodes[node].is_alive(life);
        match happening {
            Happening::Arrive(index) => self.arrive(index),
            Happening::Turn(index) => {
                let fault = self.scenario.turns[index].what.clone();
                self.strike(fault);
            }
            Happening::Over(fault) => self.mend(fault),
            Happening::Second => {
                self.second();
                self.after(SECOND, Happening::Second);
            }
            Happening::Spread => {
                self.office.spread(&self.network, self.now);
                self.after(100_000, Happening::Spread);
            }
            Happening::Tick { node, life } => self.tick_again(node, life),
            Happening::Deliver {
                node,
                from,
                message,
                gain,
            } => self.deliver(node, from, message, gain),
            Happening::Synced {
                node,
                life,
                ticket,
                up_to,
            } => {
                if self.nodes[node].life == life {
                    self.nodes[node].disk.sync(up_to);
                    self.step(node, Event::Synced(ticket));
                }
            }
            Happening::Committed { node, life, up_to } => {
                if self.nodes[node].life == life {
                    self.nodes[node].disk.sync(up_to);
                }
            }
            Happening::Step { node, life, event } if alive(self, node, life) => {
                self.step(node, event)
            }
            Happening::Progress {
                node,
                life,
                request,
            } if self.nodes[node].life == life => {
                self.progress(node, request);
            }
            Happening::GiveUp {
                node,
                life,
                request,
            } if self.nodes[node].life == life => {
                self.give_up(node, request);
            }
            Happening::Shipped { node, life, acked } if self.nodes[node].life == life => {
                self.nodes[node].shipped = acked;
                self.nodes[node].shipping = false;
            }
            Happening::Step { .. }
            | Happening::Progress { .. }
            | Happening::GiveUp { .. }
            | Happening::Shipped { .. } => {}
        }
    }

    fn tick_again(&mut self, node: usize, life: u32) {
        if self.nodes[node].life == life {
            self.after(TICK_US, Happening::Tick { node, life });
        }
        if self.nodes[node].is_alive(life) {
            self.tick(node);
        }
    }

    /// What happens every second: replicas follow, nodes read their Redis, promises are checked.
    fn second(&mut self) {
        for redis in &mut self.redis {
            redis.replicate();
        }
        if (self.now / SECOND).is_multiple_of(3) {
            for node in 0..self.nodes.len() {
                self.read_redis(node);
            }
        }
        self.fence_round();
        self.check_rows();
    }

    pub(crate) fn in_trouble(&self) -> bool {
        self.now < self.scenario.seconds * SECOND
    }

    pub(crate) fn index_of(&self, actor: Actor) -> Option<usize> {
        self.nodes.iter().position(|node| node.actor == actor)
    }
}
