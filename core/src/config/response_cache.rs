//! `litellm_settings.cache`, `cache_params` and `meridian.response_cache`: the response cache.

use std::time::Duration;

use super::problem::Problems;
use super::redis::Redis;
use super::section::Area;
use crate::cache::{CacheMode, CachePolicy, CacheScope, call_type};
use crate::endpoint::Endpoint;

/// How long an answer is kept when nobody says.
const TTL: Duration = Duration::from_secs(60);
/// How long a node keeps in memory what it has from Redis: a deletion on another node is heard of
/// no sooner.
const MEMORY_TTL: Duration = Duration::from_secs(5);
/// Memory for answers, bytes.
const MEMORY_BYTES_MAX: u64 = 128 << 20;
/// Largest answer, bytes.
const ENTRY_BYTES_MAX: u64 = 1 << 20;
/// Answers of the largest size that the memory has to have room for: it is cut into shards.
pub const ENTRIES_MIN: u64 = 16;
/// LiteLLM's `supported_call_types`, and `/v1/messages`.
const ENDPOINTS: [Endpoint; 7] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::AudioTranscriptions,
    Endpoint::Rerank,
    Endpoint::Responses,
    Endpoint::Messages,
];

/// The response cache.
#[derive(Clone, Debug)]
pub struct ResponseCache {
    /// What requests do with it.
    pub policy: CachePolicy,
    /// Memory for answers, bytes.
    pub memory_bytes_max: u64,
    /// Where nodes share answers; `None` keeps them on this node.
    pub redis: Option<Redis>,
}

impl ResponseCache {
    /// Whether both keep answers in the same place: everything else may change while it runs.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let same_redis = match (&self.redis, &other.redis) {
            (None, None) => true,
            (Some(one), Some(two)) => one.is_same(two),
            _ => false,
        };
        let size = |it: &Self| (it.memory_bytes_max, it.policy.entry_bytes_max);
        same_redis && size(self) == size(other)
    }
}

/// `None` when it is off. `redis` finds where Redis is, and is asked only where one is wanted.
pub(super) fn resolve(
    litellm: &Area<'_>,
    meridian: &Area<'_>,
    redis: impl FnOnce(&mut Problems) -> Option<Redis>,
    problems: &mut Problems,
) -> Option<ResponseCache> {
    let params = litellm.child("cache_params");
    if litellm.bool("cache") != Some(true) {
        if litellm.get("cache_params").is_some() {
            let message = "answers are not cached: `litellm_settings.cache` is not `true`";
            problems.notice(params.start(), params.path(), message);
        }
        return None;
    }
    let redis = match params.text("type").unwrap_or("redis") {
        "local" => None,
        "redis" => shared(&params, redis, problems),
        other => {
            let message = format!(
                "answers are not cached: `{other}` is not in this version; `local` and `redis` are"
            );
            problems.warning(params.at("type"), &params.path_of("type"), message);
            return None;
        }
    };
    let own = meridian.child("response_cache");
    let (memory_bytes_max, entry_bytes_max) = sizes(&own, problems);
    let fallback = match redis {
        Some(_) => "default_in_redis_ttl",
        None => "default_in_memory_ttl",
    };
    let ttl = params.seconds("ttl").or_else(|| params.seconds(fallback));
    let ttl = ttl.unwrap_or(TTL);
    let memory_ttl = params.seconds("default_in_memory_ttl");
    Some(ResponseCache {
        policy: CachePolicy {
            mode: match params.text("mode") {
                Some("default_off") => CacheMode::DefaultOff,
                _ => CacheMode::DefaultOn,
            },
            ttl,
            memory_ttl: memory_ttl.unwrap_or(MEMORY_TTL),
            scope: match own.text("scope") {
                Some("key") => CacheScope::Key,
                Some("global") => CacheScope::Global,
                _ => CacheScope::Tenant,
            },
            endpoints: endpoints(&params, problems),
            entry_bytes_max: usize::try_from(entry_bytes_max).unwrap_or(usize::MAX),
            single_flight: own.bool("single_flight").unwrap_or(true),
        },
        memory_bytes_max,
        redis,
    })
}

fn shared(
    params: &Area<'_>,
    redis: impl FnOnce(&mut Problems) -> Option<Redis>,
    problems: &mut Problems,
) -> Option<Redis> {
    let mut found = redis(problems);
    match &mut found {
        Some(found) => {
            let own = params.text("namespace").map(str::to_owned);
            found.namespace = own.or_else(|| found.namespace.take());
        }
        None => {
            let message = "no Redis is named: answers are kept in each node's memory only; write \
                           `host` here, set `REDIS_HOST`, or say `type: local`";
            problems.warning(params.start(), params.path(), message);
        }
    }
    found
}

fn sizes(own: &Area<'_>, problems: &mut Problems) -> (u64, u64) {
    let memory = own.count("memory_bytes_max").unwrap_or(MEMORY_BYTES_MAX);
    let default = ENTRY_BYTES_MAX.min(memory / ENTRIES_MIN);
    let entry = own.count("entry_bytes_max").unwrap_or(default);
    if entry > memory / ENTRIES_MIN {
        let message = format!("more than a {ENTRIES_MIN}th of `memory_bytes_max` ({memory})");
        let path = own.path_of("entry_bytes_max");
        problems.error(own.at("entry_bytes_max"), &path, message);
    }
    (memory, entry)
}

fn endpoints(params: &Area<'_>, problems: &mut Problems) -> Vec<Endpoint> {
    const KEY: &str = "supported_call_types";
    if params.get(KEY).is_none() {
        return ENDPOINTS.to_vec();
    }
    let mut endpoints = Vec::new();
    for (name, at) in params.texts(KEY) {
        match call_type(name) {
            Some(endpoint) if endpoints.contains(&endpoint) => {}
            Some(endpoint) => endpoints.push(endpoint),
            None => {
                let message = format!("`{name}` is not a call type whose answers are cached");
                problems.warning(at, &params.path_of(KEY), message);
            }
        }
    }
    endpoints
}
