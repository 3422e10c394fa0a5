//! What the configuration says of the cache, and what follows for one request.

use std::time::Duration;

use super::controls::CacheControls;
use crate::endpoint::Endpoint;

/// Endpoints whose answers may be cached: those that leave nothing behind at a provider.
pub const CACHEABLE: [Endpoint; 10] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::Rerank,
    Endpoint::AudioTranscriptions,
    Endpoint::Moderations,
    Endpoint::ImagesGenerations,
    Endpoint::AudioSpeech,
];

/// The endpoint of a `supported_call_types` entry: `acompletion`, `completion`, ...
pub fn call_type(name: &str) -> Option<Endpoint> {
    let is = |endpoint: &Endpoint| {
        let label = endpoint.label();
        name == label || label.strip_prefix('a') == Some(name) && label != "anthropic_messages"
    };
    match name {
        "aanthropic_messages" => Some(Endpoint::Messages),
        _ => CACHEABLE.into_iter().find(is),
    }
}

/// Whether requests use the cache without asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// All of them.
    DefaultOn,
    /// Those that say `use-cache`.
    DefaultOff,
}

/// Who shares answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// The keys of a team; else those of a user; else the key alone. The master key is its own.
    Tenant,
    /// Nobody: each key has its own answers.
    Key,
    /// Everybody who may use the model, as in LiteLLM.
    Global,
}

/// What the configuration says of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Whether requests use it without asking.
    pub mode: CacheMode,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How long this node keeps in memory what it has from Redis.
    pub memory_ttl: Duration,
    /// Who shares answers.
    pub scope: CacheScope,
    /// Which endpoints are cached.
    pub endpoints: Vec<Endpoint>,
    /// Largest answer that is kept, bytes.
    pub entry_bytes_max: usize,
    /// Equal requests at the same time wait for the first one.
    pub single_flight: bool,
}

/// What one request does with the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Look for an answer, and how old it may be.
    pub read: bool,
    /// Oldest answer that will do.
    pub max_age: Option<Duration>,
    /// How long the answer is kept; `None` is not at all.
    pub store_for: Option<Duration>,
}

impl CachePolicy {
    /// What a request does; `None` when it has nothing to do with the cache.
    pub fn plan(&self, endpoint: Endpoint, controls: &CacheControls) -> Option<Plan> {
        let wanted = self.mode == CacheMode::DefaultOn || controls.use_cache;
        if !wanted || !self.endpoints.contains(&endpoint) {
            return None;
        }
        let store_for = controls.ttl.unwrap_or(self.ttl);
        let plan = Plan {
            read: !controls.no_cache,
            max_age: controls.max_age,
            store_for: (!controls.no_store && !store_for.is_zero()).then_some(store_for),
        };
        (plan.read || plan.store_for.is_some()).then_some(plan)
    }
}
