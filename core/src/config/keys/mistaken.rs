//! Keys that people write where LiteLLM does not read them: accepted, with what to write instead.

use super::Kind::{Any, Bool, Duration, Number, Seconds, Secret, Text, Whole};
use super::{COUNT, Kind, Section};

/// One row: a key in the wrong place.
#[derive(Clone, Copy, Debug)]
pub struct Mistaken {
    /// Where it is written.
    pub section: Section,
    /// Its name there.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What happens with it and what to write instead.
    pub instead: &'static str,
}

const SENTINEL: &str = "LiteLLM does not read this; read as Sentinel. Write \
    `litellm_settings.cache_params.service_name` and `sentinel_nodes`";
const REDIS: &str = "LiteLLM does not read this; read as `litellm_settings.cache_params`. Write it \
    there";
const BUDGET: &str = "LiteLLM does not read this; it is applied as the budget of the whole \
    gateway. Write it under `litellm_settings`";
const HEALTH: &str = "LiteLLM refuses this here; write it under `general_settings`";

const fn row(section: Section, name: &'static str, kind: Kind, instead: &'static str) -> Mistaken {
    Mistaken {
        section,
        name,
        kind,
        instead,
    }
}

/// Every known mistake of this kind.
pub const MISTAKEN: &[Mistaken] = &[
    row(Section::General, "max_budget", Number, BUDGET),
    row(Section::General, "budget_duration", Duration, BUDGET),
    row(
        Section::General,
        "redact_messages_in_exceptions",
        Bool,
        "LiteLLM does not read this; write it under `litellm_settings`. Errors never contain \
         messages here",
    ),
    row(
        Section::General,
        "cache",
        Bool,
        "LiteLLM does not read this; write `litellm_settings.cache`",
    ),
    row(Section::General, "redis_host", Text, REDIS),
    row(Section::General, "redis_port", Whole(1, 65_535), REDIS),
    row(Section::General, "redis_password", Secret, REDIS),
    row(Section::General, "redis_username", Text, REDIS),
    row(Section::General, "redis_url", Secret, REDIS),
    row(Section::General, "redis_ssl", Bool, REDIS),
    row(Section::General, "redis_use_sentinel", Bool, SENTINEL),
    row(
        Section::General,
        "redis_sentinel_master_name",
        Text,
        SENTINEL,
    ),
    row(Section::General, "redis_sentinel_nodes", Any, SENTINEL),
    row(
        Section::General,
        "redis_sentinel_password",
        Secret,
        SENTINEL,
    ),
    row(Section::Router, "health_check_interval", Seconds, HEALTH),
    row(Section::Router, "health_check_concurrency", COUNT, HEALTH),
];

/// Variables that some deployments set and nothing reads.
pub(in crate::config) const UNREAD_VARIABLES: &[&str] = &[
    "DATABASE_CONNECTION_LIMIT",
    "LITELLM_DISABLE_VERSION_CHECK",
    "LITELLM_REDACT_UI_MESSAGES",
    "USE_V2_MIGRATION_RESOLVER",
];
