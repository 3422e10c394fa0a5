//! One rich request in each dialect, to each provider.

use super::*;

fn chat() -> Value {
    json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "You are S1."},
            {"role": "developer", "content": "You are D1."},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url",
                 "image_url": {"url": format!("data:image/png;base64,{PNG}"), "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf",
                 "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}}]},
            {"role": "assistant", "content": "calling", "tool_calls": [
                {"id": "call_1", "type": "function",
                 "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}},
                {"id": "call_2", "type": "function",
                 "function": {"name": "get_weather", "arguments": "{\"city\":\"Rome\"}"}}]},
            {"role": "tool", "tool_call_id": "call_2", "content": "25C"},
            {"role": "tool", "tool_call_id": "call_1", "content": "20C"},
            {"role": "user", "content": "and?"}],
        "tools": [{"type": "function", "function": {
            "name": "get_weather", "description": "w",
            "parameters": {"type": "object", "properties": {
                "city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
                "required": ["city"], "additionalProperties": false}}}],
        "tool_choice": "required", "parallel_tool_calls": false, "stop": ["END"],
        "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "user": "u-1",
    })
}

fn schema() -> Value {
    chat()["tools"][0]["function"]["parameters"].clone()
}

#[test]
fn chat_to_claude_on_converse() {
    let request = told(pair(Chat, Converse), CLAUDE, &chat()).unwrap();
    let expected = json!({
        "messages": [
            {"role": "user", "content": [
                {"text": "look"},
                {"image": {"format": "png", "source": {"bytes": PNG}}},
                {"document": {"format": "pdf", "name": "a pdf",
                              "source": {"bytes": "JVBERi0xLjQK"}}}]},
            {"role": "assistant", "content": [
                {"text": "calling"},
                {"toolUse": {"toolUseId": "call_1", "name": "get_weather",
                             "input": {"city": "Paris"}}},
                {"toolUse": {"toolUseId": "call_2", "name": "get_weather",
                             "input": {"city": "Rome"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "call_2", "content": [{"text": "25C"}]}},
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "20C"}]}},
                {"text": "and?"}]}],
        "system": [{"text": "You are S1."}, {"text": "You are D1."}],
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "get_weather", "description": "w",
                                    "inputSchema": {"json": schema()}}}],
            "toolChoice": {"any": {}}},
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.9,
                            "stopSequences": ["END"]},
        "additionalModelRequestFields": {"tool_choice": {"disable_parallel_tool_use": true}},
        "additionalModelResponseFieldPaths":
            ["/stop_sequence", "/usage/output_tokens_details"],
    });
    assert_eq!(json_of(&request.body), expected);
    let expected = [
        "messages[].content[].image_url.detail",
        "~messages[].content[].file.filename",
        "user",
    ];
    assert_eq!(lost(&request), expected);
}

#[test]
fn chat_to_nova_on_converse() {
    let mut body = chat();
    body["top_k"] = json!(5);
    body["reasoning_effort"] = json!("high");
    let request = told(pair(Chat, Converse), "amazon.nova-lite-v1:0", &body).unwrap();
    let told = json_of(&request.body);
    let tool = &told["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"];
    assert_eq!(tool.get("additionalProperties"), None);
    assert_eq!(
        told["additionalModelRequestFields"],
        json!({"inferenceConfig": {"topK": 5},
               "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}})
    );
    assert!(lost(&request).contains(&"parallel_tool_calls".to_owned()));
}

#[test]
fn chat_to_gemini() {
    let request = told(pair(Chat, Gemini), "gemini-2.5-pro", &chat()).unwrap();
    let expected = json!({
        "contents": [
            {"role": "user", "parts": [
                {"text": "look"},
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"text": "a.pdf"},
                {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQK"}}]},
            {"role": "model", "parts": [
                {"text": "calling"},
                {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}},
                {"functionCall": {"name": "get_weather", "args": {"city": "Rome"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "get_weather", "response": {"output": "20C"}}},
                {"functionResponse": {"name": "get_weather", "response": {"output": "25C"}}}]},
            {"role": "user", "parts": [{"text": "and?"}]}],
        "systemInstruction": {"parts": [{"text": "You are S1."}, {"text": "You are D1."}]},
        "tools": [{"functionDeclarations": [
            {"name": "get_weather", "description": "w", "parametersJsonSchema": schema()}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"temperature": 0.5, "topP": 0.9, "maxOutputTokens": 100,
                             "stopSequences": ["END"],
                             "mediaResolution": "MEDIA_RESOLUTION_LOW"},
    });
    assert_eq!(json_of(&request.body), expected);
    let request = told(pair(Chat, Gemini), "gemini-3-pro-preview", &chat()).unwrap();
    let told = json_of(&request.body);
    // The user has spoken since: nothing is checked, nothing is made up.
    assert_eq!(told["contents"][1], expected["contents"][1]);
    let mut running = chat();
    running["messages"].as_array_mut().unwrap().pop();
    let request = super::told(pair(Chat, Gemini), "gemini-3-pro-preview", &running).unwrap();
    let parts = json_of(&request.body)["contents"][1]["parts"].clone();
    assert_eq!(
        parts[1]["thoughtSignature"],
        "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
    );
    assert_eq!(parts[2].get("thoughtSignature"), None);
}

#[test]
fn chat_to_cohere() {
    let mut body = chat();
    let parts = body["messages"][2]["content"].as_array_mut().unwrap();
    parts.pop();
    let request = told(pair(Chat, Cohere), "command-a-03-2025", &body).unwrap();
    let url = format!("data:image/png;base64,{PNG}");
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let call = |id: &str, city: &str| {
        json!({"id": id, "type": "function", "function": {
            "name": "get_weather", "arguments": json!({"city": city}).to_string()}})
    };
    let expected = json!({
        "model": "command-a-03-2025", "stream": false,
        "messages": [
            {"role": "system", "content": "You are S1."},
            {"role": "system", "content": "You are D1."},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]},
            {"role": "assistant", "content": text("calling"),
             "tool_calls": [call("call_1", "Paris"), call("call_2", "Rome")]},
            {"role": "tool", "tool_call_id": "call_2", "content": "25C"},
            {"role": "tool", "tool_call_id": "call_1", "content": "20C"},
            {"role": "user", "content": text("and?")}],
        "tools": [{"type": "function", "function": {
            "name": "get_weather", "description": "w", "parameters": schema()}}],
        "tool_choice": "REQUIRED", "max_tokens": 100, "stop_sequences": ["END"],
        "temperature": 0.5, "p": 0.9,
    });
    assert_eq!(json_of(&request.body), expected);
    // A document that Cohere cannot read is never left out in silence.
    let refused = told(pair(Chat, Cohere), "command-a-03-2025", &chat()).unwrap_err();
    assert_eq!(refused.field, "messages[].content[].file");
}

fn messages() -> Value {
    json!({
        "model": "m", "max_tokens": 4000,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2;"},
            {"type": "text", "text": "S1", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                             "data": PNG}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hmm", "signature": "SIG=="},
                {"type": "redacted_thinking", "data": "RED"},
                {"type": "text", "text": "calling"},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
                {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "boom"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                 "data": PNG}}]},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "ok"},
                {"type": "text", "text": "continue"}]}],
        "tools": [
            {"name": "Bash", "description": "run", "cache_control": {"type": "ephemeral"},
             "input_schema": {"type": "object", "properties": {"command": {"type": "string"}},
                              "required": ["command"]}},
            {"name": "Read", "input_schema": {"type": "object", "properties": {}}}],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
        "context_management": {"edits": []},
    })
}

#[test]
fn messages_to_claude_on_converse() {
    let request = told(pair(Messages, Converse), CLAUDE, &messages()).unwrap();
    let told = json_of(&request.body);
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(
        told["system"],
        json!([{"text": "S1"}, {"cachePoint": {"type": "default", "ttl": "1h"}}])
    );
    assert_eq!(told["messages"][0]["content"][1], point);
    assert_eq!(
        told["messages"][1]["content"],
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "SIG=="}}},
            {"reasoningContent": {"redactedContent": "RED"}},
            {"text": "calling"},
            {"toolUse": {"toolUseId": "toolu_1", "name": "Bash", "input": {"command": "ls"}}},
            {"toolUse": {"toolUseId": "toolu_2", "name": "Read", "input": {}}}])
    );
    assert_eq!(
        told["messages"][2]["content"],
        json!([
            {"toolResult": {"toolUseId": "toolu_1", "status": "error", "content": [
                {"text": "boom"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]}},
            {"toolResult": {"toolUseId": "toolu_2", "content": [{"text": "ok"}]}},
            {"text": "continue"}])
    );
    assert_eq!(told["toolConfig"]["tools"][1], point);
    assert_eq!(
        told["additionalModelRequestFields"],
        json!({"thinking": {"type": "enabled", "budget_tokens": 2048}})
    );
    assert_eq!(told["inferenceConfig"]["maxTokens"], 4000);
    for name in ["system[].text", "context_management"] {
        assert!(lost(&request).contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn messages_to_gemini() {
    let request = told(pair(Messages, Gemini), "gemini-2.5-pro", &messages()).unwrap();
    let told = json_of(&request.body);
    let image = json!({"inlineData": {"mimeType": "image/png", "data": PNG}});
    assert_eq!(
        told["contents"].as_array().unwrap()[1..],
        [
            json!({"role": "model", "parts": [
                {"text": "calling"},
                {"functionCall": {"name": "Bash", "args": {"command": "ls"}}},
                {"functionCall": {"name": "Read", "args": {}}}]}),
            json!({"role": "user", "parts": [
                {"functionResponse": {"name": "Bash", "response": {"error": "boom"}}},
                {"functionResponse": {"name": "Read", "response": {"output": "ok"}}}]}),
            json!({"role": "user", "parts": [image, {"text": "continue"}]}),
        ]
    );
    assert_eq!(
        told["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 2048, "includeThoughts": true})
    );
    let functions = &told["tools"][0]["functionDeclarations"];
    assert_eq!(functions[1], json!({"name": "Read"}));
    assert!(lost(&request).contains(&"messages[].thinking".to_owned()));
}

#[test]
fn budgets_stay_below_the_output_bound() {
    let told = |max: u64| {
        let mut body = messages();
        body["max_tokens"] = json!(max);
        let request = told(pair(Messages, Converse), CLAUDE, &body).unwrap();
        json_of(&request.body)["additionalModelRequestFields"]["thinking"].clone()
    };
    assert_eq!(told(4000)["budget_tokens"], 2048);
    assert_eq!(told(1500)["budget_tokens"], 1499);
    assert_eq!(told(500), Value::Null);
}

#[test]
fn structured_output_is_native_or_a_tool() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "A", "schema": {
            "type": "object", "properties": {"x": {"type": "string"}}}}}});
    let request = told(pair(Chat, Converse), CLAUDE, &body).unwrap();
    let told_native = json_of(&request.body);
    let schema = &told_native["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"];
    assert!(json_of(schema.as_str().unwrap().as_bytes())["properties"]["x"].is_object());
    let plain = Capabilities::default();
    let policy = Policy::default();
    let request = told_by(pair(Chat, Converse), CLAUDE, &body, &policy, &plain).unwrap();
    assert_eq!(request.memo.format_tool.as_deref(), Some("json_tool_call"));
    let told_tool = json_of(&request.body);
    assert_eq!(
        told_tool["toolConfig"]["toolChoice"],
        json!({"tool": {"name": "json_tool_call"}})
    );
    let request = told(pair(Chat, Gemini), "gemini-2.5-pro", &body).unwrap();
    let config = &json_of(&request.body)["generationConfig"];
    assert_eq!(config["responseMimeType"], "application/json");
    assert!(config["responseJsonSchema"]["properties"]["x"].is_object());
    let request = told(pair(Chat, Cohere), "command-a", &body).unwrap();
    let format = &json_of(&request.body)["response_format"];
    assert_eq!(format["type"], "json_object");
    assert!(format["json_schema"]["properties"]["x"].is_object());
}

#[test]
fn calls_without_tools_are_told_as_text() {
    let mut body = chat();
    body.as_object_mut().unwrap().remove("tools");
    body.as_object_mut().unwrap().remove("tool_choice");
    let request = told(pair(Chat, Converse), CLAUDE, &body).unwrap();
    let told = json_of(&request.body);
    assert_eq!(told.get("toolConfig"), None);
    let text = told.to_string();
    assert!(!text.contains("toolUse") && !text.contains("toolResult"));
    assert!(text.contains("get_weather") && text.contains("25C"));
    assert!(lost(&request).contains(&"~messages[].tool_calls".to_owned()));
}

#[test]
fn what_cannot_be_kept_is_named_or_refused() {
    let mut body = chat();
    body["seed"] = json!(1);
    body["logit_bias"] = json!({"1": 2});
    let (plain, flags) = (Policy::default(), capabilities());
    let refused = told_by(pair(Chat, Converse), CLAUDE, &body, &plain, &flags).unwrap_err();
    assert!(
        refused.message.contains("['seed', 'logit_bias']"),
        "{}",
        refused.message
    );
    let strict = Policy {
        strict: true,
        drop_params: true,
        ..Policy::default()
    };
    let refused = told_by(pair(Chat, Converse), CLAUDE, &chat(), &strict, &flags).unwrap_err();
    assert!(refused.message.starts_with("strict translation"));
    let web = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]});
    let refused = told(pair(Chat, Converse), CLAUDE, &web).unwrap_err();
    assert_eq!(refused.field, "messages[].content[].image_url");
    let request = told(pair(Chat, Gemini), "gemini-2.5-pro", &web).unwrap();
    let part = &json_of(&request.body)["contents"][0]["parts"][0]["fileData"];
    assert_eq!(part["mimeType"], "image/png");
    let wrong = json!({"model": "m", "messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{oops"}}]}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    for (provider, model) in [
        (Converse, CLAUDE),
        (Gemini, "gemini-2.5-pro"),
        (Cohere, "c"),
    ] {
        let refused = told(pair(Chat, provider), model, &wrong).unwrap_err();
        assert_eq!(refused.field, "messages[].tool_calls[].function.arguments");
    }
}

#[test]
fn responses_reach_every_cloud() {
    let body = json!({"model": "m", "instructions": "I", "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "call_1", "name": "shell",
         "arguments": "{\"cmd\":[\"ls\"]}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "ok"}],
        "tools": [{"type": "function", "name": "shell", "parameters": {
            "type": "object", "properties": {"cmd": {"type": "array"}}}}],
        "reasoning": {"effort": "low"}, "stream": true});
    let models = [
        (Converse, CLAUDE),
        (Gemini, "gemini-2.5-pro"),
        (Cohere, "command-a"),
    ];
    for (provider, model) in models {
        let request = told(pair(Responses, provider), model, &body).unwrap();
        let text = json_of(&request.body).to_string();
        assert!(
            request.stream && text.contains("shell") && text.contains("ok"),
            "{text}"
        );
    }
}
