//! Every line of the error catalogue, on both dialects: status, type, param, message, headers.

mod headers;
mod limits;
mod overrides;
mod upstream;

use meridian_core::ids::KeyHash;
use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::{SOON, insist};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::{binary, gateway, tried_once};

fn chat(model: &str) -> Request {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    Request::post("/v1/chat/completions", &body)
}

fn messages(model: &str) -> Request {
    let body = json!({
        "model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}],
    });
    Request::post("/v1/messages", &body).field("anthropic-version", "2023-06-01")
}

/// What an error says. `param` null is absent or null.
#[derive(Debug)]
struct Says {
    status: u16,
    kind: Value,
    param: Value,
    message: String,
}

fn says<'a>(
    status: u16,
    kind: impl Into<Option<&'a str>>,
    param: Option<&str>,
    message: &str,
) -> Says {
    let (kind, param) = (json!(kind.into()), json!(param));
    let message = message.to_owned();
    Says {
        status,
        kind,
        param,
        message,
    }
}

/// OpenAI's envelope as LiteLLM fills it.
#[track_caller]
fn check(answer: &Response, expected: &Says) {
    assert_eq!(answer.status(), expected.status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let error = &body["error"];
    assert_eq!(error["message"], expected.message, "{body}");
    assert_eq!(error["type"], expected.kind, "{body}");
    assert_eq!(error["param"], expected.param, "{body}");
    assert_eq!(error["code"], json!(expected.status.to_string()), "{body}");
}

/// The same facts in Anthropic's envelope.
#[track_caller]
fn check_anthropic(answer: &Response, status: u16, message: &str) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert!(
        answer.header("x-litellm-call-id").is_some(),
        "{:?}",
        answer.head
    );
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let body = answer.json();
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["error"]["type"], kind, "{body}");
    assert_eq!(body["error"]["message"], message, "{body}");
}

/// Sends both dialects and checks both answers.
async fn check_both(gateway: &Gateway, with: impl Fn(Request) -> Request, expected: &Says) {
    let answer = gateway.send(&with(chat("fake-x"))).await;
    assert!(answer.header("x-litellm-call-id").is_some());
    check(&answer, expected);
    let answer = gateway.send(&with(messages("cl-x"))).await;
    let message = expected.message.replace("fake-x", "cl-x");
    check_anthropic(&answer, expected.status, &message);
}

#[tokio::test]
async fn callers_who_are_not_known_are_told_why() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let no_key = says(
        401,
        "auth_error",
        Some("None"),
        "Authentication Error, No api key passed in.",
    );
    check_both(&gateway, |request| request, &no_key).await;
    let malformed = "Authentication Error, Malformed API Key passed in. \
                     Ensure Key has `Bearer ` prefix.";
    let malformed = says(401, "auth_error", Some("None"), malformed);
    let bare = |request: Request| request.field("authorization", "sk-1234");
    check_both(&gateway, bare, &malformed).await;
    let not_virtual = "Authentication Error, LiteLLM Virtual Key expected. \
                       Received=abcd****wxyz, expected to start with 'sk-'.";
    let not_virtual = says(401, "auth_error", Some("None"), not_virtual);
    check_both(
        &gateway,
        |request| request.bearer("abcd-0123456789-wxyz"),
        &not_virtual,
    )
    .await;
    let nobody = "sk-nobody-0123456789-wxyz";
    let unknown = format!(
        "Authentication Error, Invalid proxy server token passed. Received API Key = \
         sk-...wxyz, Key Hash (Token) ={}. Unable to find token in cache or \
         `LiteLLM_VerificationTokenTable`",
        KeyHash::of_secret(nobody)
    );
    let unknown = says(401, "token_not_found_in_db", Some("key"), &unknown);
    check_both(&gateway, |request| request.bearer(nobody), &unknown).await;
    assert_eq!(
        provider.rows().len(),
        0,
        "none of them reached the provider"
    );
}

#[tokio::test]
async fn keys_that_may_not_are_told_why() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let blocked = gateway.key(&json!({})).await;
    let block = gateway
        .admin("POST", "/key/block", &json!({"key": blocked}))
        .await;
    assert_eq!(block.status(), 200, "{}", block.text());
    let message = "Authentication Error, Key is blocked. \
                   Update via `/key/unblock` if you're an admin.";
    let expected = says(401, "auth_error", Some("None"), message);
    check_both(&gateway, |request| request.bearer(&blocked), &expected).await;

    let narrow = gateway.key(&json!({"models": ["other-model"]})).await;
    let message = "key not allowed to access model. This key can only access \
                   models=['other-model']. Tried to access fake-x";
    let expected = says(403, "key_model_access_denied", Some("model"), message);
    check_both(&gateway, |request| request.bearer(&narrow), &expected).await;

    let routes = gateway
        .key(&json!({"allowed_routes": ["/embeddings"]}))
        .await;
    let answer = gateway.send(&chat("fake-x").bearer(&routes)).await;
    let message = "Virtual key is not allowed to call this route. Only allowed to call routes: \
                   ['/embeddings']. Tried to call route: /v1/chat/completions";
    check(&answer, &says(403, "auth_error", Some("None"), message));
    let answer = gateway.send(&messages("cl-x").bearer(&routes)).await;
    let message = message.replace("/v1/chat/completions", "/v1/messages");
    check_anthropic(&answer, 403, &message);
    assert_eq!(
        provider.rows().len(),
        0,
        "none of them reached the provider"
    );
}

#[tokio::test]
async fn a_key_whose_time_is_over_is_told_when() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"duration": "1s"})).await;
    let answer = insist(SOON, async || {
        let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
        match answer.status() {
            200 => Err("the key does not expire".to_owned()),
            _ => Ok(answer),
        }
    })
    .await;
    assert_eq!(answer.status(), 401, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "expired_key");
    let shown = format!("sk-...{}", &key[key.len() - 4..]);
    assert_eq!(error["param"], json!(shown));
    let message = error["message"].as_str().unwrap();
    let start = "Authentication Error - Expired Key. Key Expiry time 20";
    assert!(message.starts_with(start), "{message}");
    assert!(message.contains(" and current time 20"), "{message}");
    assert!(!answer.text().contains(&key), "no error shows a key");
}

#[tokio::test]
async fn management_is_not_for_everyone() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({"user_id": "user-0001"})).await;
    let generate = Request::post("/key/generate", &json!({})).bearer(&key);
    let answer = gateway.send(&generate).await;
    let message = "Authentication Error, Only proxy admin can be used to generate, delete, \
                   update info for new keys/users/teams. Route=/key/generate. \
                   Your role=internal_user. Your user_id=us****01";
    check(&answer, &says(401, "auth_error", Some("None"), message));
    let reset = Request::post("/global/spend/reset", &json!({})).bearer(&key);
    let answer = gateway.send(&reset).await;
    let message = "Authentication Error, Tried to access route=/global/spend/reset, \
                   which is only for MASTER KEY";
    check(&answer, &says(401, "auth_error", Some("None"), message));
    let nobody = "/key/info?key=sk-nobody-0123456789-wxyz";
    let answer = gateway.admin("GET", nobody, &Value::Null).await;
    let expected = says(
        404,
        "not_found_error",
        Some("key"),
        "Key not found in database",
    );
    check(&answer, &expected);
}

#[tokio::test]
async fn metrics_that_need_a_key_say_so() {
    let provider = Provider::start();
    let config = tried_once(&provider).litellm("require_auth_for_metrics_endpoint: true");
    let gateway = Setup::new(binary(), &config).start().await;
    let answer = gateway.send(&Request::get("/metrics")).await;
    assert_eq!(answer.status(), 401, "{}", answer.text());
    let body = answer.json();
    let text = body.as_str().expect("a JSON string");
    let start = "Unauthorized access to metrics endpoint: ";
    assert!(text.starts_with(start), "{text}");
    assert!(
        text.contains("require_auth_for_metrics_endpoint: false"),
        "{text}"
    );
    // As LiteLLM, and to a place on the same host: a scraper that follows keeps its credential.
    let moved = Request::get("/metrics").bearer(MASTER_KEY);
    let moved = gateway.send(&moved).await;
    assert_eq!(moved.status(), 307);
    let target = moved.header("location").unwrap();
    assert_eq!(target, "/metrics/");
    let answer = gateway.send(&Request::get(target).bearer(MASTER_KEY)).await;
    assert_eq!(answer.status(), 200);
    let text = answer.text();
    assert!(text.contains("# TYPE meridian_"), "{text}");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_in_the_callers_dialect() {
    let provider = Provider::start();
    let config = tried_once(&provider).raw("meridian:\n  body_bytes_max: 65536");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let unknown = "/chat/completions: Invalid model name passed in model=nope. \
                   Call `/v1/models` to view available models for your key.";
    let answer = gateway.send(&chat("nope").bearer(&key)).await;
    check(&answer, &says(400, "None", Some("None"), unknown));
    let specific = &answer.json()["error"]["provider_specific_fields"];
    assert_eq!(specific, &json!({"error": unknown}));
    let answer = gateway.send(&messages("nope").bearer(&key)).await;
    check_anthropic(
        &answer,
        400,
        &unknown.replace("/chat/completions", "/v1/messages"),
    );

    let banned = json!({"model": "fake-x", "messages": [], "api_base": "http://127.0.0.1:1"});
    let answer = gateway
        .send(&Request::post("/v1/chat/completions", &banned).bearer(&key))
        .await;
    let message = "Authentication Error, Rejected Request: api_base is not allowed in request \
                   body. Enable with `general_settings::allow_client_side_credentials` on proxy \
                   config.yaml";
    check(&answer, &says(400, "auth_error", Some("api_base"), message));

    for target in ["/v1/chat/completions", "/v1/messages"] {
        for body in ["{\"model\": \"fake-x\",", "", "[1]", "nonsense"] {
            let answer = gateway
                .send(&Request::post_bytes(target, body).bearer(&key))
                .await;
            assert_eq!(answer.status(), 400, "{target} {body:?}: {}", answer.text());
            let message = answer.json()["error"]["message"].take();
            let message = message.as_str().unwrap();
            assert!(
                message.starts_with("Invalid JSON payload: "),
                "{body:?}: {message}"
            );
        }
        let answer = gateway
            .send(&Request::post(target, &json!({})).bearer(&key))
            .await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
        let message = answer.json()["error"]["message"].take();
        let message = message.as_str().unwrap();
        assert!(
            message.ends_with(": Missing required parameter: 'model'."),
            "{message}"
        );
        let big = vec![b' '; 65_537];
        let answer = gateway
            .send(&Request::post_bytes(target, big).bearer(&key))
            .await;
        assert_eq!(answer.status(), 413, "{}", answer.text());
    }
    assert_eq!(
        provider.rows().len(),
        0,
        "none of them reached the provider"
    );
}

#[tokio::test]
async fn messages_that_are_no_list_are_refused_before_a_provider_is_asked() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    for target in ["/v1/chat/completions", "/v1/messages"] {
        for messages in [json!("x"), json!(null), json!({"role": "user"})] {
            let body = json!({"model": "fake-x", "messages": messages});
            let request = Request::post(target, &body).bearer(MASTER_KEY);
            let answer = gateway.send(&request).await;
            assert_eq!(answer.status(), 400, "{}", answer.text());
            let message = answer.json()["error"]["message"].take();
            assert_eq!(message, "'messages' must be a list", "{target}");
        }
    }
    assert_eq!(provider.rows().len(), 0);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_answered_as_litellm_does() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let answer = gateway
        .send(&Request::get("/v1/nothing").bearer(MASTER_KEY))
        .await;
    assert_eq!(
        (answer.status(), answer.json()),
        (404, json!({"detail": "Not Found"}))
    );
    let answer = gateway
        .send(&Request::get("/v1/chat/completions").bearer(MASTER_KEY))
        .await;
    let expected = json!({"detail": "Method Not Allowed"});
    assert_eq!((answer.status(), answer.json()), (405, expected));
    let answer = gateway
        .send(&Request::get("/key/generate").bearer(MASTER_KEY))
        .await;
    assert_eq!(answer.status(), 405, "{}", answer.text());
}
