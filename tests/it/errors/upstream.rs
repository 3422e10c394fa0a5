//! What providers refuse, in LiteLLM's words.

use meridian_testkit::config::Config;
use meridian_testkit::gateway::Setup;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::free_port;
use serde_json::{Value, json};

use super::{chat, check, check_anthropic, messages, says};
use crate::world::{binary, gateway};

/// Status of the provider, LiteLLM's class, and what the fake says (OpenAI type, code, text).
const REFUSALS: [(u16, &str, &str, &str); 10] = [
    (
        400,
        "BadRequestError",
        "invalid_request_error",
        "Invalid value in the request.",
    ),
    (
        401,
        "AuthenticationError",
        "invalid_request_error",
        "Incorrect API key provided: ",
    ),
    (
        403,
        "PermissionDeniedError",
        "invalid_request_error",
        "Invalid value in the request.",
    ),
    (
        404,
        "NotFoundError",
        "invalid_request_error",
        "The model does not exist or you do not",
    ),
    (
        408,
        "Timeout",
        "invalid_request_error",
        "Invalid value in the request.",
    ),
    (
        422,
        "UnprocessableEntityError",
        "invalid_request_error",
        "Invalid value in the request.",
    ),
    (
        429,
        "RateLimitError",
        "requests",
        "Rate limit reached for the fake model",
    ),
    (
        500,
        "InternalServerError",
        "server_error",
        "The server had an error processing your",
    ),
    (
        502,
        "BadGatewayError",
        "server_error",
        "The server had an error processing your",
    ),
    (
        503,
        "ServiceUnavailableError",
        "server_error",
        "The server had an error processing your",
    ),
];

#[tokio::test]
async fn provider_errors_keep_their_status_type_and_text() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    for (status, class, kind, text) in REFUSALS {
        let model = format!("fake-x+status={status}");
        let answer = gateway.send(&chat(&model).bearer(&key)).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
        let error = &answer.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("litellm.{class}: ")),
            "{message}"
        );
        assert!(message.contains("OpenAIException - "), "{message}");
        assert!(message.contains(text), "{message}");
        assert_eq!(error["type"], kind, "{error}");
        assert_eq!(error["code"], json!(status.to_string()), "{error}");
        let model = format!("cl-x+status={status}");
        let answer = gateway.send(&messages(&model).bearer(&key)).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
        let body = answer.json();
        assert_eq!(body["type"], "error", "{body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("litellm.{class}: ")),
            "{message}"
        );
        assert!(message.contains("AnthropicException - "), "{message}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_a_408() {
    let provider = Provider::start();
    let gateway = gateway(&provider).await;
    let key = gateway.key(&json!({})).await;
    let start = "litellm.Timeout: APITimeoutError - Request timed out. Error_str: Request timed \
                 out. - timeout value=0.2, time taken=0.";
    let slow = chat("fake-x+stall@head").bearer(&key);
    let answer = gateway.send(&slow.field("x-litellm-timeout", "0.2")).await;
    assert_eq!(answer.status(), 408, "{}", answer.text());
    let message = answer.json()["error"]["message"].take();
    let message = message.as_str().unwrap();
    assert!(message.starts_with(start), "{message}");
    let end = " seconds\n\nDeployment Info: request_timeout: None\ntimeout: None";
    assert!(message.ends_with(end), "{message}");
    assert_eq!(answer.json()["error"]["type"], Value::Null);
    let slow = messages("cl-x+stall@head").bearer(&key);
    let answer = gateway.send(&slow.field("x-litellm-timeout", "0.2")).await;
    assert_eq!(answer.status(), 408, "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], "timeout_error");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_a_500() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let config = Config::new()
        .model("fake-x", "openai/fake-x", &format!("{nowhere}/v1"), "")
        .model("cl-x", "anthropic/fake-x", &nowhere, "")
        .router("num_retries: 0");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let message = "litellm.InternalServerError: InternalServerError: \
                   OpenAIException - Connection error.";
    let answer = gateway.send(&chat("fake-x").bearer(&key)).await;
    check(&answer, &says(500, None, None, message));
    let answer = gateway.send(&messages("cl-x").bearer(&key)).await;
    check_anthropic(&answer, 500, &message.replace("OpenAI", "Anthropic"));
}
