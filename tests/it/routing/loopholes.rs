//! Ways around the rules that a review found: each was open once.

use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::SOON;
use meridian_testkit::provider::{Early, Provider, Script};
use meridian_testkit::raw::{Conn, Request};
use serde_json::json;

use crate::world::{Api, World};

fn two(provider: &Provider, first: &str, second: &str) -> Config {
    let url = format!("{}/v1", provider.url());
    Config::new()
        .model("m", first, &url, "order: 1")
        .model("m", second, &url, "order: 2")
}

#[tokio::test]
async fn a_refused_send_beside_a_hedge_costs_nothing() {
    let provider = Provider::start();
    let config = two(
        &provider,
        "openai/fake-bad+head_ms=1500+status=500",
        "openai/fake-good+head_ms=2500",
    );
    let hedge = "hedge:\n  after_s: 0.5\n  share_max: 1\n  cost_max_usd: 1";
    let world = World::over(provider, config, hedge).await;
    let body = Api::Chat.body("m", "hedged", false);
    let answer = world
        .send(&Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY))
        .await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(world.provider.rows().len(), 2, "it was hedged");
    let usage = &answer.json()["usage"];
    let cost = usage["prompt_tokens"].as_f64().unwrap() * 1e-6
        + usage["completion_tokens"].as_f64().unwrap() * 2e-6;
    let row = world.row("hedged").await;
    assert!(
        (row["spend"].as_f64().unwrap() - cost).abs() < 1e-9,
        "{cost} {row:#}"
    );
}

#[tokio::test]
async fn a_pinned_request_stays_with_its_deployment_as_a_last_resort() {
    let provider = Provider::start();
    let config = two(&provider, "openai/fake-a", "openai/fake-b");
    let world = World::over(provider, config, "").await;
    let ask = |body| Request::post("/v1/responses", &body).bearer(MASTER_KEY);
    let first = world
        .send(&ask(Api::Responses.body("m", "made", false)))
        .await;
    assert_eq!(first.status(), 200, "{}", first.text());
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(world.provider.last().model, "fake-a");
    let limited = Script {
        status: 429,
        retry_after: Some("60".into()),
        ..Script::default()
    };
    world.provider.script("fake-a", [limited]);
    let second = world
        .send(&ask(Api::Responses.body("m", "cools", false)))
        .await;
    assert_eq!(second.status(), 200, "{}", second.text());
    assert_eq!(world.provider.last().model, "fake-b");
    let mut next = Api::Responses.body("m", "continued", false);
    next["previous_response_id"] = json!(id);
    let third = world.send(&ask(next)).await;
    let asked = world.provider.attempts("continued");
    let asked: Vec<&str> = asked.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(asked, ["fake-a"], "{}", third.text());
}

#[tokio::test]
async fn an_alias_of_a_key_is_no_way_around_its_models() {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let config = Config::new()
        .model("small", "openai/fake-small+status=500", &url, "")
        .model("large", "openai/fake-large", &url, "")
        .router("num_retries: 0");
    let world = World::over(provider, config, "").await;
    let fields = json!({"models": ["small"], "aliases": {"large": "small"}});
    let key = world.gateway.key(&fields).await;
    let mut body = Api::Chat.body("small", "who", false);
    body["fallbacks"] = json!(["large"]);
    let answer = world
        .send(&Request::post("/v1/chat/completions", &body).bearer(&key))
        .await;
    let asked: Vec<String> = world
        .provider
        .rows()
        .into_iter()
        .map(|row| row.model)
        .collect();
    assert_eq!(answer.status(), 500, "{}", answer.text());
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("fake-small"), "{asked:?}");
}

#[tokio::test]
async fn the_limit_of_a_model_holds_for_it_as_a_fallback_too() {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let config = Config::new()
        .model("small", "openai/fake-small+status=500", &url, "")
        .model("large", "openai/fake-large", &url, "")
        .router("num_retries: 0");
    let world = World::over(provider, config, "").await;
    let key = world
        .gateway
        .key(&json!({"model_rpm_limit": {"large": 1}}))
        .await;
    let mut last = 0;
    for _ in 0..3 {
        let mut body = Api::Chat.body("small", "who", false);
        body["fallbacks"] = json!(["large"]);
        let answer = world
            .send(&Request::post("/v1/chat/completions", &body).bearer(&key))
            .await;
        last = answer.status();
    }
    let large = world
        .provider
        .rows()
        .into_iter()
        .filter(|row| row.model == "fake-large")
        .count();
    assert_eq!(
        (large, last),
        (1, 500),
        "one a minute, then the first's error"
    );
}

async fn over_h2(section: &str) -> (World, tempfile::TempDir) {
    let provider = Provider::start_tls();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, provider.ca_pem().unwrap()).unwrap();
    let config = Config::standard(&provider).router("num_retries: 0");
    let section = format!("upstream_ca_file: {}\n{section}", ca.display());
    (World::over(provider, config, &section).await, directory)
}

#[tokio::test]
async fn an_early_answer_over_http2_is_passed_on() {
    let (world, _dir) = over_h2("").await;
    let mut body = Api::Chat.body("fake-m", "early", false);
    body["pad"] = json!("x".repeat(16 << 20));
    let script = Script {
        early: Early::Answer,
        ..Script::status(413)
    };
    world.provider.script("*", [script]);
    let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    let answer = world.send(&request).await;
    assert!(world.provider.last().h2);
    assert_eq!(
        answer.status(),
        413,
        "{} {}",
        answer.text(),
        world.gateway.log()
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_else() {
    let (world, _dir) = over_h2("").await;
    let warm = world.send(&Api::Chat.ask("", "warm", true)).await;
    assert_eq!(warm.status(), 200);
    let mut slow = Conn::open(world.gateway.addr()).await;
    let body = Api::Chat.body("fake-m+tokens=64+pad=1048576", "slow", true);
    let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    slow.send(&request.bytes()).await.unwrap();
    slow.head().await.unwrap();
    // Until nothing more is let through: what its provider has sent stays the same.
    let sent = || {
        world
            .provider
            .attempts("slow")
            .first()
            .map(|row| row.sent_bytes)
    };
    let (mut before, mut same) = (None, 0);
    while same < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        same = if sent() == before { same + 1 } else { 0 };
        before = sent();
    }
    let ask = Api::Chat.ask("", "other", true);
    let other = tokio::time::timeout(SOON, world.send(&ask)).await;
    assert_eq!(other.expect("not held up").status(), 200);
}

#[tokio::test]
async fn a_callers_deadline_ends_its_request() {
    let provider = Provider::start();
    // The deployment may be asked again once it has failed; then it says nothing for a minute.
    let silent = Script {
        head_ms: 60_000,
        ..Script::default()
    };
    provider.script("*", [Script::status(500), silent]);
    let url = format!("{}/v1", provider.url());
    let config = Config::new().model("m", "openai/fake-m", &url, "");
    let world = World::over(provider, config, "").await;
    let mut body = Api::Chat.body("m", "late", false);
    body["timeout"] = json!(4);
    body["num_retries"] = json!(3);
    let answer = world
        .send(&Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY))
        .await;
    assert_eq!(answer.status(), 408, "{}", answer.text());
    // Retries alone would make four: each of them would have the deadline anew.
    assert_eq!(world.provider.attempts("late").len(), 2);
}

#[tokio::test]
async fn two_refusals_in_a_race_cost_nothing() {
    let provider = Provider::start();
    let config = two(
        &provider,
        "openai/fake-bad+head_ms=1000+status=500",
        "openai/fake-worse+head_ms=1500+status=500",
    )
    .router("num_retries: 0");
    let hedge = "hedge:\n  after_s: 0.5\n  share_max: 1\n  cost_max_usd: 1";
    let world = World::over(provider, config, hedge).await;
    let body = Api::Chat.body("m", "both", false);
    let answer = world
        .send(&Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY))
        .await;
    assert_eq!(answer.status(), 500, "{}", answer.text());
    let row = world.row("both").await;
    assert_eq!(row["spend"], json!(0.0), "{}", row["metadata"]);
}
