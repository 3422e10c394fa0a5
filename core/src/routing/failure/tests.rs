//! Golden answers of every provider family, and what each of them means.

mod callers;
mod clouds;

use std::sync::LazyLock;

use serde_json::Value;

use super::*;

static COMPATIBLE: LazyLock<Provider> =
    LazyLock::new(|| Provider::from_label("openrouter").unwrap());

fn judge(provider: Provider, status: u16, body: &str) -> Verdict {
    judge_exception(provider, status, body, None)
}

fn judge_exception(
    provider: Provider,
    status: u16,
    body: &str,
    exception: Option<&str>,
) -> Verdict {
    let answer = ErrorAnswer {
        status,
        retry_after: None,
        retry_after_ms: None,
        body: body.as_bytes(),
        provider: "",
    };
    let origin = Origin {
        provider,
        named_by_client: false,
    };
    of_answer(origin, &answer, exception, WallMs(0)).verdict
}

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn openai(code: &str, message: &str) -> String {
    serde_json::json!({"error": {"message": message, "type": code, "code": code}}).to_string()
}

fn anthropic(kind: &str, message: &str) -> String {
    serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
}

#[test]
fn recorded_answers_are_what_their_providers_meant() {
    use FailureClass::{Client, Quota, RateLimit, Server};
    let cases = [
        (
            Provider::OpenAi,
            429,
            "errors/openai_responses_error.json",
            Quota,
        ),
        (
            Provider::Gemini,
            429,
            "errors/gemini_429_retry_info.json",
            RateLimit,
        ),
        (
            Provider::OpenAi,
            400,
            "openai/responses_error.response.json",
            Client,
        ),
        (
            Provider::OpenAi,
            400,
            "openai/chat_error_o1mini_system.response.json",
            Client,
        ),
        (
            Provider::Anthropic,
            404,
            "anthropic/error_count_tokens.response.json",
            Server,
        ),
        (
            Provider::Anthropic,
            400,
            "anthropic/error_effort_xhigh_unsupported.response.json",
            Client,
        ),
        (
            Provider::Bedrock,
            400,
            "bedrock/error_invalid_model.response.json",
            Server,
        ),
    ];
    for (provider, status, name, class) in cases {
        assert_eq!(
            judge(provider, status, &recorded(name)).class,
            class,
            "{name}"
        );
    }
}

#[test]
fn quota_is_quota_whatever_status_it_comes_with() {
    let low = "Your credit balance is too low to access the Anthropic API. Please go to Plans & \
               Billing to upgrade or purchase credits.";
    let limits = "You have reached your specified API usage limits. You will regain access on \
                  2026-12-01 at 00:00 UTC.";
    let cases = [
        (Provider::Anthropic, 400, anthropic("invalid_request_error", low)),
        (Provider::Anthropic, 400, anthropic("invalid_request_error", limits)),
        (Provider::Anthropic, 402, anthropic("billing_error", "Payment required")),
        (Provider::OpenAi, 429, openai("insufficient_quota", "You exceeded your current quota")),
        (Provider::OpenAi, 400, openai("billing_hard_limit_reached", "Billing hard limit has been reached")),
        (*COMPATIBLE, 402, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#.to_owned()),
        (*COMPATIBLE, 200, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#.to_owned()),
        (Provider::Azure, 403, r#"{"statusCode":403,"message":"Out of call volume quota. Quota will be replenished in 2 days."}"#.to_owned()),
        (Provider::Cohere, 429, r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month."}"#.to_owned()),
    ];
    for (provider, status, body) in cases {
        let verdict = judge(provider, status, &body);
        assert_eq!(verdict, FailureClass::Quota.verdict(), "{body}");
        assert_eq!(verdict.blame, Blame::Credential);
    }
    let exception = Some("ServiceQuotaExceededException:http://internal.amazon.com/coral/");
    let verdict = judge_exception(Provider::Bedrock, 400, r#"{"message":"quota"}"#, exception);
    assert_eq!(verdict.class, FailureClass::Quota);
}

#[test]
fn an_error_inside_a_success_is_the_error_it_tells_of() {
    use FailureClass::{Overload, RateLimit, Server, Timeout};
    let cases = [
        (
            r#"{"error":{"code":429,"message":"Rate limited upstream"}}"#,
            RateLimit,
        ),
        (
            r#"{"error":{"code":502,"message":"Provider returned error"}}"#,
            Server,
        ),
        (
            r#"{"error":{"code":503,"message":"No available model provider"}}"#,
            Overload,
        ),
        (r#"{"error":{"code":408,"message":"timed out"}}"#, Timeout),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            Overload,
        ),
        (r#"{"error":"something broke"}"#, Server),
    ];
    for (body, class) in cases {
        assert_eq!(judge(*COMPATIBLE, 200, body).class, class, "{body}");
    }
}

#[test]
fn an_error_inside_a_recorded_stream_is_quota() {
    let text = recorded("openai/vercel_responses_stream_error.chunks.ndjson");
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let error = events
        .filter(|event| event["type"] == "error")
        .map(|event| {
            let complaint = Complaint::from_object(event.as_object().unwrap());
            let origin = Origin {
                provider: Provider::OpenAi,
                named_by_client: false,
            };
            of_complaint(origin, complaint, 200, None, None)
        });
    let judged: Vec<Judged> = error.collect();
    assert_eq!(judged.len(), 1);
    assert_eq!(judged[0].verdict, FailureClass::Quota.verdict());
    assert_eq!(judged[0].fault.error.status, 429);
}
