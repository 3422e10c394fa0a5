//! Who asks for what: keys with budgets in teams with budgets, and their requests.

use meridian_core::escrow::{Rights, ScopeId};

use crate::rng::{Rng, lognormal};

pub(crate) const REGIONS: u8 = 3;
pub(crate) const NODES: u16 = 2;
/// Output tokens that a request reserves at a time.
pub(crate) const SLICE: u64 = 512;
/// Output tokens between two looks at a stream, which are also its progress frames.
pub(crate) const STEP: u64 = 128;
/// Output tokens per second of every stream.
pub(crate) const SPEED: u64 = 200;
/// Input estimates are wrong by this much at most, in thousandths.
pub(crate) const INPUT_ERROR_PERMILLE: u64 = 10;

/// A budget of the simulation.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) scope: ScopeId,
    pub(crate) home: u8,
    pub(crate) amount: Rights,
    /// Length of its period in milliseconds; `None` never ends.
    pub(crate) period_ms: Option<i64>,
}

/// A request, as its client and its provider know it.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at_us: u64,
    pub(crate) region: u8,
    /// Which of the region's nodes gets it, if it is up.
    pub(crate) node: u16,
    /// Indexes of budgets: key and team.
    pub(crate) budgets: [usize; 2],
    pub(crate) input_tokens: u64,
    /// What the input costs in truth, over the estimate of `input_tokens` by the error at most.
    pub(crate) input_cost: Rights,
    pub(crate) output_tokens: u64,
    /// Nano-dollars per output token; input costs a fifth.
    pub(crate) price: Rights,
}

impl Arrival {
    pub(crate) fn input_estimate(&self) -> Rights {
        self.input_tokens as Rights * self.price / 5
    }

    /// What the whole answer costs.
    pub(crate) fn cost(&self) -> Rights {
        self.cost_of(self.output_tokens)
    }

    pub(crate) fn cost_of(&self, tokens: u64) -> Rights {
        self.input_cost + tokens as Rights * self.price
    }
}

/// Everything that is asked for in one run.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) budgets: Vec<Budget>,
    pub(crate) arrivals: Vec<Arrival>,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) keys: usize,
    pub(crate) per_second: f64,
    pub(crate) seconds: u64,
    /// Budgets as parts of what is expected to be asked for, smallest and largest.
    pub(crate) budget: (f64, f64),
    /// Some budgets have periods that end during the run.
    pub(crate) periods: bool,
    /// Part of a key's requests that come to its home region.
    pub(crate) home_part: f64,
}

/// Mean cost of a request, roughly: budgets are set by it.
const MEAN_COST: f64 = 10_000_000.0;

pub(crate) fn demand(load: Load, rng: &mut Rng) -> Demand {
    let teams = (load.keys / 3).max(1);
    let mut budgets = Vec::new();
    let expected = load.per_second * load.seconds as f64 * MEAN_COST;
    for index in 0..load.keys + teams {
        let share = match index < load.keys {
            true => expected / load.keys as f64,
            false => expected / teams as f64 * 1.2,
        };
        let part = load.budget.0 + rng.dice() * (load.budget.1 - load.budget.0);
        let periodic = load.periods && rng.dice() < 0.4;
        let period_ms = periodic.then(|| 15_000 + 1_000 * rng.below(20) as i64);
        budgets.push(Budget {
            scope: ScopeId::from_bits(index as u128 + 1),
            home: rng.below(usize::from(REGIONS)) as u8,
            amount: (share * part) as Rights,
            period_ms,
        });
    }
    let mut arrivals = Vec::new();
    let mut at = 0.0;
    while at < load.seconds as f64 {
        at += rng.exponential(1.0 / load.per_second);
        arrivals.push(arrival((at * 1e6) as u64, load, &budgets, teams, rng));
    }
    Demand { budgets, arrivals }
}

/// Requests of half a cent each for keys with budgets of a dollar: a steady pace, all regions and
/// nodes alike, as `tests/regions` asks.
pub(crate) fn dollars(keys: usize, per_second: f64, seconds: u64, rng: &mut Rng) -> Demand {
    let mut budgets = Vec::new();
    for index in 0..=keys {
        // Their team has enough for all.
        let amount = if index < keys {
            1_000_000_000
        } else {
            1_000_000_000_000
        };
        budgets.push(Budget {
            scope: ScopeId::from_bits(index as u128 + 1),
            home: rng.below(usize::from(REGIONS)) as u8,
            amount,
            period_ms: None,
        });
    }
    let count = (per_second * seconds as f64) as usize;
    let mut arrivals: Vec<Arrival> = (0..count)
        .map(|turn| Arrival {
            at_us: (turn as f64 / per_second * 1e6) as u64 + rng.below(20_000) as u64,
            region: (turn / keys % usize::from(REGIONS)) as u8,
            node: rng.below(usize::from(NODES)) as u16,
            budgets: [turn % keys, keys],
            input_tokens: 10,
            input_cost: 20_000,
            output_tokens: 500,
            price: 10_000,
        })
        .collect();
    arrivals.sort_by_key(|arrival| arrival.at_us);
    Demand { budgets, arrivals }
}

fn arrival(at_us: u64, load: Load, budgets: &[Budget], teams: usize, rng: &mut Rng) -> Arrival {
    let key = rng.below(load.keys);
    let at_home = rng.dice() < load.home_part;
    let region = match at_home {
        true => budgets[key].home,
        false => rng.below(usize::from(REGIONS)) as u8,
    };
    let price = [600, 10_000, 25_000][rng.below(3)];
    let input_tokens = lognormal(rng, 1_200.0, 1.0).clamp(1.0, 50_000.0) as u64;
    let error = rng.below(INPUT_ERROR_PERMILLE as usize + 1) as u64;
    let input = input_tokens as Rights * price / 5;
    Arrival {
        at_us,
        region,
        node: rng.below(usize::from(NODES)) as u16,
        budgets: [key, load.keys + key % teams],
        input_tokens,
        input_cost: input + input * error as Rights / 1_000,
        output_tokens: lognormal(rng, 300.0, 1.0).clamp(1.0, 4_096.0) as u64,
        price,
    }
}
