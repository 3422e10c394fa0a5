//! What one answer consumed, in one shape for every provider.

use serde::{Deserialize, Serialize};

/// Consumption of one request. `prompt` and `completion` are totals; the other token counts are
/// subsets of them, whatever the provider's own convention (Anthropic reports exclusive counts,
/// OpenAI inclusive ones; `crate::wire` normalises).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub prompt: u64,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Input tokens written to the cache for five minutes (or an unnamed time).
    pub cache_write: u64,
    /// Input tokens written to the cache for one hour.
    pub cache_write_1h: u64,
    /// Audio tokens of the input.
    pub prompt_audio: u64,
    /// Image tokens of the input.
    pub prompt_image: u64,
    /// All output tokens, reasoning included.
    pub completion: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
    /// Audio tokens of the output.
    pub completion_audio: u64,
    /// Image tokens of the output.
    pub completion_image: u64,
    /// Units that are not tokens.
    pub units: Units,
    /// Service tier that the provider says it used.
    pub tier: ServiceTier,
    /// Anthropic `usage.speed == "fast"`.
    pub fast: bool,
    /// Anthropic `usage.inference_geo == "us"`.
    pub geo_us: bool,
}

/// Billed things that are not tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Units {
    /// Web searches run by the provider.
    pub web_searches: u32,
    /// Images made.
    pub images: u32,
    /// Rerank queries (one covers up to 100 documents).
    pub queries: u32,
    /// Characters of a text-to-speech input.
    pub characters: u64,
    /// Milliseconds of audio transcribed or made.
    pub audio_ms: u64,
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
}

impl Usage {
    /// Input plus output tokens.
    pub fn total(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}
