//! Keys of `general_settings`.

use super::Kind::{Any, Bool, Duration, List, Map, Number, Seconds, Secret, Text, Texts, Whole};
use super::settings::{ADMISSION, NO_MCP, REDIS_CARRIES};
use super::{COUNT, Key, later, off, on};

const NO_DB_JOBS: &str = "the embedded store and its journal have no such job";
pub(super) const NO_HEALTH: &str = "probes keep to `meridian.probes`";
pub(super) const NO_ALERTS: &str = "no alert is sent; use the metrics";
const NO_SSO: &str = "only the master key and virtual keys are accepted";
const NO_HOOKS: &str = "requests pass without it";
const RECORDED: &str = "the spend ledger is never switched off";

pub(super) const GENERAL: &[Key] = &[
    on(
        "master_key",
        Secret,
        "the administrator's key, `sk-...`; default: env `LITELLM_MASTER_KEY`",
    ),
    on(
        "litellm_key_header_name",
        Text,
        "a header that is tried first for the key",
    ),
    on(
        "allow_client_side_credentials",
        Bool,
        "clients may send `api_base` etc.; default false",
    ),
    on("user_header_name", Text, "header that names the end user"),
    on(
        "enforce_user_param",
        Bool,
        "requests without `user` get 400; default false",
    ),
    on(
        "max_request_size_mb",
        Number,
        "as `meridian.body_bytes_max`, in MiB",
    ),
    on(
        "block_robots",
        Bool,
        "`/robots.txt` forbids everything; default false",
    ),
    on(
        "disable_spend_logs",
        Bool,
        "requests are counted, but not listed; default false",
    ),
    on(
        "maximum_spend_logs_retention_period",
        Duration,
        "older spend logs are deleted; on Postgres whole UTC days",
    ),
    on(
        "maximum_spend_logs_retention_interval",
        Duration,
        "how often old ones are looked for; default 1h",
    ),
    on(
        "maximum_spend_logs_cleanup_cron",
        Text,
        "the same as a crontab line in `litellm_settings.timezone`; wins",
    ),
    on(
        "proxy_batch_polling_interval",
        Seconds,
        "how often a batch that nobody reads is looked at, to be billed; at least 1, default 3600",
    ),
    on(
        "proxy_batch_write_at",
        Seconds,
        "how often records go from the journal to Postgres, 0.1 to 3600; default 1",
    ),
    on(
        "allow_public_health_readiness_details",
        Bool,
        "the long readiness body; default false",
    ),
    on(
        "always_include_stream_usage",
        Bool,
        "usage chunk for every stream; default false",
    ),
    on(
        "use_x_forwarded_for",
        Bool,
        "as `meridian.trusted_proxies: 1`; default false",
    ),
    on(
        "database_url",
        Secret,
        "Postgres, `postgresql://user:password@host:port/database?sslmode=...`; default: env \
         `DATABASE_URL`, then `DATABASE_HOST` etc.; without any the embedded store is used",
    ),
    on(
        "database_connection_pool_limit",
        Whole(1, 1_000),
        "connections that one process holds at most; default 10",
    ),
    on(
        "database_connection_timeout",
        Seconds,
        "longest wait for a free connection; default 5",
    ),
    off("database_*", Any, "one pool is used, and it needs no more"),
    on(
        "store_model_in_db",
        Bool,
        "what the management API stores counts; default: env `STORE_MODEL_IN_DB` or false",
    ),
    later(
        "supported_db_objects",
        Texts,
        "models, credentials and settings are all taken",
    ),
    on(
        "store_prompts_in_spend_logs",
        Bool,
        "texts are kept, shortened; default: env `STORE_PROMPTS_IN_SPEND_LOGS` or false",
    ),
    later("use_redis_transaction_buffer", Bool, REDIS_CARRIES),
    later("coordination_redis", Any, REDIS_CARRIES),
    off("proxy_budget_rescheduler_min_time", Seconds, NO_DB_JOBS),
    off("proxy_budget_rescheduler_max_time", Seconds, NO_DB_JOBS),
    off(
        "disable_adding_master_key_hash_to_db",
        Bool,
        "the master key is never stored",
    ),
    off("disable_spend_updates", Bool, RECORDED),
    off("disable_error_logs", Bool, RECORDED),
    off(
        "disable_reset_budget",
        Bool,
        "remove `budget_duration` for a budget without periods",
    ),
    off(
        "disable_budget_reservation",
        Bool,
        "budgets are always reserved before a request",
    ),
    off(
        "user_api_key_cache_ttl",
        Seconds,
        "keys are in memory and a change counts at once",
    ),
    off(
        "proxy_config_reload_interval_seconds",
        Seconds,
        "a changed file is read at once",
    ),
    off(
        "allow_requests_on_db_unavailable",
        Bool,
        "no request waits for the store",
    ),
    off(
        "cancel_on_disconnect",
        Bool,
        "see `meridian.response_on_disconnect`",
    ),
    off(
        "fail_closed_rate_limit_enforcement",
        Bool,
        "limits do not depend on a server here",
    ),
    off(
        "fail_closed_budget_enforcement",
        Bool,
        "budgets do not depend on a server here",
    ),
    on(
        "background_health_checks",
        Bool,
        "deployments are probed; only for free unless `meridian.probes` allows more; default false",
    ),
    on(
        "health_check_interval",
        Seconds,
        "from one probe of a deployment to the next, at least 1; default 300",
    ),
    later("health_check_*", Any, NO_HEALTH),
    later("use_shared_health_check", Bool, NO_HEALTH),
    later("enable_health_check_routing", Bool, NO_HEALTH),
    later("model_list_healthy_only", Bool, NO_HEALTH),
    later("global_max_parallel_requests", COUNT, ADMISSION),
    later(
        "max_parallel_requests",
        COUNT,
        "set `max_parallel_requests` on keys",
    ),
    later("max_in_flight_requests_per_worker", COUNT, ADMISSION),
    later("max_queued_requests_per_worker", COUNT, ADMISSION),
    later("admission_queue_timeout_seconds", Seconds, ADMISSION),
    later("max_response_size_mb", Number, "answers are not limited"),
    later(
        "token_rate_limit_type",
        Text,
        "input and output tokens both count",
    ),
    off(
        "disable_retry_on_max_parallel_request_limit_error",
        Bool,
        "own limits are not retried",
    ),
    later("alerting", Texts, NO_ALERTS),
    later(
        "alerting_threshold",
        Seconds,
        "seconds, not per cent; no alert is sent; use the metrics",
    ),
    later("alert_*", Any, NO_ALERTS),
    later("alerting_args", Map, NO_ALERTS),
    later("spend_report_frequency", Text, NO_ALERTS),
    later("completion_model", Text, "the client's model is used"),
    later("embedding_model", Text, "the client's model is used"),
    later("image_generation_model", Text, "the client's model is used"),
    later("moderation_model", Text, "the client's model is used"),
    later(
        "infer_model_from_keys",
        Bool,
        "list the models in `model_list`",
    ),
    later(
        "reject_clientside_metadata_tags",
        Bool,
        "tags of clients are recorded",
    ),
    later("enforced_params", Texts, "requests without them pass"),
    later("user_header_mappings", Any, "use `user_header_name`"),
    on(
        "forward_client_headers_to_llm_api",
        Bool,
        "`x-*` headers of callers reach providers, except credentials and addresses",
    ),
    later(
        "forward_llm_provider_auth_headers",
        Bool,
        "client credentials are not forwarded",
    ),
    later(
        "forward_openai_org_id",
        Bool,
        "`openai-organization` of clients is not forwarded",
    ),
    later("pass_through_endpoints", List, NO_MCP),
    later("allowed_routes", Texts, "set `allowed_routes` on keys"),
    later("public_routes", Texts, "every route keeps its role"),
    later("admin_only_routes", Texts, "every route keeps its role"),
    later(
        "allowed_ips",
        Texts,
        "restrict addresses in front of the gateway",
    ),
    later("ui_access_mode", Text, "there is no user interface"),
    later("enable_jwt_auth", Bool, NO_SSO),
    later("litellm_jwtauth", Map, NO_SSO),
    later("enable_oauth2_auth", Bool, NO_SSO),
    later("custom_auth", Text, NO_SSO),
    later("custom_key_generate", Text, "Python hooks do not run here"),
    later("key_management_*", Any, "secrets come from the environment"),
    later("service_account_settings", Map, NO_HOOKS),
    on(
        "default_team_disabled",
        Bool,
        "`/key/generate` needs a `team_id`, `/user/new` makes no key; default false",
    ),
    on(
        "disable_key_generate_for_org_admin",
        Bool,
        "administrators of organizations make no keys; default false",
    ),
    later(
        "apply_user_budget_to_team_keys",
        Bool,
        "a team's key counts for its user and its user's budget does not refuse it; limit members",
    ),
    off(
        "encryption_algorithm",
        Text,
        "no provider credential is stored",
    ),
    later(
        "include_call_id_in_error_body",
        Bool,
        "it is in the header `x-litellm-call-id`",
    ),
    off(
        "dangerously_permit_weak_or_unset_master_key",
        Bool,
        "a master key is always needed",
    ),
    later(
        "dangerously_allow_mock_testing_request_params",
        Bool,
        "such parameters are ignored",
    ),
];
