//! Tokens are counted by whoever has the model, for every kind of caller, and estimated where
//! nobody counts or the count does not come.

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use super::fake::{Clouds, KEY, SECRET, TOKEN};
use super::service_account;

async fn gateway(clouds: &Clouds) -> Gateway {
    let url = &clouds.url;
    let keys = format!(
        "aws_region_name: eu-west-1, aws_access_key_id: {KEY}, aws_secret_access_key: {SECRET}, \
         api_base: '{url}'"
    );
    let google = format!(
        "vertex_project: p1, vertex_location: europe-west1, api_base: '{url}', \
         vertex_credentials: {}",
        service_account(url)
    );
    let entra =
        format!("api_base: '{url}', api_version: v1, tenant_id: t, client_id: c, client_secret: s");
    let plain = format!("api_base: '{url}', api_key: {TOKEN}");
    let mut yaml = format!("general_settings: {{master_key: {MASTER_KEY}}}\nmodel_list:\n");
    for (name, model, place) in [
        (
            "bedrock-claude",
            "bedrock/eu.anthropic.claude-x-v1:0",
            &keys,
        ),
        ("bedrock-nova", "bedrock/eu.amazon.nova-x-v1:0", &keys),
        ("vertex-claude", "vertex_ai/claude-x@20260101", &google),
        ("vertex-gemini", "vertex_ai/gemini-x", &google),
        ("studio", "gemini/gemini-x", &plain),
        ("azure", "azure/my-gpt", &entra),
        ("claude", "anthropic/claude-x", &plain),
        ("openai", "openai/gpt-x", &plain),
        ("refusing", "gemini/gemini-refuses", &plain),
        ("late", "gemini/gemini-is-late", &plain),
        ("command", "cohere/command-x", &plain),
    ] {
        yaml.push_str(&format!(
            "  - model_name: {name}\n    litellm_params: {{model: '{model}', {place}}}\n"
        ));
    }
    let setup = Setup::with_yaml(crate::world::binary(), &yaml);
    setup.env("AZURE_AUTHORITY_HOST", &clouds.url).start().await
}

fn ask(path: &str, body: &Value) -> Request {
    Request::post(path, body).bearer(MASTER_KEY)
}

async fn messages(gateway: &Gateway, model: &str) -> Response {
    let body = json!({
        "model": model, "system": "Be brief.", "max_tokens": 100,
        "messages": [{"role": "user", "content": "tides?"}],
    });
    gateway.send(&ask("/v1/messages/count_tokens", &body)).await
}

async fn responses(gateway: &Gateway, model: &str) -> Response {
    let body = json!({"model": model, "input": "tides?"});
    gateway
        .send(&ask("/v1/responses/input_tokens", &body))
        .await
}

async fn counter(gateway: &Gateway, model: &str) -> Response {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "tides?"}]});
    gateway.send(&ask("/utils/token_counter", &body)).await
}

fn is_estimate(answer: &Response) -> bool {
    answer.header("x-meridian-token-count") == Some("estimate")
}

/// What the fake counts for each model, and where it is asked.
const COUNTED: [(&str, u64, &str); 6] = [
    (
        "bedrock-nova",
        42,
        "/model/amazon.nova-x-v1%3A0/count-tokens",
    ),
    ("vertex-claude", 43, "/count-tokens:rawPredict"),
    (
        "vertex-gemini",
        44,
        "/publishers/google/models/gemini-x:countTokens",
    ),
    ("studio", 44, "/v1beta/models/gemini-x:countTokens"),
    ("azure", 45, "/openai/v1/responses/input_tokens"),
    ("claude", 46, "/messages/count_tokens"),
];

#[tokio::test]
async fn every_provider_that_counts_is_asked_whoever_the_caller_is() {
    let clouds = Clouds::start().await;
    let gateway = gateway(&clouds).await;
    for (model, tokens, path) in COUNTED {
        for answer in [
            messages(&gateway, model).await,
            responses(&gateway, model).await,
            counter(&gateway, model).await,
        ] {
            assert_eq!(answer.status(), 200, "{model} {}", answer.text());
            assert!(!is_estimate(&answer), "{model} {:?}", clouds.refused());
            let told = answer.json();
            let number = told.get("input_tokens").or(told.get("total_tokens"));
            assert_eq!(number, Some(&json!(tokens)), "{model} {told}");
            let asked = clouds.asked();
            let asked = asked.last().unwrap();
            assert!(asked.path().contains(path), "{model} {}", asked.path());
            assert!(asked.body.contains("tides?"), "{model} {}", asked.body);
        }
    }
    // A profile of several regions is counted as the model that is behind it.
    let claude = messages(&gateway, "bedrock-claude").await;
    assert_eq!(claude.json(), json!({"input_tokens": 42}));
    let asked = clouds.asked();
    let path = "/model/anthropic.claude-x-v1%3A0/count-tokens";
    assert_eq!(asked.last().unwrap().path(), path);
    // In the caller's own words to who speaks them.
    let openai = responses(&gateway, "openai").await;
    let words = json!({"object": "response.input_tokens", "input_tokens": 45});
    assert_eq!(openai.json(), words);
    let counted = counter(&gateway, "studio").await.json();
    assert_eq!(counted["tokenizer_type"], "gemini_api");
    assert_eq!(counted["request_model"], "studio");
    assert_eq!(counted["model_used"], "gemini-x");
    assert_eq!(counted["original_response"], json!({"totalTokens": 44}));
}

#[tokio::test]
async fn a_count_that_fails_or_is_late_is_an_estimate_and_nobodys_failure() {
    let clouds = Clouds::start().await;
    let gateway = gateway(&clouds).await;
    for model in ["refusing", "late", "command"] {
        let answer = messages(&gateway, model).await;
        assert_eq!(answer.status(), 200, "{model} {}", answer.text());
        assert!(is_estimate(&answer), "{model}");
        assert!(answer.json()["input_tokens"].as_u64().unwrap() > 3);
    }
    let counted = counter(&gateway, "refusing").await;
    assert!(is_estimate(&counted));
    assert_eq!(counted.json()["tokenizer_type"], "estimate");
    let estimated = responses(&gateway, "refusing").await;
    assert_eq!(estimated.json()["object"], "response.input_tokens");
    let state = gateway
        .admin("GET", "/router/state", &Value::Null)
        .await
        .text();
    assert!(!state.contains("\"open\""), "{state}");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_and_not_estimated() {
    let clouds = Clouds::start().await;
    let gateway = gateway(&clouds).await;
    let nothing = ask("/utils/token_counter", &json!({"model": "studio"}));
    let nothing = gateway.send(&nothing).await;
    assert_eq!(nothing.status(), 400, "{}", nothing.text());
    assert!(nothing.text().contains("'prompt'"), "{}", nothing.text());
    let wrong = json!({"model": "claude", "messages": [{"role": "user", "content": 7}]});
    let wrong = gateway
        .send(&ask("/v1/messages/count_tokens", &wrong))
        .await;
    assert_eq!(wrong.status(), 400, "{}", wrong.text());
    assert!(wrong.text().contains("content: not so"), "{}", wrong.text());
}
