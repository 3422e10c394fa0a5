//! Claude behind the doors of the clouds, with credentials that a fake of each checks.

mod counts;
mod fake;
mod outage;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::gateway::Setup;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use self::fake::{Clouds, KEY, SECRET, TOKEN};
use crate::world::{World, standard, with_section};

/// A key that exists for these tests alone.
const CLIENT_PEM: &str = include_str!("../../src/credentials/tests/client.pem");

/// A gateway whose models live in the fake clouds.
async fn world(clouds: &Clouds, env: &[(&str, &str)]) -> World {
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
    let raw = format!(
        "
  - model_name: bedrock-claude
    litellm_params: {{model: 'bedrock/eu.anthropic.claude-x-v1:0', {keys}}}
  - model_name: vertex-claude
    litellm_params: {{model: 'vertex_ai/claude-x@20260101', {google}}}
  - model_name: vertex-gemini
    litellm_params: {{model: vertex_ai/gemini-x, {google}}}
  - model_name: entra-claude
    litellm_params: {{model: azure_ai/claude-x, {entra}}}
"
    );
    let provider = Provider::start();
    let config = standard(&provider);
    let yaml = with_models(&with_section(config, ""), &raw);
    let mut setup =
        Setup::with_yaml(crate::world::binary(), &yaml).env("AZURE_AUTHORITY_HOST", &clouds.url);
    for (name, value) in env {
        setup = setup.env(name, value);
    }
    let gateway = setup.start().await;
    World { provider, gateway }
}

fn with_models(config: &Config, models: &str) -> String {
    let yaml = config.yaml();
    yaml.replacen("model_list:\n", &format!("model_list:{models}"), 1)
}

fn service_account(url: &str) -> String {
    let document = json!({
        "type": "service_account", "client_email": "e@p1.iam", "private_key": CLIENT_PEM,
        "token_uri": format!("{url}/token"),
    });
    format!("'{document}'")
}

fn messages(model: &str, stream: bool) -> Request {
    let body = json!({
        "model": model, "max_tokens": 50, "stream": stream,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
            {"type": "text", "text": "Be brief."},
        ],
        "messages": [{"role": "user", "content": "tides?"}],
        "metadata": {"user_id": format!("{model}-{stream}")},
    });
    Request::post("/v1/messages?beta=true", &body)
        .bearer(MASTER_KEY)
        .field("anthropic-version", "2023-06-01")
        .field(
            "anthropic-beta",
            "context-1m-2025-08-07,prompt-caching-scope-2026-01-05",
        )
}

#[tokio::test]
async fn claude_on_bedrock_is_invoked_with_a_signature_and_streams_as_anthropic_does() {
    let clouds = Clouds::start().await;
    let world = world(&clouds, &[]).await;
    let whole = world.send(&messages("bedrock-claude", false)).await;
    assert_eq!(
        whole.status(),
        200,
        "{} {:?}",
        whole.text(),
        clouds.refused()
    );
    assert_eq!(whole.json()["content"][0]["text"], "Moon.");
    let stream = world.send(&messages("bedrock-claude", true)).await;
    assert_eq!(stream.text(), fake::events());
    assert_eq!(
        stream.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(
        stream.header("x-meridian-dropped"),
        Some("anthropic-beta:prompt-caching-scope-2026-01-05")
    );
    let asked = clouds.asked();
    let path = "/model/eu.anthropic.claude-x-v1%3A0/invoke";
    assert_eq!(asked[0].path(), path);
    assert_eq!(asked[1].path(), format!("{path}-with-response-stream"));
    for one in &asked {
        let body = one.json();
        assert_eq!(body["anthropic_version"], "bedrock-2023-05-31");
        assert_eq!(body["anthropic_beta"], json!(["context-1m-2025-08-07"]));
        assert!(body.get("model").is_none() && body.get("stream").is_none());
        assert_eq!(
            body["system"],
            json!([{"type": "text", "text": "Be brief."}])
        );
        assert!(one.header("anthropic-beta").is_none());
        assert!(!one.head.contains(MASTER_KEY));
    }
    let row = world.row("bedrock-claude-true").await;
    assert_eq!(row["prompt_tokens"], 11);
    assert_eq!(row["completion_tokens"], 7);
}

#[tokio::test]
async fn claude_on_vertex_is_predicted_with_a_token_that_one_fetch_brought() {
    let clouds = Clouds::start().await;
    let world = world(&clouds, &[]).await;
    let whole = world.send(&messages("vertex-claude", false)).await;
    assert_eq!(
        whole.status(),
        200,
        "{} {:?}",
        whole.text(),
        clouds.refused()
    );
    let stream = world.send(&messages("vertex-claude", true)).await;
    assert_eq!(stream.text(), fake::events());
    let asked = clouds.asked();
    let path =
        "/v1/projects/p1/locations/europe-west1/publishers/anthropic/models/claude-x@20260101";
    assert_eq!(asked[0].path(), format!("{path}:rawPredict"));
    assert_eq!(asked[1].path(), format!("{path}:streamRawPredict"));
    let body = asked[1].json();
    assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
    assert_eq!(body["stream"], true);
    assert!(body.get("model").is_none() && body.get("anthropic_beta").is_none());
    assert_eq!(
        asked[1].header("anthropic-beta"),
        Some("context-1m-2025-08-07")
    );
    assert!(asked[1].header("anthropic-version").is_none());
    assert_eq!(
        asked[1].header("authorization"),
        Some(&*format!("Bearer {TOKEN}"))
    );
    // Readiness names who has credentials.
    let ready = world
        .gateway
        .admin("GET", "/health/readiness/details", &Value::Null)
        .await;
    let sources = ready.json()["credentials"].clone();
    let of_google = sources.as_array().unwrap().iter();
    let of_google = of_google.filter(|one| one["source"] == "Google e@p1.iam");
    assert_eq!(
        of_google.map(|one| &one["usable"]).collect::<Vec<_>>(),
        [&json!(true)]
    );
}

#[tokio::test]
async fn claude_on_foundry_is_asked_with_a_token_of_entra() {
    let clouds = Clouds::start().await;
    let world = world(&clouds, &[]).await;
    let answer = world.send(&messages("entra-claude", false)).await;
    assert_eq!(
        answer.status(),
        200,
        "{} {:?}",
        answer.text(),
        clouds.refused()
    );
    let asked = clouds.asked();
    assert_eq!(asked[0].path(), "/anthropic/v1/messages?beta=true");
    assert_eq!(asked[0].json()["model"], "claude-x");
    assert_eq!(
        asked[0].header("authorization"),
        Some(&*format!("Bearer {TOKEN}"))
    );
}

#[tokio::test]
async fn tokens_are_counted_through_the_clouds_own_doors_for_claude() {
    let clouds = Clouds::start().await;
    let world = world(&clouds, &[]).await;
    let count = |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "tides?"}]});
        Request::post("/v1/messages/count_tokens", &body).bearer(MASTER_KEY)
    };
    let bedrock = world.send(&count("bedrock-claude")).await;
    assert_eq!(
        bedrock.json(),
        json!({"input_tokens": 42}),
        "{}",
        bedrock.text()
    );
    let vertex = world.send(&count("vertex-claude")).await;
    assert_eq!(vertex.json(), json!({"input_tokens": 43}));
    for exact in [&bedrock, &vertex] {
        assert!(exact.header("x-meridian-token-count").is_none());
    }
    let asked = clouds.asked();
    let wrapped = asked[0].json()["input"]["invokeModel"]["body"].clone();
    use base64::Engine;
    let inner = base64::prelude::BASE64_STANDARD
        .decode(wrapped.as_str().unwrap())
        .unwrap();
    let inner: Value = serde_json::from_slice(&inner).unwrap();
    assert_eq!(inner["anthropic_version"], "bedrock-2023-05-31");
    assert_eq!(asked[1].json()["model"], "claude-x@20260101");
}

#[tokio::test]
async fn without_credentials_another_deployment_answers_and_the_log_says_why() {
    let clouds = Clouds::start().await;
    let yaml = format!(
        "general_settings: {{master_key: {MASTER_KEY}}}\n\
         router_settings: {{fallbacks: [{{nobody: [somebody]}}], num_retries: 0}}\n\
         model_list:\n\
         \x20 - model_name: nobody\n    \
         litellm_params: {{model: bedrock/anthropic.claude-x-v1:0, aws_region_name: eu-west-1, \
         api_base: '{url}', aws_role_name: r, aws_web_identity_token: /nowhere/token}}\n\
         \x20 - model_name: somebody\n    \
         litellm_params: {{model: bedrock/anthropic.claude-x-v1:0, aws_region_name: eu-west-1, \
         api_base: '{url}', aws_access_key_id: {KEY}, aws_secret_access_key: {SECRET}}}\n",
        url = clouds.url
    );
    let gateway = Setup::with_yaml(crate::world::binary(), &yaml)
        .start()
        .await;
    let answer = gateway.send(&messages("nobody", false)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(clouds.asked().len(), 1);
    assert!(
        gateway.log().contains("/nowhere/token"),
        "{}",
        gateway.log()
    );
}
