//! Words of the clouds and of Cohere.

use FailureClass::{
    Auth, Client, ContentPolicy, ContextWindow, Overload, RateLimit, Server, Timeout,
};

use super::*;

#[test]
fn bedrocks_exceptions_count_in_headers_and_in_streams() {
    let cases = [
        ("ThrottlingException", 429, "Too many requests", RateLimit),
        ("throttlingException", 200, "Too many requests", RateLimit),
        ("ModelNotReadyException", 429, "Not ready", Overload),
        ("ServiceUnavailableException", 503, "unable", Overload),
        ("ModelTimeoutException", 408, "took too long", Timeout),
        ("ModelErrorException", 424, "The model failed", Server),
        ("modelStreamErrorException", 200, "The model failed", Server),
        ("InternalServerException", 500, "internal", Server),
        ("AccessDeniedException", 403, "no access", Auth),
        ("UnrecognizedClientException", 403, "invalid", Auth),
        ("ValidationException", 400, "Malformed input", Client),
        (
            "ValidationException",
            400,
            "Input is too long",
            ContextWindow,
        ),
        (
            "validationException",
            200,
            "Input is too long",
            ContextWindow,
        ),
    ];
    for (exception, status, message, class) in cases {
        let body = serde_json::json!({ "message": message }).to_string();
        let verdict = judge_exception(Provider::Bedrock, status, &body, Some(exception));
        assert_eq!(verdict.class, class, "{exception} {status}");
    }
}

#[test]
fn a_model_that_an_account_may_not_use_does_not_speak_for_its_other_models() {
    let judged = |exception| {
        let body = r#"{"message":"no"}"#;
        judge_exception(Provider::Bedrock, 403, body, Some(exception)).blame
    };
    assert_eq!(judged("AccessDeniedException"), Blame::Deployment);
    assert_eq!(judged("ExpiredTokenException"), Blame::Credential);
}

#[test]
fn googles_statuses_are_read_with_their_texts() {
    use Provider::{Gemini, VertexAi};
    let key = "API key not valid. Please pass a valid API key.";
    let long = "The input token count (9) exceeds the maximum number of tokens allowed (8).";
    let cached = "CachedContent not found (or permission denied)";
    let missing = "Publisher Model `x` was not found";
    let cases = [
        (VertexAi, 429, "RESOURCE_EXHAUSTED", "try again", RateLimit),
        (Gemini, 503, "UNAVAILABLE", "overloaded", Overload),
        (Gemini, 504, "DEADLINE_EXCEEDED", "late", Timeout),
        (Gemini, 400, "INVALID_ARGUMENT", key, Auth),
        (Gemini, 400, "INVALID_ARGUMENT", long, ContextWindow),
        (Gemini, 400, "INVALID_ARGUMENT", "bad field", Client),
        (Gemini, 403, "PERMISSION_DENIED", cached, Client),
        (VertexAi, 404, "NOT_FOUND", missing, Server),
    ];
    for (provider, code, status, message, class) in cases {
        let error = serde_json::json!({"code": code, "status": status, "message": message});
        let body = serde_json::json!({ "error": error }).to_string();
        assert_eq!(judge(provider, code, &body).class, class, "{body}");
    }
}

#[test]
fn azure_and_cohere_have_words_of_their_own() {
    use Provider::{Azure, Cohere};
    let missing = openai("DeploymentNotFound", "The API deployment does not exist.");
    let filtered = openai("content_filter", "The response was filtered");
    let key = r#"{"statusCode":401,"message":"Access denied"}"#.to_owned();
    let cohere = |message: &str| serde_json::json!({ "message": message }).to_string();
    let cases = [
        (Azure, 404, missing, Server),
        (Azure, 400, filtered, ContentPolicy),
        (Azure, 401, key, Auth),
        (Azure, 429, openai("429", "token rate limit"), RateLimit),
        (Cohere, 498, cohere("invalid token"), Auth),
        (Cohere, 400, cohere("too many tokens: size"), ContextWindow),
        (Cohere, 429, cohere("slow down"), RateLimit),
    ];
    for (provider, status, body, class) in cases {
        assert_eq!(judge(provider, status, &body).class, class, "{body}");
    }
}
