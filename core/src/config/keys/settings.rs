//! Keys of the top level and of `litellm_settings`.

use super::Kind::{Any, Bool, Duration, List, Map, Number, Seconds, Secret, Text, Texts, Whole};
use super::{COUNT, Key, Kind, Section, later, off, on};

/// What Redis is used for.
pub(super) const REDIS_CARRIES: &str =
    "Redis carries what nodes tell each other and cached answers, nothing else";
const NO_STORE: &str = "answers are kept in memory or in Redis";
const ROUTERS: &str = "as in `router_settings`, which wins";
const NO_CALLBACK: &str = "nothing is sent; see `/spend/logs` and `/metrics`";
pub(super) const NO_MCP: &str = "such routes answer 404";
pub(super) const ADMISSION: &str = "admission is bounded by `meridian.buffered_bytes_max`";
pub(super) const PYTHON: &str = "a switch of LiteLLM's Python runtime";

pub(super) const TOP: &[Key] = &[
    on(
        "model_list",
        Kind::Sections(Section::Model),
        "the deployments",
    ),
    on(
        "litellm_settings",
        Kind::Section(Section::Settings),
        "see below",
    ),
    on(
        "general_settings",
        Kind::Section(Section::General),
        "see below",
    ),
    on(
        "router_settings",
        Kind::Section(Section::Router),
        "see below",
    ),
    on(
        "meridian",
        Kind::Section(Section::Meridian),
        "settings that LiteLLM does not have",
    ),
    on(
        "environment_variables",
        Map,
        "set before `os.environ/NAME` is looked up",
    ),
    on(
        "credential_list",
        Kind::Sections(Section::Credential),
        "values that models name by `litellm_credential_name`",
    ),
    on(
        "include",
        Texts,
        "files beside this one: lists are extended, the rest is overwritten",
    ),
    later("callback_settings", Map, NO_CALLBACK),
    later("guardrails", List, "no guardrail runs"),
    later("policies", Any, "no guardrail runs"),
    later("prompts", List, "prompts are not stored"),
    later("mcp_servers", Any, NO_MCP),
    later("mcp_tools", Any, NO_MCP),
    later("assistant_settings", Any, NO_MCP),
    later("finetune_settings", Any, NO_MCP),
    later("search_tools", Any, NO_MCP),
    later("vector_store_registry", Any, NO_MCP),
    later(
        "files_settings",
        Any,
        "files go to the provider of the deployment",
    ),
    off(
        "default_vertex_config",
        Any,
        "nothing reads this key; write `vertex_project` and its like on models",
    ),
];

pub(super) const CREDENTIAL: &[Key] = &[
    on("credential_name", Text, "its name; required"),
    on(
        "credential_values",
        Map,
        "`api_key`, `api_base` and the like, for models that do not write them",
    ),
    on("credential_info", Map, "a description; only shown"),
];

pub(super) const SETTINGS: &[Key] = &[
    on(
        "request_timeout",
        Seconds,
        "limit of one attempt; default 6000",
    ),
    on("num_retries", COUNT, "used when `router_settings` has none"),
    on(
        "max_budget",
        Number,
        "dollars for the whole gateway; default: no limit",
    ),
    on(
        "budget_duration",
        Duration,
        "period of `max_budget`; default: for ever",
    ),
    on(
        "budget_exceeded_status_code",
        Whole(400, 599),
        "default 429",
    ),
    on(
        "timezone",
        Text,
        "zone whose calendar ends budget periods; default UTC",
    ),
    on(
        "json_logs",
        Bool,
        "one JSON object per log line; default: env `JSON_LOGS` or false",
    ),
    on("set_verbose", Bool, "debug logs; default false"),
    on(
        "require_auth_for_metrics_endpoint",
        Bool,
        "`/metrics` needs an admin key; default true",
    ),
    on(
        "callbacks",
        Texts,
        "`prometheus` works; each other one is reported",
    ),
    on("success_callback", Texts, "as `callbacks`"),
    on("failure_callback", Texts, "as `callbacks`"),
    on(
        "service_callback",
        Texts,
        "as `callbacks`; `prometheus_system` is part of `/metrics`",
    ),
    on("model_group_alias", Map, ROUTERS),
    later("audit_log_callbacks", Texts, NO_CALLBACK),
    on("fallbacks", List, ROUTERS),
    on("default_fallbacks", Texts, ROUTERS),
    on("context_window_fallbacks", List, ROUTERS),
    on("content_policy_fallbacks", List, ROUTERS),
    on("allowed_fails", COUNT, ROUTERS),
    on(
        "cache",
        Bool,
        "answers are cached (docs/CACHE.md); without `cache_params` in Redis; default false",
    ),
    on(
        "cache_params",
        Kind::Section(Section::Cache),
        "where and how long; where Redis is also for cooldowns that the nodes of a region share",
    ),
    later("enable_redis_auth_cache", Bool, REDIS_CARRIES),
    on(
        "drop_params",
        Bool,
        "`drop_params` of models that do not say it; default false",
    ),
    on(
        "enable_azure_ad_token_refresh",
        Bool,
        "Azure models without a credential use the machine's identity; default false",
    ),
    later("modify_params", Bool, "requests pass unchanged"),
    on(
        "turn_off_message_logging",
        Bool,
        "wins over `store_prompts_in_spend_logs`: no text is kept; default false",
    ),
    on("redact_user_api_key_info", Bool, "log lines name no caller"),
    later("log_raw_request_response", Bool, "prompts are never logged"),
    later(
        "standard_logging_payload_excluded_fields",
        Texts,
        NO_CALLBACK,
    ),
    later("langfuse_default_tags", Texts, NO_CALLBACK),
    later("s3_callback_params", Map, NO_CALLBACK),
    later("datadog_params", Map, NO_CALLBACK),
    off(
        "max_user_budget",
        Number,
        "LiteLLM does not read it either; see `max_internal_user_budget`",
    ),
    on(
        "max_internal_user_budget",
        Number,
        "dollars of users that `/user/new` makes as `internal_user` without a budget",
    ),
    on(
        "internal_user_budget_duration",
        Duration,
        "the same for the period of their budget",
    ),
    on(
        "default_internal_user_params",
        Kind::Section(Section::UserDefaults),
        "what `/user/new` uses for fields that are left out, administrators excepted",
    ),
    on(
        "default_max_internal_user_budget",
        Number,
        "used where `max_internal_user_budget` is not written",
    ),
    on(
        "default_team_params",
        Kind::Section(Section::TeamDefaults),
        "what `/team/new` uses for fields that are left out",
    ),
    later("default_team_settings", List, NO_CALLBACK),
    off(
        "default_soft_budget",
        Number,
        "a soft budget is what a key, a user or a team says",
    ),
    off("max_end_user_budget", Number, "LiteLLM ignores it as well"),
    on("max_end_user_budget_id", Text, "for customers without one"),
    later(
        "max_ui_session_budget",
        Number,
        "there is no user interface",
    ),
    on(
        "default_key_generate_params",
        Kind::Section(Section::KeyDefaults),
        "what `/key/generate` uses for fields that are left out",
    ),
    on(
        "upperbound_key_generate_params",
        Kind::Section(Section::KeyBounds),
        "most that a key may get; also used for fields that are left out of `/key/generate`",
    ),
    on(
        "key_generation_settings",
        Kind::Section(Section::KeyGeneration),
        "fields that `/key/generate` must be given",
    ),
    later(
        "prometheus_initialize_budget_metrics",
        Bool,
        "budget series appear with their first use",
    ),
    later(
        "prometheus_emit_stream_label",
        Bool,
        "the label `stream` is not added",
    ),
    later("prometheus_metrics_config", List, "every metric is exposed"),
    later(
        "custom_prometheus_metadata_labels",
        Texts,
        "no such label is added",
    ),
    later("custom_prometheus_tags", Texts, "no such label is added"),
    later(
        "prometheus_latency_buckets",
        List,
        "the default buckets are used",
    ),
    later(
        "prometheus_end_user_metrics_max_series",
        COUNT,
        "see `meridian.metrics_series_max`",
    ),
    later(
        "enable_end_user_cost_tracking_prometheus_only",
        Bool,
        "label `end_user` stays `None`",
    ),
    later(
        "disable_end_user_cost_tracking",
        Bool,
        "the end user is recorded in the ledger",
    ),
    off(
        "disable_end_user_cost_tracking_prometheus_only",
        Bool,
        "label `end_user` stays `None`",
    ),
    on(
        "cost_discount_config",
        Map,
        "share taken off the price by provider or `provider/model` (`*` stands for anything): \
         docs/PRICES.md",
    ),
    on(
        "cost_margin_config",
        Map,
        "put on the price after the discount, by provider or `global`: a share, or `percentage` \
         and `fixed_amount` in dollars per request",
    ),
    later(
        "public_model_groups",
        Texts,
        "models are listed for keys only",
    ),
    later("priority_reservation", Map, ADMISSION),
    later("priority_reservation_settings", Map, ADMISSION),
    off("store_audit_logs", Bool, "every change is in the audit log"),
    later(
        "ssl_verify",
        Any,
        "certificates are always verified; see `meridian.upstream_ca_file`",
    ),
    off(
        "forward_traceparent_to_llm_provider",
        Bool,
        "`traceparent` is forwarded as other client headers are",
    ),
    later(
        "enable_json_schema_validation",
        Bool,
        "answers pass unchanged",
    ),
    later(
        "enable_key_alias_format_validation",
        Bool,
        "aliases of keys are free text",
    ),
    off(
        "redact_messages_in_exceptions",
        Bool,
        "errors never contain messages here",
    ),
    off("force_ipv4", Bool, "both address families are tried"),
    off("telemetry", Bool, "nothing is sent to anyone"),
    off("suppress_debug_info", Bool, PYTHON),
    off("disable_token_counter", Bool, PYTHON),
    off("aiohttp_trust_env", Bool, PYTHON),
];

pub(super) const KEY_DEFAULTS: &[Key] = &[
    on("max_budget", Number, "dollars"),
    on("budget_duration", Duration, "period of `max_budget`"),
    on("duration", Duration, "until the key expires"),
    on("max_parallel_requests", COUNT, "requests at a time"),
    on("tpm_limit", COUNT, "tokens per minute"),
    on("rpm_limit", COUNT, "requests per minute"),
    on("models", Texts, "what the key may use"),
    on("user_id", Text, "whose key it is"),
    on("team_id", Text, "whose key it is"),
    on("metadata", Map, "stored with the key"),
];

pub(super) const USER_DEFAULTS: &[Key] = &[
    on(
        "user_role",
        Text,
        "`internal_user` or `internal_user_viewer`",
    ),
    on("max_budget", Number, "dollars"),
    on("budget_duration", Duration, "period of `max_budget`"),
    on("models", Texts, "what the user's own keys may use"),
    on("tpm_limit", COUNT, "tokens per minute"),
    on("rpm_limit", COUNT, "requests per minute"),
    on("max_parallel_requests", COUNT, "requests at a time"),
    on(
        "teams",
        Any,
        "teams that the user joins: ids, or mappings of `team_id` and `user_role`",
    ),
    on("available_teams", Texts, "ids of teams that users may join"),
];

pub(super) const TEAM_DEFAULTS: &[Key] = &[
    on("max_budget", Number, "dollars"),
    on("budget_duration", Duration, "period of `max_budget`"),
    on("models", Texts, "what the team may use"),
    on("tpm_limit", COUNT, "tokens per minute"),
    on("rpm_limit", COUNT, "requests per minute"),
    on("max_parallel_requests", COUNT, "requests at a time"),
    on(
        "team_member_permissions",
        Texts,
        "what members may do with the team's keys",
    ),
];

pub(super) const KEY_BOUNDS: &[Key] = &[
    on("max_budget", Number, "dollars"),
    on("budget_duration", Duration, "period of `max_budget`"),
    on("duration", Duration, "until the key expires"),
    on("max_parallel_requests", COUNT, "requests at a time"),
    on("tpm_limit", COUNT, "tokens per minute"),
    on("rpm_limit", COUNT, "requests per minute"),
];

pub(super) const KEY_GENERATION: &[Key] = &[
    on(
        "team_key_generation",
        Kind::Section(Section::KeyKind),
        "for keys with a `team_id`",
    ),
    on(
        "personal_key_generation",
        Kind::Section(Section::KeyKind),
        "for the other keys",
    ),
];

pub(super) const KEY_KIND: &[Key] = &[
    on(
        "required_params",
        Texts,
        "names of fields; a request without one of them gets 400",
    ),
    off(
        "allowed_team_member_roles",
        Texts,
        "only administrators make keys",
    ),
    off("allowed_user_roles", Texts, "only administrators make keys"),
];

pub(super) const CACHE: &[Key] = &[
    on(
        "type",
        Kind::Word(CACHES),
        "`local` or `redis`, the default; with another one answers are not cached",
    ),
    on("host", Text, "of Redis: name or address"),
    on("port", Whole(1, 65_535), "of Redis; default 6379"),
    on("username", Text, "user of Redis; default `REDIS_USERNAME`"),
    on("password", Secret, "of Redis; default `REDIS_PASSWORD`"),
    on(
        "url",
        Secret,
        "`redis://user:password@host:port/database`, with TLS `rediss://`; wins over the parts",
    ),
    on("ssl", Bool, "TLS to Redis; default `REDIS_SSL`"),
    on("db", Whole(0, 255), "number of the database; default 0"),
    on(
        "namespace",
        Text,
        "what every key in Redis begins with, before a colon",
    ),
    on(
        "ttl",
        Seconds,
        "how long an answer is kept where its request does not say; default 60",
    ),
    on(
        "default_in_memory_ttl",
        Seconds,
        "`redis`: how long a node keeps it in memory too, default 5, 0 never; `local`: as `ttl`",
    ),
    on(
        "default_in_redis_ttl",
        Seconds,
        "used when there is no `ttl`",
    ),
    off("max_connections", COUNT, "two connections are used"),
    off(
        "socket_timeout",
        Seconds,
        "a request waits 20 ms at most, and not at all while Redis does not answer",
    ),
    on(
        "supported_call_types",
        Texts,
        "whose answers are cached; default LiteLLM's, and `anthropic_messages`",
    ),
    on(
        "mode",
        Kind::Word(&["default_on", "default_off"]),
        "`default_off`: only requests with `cache: {use-cache: true}`; default default_on",
    ),
    on(
        "redis_startup_nodes",
        List,
        "nodes of a Redis Cluster: `[{host, port}]`",
    ),
    on("startup_nodes", List, "the same"),
    on("service_name", Text, "name of the Sentinel group"),
    on("sentinel_nodes", List, "Sentinels: `[[host, port]]`"),
    on("sentinel_password", Secret, "of the Sentinels themselves"),
    later("similarity_threshold", Number, "only equal requests hit"),
    later("redis_*", Any, REDIS_CARRIES),
    later("gcp_*", Any, "Redis is logged in to with a password only"),
    later("s3_*", Any, NO_STORE),
    later("gcs_*", Any, NO_STORE),
    later("qdrant_*", Any, NO_STORE),
    later("disk_*", Any, NO_STORE),
    later("azure_*", Any, NO_STORE),
];

/// LiteLLM's values of `cache_params.type`.
const CACHES: &[&str] = &[
    "local",
    "redis",
    "redis-semantic",
    "qdrant-semantic",
    "s3",
    "gcs",
    "azure-blob",
    "disk",
];
