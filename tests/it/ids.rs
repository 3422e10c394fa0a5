//! Ids that route: a stored response is asked for where it was made, whoever wrote its id.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::SOON;
use meridian_testkit::fake::{Asked, Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::binary;

/// An account whose responses have its name in their ids.
async fn account(name: &'static str) -> Fake {
    let made = std::sync::atomic::AtomicU32::new(0);
    let answer = move |asked: &Asked| {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let id = match asked.method() {
            "POST" if asked.path().ends_with("/responses") => format!("resp_{name}{number}"),
            _ => asked.path().split('/').nth(3).unwrap().to_owned(),
        };
        Reply::json(
            200,
            &json!({"id": id, "object": "response", "status": "completed",
            "model": "gpt-x", "output": [{"type": "message", "content": []}],
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}),
        )
    };
    Fake::start(answer).await
}

struct World {
    one: Fake,
    two: Fake,
    gateway: Gateway,
}

/// One model at two accounts, and another at the second of them.
async fn world() -> World {
    let (one, two) = (account("one").await, account("two").await);
    let deployment = |model: &str, id: &str, fake: &Fake, key: &str| {
        format!(
            "  - model_name: {model}\n    litellm_params: {{model: openai/gpt-x, api_key: {key}, \
             api_base: '{}/v1'}}\n    model_info: {{id: {id}}}\n",
            fake.url
        )
    };
    let yaml = format!(
        "general_settings: {{master_key: {MASTER_KEY}}}\nmodel_list:\n{}{}{}",
        deployment("gpt", "dep-one", &one, "sk-one-0123456789"),
        deployment("gpt", "dep-two", &two, "sk-two-0123456789"),
        deployment("other", "dep-other", &two, "sk-two-0123456789"),
    );
    let gateway = Setup::with_yaml(binary(), &yaml).start().await;
    World { one, two, gateway }
}

impl World {
    async fn make(&self, key: &str, more: &[(&str, Value)]) -> Response {
        let mut body = json!({"model": "gpt", "input": "tides?"});
        for (name, value) in more {
            body[*name] = value.clone();
        }
        let request = Request::post("/v1/responses", &body).bearer(key);
        self.gateway.send(&request).await
    }

    async fn ask(&self, key: &str, method: &str, target: &str) -> Response {
        let request = Request::new(method, target).bearer(key);
        self.gateway.send(&request).await
    }

    /// The last request of the account that a response belongs to.
    fn last(&self, id: &str) -> Asked {
        let fake = if id.contains("one") {
            &self.one
        } else {
            &self.two
        };
        fake.asked().pop().unwrap()
    }
}

fn id_of(made: &Response) -> String {
    assert_eq!(made.status(), 200, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_owned()
}

/// As LiteLLM writes an id that it gives out.
fn litellm(deployment: &str, id: &str) -> String {
    let text = format!("litellm:custom_llm_provider:openai;model_id:{deployment};response_id:{id}");
    format!("resp_{}", BASE64_STANDARD.encode(text))
}

#[tokio::test]
async fn a_response_is_asked_for_and_continued_at_the_account_that_made_it() {
    let mut world = world().await;
    let (ours, theirs) = (
        world.gateway.key(&json!({})).await,
        world.gateway.key(&json!({})).await,
    );
    let mut ids = Vec::new();
    // Until both accounts were chosen.
    while !["one", "two"]
        .iter()
        .all(|name| ids.iter().any(|id: &String| id.contains(name)))
    {
        assert!(ids.len() < 200, "one account is never chosen: {ids:?}");
        ids.push(id_of(&world.make(&ours, &[]).await));
    }
    ids.truncate(20);
    for restarted in [false, true] {
        if restarted {
            world.gateway.stop(SOON).await;
            world.gateway.start().await;
        }
        for id in ids.iter().rev().take(4) {
            for (method, tail) in [("GET", ""), ("POST", "/cancel"), ("GET", "/input_items")] {
                let target = format!("/v1/responses/{id}{tail}");
                let answer = world.ask(&ours, method, &target).await;
                assert_eq!(answer.status(), 200, "{}", answer.text());
                assert_eq!(
                    (world.last(id).method(), world.last(id).path()),
                    (method, &*target)
                );
                let answer = world.ask(&theirs, method, &target).await;
                assert_eq!(answer.status(), 404, "{}", answer.text());
            }
            let previous = [("previous_response_id", json!(id))];
            let next = id_of(&world.make(&ours, &previous).await);
            assert_eq!(
                next.contains("one"),
                id.contains("one"),
                "{next} continues {id}"
            );
            assert_eq!(world.last(id).json()["previous_response_id"], json!(id));
            let stolen = world.make(&theirs, &previous).await;
            assert_eq!(stolen.status(), 404, "{}", stolen.text());
        }
    }
    let gone = world
        .ask(&ours, "DELETE", &format!("/v1/responses/{}", ids[0]))
        .await;
    assert_eq!(gone.status(), 200, "{}", gone.text());
    assert_eq!(world.last(&ids[0]).method(), "DELETE");
}

#[tokio::test]
async fn an_id_that_litellm_gave_out_is_understood() {
    let world = world().await;
    let key = world.gateway.key(&json!({"models": ["gpt"]})).await;
    let id = litellm("dep-two", "resp_two77");
    let answer = world.ask(&key, "GET", &format!("/v1/responses/{id}")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(world.last("two").path(), "/v1/responses/resp_two77");
    let next = world
        .make(&key, &[("previous_response_id", json!(id))])
        .await;
    assert!(id_of(&next).contains("two"), "{}", next.text());
    assert_eq!(
        world.last("two").json()["previous_response_id"],
        "resp_two77"
    );
    // Neither a deployment that is not there nor a model that the key may not use.
    for deployment in ["dep-none", "dep-other"] {
        let id = litellm(deployment, "resp_two77");
        let refused = world.ask(&key, "GET", &format!("/v1/responses/{id}")).await;
        assert_eq!(refused.status(), 404, "{deployment}: {}", refused.text());
    }
}
