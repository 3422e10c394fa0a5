//! Settings that a request brings with it: what is malformed is named, nothing reaches a provider.

use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use super::{chat, gateway, messages};

/// A request of either dialect with more fields.
fn with(target: &str, model: &str, more: &Value) -> Request {
    let mut body = json!({
        "model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}],
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    Request::post(target, &body)
}

#[tokio::test]
async fn a_malformed_setting_of_a_request_is_refused_by_its_name() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    for (field, value) in [
        ("timeout", json!(0)),
        ("stream_timeout", json!("soon")),
        ("num_retries", json!(-1)),
        ("fallbacks", json!("fake-y")),
        ("fallbacks", json!([{"model": "fake-y", "messages": []}])),
        ("fallbacks", json!(["nowhere"])),
        ("context_window_fallbacks", json!([1])),
        ("content_policy_fallbacks", json!({})),
        ("disable_fallbacks", json!("yes")),
        ("tags", json!(["a", 1])),
    ] {
        for (target, model) in [("/v1/chat/completions", "fake-x"), ("/v1/messages", "cl-x")] {
            let request = with(target, model, &json!({field: value}));
            let answer = gateway.send(&request.bearer(&key)).await;
            assert_eq!(answer.status(), 400, "{field}: {}", answer.text());
            let error = answer.json()["error"].take();
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with(&format!("'{field}' ")), "{message}");
            assert_eq!(error["type"], "invalid_request_error");
            if target == "/v1/chat/completions" {
                assert_eq!(error["param"], field);
            }
        }
    }
    for (header, value) in [
        ("x-litellm-timeout", "soon"),
        ("x-litellm-stream-timeout", "0"),
        ("x-litellm-num-retries", "-1"),
    ] {
        for request in [chat("fake-x"), messages("cl-x")] {
            let request = request.field(header, value).bearer(&key);
            let answer = gateway.send(&request).await;
            assert_eq!(answer.status(), 400, "{header}: {}", answer.text());
            assert!(answer.text().contains(header), "{}", answer.text());
        }
    }
    assert_eq!(
        provider.rows().len(),
        0,
        "none of them reached the provider"
    );
}

#[tokio::test]
async fn a_fallback_is_no_way_around_the_models_of_a_key() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"models": ["fake-x"]})).await;
    for (list, status) in [
        (json!(["fake-x"]), 200),
        (json!(["fake-y"]), 403),
        (json!([{"fake-x": ["fake-y"]}]), 403),
        (json!([{"other": ["fake-y"]}]), 200),
    ] {
        let request = with(
            "/v1/chat/completions",
            "fake-x",
            &json!({"fallbacks": list}),
        );
        let answer = gateway.send(&request.bearer(&key)).await;
        assert_eq!(answer.status(), status, "{list}: {}", answer.text());
    }
    let off = json!({"fallbacks": ["fake-y"], "disable_fallbacks": true});
    let request = with("/v1/chat/completions", "fake-x", &off).bearer(&key);
    assert_eq!(gateway.send(&request).await.status(), 200);
}

#[tokio::test]
async fn settings_for_the_gateway_never_reach_a_provider() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    let own = json!({
        "timeout": 30, "stream_timeout": 5.5, "num_retries": 1, "max_retries": 1,
        "fallbacks": ["fake-y"], "context_window_fallbacks": [], "content_policy_fallbacks": [],
        "disable_fallbacks": false, "tags": ["a"],
    });
    let request = with("/v1/chat/completions", "fake-x", &own)
        .field("x-litellm-timeout", "30")
        .field("x-litellm-stream-timeout", "30")
        .field("x-litellm-num-retries", "1")
        .field("x-litellm-tags", "b, c");
    let answer = gateway.send(&request.bearer(&key)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = provider.last_request();
    for name in own.as_object().unwrap().keys() {
        assert_eq!(seen.json().get(name), None, "{name}");
    }
    let head = String::from_utf8_lossy(&seen.head).to_lowercase();
    assert!(!head.contains("x-litellm-"), "{head}");
}

#[tokio::test]
async fn a_key_retries_as_its_router_settings_say_unless_the_request_does() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let fields = json!({"router_settings": {"num_retries": 2, "timeout": 20}});
    let (patient, plain) = (gateway.key(&fields).await, gateway.key(&json!({})).await);
    let failing = json!({});
    for (key, more, sends) in [
        (&plain, &failing, 1),
        (&patient, &failing, 3),
        (&patient, &json!({"num_retries": 1}), 2),
    ] {
        provider.reset();
        let request = with("/v1/chat/completions", "fake-x+status=500", more);
        let answer = gateway.send(&request.bearer(key)).await;
        assert_eq!(answer.status(), 500, "{}", answer.text());
        assert_eq!(provider.rows().len(), sends, "{more}");
    }
}
