//! Keys of `router_settings` and of the mappings in it.

use super::Kind::{Any, Bool, List, Map, Number, Seconds, Secret, Text, Texts, Whole};
use super::general::{NO_ALERTS, NO_HEALTH};
use super::settings::{NO_MCP, PYTHON, REDIS_CARRIES};
use super::{COUNT, Key, Kind, Section, later, off, on};

/// LiteLLM's strategies.
const STRATEGY: &str = "`simple-shuffle` (default), `latency-based-routing`, `least-busy`, \
    `usage-based-routing-v2`, `cost-based-routing`";
const NO_CONTINUATION: &str = "after its first content an answer ends where it breaks";
const NO_TAG_PREFIX: &str = "tags are written as tags";
const NO_AFFINITY_TIME: &str =
    "conversations keep to a deployment by rendezvous; nothing is stored that could expire";
const IN_503: &str = "`InternalServerError...` counts for 503 too";
const NEVER_RETRIED: &str = "404 is the request's own fault: it is not retried, no cooldown";
const DEFAULTS: &str = "write `num_retries` or `allowed_fails` beside the policy";

pub(super) const ROUTER: &[Key] = &[
    on("routing_strategy", Text, STRATEGY),
    on(
        "routing_strategy_args",
        Kind::Section(Section::StrategyArgs),
        "see below",
    ),
    on(
        "routing_groups",
        Kind::Sections(Section::RoutingGroup),
        "another strategy for some models",
    ),
    on(
        "model_group_alias",
        Map,
        "`alias: model` or `alias: {model, hidden}`",
    ),
    on("num_retries", COUNT, "attempts after the first; default 2"),
    on("max_retries", COUNT, "another name of `num_retries`"),
    on(
        "retry_policy",
        Any,
        "a mapping: `num_retries` for one kind of error",
    ),
    on(
        "model_group_retry_policy",
        Map,
        "`model: policy`: the same for one model",
    ),
    on(
        "retry_after",
        Seconds,
        "shortest pause before a deployment is tried again; default 0",
    ),
    on(
        "timeout",
        Seconds,
        "limit of one attempt; default `litellm_settings.request_timeout`",
    ),
    on(
        "stream_timeout",
        Seconds,
        "the same for streams, until the first token",
    ),
    on(
        "fallbacks",
        List,
        "`model: [others]`: tried after any failure; `*` is every model",
    ),
    on("default_fallbacks", Texts, "as `fallbacks` of `*`"),
    on(
        "context_window_fallbacks",
        List,
        "the same for prompts that are too long",
    ),
    on(
        "content_policy_fallbacks",
        List,
        "the same for content that is refused",
    ),
    on(
        "max_fallbacks",
        COUNT,
        "most models tried after the first; default 5; 0: none of the configuration's",
    ),
    on(
        "allowed_fails",
        COUNT,
        "failures that are forgiven; default, and 3 as in LiteLLM: the share of failures decides",
    ),
    on(
        "allowed_fails_policy",
        Kind::Section(Section::AllowedFails),
        "the same for one kind of error",
    ),
    on(
        "cooldown_time",
        Seconds,
        "first time that a failing deployment is left out; default 5",
    ),
    on(
        "disable_cooldowns",
        Bool,
        "no deployment is ever left out; default false",
    ),
    on(
        "default_max_parallel_requests",
        COUNT,
        "of deployments that do not say their own; default: no limit",
    ),
    on(
        "enable_pre_call_checks",
        Bool,
        "prompts go to deployments that they fit into; default false",
    ),
    on(
        "optional_pre_call_checks",
        Texts,
        "`prompt_caching`, `session_affinity`, `deployment_affinity`: `meridian.affinity`, with \
         its defaults",
    ),
    on(
        "enable_tag_filtering",
        Bool,
        "tags of requests select deployments; default false",
    ),
    on(
        "tag_filtering_match_any",
        Bool,
        "one tag in common is enough; default true",
    ),
    on("set_verbose", Bool, "debug logs; default false"),
    later(
        "fallback_on_unsupported_params",
        Bool,
        "requests pass unchanged; the provider decides",
    ),
    later(
        "enable_mid_stream_fallback_continuation",
        Bool,
        NO_CONTINUATION,
    ),
    later(
        "enable_weighted_failover",
        Bool,
        "the strategy chooses among what is left",
    ),
    later("weights", Map, "write `weight` into `litellm_params`"),
    later(
        "default_litellm_params",
        Map,
        "write them into each deployment",
    ),
    later(
        "default_priority",
        Whole(0, 255),
        "requests have no priority",
    ),
    later("tag_routing_prefix", Text, NO_TAG_PREFIX),
    off("deployment_affinity_ttl_seconds", Seconds, NO_AFFINITY_TIME),
    later(
        "model_group_affinity_config",
        Map,
        "affinity holds for every model",
    ),
    off(
        "session_affinity_repin_on_failover",
        Bool,
        "a conversation goes back when its deployment is back",
    ),
    on(
        "provider_budget_config",
        Map,
        "of providers `budget_limit` and `time_period`; one that has spent it gets no request",
    ),
    later("enable_health_check_routing", Bool, NO_HEALTH),
    later("health_check_staleness_threshold", Seconds, NO_HEALTH),
    later("health_check_ignore_transient_errors", Bool, NO_HEALTH),
    on(
        "redis_url",
        Secret,
        "where Redis is, for cooldowns that the nodes of a region share, where it comes before \
         `cache_params`; for cached answers after it",
    ),
    on("redis_host", Text, "the same: name or address"),
    on("redis_port", Whole(1, 65_535), "default 6379"),
    on("redis_username", Text, "default `REDIS_USERNAME`"),
    on("redis_password", Secret, "default `REDIS_PASSWORD`"),
    on("redis_ssl", Bool, "TLS; default `REDIS_SSL`"),
    on(
        "redis_db",
        Whole(0, 255),
        "number of the database; default 0",
    ),
    later("redis_*", Any, REDIS_CARRIES),
    on(
        "cache_kwargs",
        Map,
        "of it `username`, `ssl`, `db` and `namespace`, with `redis_host`",
    ),
    later(
        "cache_responses",
        Bool,
        "set `litellm_settings.cache`, which is for every model",
    ),
    later(
        "caching_groups",
        List,
        "each model has its own cached answers",
    ),
    later("alerting_config", Any, NO_ALERTS),
    later("assistants_config", Any, NO_MCP),
    later("search_tools", Any, NO_MCP),
    later("guardrail_list", Any, "no guardrail runs"),
    off("client_ttl", Seconds, PYTHON),
    off("polling_interval", Number, PYTHON),
    off("debug_level", Text, "use `litellm_settings.set_verbose`"),
    off("router_general_settings", Map, PYTHON),
];

pub(super) const STRATEGY_ARGS: &[Key] = &[
    on(
        "lowest_latency_buffer",
        Number,
        "deployments within this share of the fastest count as equal; default 0",
    ),
    off(
        "ttl",
        Seconds,
        "measurements fade, see `meridian.latency_decay_s`",
    ),
    off("max_latency_list_size", COUNT, "measurements are averaged"),
    off("ttft_percentile", Number, "measurements are averaged"),
    off("rpm", COUNT, "write `rpm` into `litellm_params`"),
    off("tpm", COUNT, "write `tpm` into `litellm_params`"),
];

pub(super) const ROUTING_GROUP: &[Key] = &[
    on("group_name", Text, "for people"),
    on("models", Texts, "names of models; each in one group only"),
    on("model_names", Texts, "another name of `models`"),
    on("routing_strategy", Text, "as in `router_settings`"),
    on(
        "routing_strategy_args",
        Kind::Section(Section::StrategyArgs),
        "as in `router_settings`",
    ),
];

pub(super) const RETRY_POLICY: &[Key] = &[
    on(
        "BadRequestErrorRetries",
        COUNT,
        "after a fault of the request",
    ),
    on(
        "AuthenticationErrorRetries",
        COUNT,
        "after a refused credential",
    ),
    on("TimeoutErrorRetries", COUNT, "after a deadline of ours"),
    on("RateLimitErrorRetries", COUNT, "after 429"),
    on(
        "ContentPolicyViolationErrorRetries",
        COUNT,
        "after refused content",
    ),
    on(
        "InternalServerErrorRetries",
        COUNT,
        "after 5xx and broken connections",
    ),
    later("ServiceUnavailableErrorRetries", COUNT, IN_503),
    later("NotFoundErrorRetries", COUNT, NEVER_RETRIED),
    later("DefaultRetries", COUNT, DEFAULTS),
];

pub(super) const ALLOWED_FAILS: &[Key] = &[
    on(
        "BadRequestErrorAllowedFails",
        COUNT,
        "faults of the request",
    ),
    on(
        "AuthenticationErrorAllowedFails",
        COUNT,
        "refused credentials",
    ),
    on("TimeoutErrorAllowedFails", COUNT, "deadlines of ours"),
    on("RateLimitErrorAllowedFails", COUNT, "429"),
    on(
        "ContentPolicyViolationErrorAllowedFails",
        COUNT,
        "refused content",
    ),
    on(
        "InternalServerErrorAllowedFails",
        COUNT,
        "5xx and broken connections",
    ),
    later("ServiceUnavailableErrorAllowedFails", COUNT, IN_503),
    later("NotFoundErrorAllowedFails", COUNT, NEVER_RETRIED),
    later("DefaultAllowedFails", COUNT, DEFAULTS),
];
