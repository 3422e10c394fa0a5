//! Errors as clients see them.

use serde_json::Value;

use super::*;
use crate::endpoint::Dialect;

#[test]
fn budget_refusal_is_litellms_in_openai_shape() {
    let error = GatewayError::BudgetExceeded {
        scope: BudgetScope::Key,
        spent: NanoUsd(1_200_000_000),
        limit: NanoUsd::DOLLAR,
        resets_at: None,
    };
    let body: Value = serde_json::from_slice(&error.reply().body(Dialect::OpenAi, "id")).unwrap();
    let message = "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0";
    assert_eq!(body["error"]["message"], message);
    assert_eq!(body["error"]["type"], "budget_exceeded");
    assert_eq!(body["error"]["param"], Value::Null);
    assert_eq!(body["error"]["code"], "429");
}

#[test]
fn anthropic_routes_get_anthropics_envelope() {
    let reply = GatewayError::NoKey.reply();
    let body: Value = serde_json::from_slice(&reply.body(Dialect::Anthropic, "r1")).unwrap();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "authentication_error");
    assert_eq!(body["request_id"], "r1");
}

#[test]
fn unknown_route_is_the_frameworks_own_body() {
    let reply = GatewayError::RouteNotFound.reply();
    assert_eq!(
        reply.body(Dialect::OpenAi, ""),
        br#"{"detail":"Not Found"}"#
    );
}

#[test]
fn the_ledger_keeps_what_kind_of_error_it_was_and_nothing_that_was_quoted() {
    let upstream = |kind: &str, code: &str| {
        GatewayError::Upstream(Box::new(UpstreamError {
            status: 400,
            message: "litellm.BadRequestError: OpenAIException - bad: my - secret - prompt".into(),
            kind: Some(kind.into()),
            param: Some("messages".into()),
            code: Some(code.into()),
            retry_after_s: None,
        }))
    };
    let error = upstream("invalid_request_error", "content_filter");
    assert_eq!(
        error.ledger_text(false),
        "litellm.BadRequestError: OpenAIException - status=400 type=invalid_request_error \
         code=content_filter"
    );
    assert_eq!(error.ledger_text(true), error.to_string());
    let quoting = upstream("my secret prompt", "x");
    assert!(!quoting.ledger_text(false).contains("secret"));
    let own = GatewayError::UpstreamTimeout {
        limit_s: 1.0,
        taken_s: 1.01,
        deployment_s: Some(1.0),
    };
    let text = "litellm.Timeout: APITimeoutError - Request timed out. Error_str: Request timed \
                out. - timeout value=1.0, time taken=1.01 seconds\n\nDeployment Info: \
                request_timeout: None\ntimeout: 1.0";
    assert_eq!(own.to_string(), text);
    assert_eq!(own.ledger_text(false), own.to_string());
}
