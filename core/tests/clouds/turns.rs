//! Signatures survive many turns: what a caller echoes is what the provider gave.

use super::*;

/// A fake that checks what Gemini 3 checks: every call of the running turn has the signature that
/// it was given with.
fn signatures(request: &Request) -> Vec<String> {
    let body = json_of(&request.body);
    let contents = body["contents"].as_array().unwrap();
    let parts = contents
        .iter()
        .flat_map(|content| content["parts"].as_array().unwrap());
    parts
        .filter(|part| part.get("functionCall").is_some())
        .map(|part| {
            part["thoughtSignature"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

fn call(turn: usize) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [
        {"text": "let me think", "thought": true},
        {"functionCall": {"name": "step", "args": {"n": turn}},
         "thoughtSignature": format!("Sig+/{turn}==")}]},
        "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
        "modelVersion": "gemini-3-pro", "responseId": "r"})
}

#[test]
fn ten_turns_of_gemini_through_chat() {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "go"}],
        "tools": [{"type": "function", "function": {"name": "step", "parameters": {
            "type": "object", "properties": {"n": {"type": "integer"}}}}}]});
    for turn in 0..10 {
        let request = told(pair(Chat, Gemini), "gemini-3-pro", &body).unwrap();
        let expected: Vec<_> = (0..turn).map(|turn| format!("Sig+/{turn}==")).collect();
        assert_eq!(signatures(&request), expected);
        let answer = call(turn).to_string();
        let pair = pair(Chat, Gemini);
        let answer = meridian_core::translate::response(pair, answer.as_bytes(), reply()).unwrap();
        let message = json_of(&answer.body)["choices"][0]["message"].clone();
        let id = message["tool_calls"][0]["id"].clone();
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(message);
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "ok"}));
    }
}

#[test]
fn ten_turns_of_gemini_through_messages() {
    let mut body = json!({"model": "m", "max_tokens": 100,
        "messages": [{"role": "user", "content": "go"}],
        "tools": [{"name": "step", "input_schema": {
            "type": "object", "properties": {"n": {"type": "integer"}}}}]});
    for turn in 0..10 {
        let request = told(pair(Messages, Gemini), "gemini-3-pro", &body).unwrap();
        let expected: Vec<_> = (0..turn).map(|turn| format!("Sig+/{turn}==")).collect();
        assert_eq!(signatures(&request), expected);
        let answer = call(turn).to_string();
        let pair = pair(Messages, Gemini);
        let answer = meridian_core::translate::response(pair, answer.as_bytes(), reply()).unwrap();
        let content = json_of(&answer.body)["content"].clone();
        let blocks = content.as_array().unwrap().iter();
        let mut used = blocks.filter(|block| block["type"] == "tool_use");
        let id = used.next().unwrap()["id"].clone();
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": content}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": id, "content": "ok"}]}));
    }
}

#[test]
fn ten_turns_of_claude_on_converse_through_chat_and_messages() {
    let answer = fixture("bedrock/converse_thinking_sig.response.json");
    let given = json_of(&answer)["output"]["message"]["content"][0].clone();
    for client in [Chat, Messages] {
        let mut body = json!({"model": "m", "max_tokens": 4000,
            "messages": [{"role": "user", "content": "go"}]});
        for turn in 0..10 {
            let request = told(pair(client, Converse), CLAUDE, &body).unwrap();
            let sent = json_of(&request.body);
            let turns = sent["messages"].as_array().unwrap().iter();
            let echoed: Vec<_> = turns
                .filter(|turn| turn["role"] == "assistant")
                .map(|turn| turn["content"][0].clone())
                .collect();
            assert_eq!(echoed, vec![given.clone(); turn], "{client:?}");
            let pair = pair(client, Converse);
            let told = meridian_core::translate::response(pair, &answer, reply()).unwrap();
            let told = json_of(&told.body);
            let message = match client {
                Chat => told["choices"][0]["message"].clone(),
                _ => json!({"role": "assistant", "content": told["content"]}),
            };
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(message);
            messages.push(json!({"role": "user", "content": "on"}));
        }
    }
}
