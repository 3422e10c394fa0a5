//! What Claude Code and Codex ask, told to providers of another dialect.

use meridian_core::translate::{ClientDialect, Platform, ProviderDialect};
use serde_json::{Value, json};

use crate::fixtures::{World, json_of, lost, pair};

fn claude_code() -> Value {
    json!({
        "model": "claude", "max_tokens": 64000, "stream": true,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=1"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "EsgD"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}]},
            {"role": "system", "content": "Reminder."},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "no"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]},
                {"type": "text", "text": "well?"}]},
        ],
        "tools": [{"name": "Bash", "description": "d", "input_schema": {
            "$schema": "s", "type": "object", "properties": {}}, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
        "context_management": {"edits": []}, "metadata": {"user_id": "u".repeat(150)},
    })
}

#[test]
fn claude_code_reaches_openai() {
    let pair = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let world = World::of(ProviderDialect::Chat);
    let request = world.tell(pair, &claude_code()).unwrap();
    let told = json_of(&request.body);
    let messages = told["messages"].as_array().unwrap();
    assert_eq!(
        messages[0],
        json!({"role": "system", "content": "You are Claude Code."})
    );
    assert_eq!(
        messages[2]["tool_calls"][0],
        json!({"id": "toolu_1", "type": "function",
        "function": {"name": "Bash", "arguments": "{\"command\":\"ls\"}"}})
    );
    assert_eq!(
        messages[3],
        json!({"role": "tool", "tool_call_id": "toolu_1",
        "content": "Error: no"})
    );
    assert_eq!(messages[4]["role"], "user");
    assert_eq!(
        messages[4]["content"][1]["image_url"]["url"],
        "data:image/png;base64,AA"
    );
    // Not between the call and its result.
    assert_eq!(
        messages[5],
        json!({"role": "system", "content": "Reminder."})
    );
    assert_eq!(told["max_completion_tokens"], 64000);
    assert_eq!(told["parallel_tool_calls"], false);
    assert_eq!(told["reasoning_effort"], "high");
    assert_eq!(told["stream_options"], json!({"include_usage": true}));
    assert_eq!(told["user"].as_str().unwrap().len(), 32);
    assert!(
        told["tools"][0]["function"]["parameters"]
            .get("$schema")
            .is_none()
    );
    assert!(!String::from_utf8_lossy(&request.body).contains("billing"));
    let names = lost(&request);
    for name in [
        "context_management",
        "messages[].content[].thinking",
        "~metadata.user_id",
    ] {
        assert!(names.iter().any(|lost| lost == name), "{name}: {names:?}");
    }
}

#[test]
fn claude_code_reaches_a_small_server() {
    let pair = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let mut world = World::of(ProviderDialect::Chat).on(Platform::Compatible);
    world.capabilities.max_output_tokens = Some(8192);
    let told = world.body(pair, &claude_code());
    assert_eq!(told["max_tokens"], 8192);
    let note = &told["messages"].as_array().unwrap()[5];
    assert_eq!(note["role"], "user");
    assert!(note["content"].as_str().unwrap().ends_with("Reminder."));
}

#[test]
fn claude_code_reaches_responses() {
    let pair = pair(ClientDialect::Messages, ProviderDialect::Responses);
    let told = World::of(ProviderDialect::Responses).body(pair, &claude_code());
    let input = told["input"].as_array().unwrap();
    let kinds: Vec<_> = input
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "message",
            "message",
            "message",
            "function_call",
            "message",
            "function_call_output",
            "message"
        ]
    );
    assert_eq!(input[3]["call_id"], "toolu_1");
    assert_eq!(
        input[5]["output"][2],
        json!({"type": "input_image", "image_url": "data:image/png;base64,AA"})
    );
    assert_eq!(
        told["reasoning"],
        json!({"effort": "high", "summary": "auto"})
    );
    assert_eq!(told["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(told["store"], false);
    assert_eq!(told["tools"][0]["strict"], false);
}

fn codex() -> Value {
    json!({
        "model": "gpt", "stream": true, "store": false, "instructions": "Be Codex.",
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
        "client_metadata": {"a": "b"}, "reasoning": {"effort": "low"},
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "dev"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "foreign"},
            {"type": "function_call", "call_id": "c1", "namespace": "agents", "name": "spawn", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
        ],
        "tools": [
            {"type": "function", "name": "shell", "strict": false, "parameters": {"type": "object", "properties": {}}},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn", "parameters": {"type": "object", "properties": {}}}]},
        ],
        "tool_choice": "auto", "parallel_tool_calls": false,
    })
}

#[test]
fn codex_reaches_claude() {
    let pair = pair(ClientDialect::Responses, ProviderDialect::Messages);
    let request = World::of(ProviderDialect::Messages)
        .tell(pair, &codex())
        .unwrap();
    let told = json_of(&request.body);
    assert_eq!(told["system"][0]["text"], "Be Codex.");
    assert_eq!(told["system"][1]["text"], "dev");
    let names: Vec<_> = told["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["shell", "apply_patch", "agents__spawn"]);
    let messages = told["messages"].as_array().unwrap();
    assert_eq!(
        messages[1]["content"],
        json!([
        {"type": "tool_use", "id": "c1", "name": "agents__spawn", "input": {}}])
    );
    assert_eq!(
        messages[3]["content"][0]["input"],
        json!({"input": "*** Begin"})
    );
    assert_eq!(told["tool_choice"]["disable_parallel_tool_use"], true);
    assert_eq!(request.memo.custom_tools, ["apply_patch"]);
    assert!(request.memo.custom_wrapped);
    assert!(request.memo.echo.contains("\"tool_choice\":\"auto\""));
}

#[test]
fn codex_reaches_chat() {
    let pair = pair(ClientDialect::Responses, ProviderDialect::Chat);
    let told = World::of(ProviderDialect::Chat)
        .on(Platform::Compatible)
        .body(pair, &codex());
    let roles: Vec<_> = told["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        [
            "system",
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
            "tool"
        ]
    );
    assert_eq!(told["tools"][1]["function"]["name"], "apply_patch");
}

#[test]
fn what_only_a_store_could_answer_is_refused_by_name() {
    for provider in [ProviderDialect::Chat, ProviderDialect::Messages] {
        let pair = pair(ClientDialect::Responses, provider);
        for (field, value) in [
            ("previous_response_id", json!("resp_1")),
            ("conversation", json!("conv_1")),
            ("background", json!(true)),
        ] {
            let mut body = json!({"model": "m", "input": "x"});
            body[field] = value;
            let refused = World::of(provider).drops().tell(pair, &body).unwrap_err();
            assert_eq!(refused.field, field);
        }
    }
}
