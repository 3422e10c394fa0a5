//! The most a request can cost, for reserving budget before it is sent.

use super::cost::BillingPlace;
use super::decimal::{Factor, Rate};
use super::entry::ModelPrice;
use super::field::{Kind, RateTable};
use crate::money::NanoUsd;
use crate::usage::{ServiceTier, Units};

/// What a request can consume at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// Input tokens, cached ones included.
    pub prompt: u64,
    /// Output tokens of all choices.
    pub completion: u64,
    /// Tier the request names. Every tier but ultrafast is covered whatever it says.
    pub tier: ServiceTier,
    /// The request asks for Anthropic's fast mode.
    pub fast: bool,
    /// Most units that are not tokens.
    pub units: Units,
}

impl Ceiling {
    /// A ceiling on tokens alone.
    pub fn tokens(prompt: u64, completion: u64) -> Self {
        Self {
            prompt,
            completion,
            ..Self::default()
        }
    }
}

impl ModelPrice {
    /// No answer within `ceiling` costs more at `place` at any hour: the highest size tier that
    /// the prompt can reach, cache-write, audio and image rates, the priority tier. `None` when
    /// nothing has a price.
    pub fn bound(&self, ceiling: &Ceiling, place: &BillingPlace) -> Option<NanoUsd> {
        if !self.is_priced() {
            return None;
        }
        let (input, output) = self.highest_rates(ceiling);
        let mut tokens = input.times(ceiling.prompt);
        tokens = tokens.plus(output.times(ceiling.completion));
        let [host, vertex, fast, us] = self.multipliers(true, ceiling.fast, place);
        for factor in [host, vertex, fast.max(Factor::ONE), us.max(Factor::ONE)] {
            tokens = tokens.scaled(factor);
        }
        let sizes = [Kind::SearchLow, Kind::SearchMedium, Kind::SearchHigh];
        let search = sizes.into_iter().filter_map(|kind| self.base(kind)).max();
        let searches = u64::from(ceiling.units.web_searches);
        let fee = self.base(Kind::Request).unwrap_or_default();
        let most = tokens
            .plus(self.media_bill(&ceiling.units).sum())
            .plus(search.unwrap_or_default().times(searches))
            .plus(fee);
        let (discount, margin) = place.adjustment.parts(most);
        Some(most.minus(discount).plus(margin).round())
    }

    /// Highest rate of an input and of an output token. One pass: every rate that a request below
    /// the ceiling can be billed at is in these tables, fallbacks included.
    fn highest_rates(&self, ceiling: &Ceiling) -> (Rate, Rate) {
        let reach = ceiling
            .prompt
            .saturating_add(u64::from(self.is_threshold_inclusive()));
        let mut highest = (Rate::ZERO, Rate::ZERO);
        raise(&mut highest, &self.rates, reach, ceiling.tier);
        let last = self.ranges.len().saturating_sub(1);
        for (at, range) in self.ranges.iter().enumerate() {
            // The last range also prices what lies outside all of them.
            if range.above < reach || at == last {
                raise(&mut highest, &range.rates, reach, ceiling.tier);
            }
        }
        if let Some(block) = &self.off_peak {
            let cache = block.cache_read.max(block.cache_write);
            let input = block.input.max(cache).unwrap_or_default();
            let output = block.output.max(block.reasoning).unwrap_or_default();
            highest = (highest.0.max(input), highest.1.max(output));
        }
        highest
    }
}

fn raise(highest: &mut (Rate, Rate), rates: &RateTable, reach: u64, tier: ServiceTier) {
    for (key, rate) in rates.iter() {
        let excluded = key.is_tier(ServiceTier::Ultrafast) && tier != ServiceTier::Ultrafast;
        if key.above >= reach.max(1) || excluded {
            continue;
        }
        if key.kind.is_input_token() {
            highest.0 = highest.0.max(rate);
        }
        if key.kind.is_output_token() {
            highest.1 = highest.1.max(rate);
        }
    }
}
