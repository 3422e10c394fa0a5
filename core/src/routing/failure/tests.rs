//! Golden answers of every provider family, and what each of them means.

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

#[test]
fn bedrocks_exceptions_count_in_headers_and_in_streams() {
    use FailureClass::{Auth, Client, ContextWindow, Overload, RateLimit, Server, Timeout};
    let cases = [
        (
            "ThrottlingException",
            429,
            "Too many requests, please wait",
            RateLimit,
        ),
        (
            "throttlingException",
            200,
            "Too many requests, please wait",
            RateLimit,
        ),
        (
            "ModelNotReadyException",
            429,
            "Model is not ready",
            Overload,
        ),
        (
            "ServiceUnavailableException",
            503,
            "Bedrock is unable to process",
            Overload,
        ),
        ("ModelTimeoutException", 408, "took too long", Timeout),
        ("ModelErrorException", 424, "The model failed", Server),
        ("modelStreamErrorException", 200, "The model failed", Server),
        ("InternalServerException", 500, "internal", Server),
        (
            "AccessDeniedException",
            403,
            "You don't have access to the model",
            Auth,
        ),
        (
            "UnrecognizedClientException",
            403,
            "The security token included in the request is invalid.",
            Auth,
        ),
        (
            "ValidationException",
            400,
            "Malformed input request",
            Client,
        ),
        (
            "ValidationException",
            400,
            "Input is too long for requested model.",
            ContextWindow,
        ),
        (
            "validationException",
            200,
            "Input is too long for requested model.",
            ContextWindow,
        ),
    ];
    for (exception, status, message, class) in cases {
        let body = serde_json::json!({ "message": message }).to_string();
        let verdict = judge_exception(Provider::Bedrock, status, &body, Some(exception));
        assert_eq!(verdict.class, class, "{exception} {status}");
    }
    let body = r#"{"message":"no"}"#;
    let denied = judge_exception(Provider::Bedrock, 403, body, Some("AccessDeniedException"));
    assert_eq!(
        denied.blame,
        Blame::Deployment,
        "other models of the account work"
    );
    let expired = judge_exception(Provider::Bedrock, 403, body, Some("ExpiredTokenException"));
    assert_eq!(expired.blame, Blame::Credential);
}

#[test]
fn google_azure_and_cohere_have_words_of_their_own() {
    use FailureClass::{Auth, Client, ContentPolicy, ContextWindow, Overload, RateLimit, Server};
    let google = |status: &str, message: &str| {
        serde_json::json!({"error": {"code": 400, "status": status, "message": message}})
            .to_string()
    };
    let cases = [
        (
            Provider::VertexAi,
            429,
            google(
                "RESOURCE_EXHAUSTED",
                "Resource exhausted, please try again later.",
            ),
            RateLimit,
        ),
        (
            Provider::Gemini,
            503,
            google("UNAVAILABLE", "The model is overloaded."),
            Overload,
        ),
        (
            Provider::Gemini,
            400,
            google(
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
            ),
            Auth,
        ),
        (
            Provider::Gemini,
            400,
            google(
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            ContextWindow,
        ),
        (
            Provider::Gemini,
            403,
            google(
                "PERMISSION_DENIED",
                "CachedContent not found (or permission denied)",
            ),
            Client,
        ),
        (
            Provider::VertexAi,
            404,
            google("NOT_FOUND", "Publisher Model `x` was not found"),
            Server,
        ),
        (
            Provider::Azure,
            404,
            openai(
                "DeploymentNotFound",
                "The API deployment for this resource does not exist.",
            ),
            Server,
        ),
        (
            Provider::Azure,
            400,
            openai("content_filter", "The response was filtered"),
            ContentPolicy,
        ),
        (
            Provider::Azure,
            401,
            r#"{"statusCode":401,"message":"Access denied due to invalid subscription key"}"#
                .to_owned(),
            Auth,
        ),
        (
            Provider::Azure,
            429,
            openai("429", "Requests have exceeded the token rate limit"),
            RateLimit,
        ),
        (
            Provider::Cohere,
            498,
            r#"{"message":"invalid token"}"#.to_owned(),
            Auth,
        ),
        (
            Provider::Cohere,
            400,
            r#"{"message":"too many tokens: size limit exceeded"}"#.to_owned(),
            ContextWindow,
        ),
        (
            Provider::Cohere,
            429,
            r#"{"message":"slow down"}"#.to_owned(),
            RateLimit,
        ),
    ];
    for (provider, status, body, class) in cases {
        assert_eq!(judge(provider, status, &body).class, class, "{body}");
    }
}

#[test]
fn bare_statuses_have_a_meaning() {
    use FailureClass::{Auth, Client, Overload, Quota, RateLimit, Server, Timeout};
    let cases = [
        (400, Client),
        (401, Auth),
        (402, Quota),
        (403, Auth),
        (404, Client),
        (408, Timeout),
        (409, Server),
        (413, Client),
        (422, Client),
        (429, RateLimit),
        (499, Server),
        (500, Server),
        (502, Server),
        (503, Overload),
        (504, Timeout),
        (529, Overload),
        (599, Server),
    ];
    for (status, class) in cases {
        for body in ["", "<html><title>no</title></html>", "{}"] {
            assert_eq!(
                judge(Provider::OpenAi, status, body).class,
                class,
                "{status} {body}"
            );
        }
    }
}

#[test]
fn what_a_caller_can_cause_is_nobodys_fault() {
    let credit = "your credit balance is too low";
    let cases = [
        (
            400,
            openai(
                "invalid_request_error",
                &format!("Invalid value: '{credit}'"),
            ),
        ),
        (
            400,
            anthropic(
                "invalid_request_error",
                &format!("{credit}: Extra inputs are not permitted"),
            ),
        ),
        (
            400,
            anthropic(
                "invalid_request_error",
                "messages.0: insufficient_quota overloaded_error 429",
            ),
        ),
        (
            413,
            anthropic("request_too_large", "Request exceeds the maximum size"),
        ),
        (
            429,
            openai(
                "tokens",
                "Request too large for gpt-4 on tokens per min (TPM): Limit 10, Requested 20.",
            ),
        ),
        (
            404,
            openai(
                "invalid_request_error",
                "This is a chat model, use another endpoint",
            ),
        ),
        (404, r#"{"detail":"Not Found"}"#.to_owned()),
        (404, anthropic("not_found_error", "File not found: file_1")),
        (
            403,
            openai(
                "PERMISSION_DENIED",
                "You do not have permission to access the File x",
            ),
        ),
    ];
    for (status, body) in cases {
        let verdict = judge(Provider::Anthropic, status, &body);
        assert_eq!(verdict.blame, Blame::Nobody, "{status} {body}: {verdict:?}");
    }
    for silence in [Silence::CallersDeadline, Silence::CallerGone] {
        assert_eq!(silence.verdict().blame, Blame::Nobody);
    }
}

#[test]
fn a_model_that_a_client_named_through_a_wildcard_is_its_own_mistake() {
    let complaint = || Complaint {
        message: "The model `gpt-99` does not exist".to_owned(),
        code: Some("model_not_found".to_owned()),
        ..Complaint::default()
    };
    let judged = |named_by_client| {
        let origin = Origin {
            provider: Provider::OpenAi,
            named_by_client,
        };
        of_complaint(origin, complaint(), 404, None, None).verdict
    };
    assert_eq!(judged(false).blame, Blame::Deployment);
    assert_eq!(judged(false).again, Again::Elsewhere);
    assert_eq!(judged(true), FailureClass::Client.verdict());
}

#[test]
fn only_a_wait_that_was_asked_for_is_passed_on() {
    let answer = ErrorAnswer {
        status: 429,
        retry_after: Some("7"),
        retry_after_ms: None,
        body: b"{}",
        provider: "",
    };
    let origin = Origin {
        provider: Provider::OpenAi,
        named_by_client: false,
    };
    let judged = of_answer(origin, &answer, None, WallMs(0));
    assert_eq!(judged.fault.error.retry_after_s, Some(7));
    assert_eq!(
        judged.fault.error.message,
        "litellm.RateLimitError: RateLimitError: OpenAIException - {}"
    );
}

#[test]
fn classes_and_verdicts_agree() {
    for class in FailureClass::ALL {
        let verdict = class.verdict();
        assert_eq!(verdict.class, class);
        let callers = matches!(
            class,
            FailureClass::Client
                | FailureClass::Cancelled
                | FailureClass::ContextWindow
                | FailureClass::ContentPolicy
        );
        assert_eq!(verdict.blame == Blame::Nobody, callers, "{class:?}");
        assert_eq!(
            class.policy_error().is_none(),
            class == FailureClass::Cancelled
        );
    }
}
