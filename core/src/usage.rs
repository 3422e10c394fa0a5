//! What one answer consumed, in one shape for every provider.

mod estimate;

pub use estimate::{estimate_tokens, text_weight, tokens_of_weight, unit_weight};

use serde::{Deserialize, Serialize};

/// Consumption of one request. `prompt` and `completion` are totals; the other token counts are
/// subsets of them, whatever the provider's own convention (Anthropic reports exclusive counts,
/// OpenAI inclusive ones; `crate::wire` normalises).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens, cached ones included.
    #[serde(skip_serializing_if = "is_default")]
    pub prompt: u64,
    /// Input tokens read from the provider's prompt cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_read: u64,
    /// Input tokens written to the cache for five minutes (or an unnamed time).
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write: u64,
    /// Input tokens written to the cache for one hour.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_1h: u64,
    /// Input tokens written to the cache for twelve hours (OpenAI `ttl_12h_tokens`).
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_12h: u64,
    /// Audio tokens among `cache_read`.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_read_audio: u64,
    /// Audio tokens of the input, cached ones included.
    #[serde(skip_serializing_if = "is_default")]
    pub prompt_audio: u64,
    /// Image tokens of the input.
    #[serde(skip_serializing_if = "is_default")]
    pub prompt_image: u64,
    /// All output tokens, reasoning included.
    #[serde(skip_serializing_if = "is_default")]
    pub completion: u64,
    /// Output tokens spent on reasoning.
    #[serde(skip_serializing_if = "is_default")]
    pub reasoning: u64,
    /// Audio tokens of the output.
    #[serde(skip_serializing_if = "is_default")]
    pub completion_audio: u64,
    /// Image tokens of the output.
    #[serde(skip_serializing_if = "is_default")]
    pub completion_image: u64,
    /// Units that are not tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub units: Units,
    /// Service tier that the provider says it used.
    #[serde(skip_serializing_if = "is_default")]
    pub tier: ServiceTier,
    /// Anthropic `usage.speed == "fast"`.
    #[serde(skip_serializing_if = "is_default")]
    pub fast: bool,
    /// Anthropic `usage.inference_geo == "us"`.
    #[serde(skip_serializing_if = "is_default")]
    pub geo_us: bool,
}

/// Billed things that are not tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Units {
    /// Web searches run by the provider.
    #[serde(skip_serializing_if = "is_default")]
    pub web_searches: u32,
    /// Search context that the request asked for; `None` bills as medium (Perplexity: low).
    #[serde(skip_serializing_if = "is_default")]
    pub search_context: Option<SearchContext>,
    /// Images made.
    #[serde(skip_serializing_if = "is_default")]
    pub images: u32,
    /// Rerank queries (one covers up to 100 documents).
    #[serde(skip_serializing_if = "is_default")]
    pub queries: u32,
    /// Characters of a text-to-speech input.
    #[serde(skip_serializing_if = "is_default")]
    pub characters: u64,
    /// Milliseconds of audio transcribed or made.
    #[serde(skip_serializing_if = "is_default")]
    pub audio_ms: u64,
    /// Pixels of all images made (width * height * count), for models priced per pixel.
    #[serde(skip_serializing_if = "is_default")]
    pub pixels: u64,
    /// Milliseconds the provider took to answer, for deployments priced per second of work.
    #[serde(skip_serializing_if = "is_default")]
    pub wall_ms: u64,
}

/// How much a web search reads: `web_search_options.search_context_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchContext {
    /// `low`.
    Low,
    /// `medium`.
    Medium,
    /// `high`.
    High,
}

/// Leaves zeros out of journal frames and rows: most records have three numbers.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Price tier of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    /// The usual price.
    #[default]
    Standard,
    /// Guaranteed capacity at a higher price.
    Priority,
    /// Slower at a lower price.
    Flex,
    /// Asynchronous batch.
    Batch,
    /// Faster than priority, at several times the usual price.
    Ultrafast,
    /// Between flex and standard.
    Balanced,
}

impl ServiceTier {
    /// Reads the tier that an answer names: OpenAI's and Anthropic's `service_tier`, Gemini's
    /// `trafficType`. Anything unknown is the standard tier.
    pub fn from_label(label: &str) -> Self {
        let is = |name: &str| label.eq_ignore_ascii_case(name);
        match label {
            _ if is("priority") || is("fast") || is("on_demand_priority") => Self::Priority,
            _ if is("flex") || is("on_demand_flex") => Self::Flex,
            _ if is("batch") => Self::Batch,
            _ if is("ultrafast") => Self::Ultrafast,
            _ if is("balanced") => Self::Balanced,
            _ => Self::Standard,
        }
    }
}

impl Usage {
    /// Adds what another answer of the same tier used.
    pub fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.prompt, other.prompt),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.cache_write_1h, other.cache_write_1h),
            (&mut self.cache_write_12h, other.cache_write_12h),
            (&mut self.cache_read_audio, other.cache_read_audio),
            (&mut self.prompt_audio, other.prompt_audio),
            (&mut self.prompt_image, other.prompt_image),
            (&mut self.completion, other.completion),
            (&mut self.reasoning, other.reasoning),
            (&mut self.completion_audio, other.completion_audio),
            (&mut self.completion_image, other.completion_image),
            (&mut self.units.characters, other.units.characters),
            (&mut self.units.audio_ms, other.units.audio_ms),
            (&mut self.units.pixels, other.units.pixels),
            (&mut self.units.wall_ms, other.units.wall_ms),
        ];
        for (sum, more) in counts {
            *sum = sum.saturating_add(more);
        }
        let units = [
            (&mut self.units.web_searches, other.units.web_searches),
            (&mut self.units.images, other.units.images),
            (&mut self.units.queries, other.units.queries),
        ];
        for (sum, more) in units {
            *sum = sum.saturating_add(more);
        }
        self.tier = other.tier;
        self.fast |= other.fast;
        self.geo_us |= other.geo_us;
    }

    /// Input plus output tokens.
    pub fn total(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_read_from_every_providers_label() {
        assert_eq!(ServiceTier::from_label("fast"), ServiceTier::Priority);
        assert_eq!(ServiceTier::from_label("ON_DEMAND_FLEX"), ServiceTier::Flex);
        assert_eq!(ServiceTier::from_label("default"), ServiceTier::Standard);
        assert_eq!(ServiceTier::from_label("batch"), ServiceTier::Batch);
    }

    #[test]
    fn usage_written_before_a_field_existed_still_reads() {
        let usage: Usage = serde_json::from_str(r#"{"prompt":3,"units":{"images":1}}"#).unwrap();
        assert_eq!((usage.prompt, usage.units.images), (3, 1));
    }
}
