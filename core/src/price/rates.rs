//! The rates that apply to one request, every fallback resolved.

use super::decimal::Rate;
use super::entry::{ModelPrice, RangeRates};
use super::field::{Kind, RateTable};
use crate::time::WallMs;
use crate::usage::ServiceTier;

/// Token rates of one request. `None` for input or output means that the price is unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenRates {
    pub(super) input: Option<Rate>,
    pub(super) cache_read: Option<Rate>,
    pub(super) cache_read_audio: Option<Rate>,
    pub(super) cache_write: Option<Rate>,
    pub(super) cache_write_1h: Option<Rate>,
    pub(super) cache_write_12h: Option<Rate>,
    pub(super) input_audio: Option<Rate>,
    pub(super) input_image: Option<Rate>,
    pub(super) output: Option<Rate>,
    pub(super) output_audio: Option<Rate>,
    pub(super) output_image: Option<Rate>,
    pub(super) reasoning: Option<Rate>,
}

impl ModelPrice {
    /// Rates for a prompt of this size, in this tier, at this time.
    pub(super) fn token_rates(
        &self,
        prompt: u64,
        tier: ServiceTier,
        at: Option<WallMs>,
    ) -> TokenRates {
        let mut rates = match self.range_of(prompt) {
            Some(range) => self.range_rates(range, tier),
            None => self.threshold_rates(prompt, tier),
        };
        let block = self.off_peak.as_deref();
        if let Some(block) = block.filter(|block| at.is_some_and(|at| block.is_open(at))) {
            // A missing cache price follows the input price, also the one of this hour.
            let follows = |own: Option<Rate>, given: Option<Rate>| match given {
                Some(given) => Some(given),
                None if own == rates.input => block.input.or(own),
                None => own,
            };
            rates.cache_read = follows(rates.cache_read, block.cache_read);
            rates.cache_write = follows(rates.cache_write, block.cache_write);
            rates.reasoning = match block.reasoning {
                Some(given) => Some(given),
                None if rates.reasoning == rates.output => block.output.or(rates.reasoning),
                None => rates.reasoning,
            };
            rates.input = block.input.or(rates.input);
            rates.output = block.output.or(rates.output);
        }
        rates
    }

    /// `tiered_pricing`: the range that holds the prompt, the last one above all of them.
    fn range_of(&self, prompt: u64) -> Option<&RangeRates> {
        if prompt == 0 {
            return None;
        }
        let fits = |range: &&RangeRates| range.above < prompt && prompt <= range.up_to;
        self.ranges.iter().find(fits).or(self.ranges.last())
    }

    /// One range prices the whole request; only an output price may come from the entry itself.
    fn range_rates(&self, range: &RangeRates, tier: ServiceTier) -> TokenRates {
        let picked = Picked {
            rates: &range.rates,
            tier: ServiceTier::Standard,
            prompt: 0,
        };
        let output = picked.own(Kind::Output).or(self.rates.base(Kind::Output));
        let input = picked.own(Kind::Input);
        let mut rates = picked.resolve(input, output);
        let flat = |kind| self.rates.base(kind);
        rates.input_audio = flat(Kind::InputAudio).or(rates.input_audio);
        rates.input_image = flat(Kind::InputImageToken).or(rates.input_image);
        rates.output_audio = flat(Kind::OutputAudio).or(rates.output_audio);
        rates.output_image = flat(Kind::OutputImageToken).or(rates.output_image);
        if tier == ServiceTier::Batch {
            rates.halve();
        }
        rates
    }

    fn threshold_rates(&self, prompt: u64, tier: ServiceTier) -> TokenRates {
        let picked = Picked {
            rates: &self.rates,
            tier,
            // xAI bills the higher rate from the threshold on, the others above it.
            prompt: prompt.saturating_add(u64::from(self.is_threshold_inclusive())),
        };
        let output = picked.priced(Kind::Output);
        // Image models without an output price: every output token is an image token.
        let output = match output {
            None | Some(Rate::ZERO) => picked.priced(Kind::OutputImageToken).or(output),
            given => given,
        };
        picked.resolve(picked.priced(Kind::Input), output)
    }

    pub(super) fn is_threshold_inclusive(&self) -> bool {
        self.provider.as_ref() == "xai"
    }
}

impl TokenRates {
    fn halve(&mut self) {
        let rates = [
            &mut self.input,
            &mut self.cache_read,
            &mut self.cache_read_audio,
            &mut self.cache_write,
            &mut self.cache_write_1h,
            &mut self.cache_write_12h,
            &mut self.input_audio,
            &mut self.input_image,
            &mut self.output,
            &mut self.output_audio,
            &mut self.output_image,
            &mut self.reasoning,
        ];
        for rate in rates {
            *rate = rate.map(Rate::half);
        }
    }
}

/// A rate table seen from one request.
struct Picked<'a> {
    rates: &'a RateTable,
    tier: ServiceTier,
    prompt: u64,
}

impl Picked<'_> {
    /// The tier's rate or the standard one; a batch without a price of its own costs half.
    fn priced(&self, kind: Kind) -> Option<Rate> {
        if self.tier != ServiceTier::Batch {
            return self.own(kind);
        }
        let batch = self.rates.pick_own(kind, ServiceTier::Batch, self.prompt);
        batch.or_else(|| {
            let standard = self.rates.pick(kind, ServiceTier::Standard, self.prompt);
            standard.map(Rate::half)
        })
    }

    fn own(&self, kind: Kind) -> Option<Rate> {
        self.rates.pick(kind, self.tier, self.prompt)
    }

    /// Cache rates of a batch: where the provider lists batch prices but none for the cache, it
    /// gives no cache discount in batches.
    fn cache(&self, kind: Kind) -> Option<Rate> {
        let own = |kind| self.rates.pick_own(kind, self.tier, self.prompt);
        if self.tier == ServiceTier::Batch && own(Kind::Input).is_some() {
            return own(kind);
        }
        self.priced(kind)
    }

    /// A tier's own output price also covers reasoning unless the tier prices that as well.
    fn reasoning(&self) -> Option<Rate> {
        let own = |kind| self.rates.pick_own(kind, self.tier, self.prompt);
        if self.tier != ServiceTier::Standard && own(Kind::Output).is_some() {
            return own(Kind::Reasoning);
        }
        self.priced(Kind::Reasoning)
    }

    /// Fills in what has no price of its own: cache and media cost what plain tokens cost.
    fn resolve(&self, input: Option<Rate>, output: Option<Rate>) -> TokenRates {
        let cache_read = self.cache(Kind::CacheRead).or(input);
        let cache_write = self.cache(Kind::CacheWrite).or(input);
        TokenRates {
            input,
            cache_read,
            cache_read_audio: self.cache(Kind::CacheReadAudio).or(cache_read),
            cache_write,
            cache_write_1h: self.cache(Kind::CacheWrite1h).or(cache_write),
            cache_write_12h: self.cache(Kind::CacheWrite12h).or(cache_write),
            input_audio: self.priced(Kind::InputAudio).or(input),
            input_image: self.priced(Kind::InputImageToken).or(input),
            output,
            output_audio: self.priced(Kind::OutputAudio).or(output),
            output_image: self.priced(Kind::OutputImageToken).or(output),
            reasoning: self.reasoning().or(output),
        }
    }
}
