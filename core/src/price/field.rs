//! Names of LiteLLM's price fields, taken apart: what is priced, in which tier, from which size.

use super::decimal::Rate;
use crate::usage::ServiceTier;

/// What a rate is for. `Cache*`, `*Audio` and `*Image` tokens fall back to the plain ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    CacheWrite12h,
    CacheReadAudio,
    InputAudio,
    InputImageToken,
    OutputAudio,
    OutputImageToken,
    Reasoning,
    InputSecond,
    OutputSecond,
    Second,
    Character,
    OutputImage,
    InputImage,
    InputPixel,
    OutputPixel,
    Query,
    Request,
    SearchLow,
    SearchMedium,
    SearchHigh,
}

/// Number of kinds.
const KINDS: usize = Kind::SearchHigh as usize + 1;
/// Rates of one entry that are kept; the map has 60 at most.
const RATES_MAX: usize = 1024;

impl Kind {
    /// Fields without tier and threshold. Other cost fields of the map have no counterpart in
    /// `Usage` and are shown by `info` only.
    const NAMES: [(&'static str, Self); 22] = [
        ("input_cost_per_token", Self::Input),
        ("output_cost_per_token", Self::Output),
        ("cache_read_input_token_cost", Self::CacheRead),
        ("cache_creation_input_token_cost", Self::CacheWrite),
        (
            "cache_creation_input_token_cost_above_1hr",
            Self::CacheWrite1h,
        ),
        (
            "cache_creation_input_token_cost_above_12hr",
            Self::CacheWrite12h,
        ),
        ("cache_read_input_audio_token_cost", Self::CacheReadAudio),
        ("input_cost_per_audio_token", Self::InputAudio),
        ("input_cost_per_image_token", Self::InputImageToken),
        ("output_cost_per_audio_token", Self::OutputAudio),
        ("output_cost_per_image_token", Self::OutputImageToken),
        ("output_cost_per_reasoning_token", Self::Reasoning),
        ("input_cost_per_second", Self::InputSecond),
        ("output_cost_per_second", Self::OutputSecond),
        ("cost_per_second", Self::Second),
        ("input_cost_per_character", Self::Character),
        ("output_cost_per_image", Self::OutputImage),
        ("input_cost_per_image", Self::InputImage),
        ("input_cost_per_pixel", Self::InputPixel),
        ("output_cost_per_pixel", Self::OutputPixel),
        ("input_cost_per_query", Self::Query),
        ("input_cost_per_request", Self::Request),
    ];

    /// Rates that a pair of custom token prices replaces together.
    pub(super) fn is_token(self) -> bool {
        self.is_input_token() || self.is_output_token()
    }

    /// Rates that an input token may cost.
    pub(super) fn is_input_token(self) -> bool {
        let cache = matches!(self, Self::CacheRead | Self::CacheReadAudio);
        let write = matches!(
            self,
            Self::CacheWrite | Self::CacheWrite1h | Self::CacheWrite12h
        );
        let media = matches!(self, Self::InputAudio | Self::InputImageToken);
        self == Self::Input || cache || write || media
    }

    /// Rates that an output token may cost.
    pub(super) fn is_output_token(self) -> bool {
        let media = matches!(self, Self::OutputAudio | Self::OutputImageToken);
        matches!(self, Self::Output | Self::Reasoning) || media
    }

    fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }
}

/// Which requests a rate applies to. Ordered so that one kind's rates lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RateKey {
    pub(super) kind: Kind,
    /// Prompt tokens above which it applies; 0 for the base rate.
    pub(super) above: u64,
    tier: u8,
}

impl RateKey {
    pub(super) fn new(kind: Kind, above: u64, tier: ServiceTier) -> Self {
        let tier = tier_number(tier);
        Self { kind, above, tier }
    }

    /// Reads a field name; `None` for one that is not a rate we bill by.
    pub(super) fn parse(field: &str) -> Option<Self> {
        let (field, tier) = split_tier(field);
        let (field, above) = split_threshold(field);
        // Both orders of the two suffixes occur in the wild.
        let (field, inner) = split_tier(field);
        let tier = tier.or(inner).unwrap_or_default();
        Some(Self::new(Kind::parse(field)?, above, tier))
    }

    pub(super) fn is_tier(self, tier: ServiceTier) -> bool {
        self.tier == tier_number(tier)
    }
}

fn tier_number(tier: ServiceTier) -> u8 {
    match tier {
        ServiceTier::Standard => 0,
        ServiceTier::Priority => 1,
        ServiceTier::Flex => 2,
        ServiceTier::Batch => 3,
        ServiceTier::Ultrafast => 4,
        ServiceTier::Balanced => 5,
    }
}

fn split_tier(field: &str) -> (&str, Option<ServiceTier>) {
    let tiers = [
        ("_priority", ServiceTier::Priority),
        ("_flex", ServiceTier::Flex),
        ("_batches", ServiceTier::Batch),
        ("_ultrafast", ServiceTier::Ultrafast),
        ("_balanced", ServiceTier::Balanced),
    ];
    let found = tiers
        .into_iter()
        .find_map(|(suffix, tier)| Some((field.strip_suffix(suffix)?, Some(tier))));
    found.unwrap_or((field, None))
}

/// `x_above_200k_tokens` is `x` from 200,000 tokens; `x_above_1hr` stays whole.
fn split_threshold(field: &str) -> (&str, u64) {
    let parts = field
        .strip_suffix("_tokens")
        .and_then(|field| field.rsplit_once("_above_"));
    let Some((name, size)) = parts else {
        return (field, 0);
    };
    let (digits, unit) = match size.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => (size, 1),
    };
    match digits.parse::<u32>() {
        Ok(count) => (name, u64::from(count) * unit),
        Err(_) => (field, 0),
    }
}

/// An entry's rates, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RateTable {
    rates: Vec<(RateKey, Rate)>,
    /// Where each kind's rates begin, and the end: a cost looks up a dozen kinds.
    starts: [u16; KINDS + 1],
}

impl RateTable {
    /// Adds a rate at the end; `sort` must follow before the first `pick`.
    pub(super) fn push(&mut self, key: RateKey, rate: Rate) {
        self.rates.push((key, rate));
    }

    /// Sorts, keeping the last of equal keys.
    pub(super) fn sort(&mut self) {
        self.rates.reverse();
        self.rates.sort_by_key(|&(key, _)| key);
        self.rates.dedup_by_key(|&mut (key, _)| key);
        self.rates.truncate(RATES_MAX);
        self.rates.shrink_to_fit();
        let mut rest = self.rates.iter().peekable();
        let mut at = 0;
        for (kind, start) in self.starts.iter_mut().enumerate() {
            *start = at;
            while rest.next_if(|(key, _)| key.kind as usize == kind).is_some() {
                at += 1;
            }
        }
    }

    /// Drops the rates that `keep` refuses; `sort` must follow.
    pub(super) fn retain(&mut self, keep: impl Fn(RateKey) -> bool) {
        self.rates.retain(|&(key, _)| keep(key));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rates.is_empty()
    }

    /// All rates, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RateKey, Rate)> + '_ {
        self.rates.iter().copied()
    }

    fn of(&self, kind: Kind) -> &[(RateKey, Rate)] {
        let start = usize::from(self.starts[kind as usize]);
        let end = usize::from(self.starts[kind as usize + 1]);
        self.rates.get(start..end).unwrap_or_default()
    }

    /// Rate of the highest threshold below `prompt`; at each threshold the tier's own rate goes
    /// before the standard one.
    pub(super) fn pick(&self, kind: Kind, tier: ServiceTier, prompt: u64) -> Option<Rate> {
        let rates = self.of(kind).iter().filter(|(key, _)| {
            key.above < prompt.max(1) && (key.is_tier(tier) || key.is_tier(ServiceTier::Standard))
        });
        let best = rates.max_by_key(|(key, _)| (key.above, key.is_tier(tier)))?;
        Some(best.1)
    }

    /// Like `pick`, but only a rate that names the tier.
    pub(super) fn pick_own(&self, kind: Kind, tier: ServiceTier, prompt: u64) -> Option<Rate> {
        let mut rates = self.of(kind).iter().rev();
        let own = rates.find(|(key, _)| key.above < prompt.max(1) && key.is_tier(tier))?;
        Some(own.1)
    }

    /// Whether a rate depends on the size of the prompt.
    pub(super) fn has_steps(&self) -> bool {
        self.rates.iter().any(|(key, _)| key.above > 0)
    }

    /// Base rate at the standard tier.
    pub(super) fn base(&self, kind: Kind) -> Option<Rate> {
        self.pick(kind, ServiceTier::Standard, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, above: u64, tier: ServiceTier) -> Option<RateKey> {
        Some(RateKey::new(kind, above, tier))
    }

    #[test]
    fn field_names_are_taken_apart() {
        use ServiceTier::{Batch, Flex, Priority, Standard};
        let cases = [
            ("input_cost_per_token", key(Kind::Input, 0, Standard)),
            (
                "output_cost_per_token_above_128k_tokens",
                key(Kind::Output, 128_000, Standard),
            ),
            (
                "cache_read_input_token_cost_above_272k_tokens_flex",
                key(Kind::CacheRead, 272_000, Flex),
            ),
            (
                "input_cost_per_token_priority_above_200k_tokens",
                key(Kind::Input, 200_000, Priority),
            ),
            (
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
                key(Kind::CacheWrite1h, 200_000, Standard),
            ),
            (
                "cache_creation_input_token_cost_above_12hr_batches",
                key(Kind::CacheWrite12h, 0, Batch),
            ),
            (
                "input_cost_per_token_above_512_tokens",
                key(Kind::Input, 512, Standard),
            ),
            ("input_cost_per_token_decisions", None),
            ("input_cost_per_token_above_lots_tokens", None),
            ("supports_vision", None),
        ];
        for (field, expected) in cases {
            assert_eq!(RateKey::parse(field), expected, "{field}");
        }
    }
}
