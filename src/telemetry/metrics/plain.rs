//! Families that are not per request: mirrored state, closed sets, process figures.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::DeploymentLabels;
use super::catalogue::{Kind, PlainFamily};

pub(super) const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> PlainFamily {
    PlainFamily {
        name,
        help,
        kind: Kind::Gauge,
        labels,
    }
}

pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> PlainFamily {
    PlainFamily {
        kind: Kind::Counter,
        ..gauge(name, labels, help)
    }
}

const fn histogram(name: &'static str, help: &'static str) -> PlainFamily {
    PlainFamily {
        kind: Kind::Histogram,
        ..gauge(name, &[], help)
    }
}

/// Labels of LiteLLM's deployment gauges.
pub(super) const DEPLOYMENT: [&str; 4] =
    ["litellm_model_name", "model_id", "api_base", "api_provider"];
/// Labels of LiteLLM's key budget gauges.
pub(super) const KEY: [&str; 2] = ["hashed_api_key", "api_key_alias"];

pub(super) const LITELLM_IN_FLIGHT: PlainFamily = gauge(
    "litellm_in_flight_requests",
    &[],
    "Inference requests in flight on this node",
);
pub(super) const DEPLOYMENT_STATE: PlainFamily = gauge(
    "litellm_deployment_state",
    &DEPLOYMENT,
    "State of a deployment: 0 healthy, 1 partial outage, 2 complete outage",
);
pub(super) const KEY_BUDGET_REMAINING: PlainFamily = gauge(
    "litellm_remaining_api_key_budget_metric",
    &KEY,
    "US dollars left in the running period of a key's budget",
);
pub(super) const KEY_BUDGET_MAX: PlainFamily = gauge(
    "litellm_api_key_max_budget_metric",
    &KEY,
    "US dollars that a key may spend per period",
);
pub(super) const KEY_BUDGET_HOURS: PlainFamily = gauge(
    "litellm_api_key_budget_remaining_hours_metric",
    &KEY,
    "Hours until a key's budget period ends",
);
pub(super) const IN_FLIGHT: PlainFamily = gauge(
    "meridian_requests_in_flight",
    &[],
    "Inference requests in flight on this node",
);
pub(super) const BUFFERED_BYTES: PlainFamily = gauge(
    "meridian_buffered_bytes",
    &[],
    "Request and response bytes held in memory",
);
pub(super) const JOURNAL_BYTES: PlainFamily = gauge(
    "meridian_journal_bytes",
    &[],
    "Bytes of spend journal on disk",
);
pub(super) const JOURNAL_LAG: PlainFamily = gauge(
    "meridian_journal_lag_seconds",
    &[],
    "Age of the oldest spend record that is not in the store yet",
);
pub(super) const LEDGER_RECORDS: PlainFamily = counter(
    "meridian_ledger_records_total",
    &[],
    "Spend records stored since the process started",
);
pub(super) const RESERVATIONS: PlainFamily = gauge(
    "meridian_reservations_outstanding",
    &[],
    "Budget reservations that are neither settled nor released",
);
pub(super) const OVERHEAD: PlainFamily = histogram(
    "meridian_overhead_seconds",
    "Seconds of a request that were spent in the gateway, not on the provider or the client",
);
pub(super) const TTFT: PlainFamily = histogram(
    "meridian_ttft_seconds",
    "Seconds from a request's arrival to the first content of its streamed answer",
);
pub(super) const GAP: PlainFamily = histogram(
    "meridian_inter_chunk_gap_seconds",
    "Seconds between two reads of a streamed answer",
);
pub(super) const STREAM_END: PlainFamily = counter(
    "meridian_stream_end_total",
    &["reason"],
    "Streamed requests by the way they ended",
);
pub(super) const ATTEMPTS: PlainFamily = counter(
    "meridian_upstream_attempts_total",
    &["deployment", "outcome"],
    "Attempts at a deployment by outcome",
);
pub(super) const SERIES_DROPPED: PlainFamily = counter(
    "meridian_metrics_series_dropped_total",
    &[],
    "Observations added to an _other series because the limit on series was reached",
);
pub(super) const DEPLOYMENT_TTFT: PlainFamily = gauge(
    "meridian_deployment_ewma_ttft_seconds",
    &["deployment"],
    "Mean time to first token of a deployment, recent ones weighing most",
);
pub(super) const DEPLOYMENT_SCORE: PlainFamily = gauge(
    "meridian_deployment_score",
    &["deployment"],
    "Score of a deployment in latency-based-routing, in seconds; lower is better",
);
pub(super) const DEPLOYMENT_IN_FLIGHT: PlainFamily = gauge(
    "meridian_deployment_in_flight",
    &["deployment"],
    "Requests that run at a deployment",
);
pub(super) const RETRY_BUDGET: PlainFamily = gauge(
    "meridian_retry_budget_left",
    &[],
    "Retries and fallbacks that this node may send now beyond its requests",
);
const DEPLOYMENT_COOLED_DOWN: PlainFamily = counter(
    "litellm_deployment_cooled_down_total",
    &[
        "litellm_model_name",
        "model_id",
        "api_base",
        "api_provider",
        "exception_status",
    ],
    "Times a deployment was left out after failures",
);
const REJECTED: PlainFamily = counter(
    "meridian_rejected_total",
    &["reason"],
    "Requests refused before they reached a provider",
);
const TRANSLATION_LOSSES: PlainFamily = counter(
    "meridian_translation_losses_total",
    &["field", "change"],
    "Fields of requests that a provider's dialect has no place for",
);
const SOFT_BUDGETS: PlainFamily = counter(
    "meridian_soft_budget_crossed_total",
    &["scope"],
    "Times spend passed a soft budget, once in a period",
);
const BATCH_ERRORS: PlainFamily = counter(
    "litellm_check_batch_cost_errors_total",
    &["error_type"],
    "Looks at batches that did not say what they used",
);
const BATCHES_BILLED: PlainFamily = counter(
    "litellm_check_batch_cost_jobs_processed_total",
    &["model", "api_provider"],
    "Batches that were billed, once for each of their models",
);
const RELOADS: PlainFamily = counter(
    "meridian_config_reload_total",
    &["result"],
    "Configuration reloads",
);
const LAST_RELOAD: PlainFamily = gauge(
    "meridian_config_last_reload_success",
    &[],
    "1 when the last reload took effect, 0 when the old configuration was kept",
);
pub(super) const RECORDS_LEFT_OUT: PlainFamily = gauge(
    "meridian_config_records_left_out",
    &[],
    "Stored models, credentials and settings that cannot be used and are not in force",
);
pub(super) const COORDINATION: PlainFamily = gauge(
    "meridian_coordination_mode",
    &["mode", "state"],
    "1 for how this node shares cooldowns with its region and whether that works",
);
const COORDINATION_MESSAGES: PlainFamily = counter(
    "meridian_coordination_messages_total",
    &["result"],
    "Cooldowns told to the region and heard from it",
);
pub(super) const CACHE_ENTRIES: PlainFamily = gauge(
    "meridian_cache_entries",
    &[],
    "Cached answers in this node's memory",
);
pub(super) const CACHE_BYTES: PlainFamily = gauge(
    "meridian_cache_bytes",
    &[],
    "Bytes of cached answers in this node's memory",
);
pub(super) const CACHE_REDIS: PlainFamily = gauge(
    "meridian_cache_redis_up",
    &[],
    "1 while requests ask Redis for cached answers, 0 while it does not answer",
);
pub(super) const CACHE_LOOKUPS: PlainFamily = counter(
    "meridian_cache_lookups_total",
    &["result"],
    "Requests that may be answered from the cache, by what they found",
);
pub(super) const CACHE_STORED: PlainFamily = counter(
    "meridian_cache_stored_total",
    &["result"],
    "Answers that were to be cached, by whether they were",
);
pub(super) const CACHE_ERRORS: PlainFamily = counter(
    "meridian_cache_errors_total",
    &["kind"],
    "Failures of the cache in Redis, none of them a request's",
);
pub(super) const CACHE_SAVED: PlainFamily = counter(
    "meridian_cache_saved_dollars_total",
    &[],
    "US dollars that answers from the cache would have cost",
);
pub(super) const CACHE_SAVED_TOKENS: PlainFamily = counter(
    "meridian_cache_saved_tokens_total",
    &[],
    "Tokens of answers from the cache",
);
const PANICS: PlainFamily = counter("meridian_panics_total", &[], "Panics, each a defect");
const BUILD: PlainFamily = gauge("meridian_build_info", &["version"], "Always 1");
pub(super) const RESIDENT: PlainFamily = gauge(
    "process_resident_memory_bytes",
    &[],
    "Resident memory in bytes",
);
pub(super) const VIRTUAL: PlainFamily = gauge(
    "process_virtual_memory_bytes",
    &[],
    "Virtual memory in bytes",
);
pub(super) const CPU: PlainFamily = counter(
    "process_cpu_seconds_total",
    &[],
    "User and system CPU time in seconds",
);
pub(super) const OPEN_FDS: PlainFamily = gauge("process_open_fds", &[], "Open file descriptors");
pub(super) const MAX_FDS: PlainFamily =
    gauge("process_max_fds", &[], "Limit on open file descriptors");
pub(super) const START_TIME: PlainFamily = gauge(
    "process_start_time_seconds",
    &[],
    "Start of the process in seconds since the Unix epoch",
);
pub(super) const THREADS: PlainFamily = gauge("process_threads", &[], "Operating system threads");

/// All of them.
pub(super) const PLAIN: [&PlainFamily; 49] = [
    &LITELLM_IN_FLIGHT,
    &DEPLOYMENT_STATE,
    &DEPLOYMENT_COOLED_DOWN,
    &DEPLOYMENT_TTFT,
    &DEPLOYMENT_SCORE,
    &DEPLOYMENT_IN_FLIGHT,
    &RETRY_BUDGET,
    &RECORDS_LEFT_OUT,
    &KEY_BUDGET_REMAINING,
    &KEY_BUDGET_MAX,
    &KEY_BUDGET_HOURS,
    &IN_FLIGHT,
    &BUFFERED_BYTES,
    &JOURNAL_BYTES,
    &JOURNAL_LAG,
    &LEDGER_RECORDS,
    &RESERVATIONS,
    &OVERHEAD,
    &TTFT,
    &GAP,
    &STREAM_END,
    &ATTEMPTS,
    &SERIES_DROPPED,
    &REJECTED,
    &TRANSLATION_LOSSES,
    &BATCH_ERRORS,
    &BATCHES_BILLED,
    &SOFT_BUDGETS,
    &RELOADS,
    &LAST_RELOAD,
    &COORDINATION,
    &COORDINATION_MESSAGES,
    &CACHE_ENTRIES,
    &CACHE_BYTES,
    &CACHE_REDIS,
    &CACHE_LOOKUPS,
    &CACHE_STORED,
    &CACHE_ERRORS,
    &CACHE_SAVED,
    &CACHE_SAVED_TOKENS,
    &PANICS,
    &BUILD,
    &RESIDENT,
    &VIRTUAL,
    &CPU,
    &OPEN_FDS,
    &MAX_FDS,
    &START_TIME,
    &THREADS,
];

/// What became of a cooldown on its way between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinationMessage {
    /// Told to the region.
    Sent,
    /// Another node's, taken in.
    Heard,
    /// Of a deployment or credential that this node does not have.
    Unknown,
    /// No message, or too long for one: not taken in.
    Malformed,
    /// Dropped because too many came at once.
    Lost,
}

impl CoordinationMessage {
    const ALL: [Self; 5] = [
        Self::Sent,
        Self::Heard,
        Self::Unknown,
        Self::Malformed,
        Self::Lost,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Heard => "heard",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Lost => "lost",
        }
    }
}

/// Events that are rare or have few series: held by the prometheus crate.
pub(super) struct Events {
    registry: Registry,
    cooled_down: IntCounterVec,
    rejected: IntCounterVec,
    losses: IntCounterVec,
    soft_budgets: IntCounterVec,
    batch_errors: IntCounterVec,
    batches_billed: IntCounterVec,
    reloads: IntCounterVec,
    last_reload: IntGauge,
    coordination: IntCounterVec,
    panics: IntCounter,
}

impl Events {
    /// Fails only if the tables above are wrong, which a test would show.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let events = Self {
            cooled_down: counters(&registry, &DEPLOYMENT_COOLED_DOWN)?,
            rejected: counters(&registry, &REJECTED)?,
            losses: counters(&registry, &TRANSLATION_LOSSES)?,
            soft_budgets: counters(&registry, &SOFT_BUDGETS)?,
            batch_errors: counters(&registry, &BATCH_ERRORS)?,
            batches_billed: counters(&registry, &BATCHES_BILLED)?,
            reloads: counters(&registry, &RELOADS)?,
            last_reload: register(&registry, IntGauge::with_opts(opts(&LAST_RELOAD))?)?,
            coordination: counters(&registry, &COORDINATION_MESSAGES)?,
            panics: register(&registry, IntCounter::with_opts(opts(&PANICS))?)?,
            registry,
        };
        let build = IntGaugeVec::new(opts(&BUILD), BUILD.labels)?;
        let build = register(&events.registry, build)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // Series that alerts watch exist from the start.
        events.reloads.with_label_values(&["ok"]);
        events.reloads.with_label_values(&["error"]);
        events.last_reload.set(1);
        for what in CoordinationMessage::ALL {
            events.coordination_messages(what, 0);
        }
        Ok(events)
    }

    pub(super) fn cooled_down(&self, deployment: &DeploymentLabels<'_>, status: u16) {
        let status = status.to_string();
        let labels = [
            deployment.model,
            deployment.id,
            deployment.api_base,
            deployment.provider,
            &status,
        ];
        self.cooled_down.with_label_values(&labels).inc();
    }

    pub(super) fn translation_lost(&self, field: &'static str, change: &'static str) {
        self.losses.with_label_values(&[field, change]).inc();
    }

    pub(super) fn batch_failed(&self, why: &'static str) {
        self.batch_errors.with_label_values(&[why]).inc();
    }

    pub(super) fn batch_billed(&self, model: &str, provider: &str) {
        let labels = [model, provider];
        self.batches_billed.with_label_values(&labels).inc();
    }

    pub(super) fn soft_budget_crossed(&self, scope: &'static str) {
        self.soft_budgets.with_label_values(&[scope]).inc();
    }

    pub(super) fn rejected(&self, reason: &'static str) {
        self.rejected.with_label_values(&[reason]).inc();
    }

    pub(super) fn reloaded(&self, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.reloads.with_label_values(&[result]).inc();
        self.last_reload.set(i64::from(ok));
    }

    pub(super) fn coordination_messages(&self, what: CoordinationMessage, count: u64) {
        let counter = self.coordination.with_label_values(&[what.label()]);
        counter.inc_by(count);
    }

    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    pub(super) fn write(&self, out: &mut String) {
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), out) {
            tracing::error!(%error, "metrics were not encoded");
        }
    }
}

fn opts(family: &PlainFamily) -> Opts {
    Opts::new(family.name, family.help)
}

fn counters(registry: &Registry, family: &PlainFamily) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(opts(family), family.labels)?)
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
