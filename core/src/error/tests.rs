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
