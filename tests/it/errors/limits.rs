//! Budgets and limits that refuse: the text names who, what and until when.

use meridian_core::ids::KeyHash;
use meridian_testkit::deadline::{SOON, insist};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Conn, Request, Response};
use serde_json::json;

use super::{chat, check, check_anthropic, messages, says};
use crate::world::{binary, gateway, tried_once};

#[tokio::test]
async fn a_key_without_budget_left_is_refused() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"max_budget": 0.0})).await;
    let message = "Budget has been exceeded! Current cost: 0.0, Max budget: 0.0";
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    check(&answer, &says(429, "budget_exceeded", None, message));
    assert_eq!(answer.header("x-litellm-key-max-budget"), Some("0.0"));
    let answer = gateway.send(&messages("cl-x").bearer(&key)).await;
    check_anthropic(&answer, 429, message);

    let per_model = json!({
        "key_alias": "mine",
        "model_max_budget": {"fake-x": {"budget_limit": 0.0, "time_period": "1d"}},
    });
    let key = gateway.key(&per_model).await;
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    let message = format!(
        "LiteLLM Virtual Key: {}, key_alias: mine, exceeded budget for model=fake-x",
        KeyHash::of_secret(&key)
    );
    check(&answer, &says(429, "budget_exceeded", None, &message));
    let answer = gateway.send(&messages("cl-x").bearer(&key)).await;
    assert_eq!(
        answer.status(),
        200,
        "another model is not bound: {}",
        answer.text()
    );
}

#[tokio::test]
async fn an_installation_without_budget_left_refuses_and_can_answer_400_as_litellm_used_to() {
    let provider = Provider::start();
    let config = tried_once(&provider)
        .litellm("max_budget: 0.0000001\nbudget_duration: 30d\nbudget_exceeded_status_code: 400");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    assert_eq!(answer.status(), 200, "one may be larger than the budget");
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "budget_exceeded");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Budget has been exceeded! Current cost: "),
        "{message}"
    );
    assert_eq!(provider.rows().len(), 1);
}

/// A refusal by a limit of the key itself.
#[track_caller]
fn limited(answer: &Response, key: &str, kind: &str, limit: u64) {
    assert_eq!(answer.status(), 429, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "None", "{error}");
    assert_eq!(error["param"], "None", "{error}");
    let start = format!(
        "Rate limit exceeded for api_key: {}. Limit type: {kind}. Current limit: {limit}, \
         Remaining: ",
        KeyHash::of_secret(key)
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with(&start), "{message}");
    assert!(message.ends_with(" UTC"), "{message}");
    let retry_after = answer.header("retry-after").map(str::parse::<u64>);
    assert!(
        matches!(retry_after, Some(Ok(1..=60))),
        "{:?}",
        answer.head.fields
    );
    assert_eq!(answer.header("rate_limit_type"), Some(kind));
    assert!(
        answer.header("reset_at").is_some(),
        "{:?}",
        answer.head.fields
    );
}

#[tokio::test]
async fn rate_limits_say_when_to_come_back() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"rpm_limit": 1})).await;
    assert_eq!(
        gateway.send(&chat("fake-x").bearer(&key)).await.status(),
        200
    );
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    limited(&answer, &key, "requests", 1);
    assert_eq!(answer.header("x-litellm-key-rpm-limit"), Some("1"));
    let answer = gateway.send(&messages("cl-x").bearer(&key)).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert!(answer.header("retry-after").is_some());

    let key = gateway.key(&json!({"tpm_limit": 3})).await;
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    assert_eq!(
        answer.status(),
        200,
        "one alone may be larger than the limit"
    );
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    limited(&answer, &key, "tokens", 3);
    assert_eq!(provider.rows().len(), 2, "refused requests reach nobody");
}

async fn running_stream(gateway: &Gateway, key: &str) -> Conn {
    let body = json!({
        "model": "fake-x+tokens=3+stall@3", "stream": true,
        "messages": [{"role": "user", "content": "hello"}],
    });
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(&request.bytes()).await.unwrap();
    assert_eq!(conn.head().await.unwrap().status, 200);
    conn
}

#[tokio::test]
async fn parallel_requests_are_limited_and_given_back() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"max_parallel_requests": 1})).await;
    let running = running_stream(&gateway, &key).await;
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    limited(&answer, &key, "max_parallel_requests", 1);
    running.reset();
    // A client that left holds its place no longer.
    insist(SOON, async || {
        let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
        match answer.status() {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    })
    .await;
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"max_budget": 0.0})).await;
    gateway.send(&chat("fake-x").bearer(&key)).await;
    gateway.send(&chat("fake-x")).await;
    gateway.send(&chat("nope").bearer(super::MASTER_KEY)).await;
    gateway.send(&Request::get("/nowhere")).await;
    let page = gateway
        .send(&Request::get("/metrics/").bearer(super::MASTER_KEY))
        .await;
    let page = page.text();
    let count = |reason: &str| {
        let start = format!("meridian_rejected_total{{reason=\"{reason}\"}} ");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(start.as_str()));
        line.and_then(|count| count.parse::<f64>().ok())
    };
    let shown: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("meridian_rejected_total"))
        .collect();
    for reason in [
        "budget_exceeded",
        "no_key",
        "unknown_model",
        "route_not_found",
    ] {
        assert_eq!(count(reason), Some(1.0), "{reason}: {shown:?}");
    }
}
