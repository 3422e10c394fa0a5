//! What a request says about the cache.

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use super::{Api, World, said, with, world};

fn asking(marker: &str, cache: &Value) -> Request {
    let mut body = Api::Chat.body(&Api::Chat.model(""), marker, false);
    body["cache"] = cache.clone();
    Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY)
}

async fn send(world: &World, marker: &str, cache: Value) -> Response {
    let answer = world.send(&asking(marker, &cache)).await;
    assert_eq!(answer.status(), 200, "{cache}: {}", answer.text());
    answer
}

#[tokio::test]
async fn each_control_does_what_it_does_in_litellm() {
    let world = world().await;
    // Never sent on.
    send(&world, "a", json!({"ttl": 60})).await;
    assert_eq!(world.provider.last_request().json().get("cache"), None);
    assert_eq!(said(&send(&world, "a", json!({})).await), "hit-memory");
    assert_eq!(
        said(&send(&world, "a", json!({"no-cache": true})).await),
        "bypassed"
    );
    assert_eq!(world.provider.attempts("a").len(), 2);

    for _ in 0..2 {
        assert_eq!(
            said(&send(&world, "b", json!({"no-store": true})).await),
            "miss"
        );
    }
    assert_eq!(said(&send(&world, "b", json!({})).await), "miss");
    assert_eq!(
        said(&send(&world, "b", json!({"no-store": true})).await),
        "hit-memory"
    );

    assert_eq!(said(&send(&world, "c", json!({})).await), "miss");
    assert_eq!(
        said(&send(&world, "c", json!({"s-maxage": 60})).await),
        "hit-memory"
    );
    assert_eq!(
        said(&send(&world, "c", json!({"namespace": "n"})).await),
        "miss"
    );
    assert_eq!(
        said(&send(&world, "c", json!({"namespace": "n"})).await),
        "hit-memory"
    );
    // Neither read nor kept: nothing to do with the cache.
    let neither = send(&world, "c", json!({"no-cache": true, "no-store": true})).await;
    assert_eq!(said(&neither), "nothing");
}

#[tokio::test]
async fn an_answer_that_is_older_than_wanted_is_asked_for_anew() {
    let world = world().await;
    let first = send(&world, "age", json!({})).await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    let fresh = send(&world, "age", json!({"s-maxage": 0.05})).await;
    assert_eq!(said(&fresh), "miss");
    assert_ne!(first.body, fresh.body);
    // The newer one has taken its place.
    let last = send(&world, "age", json!({})).await;
    assert_eq!((said(&last), &last.body), ("hit-memory", &fresh.body));
}

#[tokio::test]
async fn the_header_is_read_as_litellm_reads_it() {
    let world = world().await;
    let ask = async |value: &str| {
        let request = Api::Chat.ask("", "head", false);
        world.send(&request.field("cache-control", value)).await
    };
    assert_eq!(said(&ask("no-store").await), "miss");
    assert_eq!(said(&ask("max-age=0, s-maxage=0").await), "miss");
    assert_eq!(said(&ask("s-maxage=600").await), "miss");
    assert_eq!(said(&ask("private").await), "hit-memory");
    assert_eq!(said(&ask("no-cache").await), "bypassed");
    let refused = ask("s-maxage=soon").await;
    assert_eq!(refused.status(), 400);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("cache-control: s-maxage"), "{message}");
}

#[tokio::test]
async fn a_control_that_cannot_be_understood_is_named_with_and_without_a_cache() {
    for world in [world().await, World::new("").await] {
        for (cache, field) in [
            (json!("no"), "cache"),
            (json!({"ttl": "1h"}), "cache.ttl"),
            (json!({"no-cache": 1}), "cache.no-cache"),
            (json!({"nocache": true}), "cache.nocache"),
        ] {
            let refused = world.send(&asking("bad", &cache)).await;
            assert_eq!(refused.status(), 400, "{cache}");
            let message = refused.json()["error"]["message"].to_string();
            assert!(message.contains(field), "{cache}: {message}");
        }
        assert_eq!(world.provider.attempts("bad").len(), 0);
    }
}

#[tokio::test]
async fn a_key_may_be_kept_to_some_controls_and_have_its_own() {
    let world = world().await;
    let narrow = json!({"allowed_cache_controls": ["ttl"]});
    let narrow = world.gateway.key(&narrow).await;
    let ask = async |owner: &str, cache: Value| {
        let mut body = Api::Chat.body(&Api::Chat.model(""), "k", false);
        body["cache"] = cache;
        world
            .send(&Request::post(Api::Chat.path(), &body).bearer(owner))
            .await
    };
    assert_eq!(ask(&narrow, json!({"ttl": 5})).await.status(), 200);
    let refused = ask(&narrow, json!({"no-cache": true})).await;
    assert_eq!(refused.status(), 403);
    let message = refused.json()["error"]["message"].to_string();
    assert!(
        message.contains("Not allowed to set no-cache as a cache control"),
        "{message}"
    );
    let own = json!({"metadata": {"cache": {"no-cache": true, "no-store": true}}});
    let own = world.gateway.key(&own).await;
    for _ in 0..2 {
        assert_eq!(said(&ask(&own, json!({"ttl": 5})).await), "nothing");
    }
}

#[tokio::test]
async fn a_cache_that_is_off_by_default_is_used_by_those_who_ask() {
    let params = "type: local, mode: default_off, supported_call_types: [acompletion]";
    let world = World::with("", |config| with(config, params)).await;
    assert_eq!(said(&send(&world, "o", json!({})).await), "nothing");
    assert_eq!(
        said(&send(&world, "o", json!({"use-cache": true})).await),
        "miss"
    );
    assert_eq!(
        said(&send(&world, "o", json!({"use-cache": true})).await),
        "hit-memory"
    );
    assert_eq!(said(&send(&world, "o", json!({})).await), "nothing");
    // Not among the call types.
    let mut body = Api::Messages.body(&Api::Messages.model(""), "o", false);
    body["cache"] = json!({"use-cache": true});
    let request = Request::post("/v1/messages", &body).bearer(MASTER_KEY);
    assert_eq!(said(&world.send(&request).await), "nothing");
}
