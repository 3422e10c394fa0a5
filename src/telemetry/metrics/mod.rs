//! Metrics: LiteLLM's names and labels for what a request did, `meridian_*` for the rest.
//!
//! One call per request, `Metrics::observe`, when it is settled. Label values come only from
//! configured objects: what a client chose freely must arrive here as `OTHER`.

use std::borrow::Cow;
use std::time::Duration;

use meridian_core::error::GatewayError;
use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{EndReason, Payer, SpendRecord};
use meridian_core::translate::{Change, Loss};

mod catalogue;
mod copies;
mod exposition;
mod histogram;
mod labels;
mod outcome;
mod page;
mod plain;
mod process;
mod rights;
mod series;
#[cfg(test)]
mod tests;

pub use catalogue::{Described, Kind, LATENCY_BUCKETS};
pub use copies::RecordEvent;
pub use exposition::CONTENT_TYPE;
pub use histogram::GapSketch;
pub use labels::OTHER;
pub use outcome::{AttemptOutcome, reject_reason};
pub use page::{CacheGauges, DeploymentGauges, DeploymentState, Gauges, KeyBudget, catalogue};
pub use plain::CoordinationMessage;
pub use rights::RightsGauges;
pub use series::CallerLabels;

use catalogue::{Label, Latency, OVERHEAD_BUCKETS, TTFT_BUCKETS};
use histogram::{Bounds, as_nanos};
use labels::Probe;
use series::{Cell, Series, SeriesTable, Stripe};

/// Most label sets per family before callers are folded into `_other`. A page at the limit has
/// some 30,000 counter lines.
pub const SERIES_MAX: usize = 2_000;

/// What can be configured.
#[derive(Clone, Debug)]
pub struct MetricsOptions {
    /// Upper bounds of LiteLLM's latency histograms in seconds (`prometheus_latency_buckets`).
    pub latency_buckets: Vec<f64>,
    /// Which families tell keys and users apart.
    pub callers: CallerLabels,
    /// Whether `end_user` is filled. Callers choose its values, so it is off by default.
    pub end_user: bool,
    /// Label sets per family.
    pub series_max: usize,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        Self {
            latency_buckets: LATENCY_BUCKETS.to_vec(),
            callers: CallerLabels::default(),
            end_user: false,
            series_max: SERIES_MAX,
        }
    }
}

/// Label values that a spend record does not hold, all of them from configured objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestLabels<'a> {
    /// Canonical path of the route.
    pub route: &'static str,
    /// Configured name of the model that was asked for, or `OTHER`.
    pub requested_model: &'a str,
    /// The provider's name of the model as configured, or `OTHER` where a wildcard let the client
    /// choose it. Empty when no deployment was chosen.
    pub model: &'a str,
    /// Alias of the payer's team.
    pub team_alias: Option<&'a str>,
    /// Alias of the payer's organization.
    pub org_alias: Option<&'a str>,
    /// Mail address of the payer's user.
    pub user_email: Option<&'a str>,
    /// `GatewayError::class` of the error that ended the request; `None` for a success.
    pub exception_class: Option<&'a str>,
}

/// A settled request.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its row of the ledger.
    pub record: &'a SpendRecord,
    /// The labels that the row does not hold.
    pub labels: &'a RequestLabels<'a>,
    /// From arrival to the end of the answer.
    pub total: Duration,
    /// Part of `total` that was spent in the gateway: waiting for neither provider nor client.
    pub overhead: Duration,
    /// Waiting for the provider, over all attempts; `None` when none was reached.
    pub upstream: Option<Duration>,
    /// Arrival to first content of a stream; `None` if there was none.
    pub ttft: Option<Duration>,
    /// Gaps between the chunks of a stream.
    pub gaps: &'a GapSketch,
    /// What the response cache said; `None` when it was not asked.
    pub cache: Option<CacheAnswer>,
}

/// What the response cache said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheAnswer {
    /// The whole answer.
    Hit,
    /// Nothing.
    Miss,
}

/// Labels of a deployment, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentLabels<'a> {
    /// Its id.
    pub id: &'a str,
    /// The provider's name of the model, or `OTHER` for a wildcard.
    pub model: &'a str,
    /// Base URL without credentials.
    pub api_base: &'a str,
    /// Provider.
    pub provider: &'a str,
}

/// An attempt that the deployment failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// Who pays for the request.
    pub payer: &'a Payer,
    /// `exception_class` is that of this attempt; `model` is taken from `deployment`.
    pub labels: &'a RequestLabels<'a>,
    /// The deployment.
    pub deployment: &'a DeploymentLabels<'a>,
    /// What went wrong.
    pub outcome: AttemptOutcome,
    /// The upstream's status, or the one that stands for the failure (408, 500).
    pub status: u16,
}

/// Every metric of this process.
pub struct Metrics {
    table: SeriesTable,
    end_user: bool,
    series_max: usize,
    events: plain::Events,
    records: copies::RecordEvents,
    overhead_bounds: Bounds,
    ttft_bounds: Bounds,
}

impl Metrics {
    /// Fails only on a defect in the tables of families.
    pub fn new(options: &MetricsOptions) -> Result<Self, prometheus::Error> {
        let series_max = options.series_max.max(1);
        Ok(Self {
            table: SeriesTable::new(series_max, options.callers, &options.latency_buckets),
            end_user: options.end_user,
            series_max,
            events: plain::Events::new()?,
            records: copies::RecordEvents::default(),
            overhead_bounds: Bounds::of(&OVERHEAD_BUCKETS),
            ttft_bounds: Bounds::of(&TTFT_BUCKETS),
        })
    }

    /// Counts a settled request: once per ledger record, so that counters equal the ledger.
    ///
    /// Counts the last attempt too if the deployment answered it (success, client gone, budget
    /// cut); attempts that it failed are reported with `attempt_failed`.
    pub fn observe(&self, ended: &Ended<'_>) {
        let record = ended.record;
        let mut probe = self.probe(&record.payer, ended.labels, record.status);
        probe.set(Label::ModelId, &record.deployment_id);
        probe.set(Label::ApiProvider, &record.provider);
        probe.set(Label::ApiBase, &record.api_base);
        probe.set(Label::Model, ended.labels.model);
        let mut stripe = self.table.stripe();
        let at = self.table.find(&mut stripe, &probe);
        let series = &mut stripe.series[at];
        add_figures(series, record);
        match ended.cache {
            Some(CacheAnswer::Hit) => {
                series.add(Cell::CacheHits, 1);
                series.add(Cell::CachedTokens, record.usage.total());
            }
            Some(CacheAnswer::Miss) => series.add(Cell::CacheMisses, 1),
            None => {}
        }
        // No deployment was asked for an answer from the cache.
        let asked = ended.cache != Some(CacheAnswer::Hit);
        if let Some(outcome) = AttemptOutcome::of_record(record).filter(|_| asked) {
            series.add_attempt(outcome);
        }
        let served = record.end_reason == EndReason::Complete && !series.failed;
        if let Some(upstream) = ended.upstream.filter(|_| served) {
            self.add_latencies(&mut stripe, at, ended, upstream);
        }
        let unlabelled = &mut stripe.unlabelled;
        let overhead = as_nanos(ended.overhead);
        unlabelled.overhead.record(&self.overhead_bounds, overhead);
        if let Some(ttft) = ended.ttft {
            unlabelled.ttft.record(&self.ttft_bounds, as_nanos(ttft));
        }
        if record.stream {
            unlabelled.gaps.add_gaps(ended.gaps);
            unlabelled.stream_ends[record.end_reason as usize] += 1;
        }
    }

    /// LiteLLM's latencies are those of answers; failures would only blur them.
    fn add_latencies(&self, stripe: &mut Stripe, at: usize, ended: &Ended<'_>, upstream: Duration) {
        let latencies = self.table.latencies_of(stripe, at);
        let mut record = |latency: Latency, nanos: u64| {
            let histogram = &mut latencies.histograms[latency as usize];
            histogram.record(self.table.bounds(latency), nanos);
        };
        record(Latency::Total, as_nanos(ended.total));
        record(Latency::Upstream, as_nanos(upstream));
        if let Some(ttft) = ended.ttft {
            record(Latency::Ttft, as_nanos(ttft));
        }
        // This family is in milliseconds.
        let overhead_ms = as_nanos(ended.overhead).saturating_mul(1_000);
        record(Latency::Overhead, overhead_ms);
        let tokens = ended.record.usage.completion;
        if let Some(per_token) = as_nanos(upstream).checked_div(tokens) {
            record(Latency::PerToken, per_token);
        }
    }

    /// Counts an attempt that a deployment failed, including a stream that it broke.
    pub fn attempt_failed(&self, attempt: &FailedAttempt<'_>) {
        let mut probe = self.probe(attempt.payer, attempt.labels, attempt.status);
        probe.set(Label::ModelId, attempt.deployment.id);
        probe.set(Label::ApiProvider, attempt.deployment.provider);
        probe.set(Label::ApiBase, attempt.deployment.api_base);
        probe.set(Label::Model, attempt.deployment.model);
        let mut stripe = self.table.stripe();
        let at = self.table.find(&mut stripe, &probe);
        stripe.series[at].add_attempt(attempt.outcome);
    }

    /// Counts a field of a request that its provider did not get as it was. Only names of the
    /// gateway's own are labels.
    pub fn translation_lost(&self, loss: &Loss) {
        let field = match &loss.field {
            Cow::Borrowed(field) => *field,
            Cow::Owned(_) => OTHER,
        };
        let change = match loss.change {
            Change::Dropped => "dropped",
            Change::Changed => "changed",
        };
        self.events.translation_lost(field, change);
    }

    /// Counts a request that was refused before it was admitted and so has no ledger record.
    ///
    /// `payer` holds only what was authenticated.
    pub fn rejected(&self, payer: &Payer, labels: &RequestLabels<'_>, error: &GatewayError) {
        let mut labels = *labels;
        labels.exception_class = Some(labels.exception_class.unwrap_or(error.class()));
        let probe = self.probe(payer, &labels, error.reply().status);
        let mut stripe = self.table.stripe();
        let at = self.table.find(&mut stripe, &probe);
        stripe.series[at].add(Cell::Ended, 1);
        drop(stripe);
        self.events.rejected(reject_reason(error));
    }

    /// Drops the series of keys that are gone: otherwise keys that come and go would take up all
    /// the room in the end. Families that do not name keys keep what those counted.
    pub fn forget(&self, is_gone: impl Fn(&KeyHash) -> bool) {
        self.table.forget(is_gone);
    }

    fn probe<'a>(&self, payer: &'a Payer, labels: &RequestLabels<'a>, status: u16) -> Probe<'a> {
        let callers = self.table.callers() != CallerLabels::Nowhere;
        let mut probe = Probe::new(payer.key.filter(|_| callers), status);
        if callers {
            probe.set_opt(Label::ApiKeyAlias, payer.key_alias.as_deref());
            probe.set_opt(Label::User, payer.user_id.as_deref());
            probe.set_opt(Label::UserEmail, labels.user_email);
        }
        if self.end_user {
            probe.set_opt(Label::EndUser, payer.end_user.as_deref());
        }
        probe.set_opt(Label::Team, payer.team_id.as_deref());
        probe.set_opt(Label::TeamAlias, labels.team_alias);
        probe.set_opt(Label::OrgId, payer.organization_id.as_deref());
        probe.set_opt(Label::OrgAlias, labels.org_alias);
        probe.set_opt(Label::ExceptionClass, labels.exception_class);
        probe.set(Label::RequestedModel, labels.requested_model);
        probe.set(Label::Route, labels.route);
        probe
    }

    /// Counts a deployment that starts to cool down because of `status`.
    pub fn deployment_cooled_down(&self, deployment: &DeploymentLabels<'_>, status: u16) {
        self.events.cooled_down(deployment, status);
    }

    /// Counts a look at a batch that did not say what it used.
    pub fn batch_failed(&self, why: &'static str) {
        self.events.batch_failed(why);
    }

    /// Counts the bill of a batch. `model` is one of the configuration, or [`OTHER`].
    pub fn batch_billed(&self, model: &str, provider: &str) {
        self.events.batch_billed(model, provider);
    }

    /// Spend of a scope of this kind passed its soft budget.
    pub fn soft_budget_crossed(&self, scope: &'static str) {
        self.events.soft_budget_crossed(scope);
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, ok: bool) {
        self.events.reloaded(ok);
    }

    /// Counts cooldowns on their way between nodes.
    pub fn coordination_messages(&self, what: CoordinationMessage, count: u64) {
        self.events.coordination_messages(what, count);
    }

    /// Counts what became of records and snapshots on their way.
    pub fn record_events(&self, event: RecordEvent, count: u64) {
        self.records.add(event, count);
    }

    /// Counts a panic.
    pub fn panicked(&self) {
        self.events.panicked();
    }
}

fn add_figures(series: &mut Series, record: &SpendRecord) {
    let usage = &record.usage;
    series.add(Cell::Ended, 1);
    series.add(Cell::SpendNano, nanos(record.cost));
    series.add(Cell::TokensIn, usage.prompt);
    series.add(Cell::TokensOut, usage.completion);
    series.add(Cell::CacheRead, usage.cache_read);
    let written = [
        usage.cache_write,
        usage.cache_write_1h,
        usage.cache_write_12h,
    ];
    series.add(
        Cell::CacheWrite,
        written.into_iter().fold(0, u64::saturating_add),
    );
    series.add(Cell::AudioIn, usage.prompt_audio);
    series.add(Cell::Reasoning, usage.reasoning);
    series.add(Cell::AudioOut, usage.completion_audio);
    series.add(Cell::PriceUnknown, u64::from(record.price_unknown));
}

fn nanos(money: NanoUsd) -> u64 {
    u64::try_from(money.0).unwrap_or(0)
}
