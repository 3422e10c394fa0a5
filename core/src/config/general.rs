//! `general_settings` and `litellm_settings`, resolved.

use std::collections::HashMap;
use std::time::Duration;

use super::environ;
use super::period;
use super::problem::{Position, Problems};
use super::section::Area;
use crate::cron::Cron;
use crate::ids::Secret;
use crate::money::NanoUsd;
use crate::transcript::{TEXT_CHARS, TEXT_CHARS_MAX};

/// How often a node's records go to a shared store. LiteLLM waits 10 s because its records are in
/// memory until then; here they are on disk, and reports are fresher.
const BATCH_POLLING: Duration = Duration::from_secs(3_600);
const BATCH_POLLING_MIN: Duration = Duration::from_secs(1);
const BATCH_WRITE_AT: Duration = Duration::from_secs(1);
const BATCH_WRITE_MIN: Duration = Duration::from_millis(100);
const BATCH_WRITE_MAX: Duration = Duration::from_secs(3_600);
/// Time between two looks for spend logs that are too old.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3_600);

/// Whether a configuration may do without a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKey {
    /// An absent one is an error: nothing starts without authentication.
    Required,
    /// The caller makes one; for the embedded defaults only.
    Generated,
}

/// `general_settings`.
#[derive(Clone, Debug)]
pub struct General {
    /// The administrator's key. Always there unless [`MasterKey::Generated`] was asked for.
    pub master_key: Option<Secret>,
    /// What values at rest are sealed with, where that is not the master key.
    pub salt_key: Option<Secret>,
    /// Models and settings that the management API stored are in force.
    pub store_model_in_db: bool,
    /// Lower-case header that is tried first for the key.
    pub key_header: Option<String>,
    /// Callers' `x-` headers reach providers.
    pub forwards_client_headers: bool,
    /// Clients may send `api_base` and credentials.
    pub allow_client_side_credentials: bool,
    /// Lower-case header that names the end user.
    pub user_header: Option<String>,
    /// Requests without `user` are refused.
    pub enforce_user_param: bool,
    /// `/robots.txt` forbids everything.
    pub block_robots: bool,
    /// The ledger keeps what was asked and answered, also as providers' error messages quote it;
    /// of each text so many characters. `None`: it does not.
    pub prompt_chars: Option<usize>,
    /// Requests are counted, but not listed.
    pub disable_spend_logs: bool,
    /// How long spend logs are kept; `None` keeps them for ever.
    pub spend_logs_retention: Option<Retention>,
    /// How often a node's records go to a shared store.
    pub batch_write_at: Duration,
    /// How often a batch at a provider is looked at that nobody reads, to be billed.
    pub batch_polling: Duration,
    /// The long readiness body.
    pub public_readiness_details: bool,
    /// Streams end with a usage chunk even if the client did not ask.
    pub always_include_stream_usage: bool,
}

/// How long spend logs are kept, and when older ones are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older ones go.
    pub keep: Duration,
    /// When.
    pub schedule: Schedule,
}

/// When something is done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// After this time.
    Every(Duration),
    /// In the minutes that a crontab line names, in `litellm_settings.timezone`.
    Cron(Cron),
}

/// `litellm_settings`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limit of one attempt where the router has none.
    pub request_timeout: Duration,
    /// Log lines are JSON objects.
    pub json_logs: bool,
    /// Debug logs.
    pub verbose: bool,
    /// Log lines name no key, user, team or other scope.
    pub redact_callers: bool,
    /// `/metrics` needs an administrator's key.
    pub require_auth_for_metrics_endpoint: bool,
    /// `prometheus` is among the callbacks.
    pub prometheus: bool,
    /// The other callbacks, which are not in this version yet.
    pub callbacks: Vec<String>,
    /// Translations leave out what a model does not know, where the model does not say it.
    pub drop_params: bool,
    /// Money for the whole gateway.
    pub budget: Option<GlobalBudget>,
    /// Status for a budget that is used up.
    pub budget_exceeded_status: u16,
    /// IANA name of the zone whose calendar ends budget periods.
    pub timezone: String,
}

/// Money for the whole gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalBudget {
    /// Per period.
    pub max: NanoUsd,
    /// The period in LiteLLM's grammar; `None` is for ever.
    pub duration: Option<String>,
}

pub(super) fn general(
    area: &Area<'_>,
    litellm: &Area<'_>,
    env: &HashMap<String, String>,
    needed: MasterKey,
    problems: &mut Problems,
) -> General {
    let flag = |key| area.bool(key).unwrap_or(false);
    General {
        master_key: master_key(area, env, needed, problems),
        salt_key: environ::variable(env, "LITELLM_SALT_KEY").map(Secret::new),
        store_model_in_db: flag("store_model_in_db") || environ::switch(env, "STORE_MODEL_IN_DB"),
        key_header: header(area, "litellm_key_header_name", problems),
        forwards_client_headers: flag("forward_client_headers_to_llm_api"),
        allow_client_side_credentials: flag("allow_client_side_credentials"),
        user_header: header(area, "user_header_name", problems),
        enforce_user_param: flag("enforce_user_param"),
        block_robots: flag("block_robots"),
        prompt_chars: prompt_chars(area, litellm, env),
        disable_spend_logs: flag("disable_spend_logs"),
        spend_logs_retention: retention(area, problems),
        batch_write_at: area
            .seconds("proxy_batch_write_at")
            .map_or(BATCH_WRITE_AT, |time| {
                time.clamp(BATCH_WRITE_MIN, BATCH_WRITE_MAX)
            }),
        batch_polling: area
            .seconds("proxy_batch_polling_interval")
            .map_or(BATCH_POLLING, |time| time.max(BATCH_POLLING_MIN)),
        public_readiness_details: flag("allow_public_health_readiness_details"),
        always_include_stream_usage: flag("always_include_stream_usage"),
    }
}

/// `turn_off_message_logging` wins: who wants no texts anywhere gets none in the ledger.
fn prompt_chars(
    area: &Area<'_>,
    litellm: &Area<'_>,
    env: &HashMap<String, String>,
) -> Option<usize> {
    let of_file = area.bool("store_prompts_in_spend_logs").unwrap_or(false);
    let stored = of_file || environ::switch(env, "STORE_PROMPTS_IN_SPEND_LOGS");
    let redacted = litellm.bool("turn_off_message_logging").unwrap_or(false);
    let asked = environ::variable(env, "MAX_STRING_LENGTH_PROMPT_IN_DB");
    let chars = asked.and_then(|chars| chars.parse().ok());
    let chars = chars.map_or(TEXT_CHARS, |chars: usize| chars.clamp(1, TEXT_CHARS_MAX));
    (stored && !redacted).then_some(chars)
}

/// A cron line wins over an interval, as in LiteLLM.
fn retention(area: &Area<'_>, problems: &mut Problems) -> Option<Retention> {
    let length = |key| area.text(key).and_then(period::parse);
    let every = length("maximum_spend_logs_retention_interval").unwrap_or(RETENTION_INTERVAL);
    const CRON: &str = "maximum_spend_logs_cleanup_cron";
    let schedule = match area.text(CRON) {
        None => Schedule::Every(every),
        Some(text) => match Cron::parse(text) {
            Some(cron) => Schedule::Cron(cron),
            None => {
                let message = "expected a crontab line of five fields, such as `0 4 * * *`";
                problems.error(area.at(CRON), &area.path_of(CRON), message);
                return None;
            }
        },
    };
    let keep = length("maximum_spend_logs_retention_period")?;
    Some(Retention { keep, schedule })
}

fn master_key(
    area: &Area<'_>,
    env: &HashMap<String, String>,
    needed: MasterKey,
    problems: &mut Problems,
) -> Option<Secret> {
    let (at, path) = (area.at("master_key"), area.path_of("master_key"));
    let own = area.text("master_key");
    let Some(key) = own.or_else(|| environ::variable(env, "LITELLM_MASTER_KEY")) else {
        if needed == MasterKey::Required {
            let message = "required: write a secret `sk-...` here or set `LITELLM_MASTER_KEY`; \
                without one every request would have to be refused";
            problems.error(at, &path, message);
        }
        return None;
    };
    if !key.starts_with("sk-") {
        let message = "does not begin with `sk-`; LiteLLM's clients and user interface expect it";
        problems.warning(at, &path, message);
    }
    const LENGTH_MIN: usize = 16;
    if key.len() < LENGTH_MIN {
        let message = format!("shorter than {LENGTH_MIN} characters: easy to guess");
        problems.warning(at, &path, message);
    }
    Some(Secret::new(key))
}

fn header(area: &Area<'_>, key: &str, problems: &mut Problems) -> Option<String> {
    let name = area.text(key)?.to_ascii_lowercase();
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(in_name) {
        problems.error(area.at(key), &area.path_of(key), "not a header name");
        return None;
    }
    Some(name)
}

pub(super) fn settings(
    area: &Area<'_>,
    general: &Area<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Settings {
    let (prometheus, callbacks) = callbacks(area, problems);
    let log_level = environ::variable(env, "LITELLM_LOG").unwrap_or_default();
    let json_logs = area.bool("json_logs");
    Settings {
        request_timeout: area.seconds("request_timeout").unwrap_or(REQUEST_TIMEOUT),
        json_logs: json_logs.unwrap_or_else(|| environ::switch(env, "JSON_LOGS")),
        redact_callers: area.bool("redact_user_api_key_info").unwrap_or(false),
        verbose: area
            .bool("set_verbose")
            .unwrap_or_else(|| log_level.eq_ignore_ascii_case("debug")),
        require_auth_for_metrics_endpoint: area
            .bool("require_auth_for_metrics_endpoint")
            .unwrap_or(true),
        prometheus,
        callbacks,
        drop_params: area.bool("drop_params").unwrap_or(false),
        budget: budget(area, general, problems),
        budget_exceeded_status: area
            .count("budget_exceeded_status_code")
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(BUDGET_EXCEEDED_STATUS),
        timezone: timezone(area, problems),
    }
}

/// LiteLLM's default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6_000);
/// What LiteLLM 1.87 answers.
const BUDGET_EXCEEDED_STATUS: u16 = 429;

fn callbacks(area: &Area<'_>, problems: &mut Problems) -> (bool, Vec<String>) {
    let (mut prometheus, mut others) = (false, Vec::new());
    let keys = [
        "callbacks",
        "success_callback",
        "failure_callback",
        "service_callback",
    ];
    for key in keys {
        for (name, at) in area.texts(key) {
            match name {
                "prometheus" => prometheus = true,
                "prometheus_system" => {}
                _ if name.contains('.') => {
                    let message = format!("`{name}` is Python; such hooks do not run here");
                    problems.warning(at, &area.path_of(key), message);
                }
                _ => {
                    let message = format!(
                        "callback `{name}` is not in this version yet: nothing is sent to it; \
                         see `/spend/logs` and `/metrics`"
                    );
                    problems.warning(at, &area.path_of(key), message);
                    if !others.iter().any(|known| known == name) {
                        others.push(name.to_owned());
                    }
                }
            }
        }
    }
    (prometheus, others)
}

/// The budget of `litellm_settings`, else the one that was written under `general_settings`.
fn budget(area: &Area<'_>, general: &Area<'_>, problems: &mut Problems) -> Option<GlobalBudget> {
    let from = match area.has("max_budget") {
        true => area,
        false => general,
    };
    let duration = area
        .text("budget_duration")
        .or(general.text("budget_duration"));
    let dollars = from.number("max_budget").filter(|dollars| *dollars > 0.0);
    let Some(dollars) = dollars else {
        for place in [area, general] {
            if place.has("budget_duration") {
                let message = "without `max_budget` there is no budget to end";
                let path = place.path_of("budget_duration");
                problems.warning(place.at("budget_duration"), &path, message);
            }
        }
        return None;
    };
    let Some(max) = NanoUsd::from_dollars(dollars) else {
        let path = from.path_of("max_budget");
        problems.error(from.at("max_budget"), &path, "more dollars than there are");
        return None;
    };
    let duration = duration.map(str::to_owned);
    Some(GlobalBudget { max, duration })
}

fn timezone(area: &Area<'_>, problems: &mut Problems) -> String {
    let Some(name) = area.text("timezone") else {
        return "UTC".to_owned();
    };
    if let Err(_unknown) = jiff::tz::TimeZone::get(name) {
        let at: &Position = area.at("timezone");
        let message = "no such time zone; write a name such as `Europe/Berlin`";
        problems.error(at, &area.path_of("timezone"), message);
    }
    name.to_owned()
}
