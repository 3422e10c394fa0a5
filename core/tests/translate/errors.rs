//! Error answers of a provider in the caller's dialect.

use meridian_core::endpoint::Dialect;
use meridian_core::error::GatewayError;
use meridian_core::time::WallMs;
use meridian_core::translate::{ClientDialect, ProviderDialect};
use meridian_core::wire::upstream_error::ErrorAnswer;
use serde_json::json;

use crate::fixtures::{World, json_of, pair, recorded};

#[test]
fn error_bodies_change_their_envelope_and_keep_their_words() {
    let body = recorded("anthropic/error_effort_xhigh_unsupported.response.json");
    let answer = ErrorAnswer {
        status: 400,
        retry_after: None,
        retry_after_ms: None,
        body: &body,
        provider: "AnthropicException",
    };
    let fault = answer.read(WallMs(0));
    let reply = GatewayError::Upstream(Box::new(fault.error)).reply();
    let source = json_of(&body);
    let words = source["error"]["message"].as_str().unwrap();
    let openai = json_of(&reply.body(Dialect::OpenAi, "req_1"));
    assert!(openai["error"]["message"].as_str().unwrap().contains(words));
    assert_eq!(openai["error"]["code"], "400");
    let anthropic = json_of(&reply.body(Dialect::Anthropic, "req_1"));
    assert_eq!(anthropic["type"], "error");
    assert_eq!(anthropic["error"]["type"], "invalid_request_error");
}

#[test]
fn a_refusal_is_a_bad_field() {
    let pair = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": 1});
    let refused = World::of(ProviderDialect::Messages)
        .tell(pair, &body)
        .unwrap_err();
    let reply = GatewayError::from(refused).reply();
    assert_eq!((reply.status, reply.param.as_deref()), (400, Some("seed")));
}

/// Found by the fuzzer: a name that is no text was refused as a field without a name.
#[test]
fn a_body_that_is_not_utf8_is_refused_as_a_whole() {
    let pair = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let head = br#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"#;
    for tail in [
        &b"\"\xdcbc\":4000}"[..],
        b"\"unknown\":\"\xff\"}",
        b"\"n\":[\"\xed\xa0\x80\"]}",
    ] {
        let body = [&head[..], tail].concat();
        let refused = World::of(ProviderDialect::Chat).tell_bytes(pair, &body);
        let refused = refused.unwrap_err();
        assert_eq!(refused.field, "request_body");
        assert!(
            refused
                .message
                .starts_with("Invalid JSON payload: invalid utf-8")
        );
    }
}

#[test]
fn a_field_without_a_name_is_told_to_be_one() {
    let pair = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let body = json!({
        "model": "m", "max_tokens": 1, "": 1,
        "messages": [{"role": "user", "content": "x"}],
    });
    let mut world = World::of(ProviderDialect::Chat);
    world.policy.strict = true;
    let refused = world.tell(pair, &body).unwrap_err();
    assert_eq!(refused.field, "(empty name)");
}
