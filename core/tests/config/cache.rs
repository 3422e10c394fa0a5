//! The response cache: what LiteLLM's keys come to, and what is said where they come to nothing.

use meridian_core::cache::{CacheMode, CacheScope};
use meridian_core::config::ResponseCache;
use meridian_core::endpoint::Endpoint;

use super::*;

const MODELS: &str = "model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n";

fn cache_of(lines: &str, variables: &[(&str, &str)]) -> (Option<ResponseCache>, String) {
    let (config, problems) = good(&format!("{KEY}{MODELS}{lines}"), variables);
    (config.cache, problems.join("\n"))
}

fn cache(params: &str) -> ResponseCache {
    let lines = format!("litellm_settings: {{cache: true, cache_params: {{{params}}}}}\n");
    cache_of(&lines, &[]).0.unwrap()
}

#[test]
fn defaults_are_litellms() {
    let local = cache("type: local");
    assert!(local.redis.is_none());
    assert_eq!(local.memory_bytes_max, 128 << 20);
    let policy = local.policy;
    assert_eq!(policy.ttl, Duration::from_secs(60));
    assert_eq!(policy.mode, CacheMode::DefaultOn);
    assert_eq!(policy.scope, CacheScope::Tenant);
    assert_eq!(policy.entry_bytes_max, 1 << 20);
    assert!(policy.single_flight);
    for endpoint in [
        Endpoint::ChatCompletions,
        Endpoint::Embeddings,
        Endpoint::Messages,
        Endpoint::AudioTranscriptions,
    ] {
        assert!(policy.endpoints.contains(&endpoint), "{endpoint:?}");
    }
    assert!(!policy.endpoints.contains(&Endpoint::ImagesGenerations));
    // Off unless it is asked for.
    assert!(cache_of("", &[("REDIS_HOST", "r.example")]).0.is_none());
}

#[test]
fn every_key_is_read() {
    let found = cache(
        "type: redis, host: r.example, namespace: ns, ttl: 600, default_in_memory_ttl: 2.5, \
         mode: default_off, supported_call_types: [acompletion, embedding, aembedding]",
    );
    let redis = found.redis.unwrap();
    assert_eq!(redis.place.to_string(), "r.example:6379");
    assert_eq!(redis.namespace.as_deref(), Some("ns"));
    let policy = found.policy;
    assert_eq!(policy.ttl, Duration::from_secs(600));
    assert_eq!(policy.memory_ttl, Duration::from_millis(2_500));
    assert_eq!(policy.mode, CacheMode::DefaultOff);
    let endpoints = [Endpoint::ChatCompletions, Endpoint::Embeddings];
    assert_eq!(policy.endpoints, endpoints);
    let ttl = |params: &str| cache(params).policy.ttl.as_secs();
    assert_eq!(
        ttl("host: h, default_in_redis_ttl: 7, default_in_memory_ttl: 3"),
        7
    );
    assert_eq!(ttl("type: local, default_in_memory_ttl: 3"), 3);
    let own = "litellm_settings: {cache: true, cache_params: {type: local}}\n\
        meridian: {response_cache: {memory_bytes_max: 1048576, scope: global, \
        single_flight: false}}\n";
    let own = cache_of(own, &[]).0.unwrap();
    assert_eq!(own.memory_bytes_max, 1 << 20);
    assert_eq!(own.policy.entry_bytes_max, 1 << 16);
    assert_eq!(own.policy.scope, CacheScope::Global);
    assert!(!own.policy.single_flight);
}

#[test]
fn answers_go_to_the_redis_of_cache_params_or_of_the_variables() {
    let place = |lines: &str, variables: &[(&str, &str)]| {
        let cache = cache_of(lines, variables).0.unwrap();
        cache.redis.map(|redis| redis.place.to_string())
    };
    let both = "litellm_settings: {cache: true, cache_params: {host: answers.example}}\n\
                router_settings: {redis_host: router.example}\n";
    assert_eq!(place(both, &[]).as_deref(), Some("answers.example:6379"));
    let router = "litellm_settings: {cache: true}\n\
                  router_settings: {redis_host: router.example}\n";
    assert_eq!(place(router, &[]).as_deref(), Some("router.example:6379"));
    let variable = [("REDIS_HOST", "variable.example")];
    let expected = Some("variable.example:6379");
    assert_eq!(place(router, &variable).as_deref(), expected);
    let alone = "litellm_settings: {cache: true}\n";
    assert_eq!(place(alone, &variable).as_deref(), expected);
}

#[test]
fn what_is_not_done_is_said() {
    for kind in [
        "s3",
        "disk",
        "qdrant-semantic",
        "redis-semantic",
        "gcs",
        "azure-blob",
    ] {
        let lines = format!("litellm_settings: {{cache: true, cache_params: {{type: {kind}}}}}\n");
        let (cache, problems) = cache_of(&lines, &[]);
        assert!(cache.is_none(), "{kind}");
        let said = format!(
            "warning: litellm_settings.cache_params.type: answers are not cached: `{kind}` is not \
             in this version"
        );
        assert!(problems.contains(&said), "{problems}");
    }
    let (nowhere, problems) = cache_of("litellm_settings: {cache: true}\n", &[]);
    assert!(nowhere.unwrap().redis.is_none());
    assert!(problems.contains("no Redis is named"), "{problems}");
    let off = "litellm_settings: {cache_params: {type: local}}\n";
    let (off, problems) = cache_of(off, &[]);
    assert!(off.is_none());
    assert!(
        problems.contains("`litellm_settings.cache` is not `true`"),
        "{problems}"
    );
    let lines = "litellm_settings: {cache: true, cache_params: {type: local, \
        supported_call_types: [acompletion, afile], similarity_threshold: 0.8}}\n";
    let (found, problems) = cache_of(lines, &[]);
    assert_eq!(found.unwrap().policy.endpoints, [Endpoint::ChatCompletions]);
    assert!(
        problems.contains("`afile` is not a call type"),
        "{problems}"
    );
    assert!(problems.contains("only equal requests hit"), "{problems}");
}

#[test]
fn an_answer_that_the_memory_could_not_hold_is_an_error() {
    let lines = "meridian: {response_cache: {memory_bytes_max: 1048576, entry_bytes_max: 65537}}\n\
        litellm_settings: {cache: true, cache_params: {type: local}}\n";
    let problems = problems_of(lines).join("\n");
    let said = "error: meridian.response_cache.entry_bytes_max: more than a 16th";
    assert!(problems.contains(said), "{problems}");
}
