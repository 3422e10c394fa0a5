//! Other models: who names them, in which spelling, and what turns them off.

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::provider::{Provider, Script};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::{Api, World};

/// What a prompt that is too long is answered with.
const TOO_LONG: &str = r#"{"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}"#;
/// What content that a provider does not want is answered with.
const REFUSED: &str = r#"{"error": {"message": "The response was filtered due to the prompt triggering content management policy.", "type": "invalid_request_error", "param": "prompt", "code": "content_filter"}}"#;
/// What any other mistake is answered with.
const MISTAKEN: &str = r#"{"error": {"message": "Invalid value for 'temperature'.", "type": "invalid_request_error", "param": "temperature", "code": null}}"#;

fn refusing(body: &str) -> Script {
    Script {
        body: Some(body.to_owned()),
        ..Script::status(400)
    }
}

/// Models `broken`, `long`, `filtered`, `mistaken` that never answer, and good ones.
async fn world(router: &str) -> World {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let mut config = Config::new();
    for name in ["broken", "long", "filtered", "mistaken", "b", "c", "d"] {
        let model = format!("openai/fake-{name}");
        config = config.model(name, &model, &url, "");
    }
    provider.script("fake-broken", [Script::status(500)]);
    provider.script("fake-long", [refusing(TOO_LONG)]);
    provider.script("fake-filtered", [refusing(REFUSED)]);
    provider.script("fake-mistaken", [refusing(MISTAKEN)]);
    let config = config.router(&format!(
        "num_retries: 0\ndisable_cooldowns: true\n{router}"
    ));
    World::over(provider, config, "retry_budget: 1").await
}

fn asking(key: &str, model: &str, marker: &str, more: &Value) -> Request {
    let mut body = Api::Chat.body(model, marker, false);
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    Request::post(Api::Chat.path(), &body).bearer(key)
}

/// Sends it and says which models the provider was asked for.
async fn asked(world: &World, request: &Request, marker: &str) -> (Response, Vec<String>) {
    let answer = world.send(request).await;
    let rows = world.provider.attempts(marker);
    for row in &rows {
        let body = row.request.clone().unwrap().json();
        for own in [
            "fallbacks",
            "context_window_fallbacks",
            "content_policy_fallbacks",
            "disable_fallbacks",
        ] {
            assert!(body[own].is_null(), "{own} reached the provider: {body}");
        }
    }
    let name = |row: &meridian_testkit::provider::Row| row.model.replacen("fake-", "", 1);
    (answer, rows.iter().map(name).collect())
}

#[tokio::test]
async fn every_spelling_of_the_configuration_names_the_same_models() {
    for router in [
        "fallbacks: [{broken: [b, c]}]",
        "fallbacks: [{model: broken, fallback_models: [b, c]}]",
        "fallbacks: [{\"*\": [b, c]}]",
        "default_fallbacks: [b, c]",
        "fallbacks: [{c: [d]}]\ndefault_fallbacks: [b]",
    ] {
        let world = world(router).await;
        let request = asking(MASTER_KEY, "broken", "f", &json!({}));
        let (answer, models) = asked(&world, &request, "f").await;
        assert_eq!(answer.status(), 200, "{router}: {}", answer.text());
        assert_eq!(models, ["broken", "b"], "{router}");
        assert_eq!(answer.header("x-litellm-attempted-fallbacks"), Some("1"));
        assert_eq!(answer.header("x-litellm-model-group"), Some("b"));
        let row = world.row("f").await;
        assert_eq!(row["model_group"], "b", "{row:#}");
    }
}

#[tokio::test]
async fn each_failure_has_its_own_models() {
    let router = "fallbacks: [{\"*\": [b]}]\ncontext_window_fallbacks: [{long: [c]}]\n\
                  content_policy_fallbacks: [{filtered: [d]}]";
    let own = world(router).await;
    let general = world("fallbacks: [{\"*\": [b]}]").await;
    let none = world("").await;
    for (number, (world, model, expected)) in [
        (&own, "long", vec!["long", "c"]),
        (&own, "filtered", vec!["filtered", "d"]),
        (&own, "broken", vec!["broken", "b"]),
        // A mistake of the caller is one with every model.
        (&own, "mistaken", vec!["mistaken"]),
        (&general, "long", vec!["long", "b"]),
        (&general, "filtered", vec!["filtered", "b"]),
        (&none, "long", vec!["long"]),
        (&none, "filtered", vec!["filtered"]),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("own{number}");
        let request = asking(MASTER_KEY, model, &marker, &json!({}));
        let (answer, models) = asked(world, &request, &marker).await;
        assert_eq!(models, expected, "{number}");
        let status = if expected.len() == 1 { 400 } else { 200 };
        assert_eq!(answer.status(), status, "{number}: {}", answer.text());
        world.row(&marker).await;
    }
}

#[tokio::test]
async fn a_request_brings_its_own_models_or_none() {
    let router = "fallbacks: [{\"*\": [b]}]\ncontext_window_fallbacks: [{long: [b]}]";
    let world = world(router).await;
    let cases = [
        ("broken", json!({"fallbacks": ["c"]}), vec!["broken", "c"]),
        (
            "broken",
            json!({"fallbacks": [{"model": "c"}]}),
            vec!["broken", "c"],
        ),
        (
            "broken",
            json!({"fallbacks": [{"broken": ["c"]}, {"*": ["d"]}]}),
            vec!["broken", "c"],
        ),
        (
            "broken",
            json!({"fallbacks": [{"*": ["d"]}]}),
            vec!["broken", "d"],
        ),
        ("broken", json!({"fallbacks": []}), vec!["broken"]),
        ("broken", json!({"disable_fallbacks": true}), vec!["broken"]),
        (
            "broken",
            json!({"disable_fallbacks": true, "fallbacks": ["c"]}),
            vec!["broken"],
        ),
        ("long", json!({"disable_fallbacks": true}), vec!["long"]),
        (
            "long",
            json!({"context_window_fallbacks": [{"long": ["d"]}]}),
            vec!["long", "d"],
        ),
        (
            "filtered",
            json!({"content_policy_fallbacks": ["d"]}),
            vec!["filtered", "d"],
        ),
        (
            "broken",
            json!({"fallbacks": ["long", "d"]}),
            vec!["broken", "long", "b"],
        ),
    ];
    for (number, (model, more, expected)) in cases.into_iter().enumerate() {
        let marker = format!("r{number}");
        let request = asking(MASTER_KEY, model, &marker, &more);
        let (answer, models) = asked(&world, &request, &marker).await;
        assert_eq!(models, expected, "{more}: {}", answer.text());
        let good = models.len() > 1;
        assert_eq!(answer.status() == 200, good, "{more}: {}", answer.text());
        world.row(&marker).await;
    }
}

#[tokio::test]
async fn a_model_that_there_is_not_is_no_fallback() {
    let world = world("").await;
    for more in [
        json!({"fallbacks": ["nosuch"]}),
        json!({"context_window_fallbacks": [{"long": ["nosuch"]}]}),
        json!({"fallbacks": "b"}),
    ] {
        let field = more.as_object().unwrap().keys().next().unwrap().clone();
        let model = if field == "fallbacks" {
            "broken"
        } else {
            "long"
        };
        let request = asking(MASTER_KEY, model, "bad", &more);
        let (answer, models) = asked(&world, &request, "bad").await;
        assert_eq!(answer.status(), 400, "{more}: {}", answer.text());
        assert!(answer.text().contains(&field), "{}", answer.text());
        assert!(models.is_empty(), "{more}: {models:?}");
    }
}

#[tokio::test]
async fn a_key_brings_its_own_models_retries_and_deadlines() {
    let world = world("fallbacks: [{\"*\": [b]}]").await;
    let key = async |fields: Value| world.gateway.key(&fields).await;
    let moved = key(json!({"router_settings": {"fallbacks": [{"broken": ["c"]}]}})).await;
    let off = key(json!({"metadata": {"disable_fallbacks": true}})).await;
    let again = key(json!({"router_settings": {"num_retries": 2},
        "metadata": {"disable_fallbacks": true}}))
    .await;
    let narrow = key(json!({"models": ["broken", "b"]})).await;
    let cases = [
        (&moved, json!({}), vec!["broken", "c"]),
        (&moved, json!({"fallbacks": ["d"]}), vec!["broken", "d"]),
        (&off, json!({}), vec!["broken"]),
        (&off, json!({"fallbacks": ["d"]}), vec!["broken"]),
        (&again, json!({}), vec!["broken", "broken", "broken"]),
        (&again, json!({"num_retries": 0}), vec!["broken"]),
        (&narrow, json!({}), vec!["broken", "b"]),
    ];
    for (number, (key, more, expected)) in cases.into_iter().enumerate() {
        let marker = format!("k{number}");
        let request = asking(key, "broken", &marker, &more);
        let (answer, models) = asked(&world, &request, &marker).await;
        assert_eq!(models, expected, "{number}: {}", answer.text());
        world.row(&marker).await;
    }
    // What a key may not use, it may not fall back to either.
    let request = asking(&narrow, "broken", "n", &json!({"fallbacks": ["c"]}));
    let (answer, models) = asked(&world, &request, "n").await;
    assert!(matches!(answer.status(), 401 | 403), "{}", answer.text());
    assert!(models.is_empty(), "{models:?}");
}
