//! Thoughts and their signatures through ten turns with tools: what the provider gets back is
//! what it gave, to the byte.

use meridian_core::translate::{ClientDialect, Memo, Pair, ProviderDialect, response};
use serde_json::{Value, json};

use crate::fixtures::{World, json_of, pair, reply};

/// Turn `number` as Claude answers it.
fn claude_turn(number: usize) -> Value {
    json!({
        "id": "m", "type": "message", "role": "assistant", "model": "c",
        "content": [
            {"type": "thinking", "thinking": format!("thought {number} \"é\"\n"),
                "signature": format!("Es{number}D/+{}==", "a".repeat(number))},
            {"type": "redacted_thinking", "data": format!("Emw{number}+/=")},
            {"type": "text", "text": format!("turn {number}")},
            {"type": "tool_use", "id": format!("toolu_{number}"), "name": "f", "input": {"n": number}},
            {"type": "tool_use", "id": format!("toolu_{number}b"), "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

/// Turn `number` as OpenAI's Responses answer it.
fn openai_turn(number: usize) -> Value {
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "g", "error": null,
        "incomplete_details": null,
        "output": [
            {"type": "reasoning", "id": format!("rs_{number}"), "encrypted_content": format!("gAAAA{number}.-_"),
                "summary": [{"type": "summary_text", "text": format!("thought {number}")}]},
            {"type": "function_call", "id": "fc", "call_id": format!("call_{number}"), "name": "f",
                "arguments": "{\"n\":1}", "status": "completed"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    })
}

/// What a client adds to its conversation for an answer, and the results of its calls.
fn add(client: ClientDialect, conversation: &mut Vec<Value>, answer: &Value) {
    match client {
        ClientDialect::Chat => {
            let message = answer["choices"][0]["message"].clone();
            conversation.push(message.clone());
            for call in message["tool_calls"].as_array().unwrap() {
                let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "ok"});
                conversation.push(result);
            }
        }
        ClientDialect::Messages => {
            conversation.push(json!({"role": "assistant", "content": answer["content"]}));
            let blocks = answer["content"].as_array().unwrap().iter();
            let results = blocks.filter(|block| block["type"] == "tool_use").map(
                |block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}),
            );
            let results: Vec<_> = results.collect();
            conversation.push(json!({"role": "user", "content": results}));
        }
        _ => {
            let items = answer["output"].as_array().unwrap();
            conversation.extend(items.iter().cloned());
            for item in items.iter().filter(|item| item["type"] == "function_call") {
                conversation.push(json!({
                    "type": "function_call_output", "call_id": item["call_id"], "output": "ok",
                }));
            }
        }
    }
}

fn body(client: ClientDialect, conversation: &[Value]) -> Value {
    let member = match client {
        ClientDialect::Responses => "input",
        _ => "messages",
    };
    let mut body = json!({"model": "m", member: conversation});
    match client {
        ClientDialect::Chat => body["reasoning_effort"] = json!("high"),
        ClientDialect::Messages => {
            body["max_tokens"] = json!(20_000);
            body["thinking"] = json!({"type": "enabled", "budget_tokens": 4096});
        }
        _ => body["reasoning"] = json!({"effort": "high"}),
    }
    body
}

/// Ten turns; gives the last request.
fn converse(pair: Pair, turn: fn(usize) -> Value) -> Value {
    let mut conversation = vec![json!({"role": "user", "content": "begin"})];
    let world = World::of(pair.provider);
    for number in 0..10 {
        let request = world.tell(pair, &body(pair.client, &conversation)).unwrap();
        let answer = turn(number).to_string();
        let memo = Memo { ..request.memo };
        let told = response(pair, answer.as_bytes(), reply(memo)).unwrap();
        add(pair.client, &mut conversation, &json_of(&told.body));
    }
    world.body(pair, &body(pair.client, &conversation))
}

#[test]
fn claude_gets_its_thoughts_back() {
    for client in [ClientDialect::Chat, ClientDialect::Responses] {
        let last = converse(pair(client, ProviderDialect::Messages), claude_turn);
        assert_eq!(
            last["thinking"]["type"], "enabled",
            "the loop keeps its thoughts"
        );
        let messages = last["messages"].as_array().unwrap();
        let turns: Vec<_> = messages
            .iter()
            .filter(|one| one["role"] == "assistant")
            .collect();
        assert_eq!(turns.len(), 10);
        for (number, turn) in turns.iter().enumerate() {
            let expected = claude_turn(number)["content"].clone();
            assert_eq!(turn["content"], expected, "{client:?}, turn {number}");
        }
    }
}

#[test]
fn openai_gets_its_reasoning_back() {
    for client in [ClientDialect::Chat, ClientDialect::Messages] {
        let last = converse(pair(client, ProviderDialect::Responses), openai_turn);
        let input = last["input"].as_array().unwrap();
        let thoughts: Vec<_> = input
            .iter()
            .filter(|item| item["type"] == "reasoning")
            .collect();
        assert_eq!(thoughts.len(), 10, "{client:?}");
        for (number, item) in thoughts.iter().enumerate() {
            let mut expected = openai_turn(number)["output"][0].clone();
            expected.as_object_mut().unwrap().remove("status");
            assert_eq!(**item, expected, "{client:?}, turn {number}");
        }
    }
}

#[test]
fn thoughts_of_another_provider_are_left_out_and_named() {
    let foreign = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y", "thinking_blocks": [
            {"type": "thinking", "thinking": "t", "signature": "mrdn.openai.rs_1.gAAAA"}]},
        {"role": "user", "content": "z"},
    ]});
    let pair = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let request = World::of(ProviderDialect::Messages)
        .tell(pair, &foreign)
        .unwrap();
    assert!(!String::from_utf8_lossy(&request.body).contains("thinking"));
    assert_eq!(
        crate::fixtures::lost(&request),
        ["messages[].thinking_blocks"]
    );
}
