//! What other gateways do, under the same demand and the same weather: counters that regions share
//! or copy. Written down here to be compared with, not to be used.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use meridian_core::escrow::Rights;

use crate::demand::{Arrival, Demand, REGIONS, SLICE, SPEED};
use crate::faults::{Fault, Turn};
use crate::network::Network;
use crate::rng::Rng;
use crate::world::SECOND;

const PLACES: usize = REGIONS as usize;

/// A design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Design {
    /// One Redis in region 0: check, then INCRBYFLOAT when the cost is known; refused when it
    /// cannot be reached.
    CentralClosed,
    /// The same, but admitted when it cannot be reached.
    CentralOpen,
    /// A Redis in each region, the whole budget in each: check, then INCRBYFLOAT.
    EachItsOwn,
    /// Regions send each other what they have added, once a second; one that cannot be reached
    /// misses it.
    Differences,
    /// Regions send each other their totals, once a second: a G-counter.
    Totals,
}

impl Design {
    pub(crate) const ALL: [Self; 5] = [
        Self::CentralClosed,
        Self::CentralOpen,
        Self::EachItsOwn,
        Self::Differences,
        Self::Totals,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CentralClosed => "one Redis, INCRBYFLOAT after, closed",
            Self::CentralOpen => "one Redis, INCRBYFLOAT after, open",
            Self::EachItsOwn => "a Redis and the whole budget per region",
            Self::Differences => "counter per region, differences each 1 s",
            Self::Totals => "G-counter, totals each 1 s",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) budget: Rights,
    pub(crate) billed: Rights,
    /// Over the budgets, in all, and on the worst one.
    pub(crate) over: Rights,
    pub(crate) worst: Rights,
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) wrong: u64,
}

/// Counters by region and budget; what has been added since the last exchange.
struct Counters {
    design: Design,
    own: Vec<[Rights; PLACES]>,
    seen: Vec<[[Rights; PLACES]; PLACES]>,
    unsent: Vec<[[Rights; PLACES]; PLACES]>,
}

impl Counters {
    fn new(design: Design, budgets: usize) -> Self {
        Self {
            design,
            own: vec![[0; PLACES]; budgets],
            seen: vec![[[0; PLACES]; PLACES]; budgets],
            unsent: vec![[[0; PLACES]; PLACES]; budgets],
        }
    }

    /// What a region believes is spent; `None` when it cannot know.
    fn spent(&self, budget: usize, region: usize, network: &Network) -> Option<Rights> {
        match self.design {
            Design::CentralClosed | Design::CentralOpen => {
                let reached = region == 0 || !network.is_cut(region as u8, 0);
                reached.then_some(self.own[budget][0])
            }
            Design::EachItsOwn => Some(self.own[budget][region]),
            Design::Differences | Design::Totals => {
                let others: Rights = self.seen[budget][region].iter().sum();
                Some(self.own[budget][region] + others)
            }
        }
    }

    fn add(&mut self, budget: usize, region: usize, cost: Rights, network: &Network) {
        match self.design {
            Design::CentralClosed | Design::CentralOpen => {
                if region == 0 || !network.is_cut(region as u8, 0) {
                    self.own[budget][0] += cost;
                }
            }
            _ => {
                self.own[budget][region] += cost;
                for unsent in &mut self.unsent[budget][region] {
                    *unsent += cost;
                }
            }
        }
    }

    /// Once a second.
    fn exchange(&mut self, network: &Network, rng: &mut Rng) {
        for budget in 0..self.own.len() {
            for from in 0..PLACES {
                for to in (0..PLACES).filter(|to| *to != from) {
                    let copies = network.delays(from as u8, to as u8, rng).len() as Rights;
                    let unsent = std::mem::take(&mut self.unsent[budget][from][to]);
                    match self.design {
                        Design::Differences => self.seen[budget][to][from] += unsent * copies,
                        Design::Totals if copies > 0 => {
                            self.seen[budget][to][from] = self.own[budget][from];
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Cuts and bad links of a schedule, as moments; other faults do not touch these designs here.
fn cuts(turns: &[Turn]) -> Vec<(u64, Fault, bool)> {
    let mut cuts = Vec::new();
    for turn in turns {
        if let Fault::Isolate { for_us, .. } | Fault::Cut { for_us, .. } = turn.what {
            cuts.push((turn.at_us, turn.what.clone(), true));
            cuts.push((turn.at_us + for_us, turn.what.clone(), false));
        }
    }
    cuts.sort_by_key(|(at, ..)| *at);
    cuts
}

fn set(network: &mut Network, fault: &Fault, cut: bool) {
    let mut pair = |from, to| match cut {
        true => network.cut(from, to),
        false => network.mend(from, to),
    };
    match *fault {
        Fault::Cut { from, to, .. } => pair(from, to),
        Fault::Isolate { region, .. } => {
            for other in (0..REGIONS).filter(|other| *other != region) {
                pair(region, other);
                pair(other, region);
            }
        }
        _ => {}
    }
}

/// Runs a demand through a design.
pub(crate) fn run(design: Design, demand: &Demand, turns: &[Turn]) -> Outcome {
    let mut rng = Rng(9);
    let mut network = Network::new(0);
    let mut counters = Counters::new(design, demand.budgets.len());
    let mut outcome = Outcome::default();
    let mut truth: BTreeMap<usize, Rights> = BTreeMap::new();
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let (mut cuts, mut second) = (cuts(turns).into_iter().peekable(), SECOND);
    for (index, arrival) in demand.arrivals.iter().enumerate() {
        let now = arrival.at_us;
        while second <= now {
            while let Some((_, fault, cut)) = cuts.next_if(|(at, ..)| *at <= second) {
                set(&mut network, &fault, cut);
            }
            settle(&mut ends, second, demand, &mut counters, &network);
            counters.exchange(&network, &mut rng);
            second += SECOND;
        }
        settle(&mut ends, now, demand, &mut counters, &network);
        if admits(&counters, demand, arrival, &network) {
            outcome.admitted += 1;
            outcome.billed += arrival.cost();
            for budget in arrival.budgets {
                *truth.entry(budget).or_insert(0) += arrival.cost();
            }
            let end = now + arrival.output_tokens * SECOND / SPEED;
            ends.push(Reverse((end, index)));
        } else {
            outcome.refused += 1;
            outcome.wrong += u64::from(is_wrong(demand, arrival, &truth));
        }
    }
    for (budget, spent) in truth {
        let over = (spent - demand.budgets[budget].amount).max(0);
        outcome.over += over;
        outcome.worst = outcome.worst.max(over);
    }
    outcome.budget = demand.budgets.iter().map(|budget| budget.amount).sum();
    outcome
}

/// Costs are counted when they are known.
fn settle(
    ends: &mut BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
    demand: &Demand,
    counters: &mut Counters,
    network: &Network,
) {
    while let Some(Reverse((at, index))) = ends.peek().copied() {
        if at > now {
            return;
        }
        ends.pop();
        let arrival = &demand.arrivals[index];
        for budget in arrival.budgets {
            counters.add(budget, usize::from(arrival.region), arrival.cost(), network);
        }
    }
}

fn admits(counters: &Counters, demand: &Demand, arrival: &Arrival, network: &Network) -> bool {
    arrival.budgets.iter().all(|budget| {
        let spent = counters.spent(*budget, usize::from(arrival.region), network);
        match spent {
            Some(spent) => spent < demand.budgets[*budget].amount,
            None => counters.design == Design::CentralOpen,
        }
    })
}

fn is_wrong(demand: &Demand, arrival: &Arrival, truth: &BTreeMap<usize, Rights>) -> bool {
    let need = arrival.input_estimate() + SLICE as Rights * arrival.price;
    arrival.budgets.iter().all(|budget| {
        let amount = demand.budgets[*budget].amount;
        let left = amount - truth.get(budget).copied().unwrap_or(0);
        left >= (amount / 50).max(need)
    })
}
