//! The life of a virtual key, through the real binary.

mod access;

use std::time::Duration;

use base64::Engine as _;
use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::{SOON, insist};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use crate::ledger;
use crate::world::{binary, gateway, tried_once};

fn ask(model: &str) -> Request {
    let body = json!({
        "model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}],
    });
    Request::post("/v1/chat/completions", &body)
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    gateway.send(&ask("fake-x").bearer(key)).await.status()
}

/// A management call that must succeed.
async fn done(gateway: &Gateway, target: &str, body: Value) -> Value {
    let answer = gateway.admin("POST", target, &body).await;
    assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
    answer.json()
}

/// Asks until the status is the wanted one.
async fn until(gateway: &Gateway, key: &str, wanted: u16) {
    insist(SOON, async || match status(gateway, key).await {
        status if status == wanted => Ok(()),
        status => Err(format!("{status} instead of {wanted}")),
    })
    .await;
}

#[tokio::test]
async fn a_key_lives_from_generate_to_delete() {
    let provider = Provider::start();
    let mut gateway = gateway(&provider).await;
    let fields = json!({"key_alias": "life", "user_id": "u1", "metadata": {"a": 1}});
    let key = gateway.key(&fields).await;
    assert!(key.starts_with("sk-"), "{key}");
    assert_eq!(status(&gateway, &key).await, 200);

    done(
        &gateway,
        "/key/update",
        json!({"key": key, "models": ["other"]}),
    )
    .await;
    assert_eq!(
        status(&gateway, &key).await,
        403,
        "an update counts at once"
    );
    done(&gateway, "/key/update", json!({"key": key, "models": []})).await;
    assert_eq!(status(&gateway, &key).await, 200);

    done(&gateway, "/key/block", json!({"key": key})).await;
    assert_eq!(status(&gateway, &key).await, 401, "a block counts at once");
    done(&gateway, "/key/unblock", json!({"key": key})).await;
    assert_eq!(status(&gateway, &key).await, 200);

    let body = json!({"grace_period": "3s"});
    let made = done(&gateway, &format!("/key/{key}/regenerate"), body).await;
    let fresh = made["key"].as_str().unwrap().to_owned();
    assert_ne!(fresh, key);
    assert_eq!(made["key_alias"], "life");
    assert_eq!(status(&gateway, &fresh).await, 200);
    assert_eq!(
        status(&gateway, &key).await,
        200,
        "the old one has its grace"
    );
    until(&gateway, &key, 401).await;
    assert_eq!(status(&gateway, &fresh).await, 200);

    let info = gateway
        .admin("GET", &format!("/key/info?key={fresh}"), &Value::Null)
        .await;
    let info = info.json()["info"].take();
    assert_eq!(
        (&info["user_id"], &info["metadata"]["a"]),
        (&json!("u1"), &json!(1))
    );

    gateway.kill().await;
    gateway.start().await;
    assert_eq!(
        status(&gateway, &fresh).await,
        200,
        "a key survives kill -9"
    );
    assert_eq!(status(&gateway, &key).await, 401);
    done(&gateway, "/key/delete", json!({"keys": [fresh]})).await;
    assert_eq!(
        status(&gateway, &fresh).await,
        401,
        "a deletion counts at once"
    );
    gateway.stop(Duration::from_secs(30)).await;
    gateway.start().await;
    assert_eq!(status(&gateway, &fresh).await, 401, "and for ever");
}

#[tokio::test]
async fn a_key_without_grace_ends_at_once() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    let made = done(&gateway, "/key/regenerate", json!({"key": key})).await;
    assert_eq!(status(&gateway, &key).await, 401);
    assert_eq!(status(&gateway, made["key"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn spend_is_the_sum_of_the_logs_and_survives_restarts() {
    let provider = Provider::start();
    let mut gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"key_alias": "payer"})).await;
    for (prompt, tokens) in [(10, 5), (123, 16), (7, 1)] {
        let model = format!("fake-x+prompt={prompt}+tokens={tokens}");
        let answer = gateway.send(&ask(&model).bearer(&key)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    // One and two millionths of a dollar for a token in and out.
    let spent = (10 + 123 + 7) * 1_000 + (5 + 16 + 1) * 2_000;
    for restart in 0..3 {
        let rows = ledger::rows(&gateway).await;
        let sum: i64 = rows.iter().map(|row| ledger::nano(&row["spend"])).sum();
        assert_eq!((rows.len(), sum), (3, spent), "restart {restart}");
        assert_eq!(
            ledger::key_spend(&gateway, &key).await,
            spent,
            "restart {restart}"
        );
        let own = gateway.send(&Request::get("/key/info").bearer(&key)).await;
        assert_eq!(
            ledger::nano(&own.json()["info"]["spend"]),
            spent,
            "as the key sees it"
        );
        match restart {
            0 => drop(gateway.stop(Duration::from_secs(30)).await),
            _ => drop(gateway.kill().await),
        }
        gateway.start().await;
    }
}

#[tokio::test]
async fn a_budget_holds_over_a_restart_and_comes_back_with_its_period() {
    let provider = Provider::start();
    let mut gateway = gateway(&provider).await;
    let big = "fake-x+prompt=400+tokens=16";
    let yearly = json!({"max_budget": 0.0004, "budget_duration": "365d"});
    let key = gateway.key(&yearly).await;
    assert_eq!(gateway.send(&ask(big).bearer(&key)).await.status(), 200);
    assert_eq!(
        status(&gateway, &key).await,
        429,
        "432 of 400 millionths are spent"
    );
    gateway.kill().await;
    gateway.start().await;
    let answer = gateway.send(&ask("fake-x").bearer(&key)).await;
    assert_eq!(answer.status(), 429, "a restart gives nothing back");
    let info = gateway
        .admin("GET", &format!("/key/info?key={key}"), &Value::Null)
        .await;
    let spend = info.json()["info"]["spend"].to_string();
    assert!(
        answer.text().contains(&spend),
        "{spend} decided: {}",
        answer.text()
    );

    let short = json!({"max_budget": 0.0004, "budget_duration": "3s"});
    let key = gateway.key(&short).await;
    assert_eq!(gateway.send(&ask(big).bearer(&key)).await.status(), 200);
    until(&gateway, &key, 200).await;
    let rows = ledger::rows(&gateway).await;
    let paid = rows
        .iter()
        .filter(|row| row["api_key"] == key_hash(&key))
        .count();
    assert_eq!(paid, 2, "the ledger keeps what the period forgot");
}

fn key_hash(key: &str) -> Value {
    json!(meridian_core::ids::KeyHash::of_secret(key).to_string())
}

#[tokio::test]
async fn every_header_of_litellm_carries_a_key() {
    let provider = Provider::start();
    let config = tried_once(&provider).general("litellm_key_header_name: X-My-Key");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let base64 = base64::prelude::BASE64_STANDARD.encode(format!("user:{key}"));
    let bearer = format!("Bearer {key}");
    let carriers = [
        ("X-My-Key", key.clone()),
        ("X-My-Key", bearer.clone()),
        ("x-litellm-api-key", key.clone()),
        ("x-litellm-api-key", bearer.clone()),
        ("Authorization", bearer.clone()),
        ("Authorization", format!("bearer {key}")),
        ("Authorization", format!("Basic {base64}")),
        (
            "Authorization",
            format!("AWS4-HMAC-SHA256 Credential=Bearer {key}/20260101/us/bedrock"),
        ),
        ("API-Key", key.clone()),
        ("x-api-key", key.clone()),
        ("x-goog-api-key", key.clone()),
        ("Ocp-Apim-Subscription-Key", key.clone()),
    ];
    for (name, value) in &carriers {
        let answer = gateway.send(&ask("fake-x").field(name, value)).await;
        assert_eq!(answer.status(), 200, "{name}: {value}: {}", answer.text());
        let seen = provider.last_request();
        let head = String::from_utf8_lossy(&seen.head).into_owned();
        assert!(
            !head.contains(&key),
            "{name} goes no further than the gateway: {head}"
        );
    }
    let both = ask("fake-x")
        .field("x-litellm-api-key", "sk-wrong-0123456789")
        .bearer(&key);
    assert_eq!(
        gateway.send(&both).await.status(),
        401,
        "the first header decides"
    );
    let query = Request {
        target: format!("/v1/chat/completions?key={key}"),
        ..ask("fake-x")
    };
    assert_eq!(
        gateway.send(&query).await.status(),
        401,
        "no key in an address"
    );
    assert_eq!(
        gateway
            .send(&ask("fake-x").bearer(MASTER_KEY))
            .await
            .status(),
        200
    );
}
