//! What one tenant does wrong is nobody else's trouble.

use std::time::Duration;

use meridian_testkit::config::Config;
use meridian_testkit::provider::{Provider, Script};
use meridian_testkit::raw::{Conn, Request};
use serde_json::json;

use crate::world::{Api, World};

/// Requests of the steady tenant.
const STEADY: usize = 100;
/// Pause between two of them.
const EVERY: Duration = Duration::from_millis(40);

/// Errors of providers that a caller can bring about; some quote what it wrote.
const MISTAKES: [(&str, u16, &str); 7] = [
    (
        "policy",
        400,
        r#"{"error": {"message": "The response was filtered due to the prompt triggering content management policy.", "type": "invalid_request_error", "param": "prompt", "code": "content_filter"}}"#,
    ),
    (
        "long",
        400,
        r#"{"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}"#,
    ),
    (
        "quotes",
        400,
        r#"{"error": {"message": "Invalid value for 'user': 'You exceeded your current quota, insufficient_quota, rate limit reached, invalid api key, overloaded'.", "type": "invalid_request_error", "param": "user", "code": null}}"#,
    ),
    (
        "large",
        413,
        r#"{"error": {"message": "Request too large.", "type": "invalid_request_error", "param": null, "code": null}}"#,
    ),
    (
        "unknown",
        404,
        r#"{"error": {"message": "The model does not exist or you do not have access to it.", "type": "invalid_request_error", "param": null, "code": "model_not_found"}}"#,
    ),
    (
        "unprocessable",
        422,
        r#"{"error": {"message": "Unprocessable.", "type": "invalid_request_error", "param": null, "code": null}}"#,
    ),
    (
        "plain",
        400,
        r#"{"error": {"message": "Invalid value.", "type": "invalid_request_error", "param": null, "code": null}}"#,
    ),
];

/// Two deployments for any model name, so that mistakes and good requests meet at the same one.
async fn world(strategy: &str) -> World {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    for (name, status, body) in MISTAKES {
        let script = Script {
            body: Some(body.to_owned()),
            ..Script::status(status)
        };
        provider.script(&format!("fake-{name}"), [script]);
    }
    let slow = Script {
        head_ms: 400,
        ..Script::default()
    };
    provider.script("fake-slow", [slow]);
    let config = Config::new()
        .model("fake-*", "openai/fake-*", &url, "organization: a")
        .model("fake-*", "openai/fake-*", &url, "organization: b")
        .router(&format!(
            "routing_strategy: {strategy}\nnum_retries: 2\nallowed_fails: 0"
        ));
    World::over(provider, config, "").await
}

fn asking(key: &str, model: &str, marker: &str, stream: bool) -> Request {
    let body = Api::Chat.body(&format!("fake-{model}"), marker, stream);
    Request::post(Api::Chat.path(), &body).bearer(key)
}

#[tokio::test]
async fn a_flood_of_mistakes_harms_nobody_else_in_simple_shuffle() {
    flood("simple-shuffle").await;
}

#[tokio::test]
async fn a_flood_of_mistakes_harms_nobody_else_in_latency_based_routing() {
    flood("latency-based-routing").await;
}

async fn flood(strategy: &str) {
    let world = world(strategy).await;
    let bad = world.gateway.key(&json!({})).await;
    let hurried = json!({"router_settings": {"timeout": 0.001, "stream_timeout": 0.001}});
    let hurried = world.gateway.key(&hurried).await;
    let good = world.gateway.key(&json!({})).await;
    tokio::select! {
        () = steady(&world, &good) => {}
        () = mistakes(&world, &bad) => {}
        () = deadlines(&world, &bad, &hurried) => {}
        () = strangers(&world) => {}
        () = leavers(&world, &bad) => {}
    }
    let log = world.gateway.log();
    assert!(!log.contains("left out after failures"), "{log}");
    // Each part of the flood was one.
    let rows = world.provider.rows();
    let from = |marker: &str| {
        let mine = rows
            .iter()
            .filter(|row| row.marker.as_deref() == Some(marker));
        mine.count()
    };
    for marker in ["mistake", "hurried", "left"] {
        assert!(from(marker) >= 50, "{marker}: {}", from(marker));
    }
    let steady = rows.iter().filter(|row| {
        let marker = row.marker.as_deref();
        marker.is_some_and(|marker| marker.starts_with("steady"))
    });
    assert_eq!(steady.count(), STEADY, "one send each");
}

/// The tenant that does everything right.
async fn steady(world: &World, key: &str) {
    for round in 0..STEADY {
        let request = asking(key, "good", &format!("steady{round}"), round % 2 == 0);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{round}: {}", answer.text());
        tokio::time::sleep(EVERY).await;
    }
}

async fn mistakes(world: &World, key: &str) {
    for round in 0.. {
        let (name, status, _) = MISTAKES[round % MISTAKES.len()];
        let answer = world
            .send(&asking(key, name, "mistake", round % 2 == 0))
            .await;
        assert_eq!(answer.status(), status, "{name}: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

async fn deadlines(world: &World, key: &str, hurried: &str) {
    loop {
        let own = asking(key, "slow", "hurried", true).field("x-litellm-timeout", "0.001");
        let streamed = asking(key, "slow", "hurried", true);
        let streamed = streamed.field("x-litellm-stream-timeout", "0.03");
        let of_key = asking(hurried, "slow", "hurried", false);
        for request in [own, streamed, of_key] {
            let answer = world.send(&request).await;
            assert_eq!(answer.status(), 408, "{}", answer.text());
        }
    }
}

async fn strangers(world: &World) {
    loop {
        let answer = world
            .send(&asking("sk-nobody", "good", "stranger", false))
            .await;
        assert_eq!(answer.status(), 401, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn leavers(world: &World, key: &str) {
    for round in 0.. {
        let request = asking(key, "slow", "left", round % 2 == 0);
        let mut conn = Conn::open(world.gateway.addr()).await;
        conn.send(&request.bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        match round % 4 {
            0 | 1 => conn.reset(),
            _ => drop(conn),
        }
    }
}
