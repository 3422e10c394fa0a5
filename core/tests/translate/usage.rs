//! The same consumption in every dialect, inclusive or exclusive as the dialect counts.

use meridian_core::translate::{ClientDialect, Memo, ProviderDialect, response};
use serde_json::json;

use crate::fixtures::{json_of, pair, recorded, reply, told};

#[test]
fn cached_tokens_are_counted_once() {
    let body = json!({
        "id": "m", "type": "message", "model": "c", "content": [{"type": "text", "text": "x"}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 10, "cache_read_input_tokens": 200, "output_tokens": 7,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        },
    });
    let chat = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let answer = response(chat, body.to_string().as_bytes(), reply(Memo::default())).unwrap();
    let usage = answer.usage.unwrap();
    assert_eq!((usage.prompt, usage.cache_read), (240, 200));
    assert_eq!((usage.cache_write, usage.cache_write_1h), (10, 20));
    let told = &json_of(&answer.body)["usage"];
    assert_eq!(told["prompt_tokens"], 240);
    assert_eq!(told["total_tokens"], 247);
    assert_eq!(told["prompt_tokens_details"]["cached_tokens"], 200);
    assert_eq!(told["cache_creation_input_tokens"], 30);
    let responses = pair(ClientDialect::Responses, ProviderDialect::Messages);
    let answer = response(
        responses,
        body.to_string().as_bytes(),
        reply(Memo::default()),
    )
    .unwrap();
    let told = &json_of(&answer.body)["usage"];
    assert_eq!(told["input_tokens"], 240);
    assert_eq!(told["input_tokens_details"]["cached_tokens"], 200);
}

#[test]
fn messages_count_what_was_not_cached() {
    let body = json!({
        "id": "c", "model": "m", "service_tier": "flex",
        "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    });
    let messages = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let answer = response(
        messages,
        body.to_string().as_bytes(),
        reply(Memo::default()),
    )
    .unwrap();
    let told = &json_of(&answer.body)["usage"];
    assert_eq!(told["input_tokens"], 36);
    assert_eq!(told["cache_read_input_tokens"], 64);
    assert_eq!(told["output_tokens"], 9);
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.prompt, usage.completion, usage.reasoning),
        (100, 9, 4)
    );
    assert_eq!(usage.tier, meridian_core::usage::ServiceTier::Flex);
}

#[test]
fn steps_of_an_answer_add_up() {
    let chat = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let bytes = recorded("anthropic/stream_compaction_usage_iterations.sse");
    let (.., stream) = told(chat, &bytes, Memo::default());
    let usage = stream.usage().unwrap();
    // 281 tokens of input, 55096 from the cache.
    assert_eq!((usage.prompt, usage.cache_read), (55_377, 55_096));
    assert_eq!(usage.completion, 91);
}

#[test]
fn facts_are_the_same_as_of_the_stream_itself() {
    use meridian_core::endpoint::Endpoint;
    use meridian_core::meter::Meter;
    use meridian_core::wire::sse::{Event, EventScanner};
    for (client, provider, endpoint) in [
        (
            ClientDialect::Chat,
            ProviderDialect::Messages,
            Endpoint::Messages,
        ),
        (
            ClientDialect::Messages,
            ProviderDialect::Chat,
            Endpoint::ChatCompletions,
        ),
        (
            ClientDialect::Messages,
            ProviderDialect::Responses,
            Endpoint::Responses,
        ),
    ] {
        for (name, bytes) in crate::fixtures::streams(provider) {
            let mut meter = Meter::for_endpoint(endpoint);
            let mut scanner = EventScanner::new(usize::MAX);
            let mut at = 0;
            while let Some(end) = scanner.next_end(&bytes, at).unwrap() {
                meter.event(&Event::parse(scanner.event(&bytes, at, end)));
                at = end;
            }
            let (.., stream) = told(pair(client, provider), &bytes, Memo::default());
            let (own, facts) = (meter.facts(), stream.facts());
            assert_eq!(own.response_id, facts.response_id, "{name}");
            assert_eq!(own.model, facts.model, "{name}");
            assert_eq!(own.content.text, facts.content.text, "{name}");
            assert_eq!(own.content.reasoning, facts.content.reasoning, "{name}");
            assert_eq!(own.error.is_some(), facts.error.is_some(), "{name}");
            assert_eq!(own.content_seen, facts.content_seen, "{name}");
            let counts = |usage: Option<meridian_core::usage::Usage>| {
                usage.map(|usage| (usage.prompt, usage.completion, usage.cache_read))
            };
            assert_eq!(counts(meter.usage()), counts(stream.usage()), "{name}");
        }
    }
}
