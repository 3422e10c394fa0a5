//! Error bodies of every provider family become one readable error.

use super::*;

fn read(status: u16, body: &str) -> Fault {
    let answer = ErrorAnswer {
        status,
        retry_after: None,
        retry_after_ms: None,
        body: body.as_bytes(),
        provider: "OpenAIException",
    };
    answer.read(WallMs(0))
}

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn openai_and_anthropic_recordings_keep_their_words() {
    let fault = read(400, &recorded("openai/responses_error.response.json"));
    assert_eq!(fault.class, FaultClass::BadRequest);
    assert_eq!(
        fault.error.message,
        "litellm.BadRequestError: OpenAIException - Invalid 'temperature': decimal below minimum \
         value. Expected a value >= 0, but got -1 instead."
    );
    assert_eq!(fault.error.kind.as_deref(), Some("invalid_request_error"));
    assert_eq!(fault.error.param.as_deref(), Some("temperature"));
    let code = fault.error.code.as_deref();
    assert_eq!(code, Some("decimal_below_min_value"));
    let fault = read(404, &recorded("anthropic/error_count_tokens.response.json"));
    assert_eq!(fault.class, FaultClass::NotFound);
    assert_eq!(fault.error.kind.as_deref(), Some("not_found_error"));
    let expected =
        "litellm.NotFoundError: NotFoundError: OpenAIException - model: claude-does-not-exist";
    assert_eq!(fault.error.message, expected);
    let fault = read(429, &recorded("errors/openai_responses_error.json"));
    assert_eq!(fault.class, FaultClass::QuotaExhausted);
    let fault = read(429, &recorded("errors/gemini_429_retry_info.json"));
    assert_eq!(fault.error.retry_after_s, Some(35));
    assert_eq!(fault.error.kind.as_deref(), Some("RESOURCE_EXHAUSTED"));
    assert_eq!(fault.class, FaultClass::RateLimit);
}

#[test]
fn other_families_and_no_family_are_read() {
    let cases = [
        (401, r#"{"statusCode":401,"message":"no"}"#, "no"),
        (
            400,
            r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
            "m",
        ),
        (422, r#"{"message":"bad","id":"x"}"#, "bad"),
        (400, r#"[{"error":{"code":400,"message":"arr"}}]"#, "arr"),
        (400, r#"{"error":"just text"}"#, "just text"),
        (422, r#"{"detail":[{"msg":"x"}]}"#, r#"[{"msg":"x"}]"#),
        (500, "", "empty answer with status 500"),
        (
            502,
            "<html><head><title>502 Bad Gateway</title></head>",
            "HTML page with status 502 502 Bad Gateway",
        ),
        (500, "upstream connect error", "upstream connect error"),
        (500, r#"{"x":1}"#, r#"{"x":1}"#),
    ];
    for (status, body, message) in cases {
        let fault = read(status, body);
        let suffix = format!(" - {message}");
        assert!(
            fault.error.message.ends_with(&suffix),
            "{}",
            fault.error.message
        );
        assert_eq!(fault.error.status, status);
    }
}

#[test]
fn long_prompts_and_refusals_have_their_own_class() {
    let body = r#"{"error":{"message":"This model's maximum context length is 8192 tokens.",
        "type":"invalid_request_error","code":"context_length_exceeded"}}"#;
    let fault = read(400, body);
    assert_eq!(fault.class, FaultClass::ContextWindow);
    assert_eq!(
        fault.error.message,
        "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: \
         OpenAIException - This model's maximum context length is 8192 tokens."
    );
    let anthropic = r#"{"type":"error","error":{"type":"invalid_request_error",
        "message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#;
    assert_eq!(read(400, anthropic).class, FaultClass::ContextWindow);
    let azure = r#"{"error":{"message":"filtered","code":"content_filter",
        "innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    let fault = read(400, azure);
    assert_eq!(fault.class, FaultClass::ContentPolicy);
    assert_eq!(
        fault.error.message,
        "litellm.BadRequestError: litellm.ContentPolicyViolationError: \
         ContentPolicyViolationError: OpenAIException - filtered"
    );
    let user = r#"{"error":{"message":"Invalid 'user': string too long. Expected a string with
        maximum length 64","code":"string_above_max_length"}}"#;
    assert_eq!(read(400, user).class, FaultClass::BadRequest);
    // A prompt echoed by a failing server does not change what the failure is.
    let echo = r#"{"error":{"message":"failed on: prompt is too long, rate limit 429"}}"#;
    assert_eq!(read(500, echo).class, FaultClass::Internal);
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
    assert_eq!(read(529, overloaded).class, FaultClass::Unavailable);
}

#[test]
fn an_error_inside_a_200_gets_the_status_it_implies() {
    let cases = [
        (
            r#"{"error":{"message":"m","type":"insufficient_quota"}}"#,
            429,
        ),
        (r#"{"error":{"message":"m","code":503}}"#, 503),
        (r#"{"error":{"message":"m","code":"401"}}"#, 401),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            529,
        ),
        (r#"{"error":{"message":"m"}}"#, 500),
    ];
    for (body, status) in cases {
        assert_eq!(read(200, body).error.status, status, "{body}");
    }
}

#[test]
fn no_credential_and_no_flood_reaches_the_client() {
    let key = "sk-proj-0123456789abcdef";
    let text = format!("Incorrect API key provided: {key}. {}", "x".repeat(60_000));
    let body = format!(r#"{{"error":{{"message":"{text}","param":"Bearer {key}"}}}}"#);
    let fault = read(401, &body);
    assert!(!format!("{fault:?}").contains("0123456789"));
    assert!(fault.error.message.len() < MESSAGE_BYTES_MAX + 100);
    let at_the_cut = format!("{}{key}{}", "é".repeat(2043), "x".repeat(9000));
    assert!(!read(500, &at_the_cut).error.message.contains("0123"));
    let headers = ErrorAnswer {
        status: 429,
        retry_after: Some("7"),
        retry_after_ms: Some("2500"),
        body: b"",
        provider: "AzureException",
    };
    assert_eq!(headers.read(WallMs(0)).error.retry_after_s, Some(3));
}
