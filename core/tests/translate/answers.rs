//! Whole recorded answers in every other dialect.

use meridian_core::translate::{ClientDialect, Memo, Pair, ProviderDialect, response};
use serde_json::{Value, json};

use crate::fixtures::{json_of, pair, recorded, reply};

fn answer(pair: Pair, body: &[u8]) -> Value {
    let answer = response(pair, body, reply(Memo::default())).unwrap();
    json_of(&answer.body)
}

fn chat_of(name: &str) -> Value {
    let pair = pair(ClientDialect::Chat, ProviderDialect::Messages);
    answer(pair, &recorded(&format!("anthropic/{name}")))
}

#[test]
fn thoughts_and_calls_of_claude_are_told_to_chat() {
    let told = chat_of("tool_with_thinking.response.json");
    let source = json_of(&recorded("anthropic/tool_with_thinking.response.json"));
    let message = &told["choices"][0]["message"];
    let thought = &source["content"][0];
    assert_eq!(message["reasoning_content"], thought["thinking"]);
    assert_eq!(
        message["thinking_blocks"][0]["signature"],
        thought["signature"]
    );
    assert_eq!(
        message["thinking_blocks"][0]["thinking"],
        thought["thinking"]
    );
    let call = source["content"].as_array().unwrap().last().unwrap();
    let told_call = &message["tool_calls"][0];
    assert_eq!(told_call["id"], call["id"]);
    assert_eq!(told_call["function"]["name"], call["name"]);
    let arguments = json_of(
        told_call["function"]["arguments"]
            .as_str()
            .unwrap()
            .as_bytes(),
    );
    assert_eq!(arguments, call["input"]);
    assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(told["object"], "chat.completion");
    assert_eq!(told["model"], "public-name");
}

#[test]
fn parallel_calls_keep_their_order() {
    let told = chat_of("parallel_tool_calls.response.json");
    let source = json_of(&recorded("anthropic/parallel_tool_calls.response.json"));
    let calls = told["choices"][0]["message"]["tool_calls"]
        .as_array()
        .unwrap();
    let ids: Vec<_> = calls.iter().map(|call| call["id"].clone()).collect();
    let blocks = source["content"].as_array().unwrap();
    let uses = blocks.iter().filter(|block| block["type"] == "tool_use");
    let expected: Vec<_> = uses.map(|block| block["id"].clone()).collect();
    assert!(ids.len() > 1);
    assert_eq!(ids, expected);
}

#[test]
fn a_refusal_is_one_in_every_dialect() {
    let told = chat_of("vercel_refusal.json");
    let source = json_of(&recorded("anthropic/vercel_refusal.json"));
    assert_eq!(told["choices"][0]["finish_reason"], "content_filter");
    let explanation = &source["stop_details"]["explanation"];
    assert_eq!(told["choices"][0]["message"]["refusal"], *explanation);
    let openai = json!({
        "id": "c", "object": "chat.completion", "model": "m", "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": null, "refusal": "No."},
        }],
    });
    let messages = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let told = answer(messages, openai.to_string().as_bytes());
    assert_eq!(told["stop_reason"], "refusal");
    assert_eq!(told["content"], json!([{"type": "text", "text": "No."}]));
    let responses = pair(ClientDialect::Responses, ProviderDialect::Chat);
    let told = answer(responses, openai.to_string().as_bytes());
    assert_eq!(
        told["output"][0]["content"][0],
        json!({"type": "refusal", "refusal": "No."})
    );
}

#[test]
fn chat_answers_are_told_to_claude_code() {
    let messages = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let told = answer(messages, &recorded("openai/chat_tool.response.json"));
    assert_eq!(told["type"], "message");
    assert_eq!(told["stop_reason"], "tool_use");
    let call = told["content"].as_array().unwrap().last().unwrap();
    assert_eq!(call["type"], "tool_use");
    assert!(call["input"].is_object());
    let told = answer(messages, &recorded("openai/chat_basic.response.json"));
    assert_eq!(told["stop_reason"], "end_turn");
    assert_eq!(told["stop_sequence"], Value::Null);
    assert!(!told["content"][0]["text"].as_str().unwrap().is_empty());
    // A server that gives its calls no ids.
    let told = answer(
        messages,
        &recorded("openai/compat_tool_calls_without_id.response.json"),
    );
    let calls = told["content"].as_array().unwrap();
    let ids = calls.iter().filter_map(|block| block["id"].as_str());
    assert!(ids.clone().count() > 0);
    assert!(ids.clone().all(|id| id.starts_with("toolu_")));
    let unique: std::collections::BTreeSet<_> = ids.clone().collect();
    assert_eq!(unique.len(), ids.count());
}

#[test]
fn responses_are_told_to_chat_and_messages() {
    for client in [ClientDialect::Chat, ClientDialect::Messages] {
        let pair = pair(client, ProviderDialect::Responses);
        let told = answer(pair, &recorded("openai/responses_tool.response.json"));
        let text = told.to_string();
        let source = json_of(&recorded("openai/responses_tool.response.json"));
        let items = source["output"].as_array().unwrap();
        let call = items
            .iter()
            .find(|item| item["type"] == "function_call")
            .unwrap();
        assert!(text.contains(call["call_id"].as_str().unwrap()), "{text}");
        let reason = match client {
            ClientDialect::Chat => &told["choices"][0]["finish_reason"],
            _ => &told["stop_reason"],
        };
        assert!(reason == "tool_calls" || reason == "tool_use");
    }
}

#[test]
fn claude_answers_as_a_response() {
    let responses = pair(ClientDialect::Responses, ProviderDialect::Messages);
    let told = answer(
        responses,
        &recorded("anthropic/tool_with_thinking.response.json"),
    );
    assert_eq!(told["object"], "response");
    assert_eq!(told["status"], "completed");
    let kinds: Vec<_> = told["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].clone())
        .collect();
    assert_eq!(kinds.first().unwrap(), "reasoning");
    assert_eq!(kinds.last().unwrap(), "function_call");
    assert!(told["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn a_stand_in_for_structured_output_is_the_text() {
    let body = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "c",
        "content": [{"type": "tool_use", "id": "t", "name": "json_tool_call", "input": {"a": 1}}],
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1},
    });
    let memo = Memo {
        format_tool: Some("json_tool_call".to_owned()),
        ..Memo::default()
    };
    let pair = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let told = response(pair, body.to_string().as_bytes(), reply(memo)).unwrap();
    let told = json_of(&told.body);
    assert_eq!(told["choices"][0]["message"]["content"], "{\"a\":1}");
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    assert!(told["choices"][0]["message"].get("tool_calls").is_none());
}

#[test]
fn stop_words_are_carried_both_ways() {
    let chat = pair(ClientDialect::Chat, ProviderDialect::Messages);
    for (native, word) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("a_word_of_next_year", "stop"),
    ] {
        let body = json!({
            "id": "m", "type": "message", "model": "c", "content": [],
            "stop_reason": native, "stop_sequence": null, "usage": {"input_tokens": 1},
        });
        let told = answer(chat, body.to_string().as_bytes());
        let choice = &told["choices"][0];
        assert_eq!(choice["finish_reason"], word);
        assert_eq!(
            choice["provider_specific_fields"]["native_finish_reason"],
            native
        );
    }
}

#[test]
fn several_choices_stay_apart() {
    // Gemini and chat answer with several; here chat's reader feeds chat's own form.
    let body = json!({
        "id": "c", "model": "m", "choices": [
            {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
            {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
        ],
    });
    let messages = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let told = answer(messages, body.to_string().as_bytes());
    assert_eq!(told["content"], json!([{"type": "text", "text": "a"}]));
}
