//! From usage to money: every token and unit at its rate, one rounding at the end.

use super::adjust::Adjustment;
use super::decimal::{Factor, Rate};
use super::entry::ModelPrice;
use super::field::Kind;
use super::rates::TokenRates;
use crate::money::NanoUsd;
use crate::time::WallMs;
use crate::usage::{SearchContext, Units, Usage};

/// What a request costs. `total` is rounded once from the exact sum; the parts are rounded one by
/// one for display and may differ from it by a nano-dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// What is charged: original - discount + margin.
    pub total: NanoUsd,
    /// Input side, cache reads and writes included.
    pub input: NanoUsd,
    /// Output side, images and seconds included.
    pub output: NanoUsd,
    /// Part of `input` for tokens read from the provider's cache.
    pub cache_read: NanoUsd,
    /// Part of `input` for tokens written to it.
    pub cache_write: NanoUsd,
    /// Web searches run by the provider.
    pub tools: NanoUsd,
    /// Sum before discount and margin.
    pub original: NanoUsd,
    /// Taken off by the operator's discount.
    pub discount: NanoUsd,
    /// Added by the operator's margin.
    pub margin: NanoUsd,
    /// Something that was consumed has no price: `total` is too low by an unknown amount.
    pub price_unknown: bool,
}

/// Facts of a deployment, and the time, that change its prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillingPlace {
    /// Set when requests go to a regional OpenAI host.
    pub openai_host_region: Option<HostRegion>,
    /// The Vertex location is known and is not `global`.
    pub vertex_regional: bool,
    /// The operator's discount and margin.
    pub adjustment: Adjustment,
    /// When the request is billed, for off-peak prices; `None` bills the usual price.
    pub now: Option<WallMs>,
}

/// Regions in which OpenAI keeps data, at a higher price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRegion {
    /// `eu.api.openai.com`.
    Eu,
    /// `us.api.openai.com`.
    Us,
}

impl BillingPlace {
    /// Reads the facts from a deployment's provider, upstream host and Vertex location.
    pub fn of(provider: &str, host: &str, vertex_location: Option<&str>) -> Self {
        let openai_host_region = match host {
            _ if provider != "openai" => None,
            "eu.api.openai.com" => Some(HostRegion::Eu),
            "us.api.openai.com" => Some(HostRegion::Us),
            _ => None,
        };
        let is_vertex = provider.starts_with("vertex_ai");
        let regional = |place: &str| !place.is_empty() && !place.eq_ignore_ascii_case("global");
        Self {
            openai_host_region,
            vertex_regional: is_vertex && vertex_location.is_some_and(regional),
            ..Self::default()
        }
    }

    /// The same place at a time.
    #[must_use]
    pub fn at(self, now: WallMs) -> Self {
        Self {
            now: Some(now),
            ..self
        }
    }
}

/// Exact parts of a cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bill {
    pub(super) input: Rate,
    pub(super) cache_read: Rate,
    pub(super) cache_write: Rate,
    pub(super) output: Rate,
}

impl Bill {
    pub(super) fn sum(&self) -> Rate {
        self.input
            .plus(self.cache_read)
            .plus(self.cache_write)
            .plus(self.output)
    }

    fn scaled(&self, factor: Factor) -> Self {
        Self {
            input: self.input.scaled(factor),
            cache_read: self.cache_read.scaled(factor),
            cache_write: self.cache_write.scaled(factor),
            output: self.output.scaled(factor),
        }
    }
}

impl ModelPrice {
    /// Exact cost of an answer. Inconsistent usage is clamped (more cached than prompt tokens) and
    /// sums stop at the end of the range: never negative, never a panic.
    pub fn cost(&self, usage: &Usage, place: &BillingPlace) -> Cost {
        let rates = self.token_rates(usage.prompt, usage.tier, place.now);
        let by_character = usage.units.characters > 0 && self.base(Kind::Character).is_some();
        let mut tokens = token_bill(usage, &rates, by_character);
        for factor in self.multipliers(usage.geo_us, usage.fast, place) {
            tokens = tokens.scaled(factor);
        }
        let mut media = self.media_bill(&usage.units);
        if tokens.sum() > Rate::ZERO {
            // The tokens already pay for the images and seconds they stand for.
            media.output = Rate::ZERO;
        }
        let tools = self.search_rate(usage.units.search_context);
        let searches = u64::from(usage.units.web_searches);
        let searched = tools.unwrap_or_default().times(searches);
        let fee = self.base(Kind::Request).unwrap_or_default();
        let fee = fee.times(u64::from(usage.total() > 0));

        let input = tokens.input.plus(media.input).plus(fee);
        let output = tokens.output.plus(media.output);
        let input_side = input.plus(tokens.cache_read).plus(tokens.cache_write);
        let original = input_side.plus(output).plus(searched);
        let (discount, margin) = place.adjustment.parts(original);
        Cost {
            total: original.minus(discount).plus(margin).round(),
            input: input_side.round(),
            output: output.round(),
            cache_read: tokens.cache_read.round(),
            cache_write: tokens.cache_write.round(),
            tools: searched.round(),
            original: original.round(),
            discount: discount.round(),
            margin: margin.round(),
            price_unknown: self.is_unknown(usage, &rates, searches > 0 && tools.is_none()),
        }
    }

    pub(super) fn base(&self, kind: Kind) -> Option<Rate> {
        self.rates.base(kind)
    }

    /// Multipliers on the token costs of a request, in LiteLLM's order.
    pub(super) fn multipliers(&self, us: bool, fast: bool, place: &BillingPlace) -> [Factor; 4] {
        let when = |holds: bool, factor: Factor| if holds { factor } else { Factor::ONE };
        let host = match place.openai_host_region {
            Some(HostRegion::Eu) => self.uplift.openai_eu,
            Some(HostRegion::Us) => self.uplift.openai_us,
            None => Factor::ONE,
        };
        [
            host,
            when(place.vertex_regional, self.uplift.vertex_regional),
            when(fast, self.uplift.anthropic_fast),
            when(us, self.uplift.anthropic_us),
        ]
    }

    /// Things that are not tokens. `input` is charged besides tokens, `output` instead of them.
    pub(super) fn media_bill(&self, units: &Units) -> Bill {
        let times = |kind, count: u64| self.base(kind).unwrap_or_default().times(count);
        let queries = times(Kind::Query, u64::from(units.queries));
        let characters = times(Kind::Character, units.characters);
        Bill {
            input: queries.plus(characters),
            output: self.image_cost(units).plus(self.time_cost(units)),
            ..Bill::default()
        }
    }

    /// By image, or by pixel where no price per image exists.
    fn image_cost(&self, units: &Units) -> Rate {
        let per_image = positive(self.base(Kind::OutputImage));
        if let Some(rate) = per_image.or(self.base(Kind::InputImage)) {
            return rate.times(u64::from(units.images));
        }
        let per_pixel = positive(self.base(Kind::OutputPixel));
        let per_pixel = per_pixel.or(self.base(Kind::InputPixel));
        per_pixel.unwrap_or_default().times(units.pixels)
    }

    /// By second of audio, or of work for models that sell compute time. An entry with a price on
    /// both sides (whisper) is charged once.
    fn time_cost(&self, units: &Units) -> Rate {
        let Some(rate) = self.second_rate() else {
            return Rate::ZERO;
        };
        let sells_work = matches!(
            self.mode(),
            "" | "chat" | "completion" | "responses" | "embedding" | "audio_transcription"
        );
        match units.audio_ms {
            0 if sells_work => rate.times_ms(units.wall_ms),
            audio_ms => rate.times_ms(audio_ms),
        }
    }

    fn second_rate(&self) -> Option<Rate> {
        positive(self.base(Kind::OutputSecond))
            .or(self.base(Kind::InputSecond))
            .or(self.base(Kind::Second))
    }

    fn search_rate(&self, context: Option<SearchContext>) -> Option<Rate> {
        self.base(match context {
            Some(SearchContext::Low) => Kind::SearchLow,
            Some(SearchContext::High) => Kind::SearchHigh,
            None if self.provider.as_ref() == "perplexity" => Kind::SearchLow,
            Some(SearchContext::Medium) | None => Kind::SearchMedium,
        })
    }

    /// Whether something consumed has no price.
    fn is_unknown(&self, usage: &Usage, rates: &TokenRates, search_unpriced: bool) -> bool {
        if !self.is_priced() || search_unpriced {
            return true;
        }
        let units = &usage.units;
        let image = [
            Kind::OutputImage,
            Kind::InputImage,
            Kind::OutputPixel,
            Kind::InputPixel,
        ];
        let priced = |kind: Kind| self.base(kind).is_some();
        let consumed = [
            (units.images > 0, image.into_iter().any(priced)),
            (units.audio_ms > 0, self.second_rate().is_some()),
            (units.characters > 0, priced(Kind::Character)),
            (units.queries > 0, priced(Kind::Query)),
        ];
        let media_unpriced = consumed.iter().any(|&(used, priced)| used && !priced);
        let media_priced = consumed.iter().any(|&(used, priced)| used && priced)
            || units.wall_ms > 0 && self.second_rate().is_some();
        let tokens_unpriced = usage.prompt > 0 && rates.input.is_none()
            || usage.completion > 0 && rates.output.is_none();
        let tokens_priced = usage.total() > 0 && !tokens_unpriced;
        tokens_unpriced && !media_priced || media_unpriced && !tokens_priced
    }
}

/// Tokens at their rates. Every count is cut to what is left of its total, the cache first.
fn token_bill(usage: &Usage, rates: &TokenRates, by_character: bool) -> Bill {
    let mut left = usage.prompt;
    let read = take(&mut left, usage.cache_read);
    let read_audio = usage.cache_read_audio.min(read);
    let write = take(&mut left, usage.cache_write);
    let write_1h = take(&mut left, usage.cache_write_1h);
    let write_12h = take(&mut left, usage.cache_write_12h);
    let audio = take(&mut left, usage.prompt_audio.saturating_sub(read_audio));
    let image = take(&mut left, usage.prompt_image);
    let text = if by_character { 0 } else { left };

    let mut left = usage.completion;
    let reasoning = take(&mut left, usage.reasoning);
    let spoken = take(&mut left, usage.completion_audio);
    let drawn = take(&mut left, usage.completion_image);

    let bill = |rate: Option<Rate>, count: u64| rate.unwrap_or_default().times(count);
    Bill {
        input: bill(rates.input, text)
            .plus(bill(rates.input_audio, audio))
            .plus(bill(rates.input_image, image)),
        cache_read: bill(rates.cache_read, read - read_audio)
            .plus(bill(rates.cache_read_audio, read_audio)),
        cache_write: bill(rates.cache_write, write)
            .plus(bill(rates.cache_write_1h, write_1h))
            .plus(bill(rates.cache_write_12h, write_12h)),
        output: bill(rates.output, left)
            .plus(bill(rates.reasoning, reasoning))
            .plus(bill(rates.output_audio, spoken))
            .plus(bill(rates.output_image, drawn)),
    }
}

/// Takes up to `count` out of what is left.
fn take(left: &mut u64, count: u64) -> u64 {
    let taken = count.min(*left);
    *left -= taken;
    taken
}

fn positive(rate: Option<Rate>) -> Option<Rate> {
    rate.filter(|rate| *rate > Rate::ZERO)
}
