//! Tests of the metrics: what Prometheus and a dashboard see.

use std::collections::{BTreeMap, BTreeSet};

use meridian_core::endpoint::Endpoint;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::spend::RequestContext;
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;

use super::*;

mod documented;

fn metrics() -> Metrics {
    Metrics::new(&MetricsOptions::default()).unwrap()
}

fn record(key: u32) -> SpendRecord {
    SpendRecord {
        call_id: CallId::from_bytes([7; 16]),
        response_id: None,
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        payer: Payer {
            key: Some(KeyHash::of_secret(&format!("sk-{key}"))),
            key_alias: Some(format!("alias-{key}")),
            user_id: Some("alice".into()),
            team_id: Some("red".into()),
            ..Payer::default()
        },
        model_group: "gpt".into(),
        deployment_id: "d1".into(),
        model: "gpt-4o".into(),
        provider: "openai".into(),
        api_base: "https://api.openai.com/v1".into(),
        region: None,
        started: WallMs(0),
        ended: WallMs(900),
        first_byte: Some(WallMs(300)),
        usage: Usage {
            prompt: 11,
            completion: 5,
            cache_read: 3,
            cache_write: 1,
            cache_write_1h: 1,
            cache_write_12h: 1,
            reasoning: 2,
            ..Usage::default()
        },
        cost: NanoUsd(1_500_000_001),
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Complete,
        status: 200,
        attempts: 1,
        context: RequestContext::default(),
        error: None,
        texts: None,
    }
}

const LABELS: RequestLabels<'static> = RequestLabels {
    route: "/v1/chat/completions",
    requested_model: "gpt",
    model: "gpt-4o",
    team_alias: Some("Red \"team\""),
    org_alias: None,
    user_email: None,
    exception_class: None,
};

fn settle(metrics: &Metrics, record: &SpendRecord, labels: &RequestLabels<'_>) {
    let mut gaps = GapSketch::default();
    gaps.record(Duration::from_millis(20));
    gaps.record(Duration::from_millis(40));
    metrics.observe(&Ended {
        record,
        labels,
        total: Duration::from_millis(900),
        overhead: Duration::from_micros(80),
        upstream: Some(Duration::from_millis(800)),
        ttft: Some(Duration::from_millis(300)),
        gaps: &gaps,
        cache: None,
    });
}

fn page(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render(&Gauges::default())).unwrap()
}

/// Sum of all samples of a family.
fn sum(page: &str, name: &str) -> f64 {
    let samples = page.lines().filter(|line| line.starts_with(name));
    let samples = samples.filter(|line| line[name.len()..].starts_with(['{', ' ']));
    samples
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

fn series_count(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn a_request_shows_as_litellm_shows_it() {
    let metrics = metrics();
    settle(&metrics, &record(1), &LABELS);
    let page = page(&metrics);
    let hash = KeyHash::of_secret("sk-1");
    let total = format!(
        "litellm_proxy_total_requests_metric_total{{api_key_alias=\"alias-1\",client_ip=\"None\",\
         end_user=\"None\",hashed_api_key=\"{hash}\",model_id=\"d1\",org_alias=\"None\",\
         org_id=\"None\",requested_model=\"gpt\",route=\"/v1/chat/completions\",\
         status_code=\"200\",team=\"red\",team_alias=\"Red \\\"team\\\"\",user=\"alice\",\
         user_agent=\"None\",user_email=\"None\"}} 1.0\n"
    );
    assert!(page.contains(&total), "{page}");
    let latency = "litellm_llm_api_latency_metric_bucket{api_key_alias=\"None\",\
                   end_user=\"None\",hashed_api_key=\"None\",le=\"1.0\",model=\"gpt-4o\",";
    assert!(page.contains(latency), "{page}");
    for (name, expected) in [
        ("litellm_spend_metric_total", 1.500000001),
        ("litellm_total_tokens_metric_total", 16.0),
        ("litellm_input_cache_creation_tokens_metric_total", 3.0),
        ("litellm_output_reasoning_tokens_metric_total", 2.0),
        ("litellm_output_audio_tokens_metric_total", 0.0),
        ("litellm_request_total_latency_metric_sum", 0.9),
        ("litellm_overhead_latency_metric_sum", 0.08),
        ("litellm_deployment_latency_per_output_token_sum", 0.16),
        ("litellm_deployment_success_responses_total", 1.0),
        ("litellm_deployment_total_requests_total", 1.0),
        ("litellm_requests_metric_total", 1.0),
        ("litellm_proxy_failed_requests_metric_total", 0.0),
        ("meridian_overhead_seconds_sum", 0.00008),
        ("meridian_ttft_seconds_count", 1.0),
        ("meridian_inter_chunk_gap_seconds_count", 2.0),
        ("meridian_stream_end_total", 1.0),
    ] {
        assert_eq!(sum(&page, name), expected, "{name}");
    }
}

#[test]
fn counters_equal_the_ledger_however_requests_end() {
    let metrics = metrics();
    let (mut tokens, mut nanos) = (0, 0);
    for at in 0..300 {
        let mut record = record(at % 7);
        record.usage.prompt = u64::from(at) * 31;
        record.cost = NanoUsd(i64::from(at) * 1_000_003);
        record.end_reason = EndReason::ALL[at as usize % 11];
        record.status = [200, 499, 500, 429][at as usize % 4];
        settle(&metrics, &record, &LABELS);
        tokens += record.usage.total();
        nanos += record.cost.0;
    }
    let page = page(&metrics);
    let shown = sum(&page, "litellm_total_tokens_metric_total");
    assert_eq!(shown, tokens as f64);
    let shown = sum(&page, "litellm_spend_metric_total");
    assert!((shown - NanoUsd(nanos).dollars()).abs() < 1e-9);
    let ended = sum(&page, "litellm_proxy_total_requests_metric_total");
    let failed = sum(&page, "litellm_proxy_failed_requests_metric_total");
    assert_eq!((ended, failed), (300.0, 225.0));
    assert_eq!(sum(&page, "meridian_stream_end_total"), 300.0);
}

#[test]
fn a_million_invented_names_make_no_new_series() {
    let metrics = metrics();
    let mut record = record(1);
    let labels = RequestLabels {
        requested_model: OTHER,
        model: OTHER,
        ..LABELS
    };
    settle(&metrics, &record, &labels);
    let before = series_count(&page(&metrics));
    for at in 0..1_000_000 {
        record.model_group = format!("invented-{at}");
        record.model = format!("invented-{at}");
        record.payer.end_user = Some(format!("customer-{at}"));
        settle(&metrics, &record, &labels);
    }
    let page = page(&metrics);
    assert_eq!(series_count(&page), before);
    assert_eq!(
        sum(&page, "litellm_total_tokens_metric_total"),
        16_000_016.0
    );
}

#[test]
fn over_the_limit_callers_are_folded_and_nothing_is_lost() {
    let options = MetricsOptions {
        series_max: 50,
        ..MetricsOptions::default()
    };
    let metrics = Metrics::new(&options).unwrap();
    for key in 0..1_000 {
        settle(&metrics, &record(key), &LABELS);
    }
    let folded = page(&metrics);
    let name = "litellm_proxy_total_requests_metric_total{";
    let series = folded.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series, 51);
    assert_eq!(sum(&folded, "litellm_input_tokens_metric_total"), 11_000.0);
    let successes = "litellm_deployment_success_responses_total";
    assert_eq!(sum(&folded, successes), 1_000.0);
    assert_eq!(sum(&folded, "meridian_metrics_series_dropped_total"), 950.0);
    // Even a label that this module's callers promise to bound cannot grow for ever.
    for at in 0..1_000 {
        let model = format!("leak-{at}");
        let labels = RequestLabels {
            requested_model: &model,
            ..LABELS
        };
        settle(&metrics, &record(at), &labels);
    }
    let folded = page(&metrics);
    let series = folded.lines().filter(|line| line.starts_with(name)).count();
    assert!(series <= 101, "{series}");
    assert_eq!(sum(&folded, "litellm_input_tokens_metric_total"), 22_000.0);
}

#[test]
fn keys_that_come_and_go_take_no_room_of_others_and_no_counter_falls() {
    let options = MetricsOptions {
        series_max: 50,
        ..MetricsOptions::default()
    };
    let metrics = Metrics::new(&options).unwrap();
    let successes = "litellm_deployment_success_responses_total";
    let (attempts, unpriced) = (
        "meridian_upstream_attempts_total",
        "meridian_price_unknown_total",
    );
    let stays = KeyHash::of_secret("sk-0");
    for round in 1..=10_u32 {
        for key in (0..1).chain(round * 100..round * 100 + 40) {
            let mut record = record(key);
            record.price_unknown = true;
            settle(&metrics, &record, &LABELS);
        }
        let full = page(&metrics);
        assert_eq!(
            sum(&full, successes),
            f64::from(40 + round),
            "those that are there"
        );
        metrics.forget(|key| *key != stays);
        let rest = page(&metrics);
        assert_eq!(
            sum(&rest, successes),
            f64::from(round),
            "the one that stays"
        );
        for page in [full, rest] {
            assert_eq!(sum(&page, attempts), f64::from(41 * round));
            assert_eq!(sum(&page, unpriced), f64::from(41 * round));
            assert_eq!(sum(&page, "meridian_metrics_series_dropped_total"), 0.0);
        }
    }
    let shown = page(&metrics);
    assert!(
        shown.contains("alias-0") && !shown.contains("alias-100"),
        "{shown}"
    );
}

#[test]
fn what_is_kept_of_forgotten_series_tells_all_apart_that_families_without_keys_show() {
    let keyless = catalogue::COUNTERS
        .iter()
        .filter(|family| !family.names_keys());
    let labels = keyless
        .flat_map(|family| family.labels)
        .chain(catalogue::ATTEMPT_LABELS);
    for label in labels {
        let stored = label.stored().expect("a label that is filled");
        assert!(catalogue::KEYLESS_LABELS.contains(&stored), "{stored:?}");
    }
}

#[test]
fn series_are_forgotten_while_requests_end_and_none_is_counted_twice() {
    const KEYS: u32 = 20;
    const EACH: u32 = 2_000;
    let metrics = metrics();
    let attempts = "meridian_upstream_attempts_total";
    std::thread::scope(|scope| {
        let metrics = &metrics;
        let busy: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    for at in 0..EACH {
                        settle(metrics, &record(at % KEYS), &LABELS);
                    }
                })
            })
            .collect();
        let mut last = 0.0;
        while busy.iter().any(|one| !one.is_finished()) {
            metrics.forget(|_| true);
            let now = sum(&page(metrics), attempts);
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    });
    assert_eq!(sum(&page(&metrics), attempts), f64::from(2 * EACH));
}

#[test]
fn callers_show_where_they_are_wanted() {
    for (callers, counters, latencies) in [
        (CallerLabels::Everywhere, 3, 3),
        (CallerLabels::Counters, 3, 1),
        (CallerLabels::Nowhere, 1, 1),
    ] {
        let options = MetricsOptions {
            callers,
            ..MetricsOptions::default()
        };
        let metrics = Metrics::new(&options).unwrap();
        for key in 0..3 {
            settle(&metrics, &record(key), &LABELS);
        }
        let page = page(&metrics);
        let lines = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(lines("litellm_spend_metric_total{"), counters);
        assert_eq!(lines("litellm_llm_api_latency_metric_sum"), latencies);
        assert_eq!(sum(&page, "litellm_llm_api_latency_metric_count"), 3.0);
    }
}

#[test]
fn refusals_and_failed_attempts_are_counted_where_they_belong() {
    let metrics = metrics();
    let labels = RequestLabels {
        route: "/v1/chat/completions",
        ..RequestLabels::default()
    };
    metrics.rejected(&Payer::default(), &labels, &GatewayError::NoKey);
    let failed = RequestLabels {
        exception_class: Some("RateLimitError"),
        ..LABELS
    };
    let deployment = DeploymentLabels {
        id: "d1",
        model: "gpt-4o",
        api_base: "https://api.openai.com/v1",
        provider: "openai",
    };
    metrics.attempt_failed(&FailedAttempt {
        payer: &record(1).payer,
        labels: &failed,
        deployment: &deployment,
        outcome: AttemptOutcome::of_status(429),
        status: 429,
    });
    settle(&metrics, &record(1), &LABELS);
    let page = page(&metrics);
    assert!(page.contains("meridian_rejected_total{reason=\"no_key\"} 1\n"));
    for outcome in ["success", "rate_limited"] {
        let line = format!(
            "meridian_upstream_attempts_total{{deployment=\"d1\",outcome=\"{outcome}\"}} 1\n"
        );
        assert!(page.contains(&line), "{page}");
    }
    for (name, expected) in [
        ("litellm_proxy_failed_requests_metric_total", 1.0),
        ("litellm_proxy_total_requests_metric_total", 2.0),
        ("litellm_deployment_failure_responses_total", 1.0),
        ("litellm_deployment_success_responses_total", 1.0),
        ("litellm_deployment_total_requests_total", 2.0),
    ] {
        assert_eq!(sum(&page, name), expected, "{name}");
    }
}

#[test]
fn threads_that_make_and_use_the_same_series_lose_no_count() {
    let metrics = metrics();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for at in 0..2_000 {
                    settle(&metrics, &record(at % 100), &LABELS);
                }
            });
        }
    });
    let page = page(&metrics);
    let ended = sum(&page, "litellm_proxy_total_requests_metric_total");
    assert_eq!(ended, 8_000.0);
    assert_eq!(sum(&page, "meridian_metrics_series_dropped_total"), 0.0);
}

/// Prints what a settled request costs; the bound only catches an accident of a hundred times that.
/// For the figure: `cargo test --profile perf --lib observing -- --nocapture`.
#[test]
fn observing_a_request_is_cheap() {
    const ROUNDS: u32 = 200_000;
    let metrics = metrics();
    let records: Vec<_> = (0..64).map(record).collect();
    let start = crate::clock::mono();
    for at in 0..ROUNDS {
        settle(&metrics, &records[at as usize % 64], &LABELS);
    }
    let each = start.elapsed().as_nanos() / u128::from(ROUNDS);
    println!("observe: {each} ns");
    assert!(each < 100_000, "{each} ns");
}
