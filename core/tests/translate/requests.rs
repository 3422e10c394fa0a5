//! What a provider is asked, for what a client asked.

use meridian_core::translate::{ClientDialect, Flag, Operation, Platform, ProviderDialect};
use serde_json::{Value, json};

use crate::fixtures::{World, json_of, lost, pair};

fn to_claude() -> (meridian_core::translate::Pair, World) {
    let pair = pair(ClientDialect::Chat, ProviderDialect::Messages);
    (pair, World::of(ProviderDialect::Messages))
}

fn claude(body: Value) -> Value {
    let (pair, world) = to_claude();
    world.drops().body(pair, &body)
}

fn ask(messages: Value) -> Value {
    json!({"model": "m", "max_tokens": 100, "messages": messages})
}

#[test]
fn system_texts_go_to_the_front_and_turns_merge() {
    let told = claude(ask(json!([
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two",
            "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
    ])));
    assert_eq!(
        told["system"],
        json!([{"type": "text", "text": "one"},
            {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}])
    );
    assert_eq!(
        told["messages"],
        json!([{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    );
}

#[test]
fn results_come_first_and_together() {
    let told = claude(ask(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a:1", "type": "function", "function": {"name": "f", "arguments": ""}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"x\": 1e3}"}}]},
        {"role": "tool", "tool_call_id": "a:1", "content": "ra"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "rb"}]},
        {"role": "user", "content": "and"},
    ])));
    assert_eq!(
        told["messages"][1]["content"],
        json!([{"type": "tool_use", "id": "a_1", "name": "f", "input": {}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {"x": 1e3}}])
    );
    assert_eq!(
        told["messages"][2]["content"],
        json!([{"type": "tool_result", "tool_use_id": "a_1", "content": "ra"},
            {"type": "tool_result", "tool_use_id": "b", "content": "rb"},
            {"type": "text", "text": "and"}])
    );
    // Tools of the history must be told, and are not to be called.
    assert_eq!(told["tools"].as_array().unwrap().len(), 2);
    assert_eq!(told["tool_choice"], json!({"type": "none"}));
}

#[test]
fn arguments_that_are_no_object_are_refused_by_name() {
    let (pair, world) = to_claude();
    let refused = world.tell(pair, &ask(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":"}}]},
    ])));
    let refused = refused.unwrap_err();
    assert_eq!(refused.field, "messages[].tool_calls[].function.arguments");
}

#[test]
fn images_documents_and_sound() {
    let told = claude(ask(json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
    ]}])));
    let content = told["messages"][0]["content"].clone();
    assert_eq!(
        content[0]["source"],
        json!({"type": "base64", "media_type": "image/png", "data": "AAAA"})
    );
    assert_eq!(
        content[1]["source"],
        json!({"type": "url", "url": "https://x.test/a.png"})
    );
    assert_eq!(content[2]["title"], "a.pdf");
    assert_eq!(content[2]["source"]["media_type"], "application/pdf");
    assert_eq!(
        content[3]["source"],
        json!({"type": "text", "media_type": "text/plain", "data": "hi"})
    );
    // LiteLLM drops sound without a word.
    let (pair, world) = to_claude();
    let sound = ask(json!([{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}]));
    let refused = world.drops().tell(pair, &sound).unwrap_err();
    assert_eq!(refused.field, "messages[].content[].input_audio");
    // Clouds that do not fetch.
    let url = ask(json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]));
    let world = World::of(ProviderDialect::Messages).on(Platform::Vertex);
    assert_eq!(
        world.tell(pair, &url).unwrap_err().field,
        "messages[].content[].image_url"
    );
}

#[test]
fn tools_and_their_choice() {
    let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
    let mut body = ask(json!([{"role": "user", "content": "x"}]));
    body["tools"] = json!([{"type": "function", "function": {
        "name": "mcp.server/tool", "description": "d", "parameters": schema}}]);
    for (choice, expected) in [
        (
            json!("auto"),
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (
            json!("required"),
            json!({"type": "any", "disable_parallel_tool_use": true}),
        ),
        (json!("none"), json!({"type": "none"})),
    ] {
        body["tool_choice"] = choice;
        body["parallel_tool_calls"] = json!(false);
        assert_eq!(claude(body.clone())["tool_choice"], expected);
    }
    body["tool_choice"] = json!({"type": "function", "function": {"name": "mcp.server/tool"}});
    let (pair, world) = to_claude();
    let request = world.tell(pair, &body).unwrap();
    let told = json_of(&request.body);
    let sent = told["tools"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(told["tool_choice"]["name"], sent);
    assert_eq!(request.memo.names, [(sent, "mcp.server/tool".to_owned())]);
    // The order of a schema's members is the model's to see.
    let text = String::from_utf8(request.body).unwrap();
    assert!(text.contains(r#"{"b":{},"a":{}}"#) || text.contains(r#"{"a":{},"b":{}}"#));
}

#[test]
fn a_model_that_cannot_be_forced_is_not_unless_the_caller_agrees() {
    let mut body = ask(json!([{"role": "user", "content": "x"}]));
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    body["tool_choice"] = json!("required");
    let (pair, world) = to_claude();
    let world = world.with(Flag::ForcedTools, false);
    assert_eq!(world.tell(pair, &body).unwrap_err().field, "tool_choice");
    let request = world.drops().tell(pair, &body).unwrap();
    assert_eq!(
        json_of(&request.body)["tool_choice"],
        json!({"type": "auto"})
    );
    assert_eq!(lost(&request), ["~tool_choice"]);
}

#[test]
fn parameters_are_gated_by_flags_and_policy() {
    let (pair, world) = to_claude();
    let mut body = ask(json!([{"role": "user", "content": "x"}]));
    body["seed"] = json!(1);
    body["temperature"] = json!(0.5);
    body["n"] = json!(1);
    let refused = world.tell(pair, &body).unwrap_err();
    assert_eq!(refused.field, "seed");
    assert!(
        refused
            .message
            .contains("does not support parameters: ['seed']")
    );
    let world = world.with(Flag::Sampling, false).drops();
    let request = world.tell(pair, &body).unwrap();
    let told = json_of(&request.body);
    assert!(told.get("seed").is_none() && told.get("temperature").is_none());
    let mut names = lost(&request);
    names.sort();
    assert_eq!(names, ["n", "seed", "temperature"]);
    assert_eq!(
        world
            .strict()
            .tell(pair, &body)
            .unwrap_err()
            .message
            .find("strict"),
        Some(0)
    );
}

#[test]
fn additional_drop_params_go_before_anything_else() {
    let (pair, mut world) = to_claude();
    world.policy.additional_drop_params = vec!["seed".into(), "messages[*].name".into()];
    let mut body = ask(json!([{"role": "user", "content": "x", "name": "n"}]));
    body["seed"] = json!(1);
    let request = world.tell(pair, &body).unwrap();
    let told: Vec<_> = request.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(told, ["seed", "messages[*].name"]);
}

#[test]
fn effort_becomes_a_budget_or_an_effort() {
    let mut body = ask(json!([{"role": "user", "content": "x"}]));
    body["reasoning_effort"] = json!("medium");
    body["max_tokens"] = json!(9000);
    assert_eq!(
        claude(body.clone())["thinking"],
        json!({"type": "enabled", "budget_tokens": 2048})
    );
    body["max_tokens"] = json!(1500);
    assert_eq!(claude(body.clone())["thinking"]["budget_tokens"], 1499);
    body["max_tokens"] = json!(1000);
    assert!(claude(body.clone()).get("thinking").is_none());
    let (pair, world) = to_claude();
    let world = world.with(Flag::AdaptiveThinking, true);
    let told = world.body(pair, &body);
    assert_eq!(
        told["thinking"],
        json!({"type": "adaptive", "display": "summarized"})
    );
    assert_eq!(told["output_config"], json!({"effort": "medium"}));
}

#[test]
fn structured_output_is_native_or_a_tool() {
    let mut body = ask(json!([{"role": "user", "content": "x"}]));
    body["response_format"] = json!({"type": "json_schema", "json_schema": {
        "name": "n", "strict": true, "schema": {"type": "object", "properties": {
            "a": {"type": "integer", "minimum": 1}}}}});
    let (pair, world) = to_claude();
    let request = world.tell(pair, &body).unwrap();
    let told = json_of(&request.body);
    assert_eq!(
        told["tool_choice"],
        json!({"type": "tool", "name": "json_tool_call"})
    );
    assert_eq!(request.memo.format_tool.as_deref(), Some("json_tool_call"));
    let world = world.with(Flag::NativeFormat, true);
    let request = world.tell(pair, &body).unwrap();
    let told = json_of(&request.body);
    assert_eq!(
        told["output_config"]["format"],
        json!({"type": "json_schema", "schema": {"type": "object", "properties": {
            "a": {"type": "integer"}}, "additionalProperties": false}})
    );
    assert_eq!(lost(&request), ["~response_format.schema"]);
}

#[test]
fn each_platform_has_its_own_frame() {
    let (pair, world) = to_claude();
    let mut body = ask(json!([{"role": "user", "content": "x"}]));
    body["stream"] = json!(true);
    let request = world.tell(pair, &body).unwrap();
    assert_eq!(request.operation, Operation::MessagesStream);
    assert_eq!(
        request.headers,
        [("anthropic-version", "2023-06-01".to_owned())]
    );
    let told = world.on(Platform::BedrockInvoke).body(pair, &body);
    assert!(told.get("model").is_none() && told.get("stream").is_none());
    assert_eq!(told["anthropic_version"], "bedrock-2023-05-31");
    let told = World::of(ProviderDialect::Messages)
        .on(Platform::Vertex)
        .body(pair, &body);
    assert_eq!(told["anthropic_version"], "vertex-2023-10-16");
    assert_eq!(told["stream"], true);
}

#[test]
fn wrong_types_are_refused_by_name() {
    let (pair, world) = to_claude();
    for (body, field) in [
        (json!({"model": "m"}), "messages"),
        (json!({"messages": "x"}), "messages"),
        (json!({"messages": [{"role": "user"}, 3]}), "messages[]"),
        (
            json!({"messages": [{"role": "king", "content": "x"}]}),
            "messages[].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": 3}]}),
            "messages[].content",
        ),
        (json!({"messages": [], "stream": "yes"}), "stream"),
        (json!({"messages": [], "max_tokens": "many"}), "max_tokens"),
        (
            json!({"messages": [], "tools": [{"type": "function"}]}),
            "tools[].function",
        ),
        (json!({"messages": [], "stop": 3}), "stop"),
        (json!({"messages": []}), "messages"),
    ] {
        assert_eq!(world.tell(pair, &body).unwrap_err().field, field, "{body}");
    }
    let refused = world.tell_bytes(pair, b"{\"messages\": [").unwrap_err();
    assert_eq!(refused.field, "request_body");
}

#[test]
fn text_is_carried_byte_for_byte() {
    let (pair, world) = to_claude();
    let body = r#"{"model":"m","messages":[{"role":"user","content":"a\ud83d \u00e9 \/ 1e400"}]}"#;
    let request = world.tell_bytes(pair, body.as_bytes()).unwrap();
    let told = String::from_utf8(request.body).unwrap();
    assert!(
        told.contains(r#""text":"a\ud83d \u00e9 \/ 1e400""#),
        "{told}"
    );
}
