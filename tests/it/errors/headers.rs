//! LiteLLM's response headers on a plain answer, a stream and an error.

use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_testkit::config::Config;
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::fake::{Fake, Reply};
use meridian_testkit::gateway::Setup;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Request, Response};
use serde_json::json;

use super::{chat, messages};
use crate::ledger;
use crate::world::{binary, gateway, tried_once};

#[track_caller]
fn has(answer: &Response, names: &[&str]) {
    for name in names {
        let value = answer.header(name);
        assert!(
            value.is_some_and(|value| !value.is_empty()),
            "{name}: {:?}",
            answer.head.fields
        );
    }
}

#[track_caller]
fn has_not(answer: &Response, names: &[&str]) {
    for name in names {
        assert_eq!(
            answer.header(name),
            None,
            "{name}: {:?}",
            answer.head.fields
        );
    }
}

/// On every answer that a provider gave.
const ALWAYS: [&str; 6] = [
    "x-litellm-call-id",
    "x-litellm-model-id",
    "x-litellm-version",
    "x-litellm-key-spend",
    "x-litellm-key-max-budget",
    "x-litellm-key-rpm-limit",
];

#[tokio::test]
async fn answers_carry_litellms_headers() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let fields = json!({"max_budget": 5.0, "rpm_limit": 100, "tpm_limit": 100_000});
    let key = gateway.key(&fields).await;
    let answer = gateway
        .send(&chat("fake-x+prompt=10+tokens=5").bearer(&key))
        .await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    has(&answer, &ALWAYS);
    has(
        &answer,
        &["x-litellm-model-api-base", "x-litellm-model-group"],
    );
    has(
        &answer,
        &[
            "x-litellm-response-duration-ms",
            "x-litellm-overhead-duration-ms",
        ],
    );
    assert_eq!(answer.header("x-litellm-key-tpm-limit"), Some("100000"));
    assert_eq!(answer.header("x-litellm-key-max-budget"), Some("5.0"));
    assert_eq!(
        answer.header("x-ratelimit-api_key-limit-requests"),
        Some("100")
    );
    assert_eq!(
        answer.header("x-ratelimit-api_key-remaining-requests"),
        Some("99")
    );
    // 10 tokens at 1e-6 and 5 at 2e-6 dollars.
    let cost = |name: &str| {
        answer
            .header(name)
            .and_then(|text| text.parse::<f64>().ok())
    };
    assert_eq!(
        cost("x-litellm-response-cost"),
        Some(2e-5),
        "{:?}",
        answer.head.fields
    );
    assert_eq!(cost("x-litellm-key-spend"), Some(2e-5));
    assert_eq!(answer.header("x-litellm-attempted-retries"), Some("0"));
    has_not(&answer, &["x-litellm-max-retries"]);
}

#[tokio::test]
async fn streams_messages_and_errors_carry_litellms_headers() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway
        .key(&json!({"max_budget": 5.0, "rpm_limit": 100}))
        .await;
    let answer = gateway.send(&messages("cl-x").bearer(&key)).await;
    has(&answer, &ALWAYS);

    let body = json!({
        "model": "fake-x", "stream": true, "messages": [{"role": "user", "content": "hello"}],
    });
    let stream = Request::post("/v1/chat/completions", &body).bearer(&key);
    let answer = gateway.send(&stream).await;
    has(&answer, &ALWAYS);
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    has_not(&answer, &["x-litellm-response-cost", "content-length"]);

    let answer = gateway.send(&chat("fake-x+status=400").bearer(&key)).await;
    assert_eq!(answer.status(), 400);
    has(
        &answer,
        &[
            "x-litellm-call-id",
            "x-litellm-key-spend",
            "x-litellm-key-max-budget",
            "x-litellm-key-rpm-limit",
        ],
    );
    has_not(&answer, &["x-litellm-model-api-base"]);
}

#[tokio::test]
async fn errors_tell_their_cost_and_the_limit_that_was_passed() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"rpm_limit": 4})).await;
    let refused = chat("fake-x+status=400").bearer(&key);
    let answer = gateway.send(&refused).await;
    assert_eq!(answer.header("x-litellm-response-cost"), Some("0"));
    assert_eq!(answer.header("x-litellm-timeout"), Some("6000.0"));
    let refused = messages("cl-x+status=400").bearer(&key);
    let answer = gateway
        .send(&refused.field("x-litellm-timeout", "2.5"))
        .await;
    assert_eq!(answer.header("x-litellm-response-cost"), Some("0"));
    assert_eq!(answer.header("x-litellm-timeout"), Some("2.5"));

    // A provider may bill what it never answered: the header is as honest as the ledger.
    let slow = chat("fake-x+stall@head").bearer(&key);
    let answer = gateway.send(&slow.field("x-litellm-timeout", "0.2")).await;
    assert_eq!(answer.status(), 408, "{}", answer.text());
    assert_eq!(answer.header("x-litellm-timeout"), Some("0.2"));
    let billed = answer.header("x-litellm-response-cost").unwrap();
    assert!(billed.parse::<f64>().unwrap() > 0.0, "{billed}");
    assert_eq!(answer.header("x-litellm-key-spend"), Some(billed));

    // Refused after the key was checked: no attempt, so no limit of one.
    let unknown = gateway.send(&chat("nope").bearer(&key)).await;
    assert_eq!(unknown.header("x-litellm-response-cost"), Some("0"));
    has_not(&unknown, &["x-litellm-timeout"]);
    gateway.send(&chat("fake-x").bearer(&key)).await;
    let limited = gateway.send(&chat("fake-x").bearer(&key)).await;
    assert_eq!(limited.status(), 429, "{}", limited.text());
    assert_eq!(limited.header("x-litellm-response-cost"), Some("0"));
    // Before that, LiteLLM says nothing of it.
    let nobody = gateway.send(&chat("fake-x")).await;
    has_not(&nobody, &["x-litellm-response-cost", "x-litellm-timeout"]);
}

#[tokio::test]
async fn refusals_of_the_management_api_have_a_call_id_that_the_log_knows() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    let calls = [
        (
            Request::get("/key/info?key=sk-nobody").bearer(super::MASTER_KEY),
            404,
        ),
        (Request::post("/key/generate", &json!({})).bearer(&key), 401),
        (
            Request::post("/key/generate", &json!({"models": 5})).bearer(super::MASTER_KEY),
            422,
        ),
        (Request::get("/metrics"), 401),
    ];
    for (call, status) in calls {
        let answer = gateway.send(&call).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
        let id = answer.header("x-litellm-call-id").unwrap();
        assert_eq!(id.len(), 36, "{id}");
        let logged = || gateway.log().contains(id).then_some(());
        eventually(SOON, "the id in the log", logged).await;
    }
}

#[tokio::test]
async fn a_call_id_that_was_sent_hides_nothing_from_the_ledger() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    let id = "0f4e3a2b-1c0d-4e5f-8a9b-0c1d2e3f4a5b";
    let asked = chat("fake-x").bearer(&key).field("x-litellm-call-id", id);
    for _ in 0..3 {
        let answer = gateway.send(&asked).await;
        has(&answer, &["x-litellm-call-id"]);
    }
    let rows = crate::ledger::rows(&gateway).await;
    assert_eq!(rows.len(), 3, "identity is the gateway's own");
}

#[tokio::test]
async fn discount_and_margin_are_billed_and_the_price_before_them_is_told() {
    let provider = Provider::start();
    let config = tried_once(&provider)
        .litellm("cost_discount_config: {openai: 0.5}")
        .litellm("cost_margin_config: {global: {percentage: 0.1, fixed_amount: 0.001}}");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let answer = gateway
        .send(&chat("fake-x+prompt=10+tokens=5").bearer(&key))
        .await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let cost = |name: &str| {
        answer
            .header(name)
            .and_then(|text| text.parse::<f64>().ok())
    };
    // 20 micro-dollars, half of them, a tenth on top, and a tenth of a cent.
    assert_eq!(cost("x-litellm-response-cost-original"), Some(2e-5));
    assert_eq!(cost("x-litellm-response-cost"), Some(0.001_011));
    assert_eq!(ledger::key_spend(&gateway, &key).await, 1_011_000);
}

#[tokio::test]
async fn what_is_added_per_request_is_added_once_however_many_attempts_it_took() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::never(),
        _ => Reply::json(
            200,
            &json!({"id": "c", "object": "chat.completion", "model": "gpt-x",
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "yes"}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
        ),
    })
    .await;
    let free = "input_cost_per_token: 0\noutput_cost_per_token: 0\ntimeout: 2";
    let config = Config::new()
        .model("gpt", "openai/gpt-x", &format!("{}/v1", fake.url), free)
        .router("num_retries: 2")
        .litellm("cost_margin_config: {global: {fixed_amount: 0.001}}");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let answer = gateway.send(&chat("gpt").bearer(&key)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(fake.asked().len() > 1, "one was not answered");
    assert_eq!(ledger::key_spend(&gateway, &key).await, 1_000_000);
}
