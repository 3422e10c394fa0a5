//! What is never answered from the cache, and what never gets into it.

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::raw::Request;
use serde_json::json;

use super::{Api, World, cached, said, world};

#[tokio::test]
async fn a_caller_who_may_not_ask_gets_no_cached_answer_either() {
    let world = world().await;
    let gateway = &world.gateway;
    gateway.team("t").await;
    let team = |more: serde_json::Value| {
        let mut fields = json!({"team_id": "t"});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fields
    };
    let ask = async |owner: &str| world.send(&Api::Chat.ask_as(owner, "", "x", false)).await;
    let good = gateway.key(&team(json!({}))).await;
    assert_eq!(said(&ask(&good).await), "miss");
    assert_eq!(said(&ask(&good).await), "hit-memory");

    let poor = gateway.key(&team(json!({"max_budget": 0.0}))).await;
    assert_eq!(ask(&poor).await.status(), 429);
    let narrow = gateway.key(&team(json!({"models": ["other"]}))).await;
    assert_eq!(ask(&narrow).await.status(), 403);
    let slow = gateway.key(&team(json!({"rpm_limit": 2}))).await;
    let statuses = [ask(&slow).await, ask(&slow).await, ask(&slow).await];
    assert_eq!(statuses.map(|answer| answer.status()), [200, 200, 429]);
    let blocked = gateway.key(&team(json!({}))).await;
    gateway
        .admin("POST", "/key/block", &json!({"key": blocked}))
        .await;
    assert_eq!(ask(&blocked).await.status(), 401);
    assert_eq!(ask("sk-nobody").await.status(), 401);
    assert_eq!(world.provider.attempts("x").len(), 1);
}

#[tokio::test]
async fn failures_and_broken_streams_are_not_cached() {
    let world = world().await;
    for (script, stream) in [
        ("+status=500", false),
        ("+status=429", false),
        ("+status=400", false),
        ("+status=200+error=500", false),
        ("+reset@3", true),
        ("+close@3", true),
        ("+error@3", true),
        ("+empty", true),
    ] {
        let marker = format!("{script}{stream}").replace(['+', '=', '@'], "-");
        let request = Api::Chat.ask(script, &marker, stream);
        for _ in 0..2 {
            let answer = world.send(&request).await;
            assert!(!said(&answer).starts_with("hit"), "{script}");
        }
        assert_eq!(world.provider.attempts(&marker).len(), 2, "{script}");
    }
}

#[tokio::test]
async fn the_answer_of_another_model_is_not_kept_as_this_ones() {
    let provider = meridian_testkit::provider::Provider::start();
    let url = format!("{}/v1", provider.url());
    let config = meridian_testkit::config::Config::new()
        .model("first", "openai/fake+status=500", &url, "")
        .model("second", "openai/fake-second", &url, "")
        .router("fallbacks: [{first: [second]}]");
    let world = World::over(provider, cached(config), "").await;
    let ask = async |model: &str| {
        let body = Api::Chat.body(model, "f", false);
        world
            .send(&Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY))
            .await
    };
    for _ in 0..2 {
        let answer = ask("first").await;
        assert_eq!(
            (answer.status(), said(&answer)),
            (200, "miss"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(said(&ask("second").await), "miss");
    assert_eq!(said(&ask("second").await), "hit-memory");
}

#[tokio::test]
async fn what_a_provider_remembers_or_does_later_is_not_cached() {
    let world = world().await;
    for (field, value) in [
        ("background", json!(true)),
        ("conversation", json!("conv_1")),
    ] {
        let mut body = Api::Responses.body(&Api::Responses.model(""), field, false);
        body[field] = value;
        let request = Request::post("/v1/responses", &body).bearer(MASTER_KEY);
        for _ in 0..2 {
            assert_eq!(said(&world.send(&request).await), "nothing", "{field}");
        }
    }
}

#[tokio::test]
async fn headers_that_change_an_answer_make_another_one() {
    let world = world().await;
    let ask = async |name: &str, value: &str| {
        let request = Api::Messages.ask("", "hd", false);
        said(&world.send(&request.field(name, value)).await).to_owned()
    };
    assert_eq!(ask("user-agent", "one").await, "miss");
    assert_eq!(ask("user-agent", "two").await, "hit-memory");
    assert_eq!(ask("traceparent", "00-1-1-01").await, "hit-memory");
    assert_eq!(ask("anthropic-beta", "context-1m-2025-08-07").await, "miss");
    assert_eq!(ask("x-amzn-unheard-of", "1").await, "miss");
    // It reaches no provider.
    assert_eq!(ask("x-unheard-of", "1").await, "hit-memory");
    assert_eq!(
        ask("anthropic-beta", "context-1m-2025-08-07").await,
        "hit-memory"
    );
}
