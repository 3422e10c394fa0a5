//! Background probes: free ones stay free, billed ones stay within their cap, and a deployment
//! that dies is found before a request needs it.

use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, insist, now};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Mode, Provider, Row, Script};
use meridian_testkit::raw::Request;
use serde_json::Value;

use crate::ledger;
use crate::world::{Api, binary};

/// Enough for several probes of a second each on a busy machine.
const LONG: Duration = Duration::from_secs(40);
/// Tag of billed probes.
const TAG: &str = "meridian-health-check";

/// Probes every `seconds`.
fn probing(config: Config, seconds: u64) -> Config {
    let lines = format!("background_health_checks: true\nhealth_check_interval: {seconds}");
    config.general(&lines)
}

fn one_model(provider: &Provider) -> Config {
    let url = format!("{}/v1", provider.url());
    Config::new().model("probed", "openai/fake-m", &url, "")
}

fn is_list(row: &Row) -> bool {
    let path = row.target.split('?').next().unwrap_or_default();
    row.method == "GET" && path.ends_with("/models")
}

/// The state of the only deployment.
async fn state(gateway: &Gateway) -> Value {
    let answer = gateway.admin("GET", "/router/state", &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["deployments"][0].clone()
}

/// Looks at the state until it is as wanted.
async fn until(gateway: &Gateway, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    insist(LONG, async || match state(gateway).await {
        state if wanted(&state) => Ok(state),
        state => Err(format!("not {what}: {state}")),
    })
    .await
}

async fn page(gateway: &Gateway) -> String {
    let answer = gateway.admin("GET", "/metrics/", &Value::Null).await;
    answer.text().to_owned()
}

/// Rows of the ledger with the tag of probes.
async fn probed(gateway: &Gateway) -> Vec<Value> {
    let target = "/spend/logs/v2?page_size=100";
    let answer = gateway.report(target).await;
    let rows = answer.json()["data"].as_array().cloned().unwrap();
    let tagged = |row: &Value| row["request_tags"].to_string().contains(TAG);
    rows.into_iter().filter(tagged).collect()
}

#[tokio::test]
async fn free_probes_ask_every_deployment_for_its_list_and_nothing_else() {
    let provider = Provider::start();
    let quiet_base = format!("{}/v1/quiet", provider.url());
    let config = Config::standard(&provider).model("quiet", "openai/fake-m", &quiet_base, "");
    let quiet = "model_info: {disable_background_health_check: true}";
    let yaml = probing(config, 1).yaml();
    let at = yaml.find("general_settings:").unwrap();
    let yaml = format!("{}    {quiet}\n{}", &yaml[..at], &yaml[at..]);
    let gateway = Setup::with_yaml(binary(), &yaml).start().await;
    let rows = provider.wait(LONG, |rows| rows.len() >= 24).await;
    for row in &rows {
        assert!(is_list(row), "{} {}", row.method, row.target);
        assert_eq!(row.status, 200, "{}", row.target);
    }
    for path in [
        "/v1/models",
        "/openai/models?api-version=2024-10-21",
        "/openai/v1/models",
        "/anthropic/v1/models",
    ] {
        assert!(rows.iter().any(|row| row.target == path), "{path}");
    }
    assert!(rows.iter().all(|row| !row.target.contains("quiet")));
    let health = gateway.admin("GET", "/health", &Value::Null).await.json();
    assert_eq!(health["unhealthy_count"], 0, "{health}");
    assert!(probed(&gateway).await.is_empty());
}

#[tokio::test]
async fn a_deployment_that_dies_is_found_without_traffic_and_so_is_its_return() {
    let provider = Provider::start();
    let config = probing(one_model(&provider), 1).router("allowed_fails: 1");
    let gateway = Setup::new(binary(), &config).start().await;
    provider.wait(LONG, |rows| !rows.is_empty()).await;
    assert_eq!(state(&gateway).await["gate"], "in_use");
    // Connections that are kept open die with it.
    provider.script("*", [Script::fault("reset@head")]);
    provider.mode(Mode::Refuse);
    let dead = until(&gateway, "left out", |state| state["gate"] == "cooling").await;
    assert_eq!(dead["reason"], "network");
    assert!(dead["seconds_left"].as_f64() > Some(0.0));
    let health = gateway.admin("GET", "/health", &Value::Null).await.json();
    assert_eq!(health["unhealthy_count"], 1);
    let error = &health["unhealthy_endpoints"][0]["error"];
    assert!(error.as_str().unwrap().contains("network"), "{error}");
    let state_line = |page: &str| -> Option<String> {
        let mut lines = page.lines();
        let line = lines.find(|line| line.starts_with("litellm_deployment_state{"))?;
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    };
    let dead_page = page(&gateway).await;
    assert_eq!(state_line(&dead_page).as_deref(), Some("2"), "{dead_page}");
    assert!(dead_page.contains("litellm_deployment_cooled_down_total{"));
    // Probes go on and keep it out: its times grow.
    until(&gateway, "left out again", |state| {
        state["times_left_out"].as_u64() >= Some(2)
    })
    .await;
    provider.script("*", []);
    provider.mode(Mode::Serve);
    until(&gateway, "back", |state| state["gate"] == "in_use").await;
    assert_eq!(state_line(&page(&gateway).await).as_deref(), Some("0"));
    assert!(
        provider.rows().iter().all(is_list),
        "no request paid for it"
    );
    let answer = gateway.send(&ask("alive")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

fn ask(marker: &str) -> Request {
    let body = Api::Chat.body("probed", marker, false);
    Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY)
}

#[tokio::test]
async fn a_limit_of_the_list_is_no_limit_of_the_model() {
    let provider = Provider::start();
    provider.script("*", [Script::status(429)]);
    let config = probing(one_model(&provider), 1).router("allowed_fails: 0");
    let gateway = Setup::new(binary(), &config).start().await;
    let limited = |rows: &[Row]| rows.iter().filter(|row| row.status == 429).count() >= 3;
    provider.wait(LONG, limited).await;
    let seen = state(&gateway).await;
    assert_eq!(
        (&seen["gate"], &seen["failures"]),
        (&Value::from("in_use"), &Value::from(0))
    );
    // What the provider itself says about the credential does count.
    provider.script("*", [Script::status(401)]);
    let refused = until(&gateway, "left out", |state| state["gate"] == "cooling").await;
    assert_eq!(refused["credential"]["reason"], "auth");
}

#[tokio::test]
async fn billed_probes_are_in_the_ledger_and_end_at_the_cap_also_after_a_restart() {
    let provider = Provider::start();
    let url = provider.url();
    let config = one_model(&provider).model("claude", "anthropic/fake-m", &url, "");
    let config = probing(config, 1).raw("meridian:\n  probes: {billed_usd_per_day: 0.0004}");
    let mut gateway = Setup::new(binary(), &config).start().await;
    // Free ones follow when the money is gone.
    let spent = |rows: &[Row]| {
        let billed = rows.iter().filter(|row| !is_list(row)).count();
        let last = rows.iter().rev().take(4);
        billed >= 2 && rows.len() >= billed + 4 && last.filter(|row| is_list(row)).count() == 4
    };
    let rows = provider.wait(LONG, spent).await;
    let billed: Vec<&Row> = rows.iter().filter(|row| !is_list(row)).collect();
    for row in &billed {
        let body = row.request.as_ref().unwrap().json();
        let bound = match row.target.as_str() {
            "/v1/chat/completions" => &body["max_completion_tokens"],
            "/v1/messages" => &body["max_tokens"],
            other => panic!("{other}"),
        };
        assert_eq!((bound, row.status), (&Value::from(16), 200), "{body}");
    }
    let entries = insist(SOON, async || match probed(&gateway).await {
        entries if entries.len() >= billed.len() => Ok(entries),
        entries => Err(format!("{} of {} rows", entries.len(), billed.len())),
    })
    .await;
    assert_eq!(entries.len(), billed.len(), "one row for each");
    let total: i64 = entries.iter().map(ledger::cost).sum();
    assert!((1..=400_000).contains(&total), "{total}");
    for row in &entries {
        assert_eq!(row["metadata"]["end_reason"], "complete", "{row}");
        assert!(matches!(
            row["model_group"].as_str(),
            Some("probed" | "claude")
        ));
        assert!(ledger::cost(row) > 0);
    }
    gateway.stop(SOON).await;
    provider.reset();
    gateway.start().await;
    let rows = provider.wait(LONG, |rows| rows.len() >= 6).await;
    assert!(rows.iter().all(is_list), "a restart gives no new allowance");
}

#[tokio::test]
async fn a_billed_probe_that_fails_costs_nothing_and_no_list_of_models_makes_up_for_it() {
    let provider = Provider::start();
    provider.script("fake-m", [Script::status(500)]);
    let config = probing(one_model(&provider), 1).router("allowed_fails: 1\ncooldown_time: 60");
    let config = config.raw("meridian:\n  probes: {billed_usd_per_day: 1}");
    let gateway = Setup::new(binary(), &config).start().await;
    let dead = until(&gateway, "left out", |state| state["gate"] == "cooling").await;
    assert_eq!(dead["reason"], "server");
    assert_eq!(dead["failures"], 2);
    let failed = provider.rows().len();
    // It is not asked for money while it is left out, and its list of models says nothing.
    let lists = |rows: &[Row]| rows[failed..].iter().filter(|row| is_list(row)).count() >= 3;
    let rows = provider.wait(LONG, lists).await;
    assert_eq!(rows.iter().filter(|row| !is_list(row)).count(), 2);
    assert_eq!(state(&gateway).await["gate"], "cooling");
    let entries = probed(&gateway).await;
    assert_eq!(entries.len(), 2);
    for row in &entries {
        assert_eq!(row["metadata"]["cost_nano_usd"], 0, "{row}");
        assert_eq!(row["metadata"]["http_status"], 500, "{row}");
    }
    let page = page(&gateway).await;
    let failures = "meridian_upstream_attempts_total{";
    let line = page
        .lines()
        .find(|line| line.starts_with(failures) && line.contains("server_error"));
    assert!(line.is_some_and(|line| line.ends_with(" 2")), "{line:?}");
}

#[tokio::test]
async fn traffic_makes_billed_probes_needless() {
    let provider = Provider::start();
    let config =
        probing(one_model(&provider), 3).raw("meridian:\n  probes: {billed_usd_per_day: 5}");
    let gateway = Setup::new(binary(), &config).start().await;
    let started = now();
    // Three probes: from the second one on, silence would be an interval long.
    while provider.rows().iter().filter(|row| is_list(row)).count() < 3 {
        assert!(started.elapsed() < LONG, "no probe came");
        let answer = gateway.send(&ask("traffic")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let own = |row: &Row| row.marker.as_deref() == Some("traffic");
    let rows = provider.rows();
    assert!(
        rows.iter().all(|row| is_list(row) || own(row)),
        "a billed probe"
    );
}
