//! Choosing among deployments that could all take the request, by LiteLLM's strategies.

use crate::routing::plan::Candidate;
use crate::routing::policy::{LatencyArgs, Strategy};
use crate::time::MonoUs;

/// What LiteLLM takes for the price of a token, in and out together, when none is known: so much
/// that a known price always wins.
const PRICE_UNKNOWN: f64 = 10.0;

impl Strategy {
    /// LiteLLM's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::SimpleShuffle => "simple-shuffle",
            Self::LatencyBased(_) => "latency-based-routing",
            Self::LeastBusy => "least-busy",
            Self::UsageBased => "usage-based-routing-v2",
            Self::CostBased => "cost-based-routing",
        }
    }

    /// How latencies are weighed; the defaults where the strategy does not look at them.
    pub fn latency_args(&self) -> LatencyArgs {
        match self {
            Self::LatencyBased(args) => *args,
            Self::SimpleShuffle | Self::LeastBusy | Self::UsageBased | Self::CostBased => {
                LatencyArgs::default()
            }
        }
    }
}

/// The index of the one that gets the request; `None` for an empty pool. `pool` are indices into
/// `candidates`; `dice` gives uniform numbers in `[0, 1)`.
pub fn choose(
    strategy: &Strategy,
    pool: &[usize],
    candidates: &[Candidate<'_>],
    now: MonoUs,
    dice: &mut dyn FnMut() -> f64,
) -> Option<usize> {
    let health = |index: usize| candidates[index].health;
    match strategy {
        Strategy::SimpleShuffle => shuffle(pool, candidates, dice()),
        Strategy::LatencyBased(args) => {
            better_of_two(pool, args, &|index| health(index).score(now, args), dice)
        }
        Strategy::LeastBusy => lowest(pool, &|index| f64::from(health(index).in_flight()), dice()),
        Strategy::UsageBased => {
            let tokens = |index| health(index).tokens_this_minute(now) as f64;
            lowest(pool, &tokens, dice())
        }
        Strategy::CostBased => {
            let price = |index: usize| candidates[index].facts.price.unwrap_or(PRICE_UNKNOWN);
            lowest(pool, &price, dice())
        }
    }
}

/// At random: by `weight` if any has one, else by `rpm` or `tpm` if all have it, else evenly.
fn shuffle(pool: &[usize], candidates: &[Candidate<'_>], dice: f64) -> Option<usize> {
    let facts = |index: &usize| candidates[*index].facts;
    let weights: Vec<f64> = pool
        .iter()
        .map(|index| facts(index).weight.unwrap_or(1.0))
        .collect();
    let all = |limit: &dyn Fn(&usize) -> Option<u64>| -> Option<Vec<f64>> {
        let limits: Option<Vec<u64>> = pool.iter().map(limit).collect();
        limits.map(|limits| limits.into_iter().map(|limit| limit as f64).collect())
    };
    let shares = if pool.iter().any(|index| facts(index).weight.is_some()) {
        weights
    } else {
        let rpm = all(&|index| facts(index).limits.rpm);
        let tpm = || all(&|index| facts(index).limits.tpm);
        rpm.or_else(tpm).unwrap_or(weights)
    };
    let total: f64 = shares.iter().sum();
    if total <= 0.0 {
        // Only those without a share are left: an answer is better than none.
        return at(pool, dice);
    }
    let mut left = dice * total;
    let mut last = None;
    for (index, share) in pool.iter().zip(shares).filter(|(_, share)| *share > 0.0) {
        last = Some(*index);
        left -= share;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The better of two at random: with every gateway knowing only its own measurements, the best of
/// all would draw everybody's traffic at once.
fn better_of_two(
    pool: &[usize],
    args: &LatencyArgs,
    score: &dyn Fn(usize) -> f64,
    dice: &mut dyn FnMut() -> f64,
) -> Option<usize> {
    let first = at(pool, dice())?;
    let others: Vec<usize> = pool
        .iter()
        .copied()
        .filter(|index| *index != first)
        .collect();
    let Some(second) = at(&others, dice()) else {
        return Some(first);
    };
    let (one, two) = (score(first), score(second));
    // `first` is random already: it wins among equals.
    let limit = 1.0 + args.buffer.max(0.0);
    Some(if one <= two * limit { first } else { second })
}

/// The one with the least of something; at random among equals.
fn lowest(pool: &[usize], key: &dyn Fn(usize) -> f64, dice: f64) -> Option<usize> {
    let least = pool
        .iter()
        .map(|index| key(*index))
        .min_by(f64::total_cmp)?;
    let equal: Vec<usize> = pool
        .iter()
        .copied()
        .filter(|index| key(*index) <= least)
        .collect();
    at(&equal, dice)
}

fn at(pool: &[usize], dice: f64) -> Option<usize> {
    let place = (dice * pool.len() as f64) as usize;
    pool.get(place.min(pool.len().saturating_sub(1))).copied()
}
