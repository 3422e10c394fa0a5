//! What `/metrics` answers: the series of requests, and state mirrored when it is asked for.

use std::time::Duration;

use meridian_core::health::{Coordination, Propagation};
use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use meridian_core::spend::EndReason;
use meridian_core::time::WallMs;

use super::catalogue::{COUNTERS, Described, Kind, LATENCIES, Label};
use super::exposition::Page;
use super::histogram::gap_bounds;
use super::labels::{MISSING, clip};
use super::series::{Copied, Unlabelled};
use super::{DeploymentLabels, Metrics, RightsGauges, copies, plain, process, rights};

/// State of other parts of the gateway at the moment of the page.
#[derive(Clone, Debug, Default)]
pub struct Gauges<'a> {
    /// Admitted requests that are not settled.
    pub requests_in_flight: u64,
    /// Request and response bytes held in memory.
    pub buffered_bytes: u64,
    /// Bytes of spend journal on disk.
    pub journal_bytes: u64,
    /// Age of the oldest record that is not drained.
    pub journal_lag: Duration,
    /// Records drained into the store since the start of the process.
    pub ledger_records: u64,
    /// Stored records that are not in force.
    pub records_left_out: u64,
    /// Reservations that are neither settled nor released.
    pub reservations_outstanding: u64,
    /// How it shares cooldowns with its region.
    pub coordination: Coordination,
    /// How its copy of the records is doing.
    pub propagation: Propagation,
    /// Its rights in shared budgets; `None` where none are shared.
    pub rights: Option<RightsGauges>,
    /// When all of this was true.
    pub now: WallMs,
    /// Keys that have a budget.
    pub key_budgets: Vec<KeyBudget<'a>>,
    /// Every deployment.
    pub deployments: Vec<DeploymentGauges<'a>>,
    /// Retries and fallbacks that this node may send now beyond its requests.
    pub retry_budget_left: u64,
    /// The response cache; `None` where there is none.
    pub cache: Option<CacheGauges>,
}

/// What the response cache holds and has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheGauges {
    /// Answers in memory.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether Redis is asked; `None` where answers are in memory only.
    pub redis_up: Option<bool>,
    /// Look-ups by result.
    pub lookups: [(&'static str, u64); 5],
    /// Answers that were kept.
    pub stored: u64,
    /// Answers that were too large for that.
    pub too_large: u64,
    /// Failures by kind.
    pub errors: [(&'static str, u64); 5],
    /// What answers from the cache would have cost, nano-dollars.
    pub saved_nano: u64,
    /// Their tokens.
    pub saved_tokens: u64,
}

/// Budget of one key.
#[derive(Clone, Debug)]
pub struct KeyBudget<'a> {
    /// The key.
    pub key: KeyHash,
    /// Its alias.
    pub alias: Option<&'a str>,
    /// The budget of a period.
    pub limit: NanoUsd,
    /// What is left of it, reservations not subtracted; negative after an overshoot.
    pub remaining: NanoUsd,
    /// Until the period ends; `None` is never.
    pub resets_in: Option<Duration>,
}

/// What is known of one deployment.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentGauges<'a> {
    /// Which one.
    pub labels: DeploymentLabels<'a>,
    /// Its health.
    pub state: DeploymentState,
    /// Mean time to first token; `None` when never measured.
    pub ttft: Option<Duration>,
    /// Score of latency-based-routing in seconds; lower is better.
    pub score: f64,
    /// Requests that run there.
    pub in_flight: u32,
}

/// Health of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentState {
    /// It is in use and nothing failed lately.
    Healthy = 0,
    /// It fails at times, or one request tries it after it was left out.
    PartialOutage = 1,
    /// It is left out.
    Outage = 2,
}

impl Metrics {
    /// The page in text format 0.0.4. Takes milliseconds when there are many series: do not call
    /// it on a thread that serves requests.
    pub fn render(&self, gauges: &Gauges<'_>) -> Vec<u8> {
        let mut page = Page::default();
        let (stripes, forgotten) = self.table.copy();
        let series = || stripes.iter().flat_map(|stripe| &stripe.series);
        for family in COUNTERS {
            let forgotten = forgotten.iter().filter(|_| !family.names_keys());
            page.counter_family(family, series().chain(forgotten));
        }
        let latencies = || stripes.iter().flat_map(|stripe| &stripe.latencies);
        for family in LATENCIES {
            let bounds = self.table.bounds(family.latency);
            page.latency_family(family, bounds, latencies());
        }
        page.attempts(series().chain(&forgotten));
        self.write_unlabelled(&mut page, &stripes);
        write_state(&mut page, gauges);
        let unshown = self.write_key_budgets(&mut page, gauges);
        let dropped = self.table.dropped() + unshown;
        page.value(&plain::SERIES_DROPPED, Some(dropped as f64));
        copies::write_state(&mut page, &gauges.propagation, gauges.now);
        rights::write(&mut page, gauges.rights.as_ref());
        self.records.write(&mut page);
        self.events.write(&mut page.out);
        process::write(&mut page);
        page.out.into_bytes()
    }

    fn write_unlabelled(&self, page: &mut Page, stripes: &[Copied]) {
        let mut sum = Unlabelled::default();
        for Copied { unlabelled, .. } in stripes {
            sum.overhead.add(&unlabelled.overhead);
            sum.ttft.add(&unlabelled.ttft);
            sum.gaps.add(&unlabelled.gaps);
            for (total, count) in sum.stream_ends.iter_mut().zip(unlabelled.stream_ends) {
                *total += count;
            }
        }
        page.plain_histogram(&plain::OVERHEAD, &self.overhead_bounds, &sum.overhead);
        page.plain_histogram(&plain::TTFT, &self.ttft_bounds, &sum.ttft);
        page.plain_histogram(&plain::GAP, &gap_bounds(), &sum.gaps);
        page.plain_header(&plain::STREAM_END);
        for (reason, count) in EndReason::ALL.iter().zip(sum.stream_ends) {
            page.sample(&plain::STREAM_END, &[reason.label()], count as f64);
        }
    }

    /// Returns how many keys did not fit.
    fn write_key_budgets(&self, page: &mut Page, gauges: &Gauges<'_>) -> u64 {
        let shown = gauges.key_budgets.len().min(self.series_max);
        let keys: Vec<_> = gauges.key_budgets[..shown]
            .iter()
            .map(|budget| (budget, budget.key.to_string()))
            .collect();
        let mut write = |family, figure: fn(&KeyBudget<'_>) -> Option<f64>| {
            page.plain_header(family);
            for (budget, hash) in &keys {
                if let Some(value) = figure(budget) {
                    let alias = clip(budget.alias.unwrap_or(MISSING));
                    page.sample(family, &[hash, alias], value);
                }
            }
        };
        write(&plain::KEY_BUDGET_REMAINING, |it| {
            Some(it.remaining.dollars())
        });
        write(&plain::KEY_BUDGET_MAX, |it| Some(it.limit.dollars()));
        write(&plain::KEY_BUDGET_HOURS, |it| {
            it.resets_in.map(|time| time.as_secs_f64() / 3600.0)
        });
        (gauges.key_budgets.len() - shown) as u64
    }
}

fn write_state(page: &mut Page, gauges: &Gauges<'_>) {
    let figures = [
        (&plain::LITELLM_IN_FLIGHT, gauges.requests_in_flight),
        (&plain::IN_FLIGHT, gauges.requests_in_flight),
        (&plain::BUFFERED_BYTES, gauges.buffered_bytes),
        (&plain::JOURNAL_BYTES, gauges.journal_bytes),
        (&plain::LEDGER_RECORDS, gauges.ledger_records),
        (&plain::RESERVATIONS, gauges.reservations_outstanding),
        (&plain::RETRY_BUDGET, gauges.retry_budget_left),
        (&plain::RECORDS_LEFT_OUT, gauges.records_left_out),
    ];
    for (family, figure) in figures {
        page.value(family, Some(figure as f64));
    }
    let lag = gauges.journal_lag.as_secs_f64();
    page.value(&plain::JOURNAL_LAG, Some(lag));
    page.plain_header(&plain::COORDINATION);
    for each in Coordination::ALL {
        let holds = f64::from(u8::from(each == gauges.coordination));
        page.sample(&plain::COORDINATION, &[each.mode(), each.state()], holds);
    }
    write_deployments(page, &gauges.deployments);
    if let Some(cache) = &gauges.cache {
        write_cache(page, cache);
    }
}

fn write_cache(page: &mut Page, cache: &CacheGauges) {
    page.value(&plain::CACHE_ENTRIES, Some(cache.entries as f64));
    page.value(&plain::CACHE_BYTES, Some(cache.bytes as f64));
    let up = cache.redis_up.map(|up| f64::from(u8::from(up)));
    page.value(&plain::CACHE_REDIS, up);
    let stored = [("stored", cache.stored), ("too_large", cache.too_large)];
    let families = [
        (&plain::CACHE_LOOKUPS, &cache.lookups[..]),
        (&plain::CACHE_STORED, &stored[..]),
        (&plain::CACHE_ERRORS, &cache.errors[..]),
    ];
    for (family, figures) in families {
        page.plain_header(family);
        for (label, count) in figures {
            page.sample(family, &[label], *count as f64);
        }
    }
    let nano = i64::try_from(cache.saved_nano).unwrap_or(i64::MAX);
    page.value(&plain::CACHE_SAVED, Some(NanoUsd(nano).dollars()));
    let tokens = Some(cache.saved_tokens as f64);
    page.value(&plain::CACHE_SAVED_TOKENS, tokens);
}

fn write_deployments(page: &mut Page, deployments: &[DeploymentGauges<'_>]) {
    page.plain_header(&plain::DEPLOYMENT_STATE);
    for DeploymentGauges { labels, state, .. } in deployments {
        let labels = [labels.model, labels.id, labels.api_base, labels.provider];
        let state = f64::from(*state as u8);
        page.sample(&plain::DEPLOYMENT_STATE, &labels, state);
    }
    let mut write = |family, figure: fn(&DeploymentGauges<'_>) -> Option<f64>| {
        page.plain_header(family);
        for deployment in deployments {
            if let Some(value) = figure(deployment) {
                page.sample(family, &[deployment.labels.id], value);
            }
        }
    };
    write(&plain::DEPLOYMENT_TTFT, |it| {
        it.ttft.map(|time| time.as_secs_f64())
    });
    write(&plain::DEPLOYMENT_SCORE, |it| Some(it.score));
    write(&plain::DEPLOYMENT_IN_FLIGHT, |it| {
        Some(f64::from(it.in_flight))
    });
}

/// Every family that the page may hold.
pub fn catalogue() -> Vec<Described> {
    let described = |name, kind, labels: &[Label]| Described {
        name,
        kind,
        labels: labels.iter().map(|label| label.name()).collect(),
    };
    let counters = COUNTERS
        .iter()
        .map(|family| described(family.name, Kind::Counter, family.labels));
    let latencies = LATENCIES
        .iter()
        .map(|family| described(family.name, Kind::Histogram, family.labels));
    let plain = plain::PLAIN
        .iter()
        .chain(&copies::COPIES)
        .chain(&rights::RIGHTS)
        .map(|family| Described {
            name: family.name,
            kind: family.kind,
            labels: family.labels.to_vec(),
        });
    counters.chain(latencies).chain(plain).collect()
}
