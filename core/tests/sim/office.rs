//! What administrators decided, and which region knows it since when.

use std::collections::BTreeMap;

use meridian_core::escrow::{Actor, Pid, Plan, Rights};

use crate::demand::{Budget, REGIONS};
use crate::network::Network;

#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// A raise, minted by one actor of the home region.
    Raised {
        pid: Pid,
        claim: u32,
        amount: Rights,
        by: Actor,
    },
    Lowered {
        pid: Pid,
        lowering: u32,
        by: Rights,
        to: Actor,
    },
    /// "Reset now": periods of older generations take no requests.
    Reset {
        budget: usize,
        generation: u32,
    },
    Revoked {
        budget: usize,
    },
    WrittenOff {
        actor: Actor,
    },
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) fact: Fact,
    /// By region, since when.
    pub(crate) since: [Option<u64>; REGIONS as usize],
}

#[derive(Debug, Default)]
pub(crate) struct Office {
    pub(crate) facts: Vec<Known>,
    pub(crate) plans: BTreeMap<Pid, Plan>,
    /// Raises and lowerings of each period, in all.
    pub(crate) raised: BTreeMap<Pid, Rights>,
    pub(crate) lowered: BTreeMap<Pid, Rights>,
    /// The same by who destroys.
    pub(crate) burns: BTreeMap<(Pid, Actor), Rights>,
    /// Who destroys; fixed by the first lowering.
    pub(crate) burner: BTreeMap<Pid, Actor>,
    pub(crate) claims: BTreeMap<Pid, u32>,
    pub(crate) lowerings: u32,
    /// How often it was decided what a fenced actor is to destroy.
    pub(crate) decided: BTreeMap<(Pid, Actor), u32>,
    pub(crate) generations: BTreeMap<usize, u32>,
    pub(crate) revoked: BTreeMap<usize, u64>,
}

impl Office {
    pub(crate) fn decide(&mut self, fact: Fact, region: u8, now: u64) {
        let mut since = [None; REGIONS as usize];
        since[usize::from(region)] = Some(now);
        self.facts.push(Known { fact, since });
    }

    /// Tells the other regions what one knows, where links allow.
    pub(crate) fn spread(&mut self, network: &Network, now: u64) {
        for known in &mut self.facts {
            for from in 0..REGIONS {
                let told =
                    known.since[usize::from(from)].is_some_and(|since| since + 100_000 <= now);
                for to in 0..REGIONS {
                    if told && !network.is_cut(from, to) && known.since[usize::from(to)].is_none() {
                        known.since[usize::from(to)] = Some(now);
                    }
                }
            }
        }
    }

    /// The plan of a period, written when it is first asked for and never changed.
    pub(crate) fn plan(&mut self, pid: Pid, budget: &Budget) -> &Plan {
        self.plans.entry(pid).or_insert_with(|| {
            let regions: Vec<u8> = (0..REGIONS).collect();
            Plan::new(budget.amount, &regions, budget.home, 0.02, 10_000_000).unwrap()
        })
    }

    /// What spend in a period may reach, raises included.
    pub(crate) fn ceiling(&self, pid: Pid) -> Rights {
        let plan = self.plans.get(&pid).map_or(0, |plan| plan.amount);
        plan + self.raised.get(&pid).copied().unwrap_or(0)
    }
}
