//! `docs/TRANSLATION.md`: what becomes of every field, found out by asking. `UPDATE_DOCS=1`
//! writes it.

use std::fmt::Write;
use std::path::Path;

use meridian_core::translate::{Change, ClientDialect, Pair, Request};
use serde_json::{Value, json};

use crate::fixtures::{World, json_of, pairs};

/// A field with a value that is not its default.
type Probe = (&'static str, Value);

fn chat_probes() -> Vec<Probe> {
    let part =
        |part: Value| json!([{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]);
    vec![
        (
            "messages[].role: system, first",
            json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]}),
        ),
        (
            "messages[].role: system, later",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, {"role": "system", "content": "s"}, {"role": "user", "content": "x"}]}),
        ),
        (
            "messages[].name",
            json!({"messages": [{"role": "user", "content": "x", "name": "n"}]}),
        ),
        (
            "messages[].content[].image_url: data",
            json!({"messages": part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}))}),
        ),
        (
            "messages[].content[].image_url: https",
            json!({"messages": part(json!({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}))}),
        ),
        (
            "messages[].content[].image_url.detail",
            json!({"messages": part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}}))}),
        ),
        (
            "messages[].content[].file: data",
            json!({"messages": part(json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}))}),
        ),
        (
            "messages[].content[].file: id",
            json!({"messages": part(json!({"type": "file", "file": {"file_id": "file_1"}}))}),
        ),
        (
            "messages[].content[].input_audio",
            json!({"messages": part(json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}))}),
        ),
        (
            "messages[].content[].cache_control",
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]}),
        ),
        (
            "messages[].thinking_blocks: Claude's",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "EsgD"}]}, {"role": "user", "content": "x"}]}),
        ),
        (
            "messages[].reasoning_content",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "t"}, {"role": "user", "content": "x"}]}),
        ),
        ("max_tokens", json!({"max_tokens": 999})),
        (
            "max_completion_tokens",
            json!({"max_completion_tokens": 999}),
        ),
        ("temperature", json!({"temperature": 0.5})),
        ("temperature: over 1", json!({"temperature": 1.5})),
        ("top_p", json!({"top_p": 0.5})),
        ("top_k", json!({"top_k": 5})),
        ("stop", json!({"stop": ["END"]})),
        ("n", json!({"n": 2})),
        ("n: 1", json!({"n": 1})),
        ("seed", json!({"seed": 7})),
        ("presence_penalty", json!({"presence_penalty": 0.5})),
        ("frequency_penalty", json!({"frequency_penalty": 0.5})),
        ("logit_bias", json!({"logit_bias": {"1": 1}})),
        ("logprobs", json!({"logprobs": true})),
        ("top_logprobs", json!({"logprobs": true, "top_logprobs": 2})),
        (
            "response_format: json_object",
            json!({"response_format": {"type": "json_object"}}),
        ),
        (
            "response_format: json_schema",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}}}}),
        ),
        (
            "tools[].function",
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ),
        (
            "tools[].function.strict",
            json!({"tools": [{"type": "function", "function": {"name": "f", "strict": true}}]}),
        ),
        (
            "tools[].custom",
            json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
        ),
        (
            "tool_choice: required",
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}),
        ),
        (
            "tool_choice: function",
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (
            "tool_choice: allowed_tools",
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}}),
        ),
        (
            "parallel_tool_calls",
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": false}),
        ),
        ("reasoning_effort", json!({"reasoning_effort": "medium"})),
        (
            "thinking",
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ),
        ("verbosity", json!({"verbosity": "low"})),
        ("modalities", json!({"modalities": ["text", "audio"]})),
        ("audio", json!({"audio": {"voice": "v", "format": "wav"}})),
        (
            "prediction",
            json!({"prediction": {"type": "content", "content": "x"}}),
        ),
        ("web_search_options", json!({"web_search_options": {}})),
        ("service_tier: flex", json!({"service_tier": "flex"})),
        ("service_tier: default", json!({"service_tier": "default"})),
        ("user", json!({"user": "u1"})),
        ("safety_identifier", json!({"safety_identifier": "u1"})),
        ("metadata", json!({"metadata": {"a": "b"}})),
        ("store", json!({"store": true})),
        ("prompt_cache_key", json!({"prompt_cache_key": "k"})),
        (
            "cache_control",
            json!({"cache_control": {"type": "ephemeral"}}),
        ),
        (
            "stream_options",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ),
        ("a field that is new", json!({"brand_new": 1})),
    ]
}

fn messages_probes() -> Vec<Probe> {
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, block]}]});
    let result = |result: Value| json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}, {"role": "user", "content": [result]}], "tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    let tool = || json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]);
    vec![
        ("system", json!({"system": "s"})),
        (
            "system[].cache_control",
            json!({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}),
        ),
        (
            "messages[].role: system",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, {"role": "system", "content": "s"}, {"role": "user", "content": "x"}]}),
        ),
        (
            "messages[].content[].image: base64",
            block(
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}),
            ),
        ),
        (
            "messages[].content[].image: url",
            block(
                json!({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}),
            ),
        ),
        (
            "messages[].content[].document: base64",
            block(
                json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}),
            ),
        ),
        (
            "messages[].content[].document: url",
            block(
                json!({"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}),
            ),
        ),
        (
            "messages[].content[].document: text",
            block(
                json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"}}),
            ),
        ),
        (
            "messages[].content[].document.citations",
            block(
                json!({"type": "document", "citations": {"enabled": true}, "source": {"type": "text", "media_type": "text/plain", "data": "t"}}),
            ),
        ),
        (
            "messages[].content[].search_result",
            block(
                json!({"type": "search_result", "source": "u", "title": "t", "content": [{"type": "text", "text": "x"}]}),
            ),
        ),
        (
            "messages[].content[].cache_control",
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]}),
        ),
        (
            "messages[].content[].thinking: Claude's",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "EsgD"}, {"type": "text", "text": "y"}]}, {"role": "user", "content": "x"}]}),
        ),
        (
            "messages[].content[].server_tool_use",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "text", "text": "y"}]}, {"role": "user", "content": "x"}]}),
        ),
        (
            "messages[].content[].tool_result: text",
            result(json!({"type": "tool_result", "tool_use_id": "t", "content": "r"})),
        ),
        (
            "messages[].content[].tool_result: image",
            result(
                json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]}),
            ),
        ),
        (
            "messages[].content[].tool_result.is_error",
            result(
                json!({"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "r"}),
            ),
        ),
        ("max_tokens", json!({"max_tokens": 999})),
        ("stop_sequences", json!({"stop_sequences": ["END"]})),
        ("temperature", json!({"temperature": 0.5})),
        ("top_p", json!({"top_p": 0.5})),
        ("top_k", json!({"top_k": 5})),
        ("tools[]", json!({"tools": tool()})),
        (
            "tools[].cache_control",
            json!({"tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]}),
        ),
        (
            "tools[].defer_loading",
            json!({"tools": [{"name": "f", "input_schema": {"type": "object"}, "defer_loading": true}]}),
        ),
        (
            "tools[]: web_search",
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ),
        (
            "tools[]: bash",
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        ),
        (
            "tool_choice: any",
            json!({"tools": tool(), "tool_choice": {"type": "any"}}),
        ),
        (
            "tool_choice: tool",
            json!({"tools": tool(), "tool_choice": {"type": "tool", "name": "f"}}),
        ),
        (
            "tool_choice.disable_parallel_tool_use",
            json!({"tools": tool(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
        ),
        (
            "thinking: enabled",
            json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ),
        (
            "thinking: adaptive",
            json!({"thinking": {"type": "adaptive"}}),
        ),
        (
            "output_config.effort",
            json!({"output_config": {"effort": "high"}}),
        ),
        (
            "output_config.format",
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}}),
        ),
        ("metadata.user_id", json!({"metadata": {"user_id": "u1"}})),
        (
            "service_tier: standard_only",
            json!({"service_tier": "standard_only"}),
        ),
        (
            "cache_control",
            json!({"cache_control": {"type": "ephemeral"}}),
        ),
        (
            "context_management",
            json!({"context_management": {"edits": []}}),
        ),
        (
            "mcp_servers",
            json!({"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "n"}]}),
        ),
        ("container", json!({"container": "c"})),
        ("speed", json!({"speed": "fast"})),
        ("inference_geo", json!({"inference_geo": "us"})),
        ("a field that is new", json!({"brand_new": 1})),
    ]
}

fn responses_probes() -> Vec<Probe> {
    let part = |part: Value| json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}, part]}]});
    let item = |item: Value| json!({"input": [{"role": "user", "content": "x"}, item, {"role": "user", "content": "y"}]});
    let tool = || json!([{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]);
    vec![
        ("instructions", json!({"instructions": "s"})),
        ("input: text", json!({"input": "y"})),
        (
            "input[].role: developer, later",
            item(json!({"role": "developer", "content": "s"})),
        ),
        (
            "input[].content[].input_image",
            part(json!({"type": "input_image", "image_url": "data:image/png;base64,AA"})),
        ),
        (
            "input[].content[].input_file",
            part(
                json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}),
            ),
        ),
        (
            "input[].function_call and output",
            json!({"input": [{"role": "user", "content": "x"}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": "r"}], "tools": tool()}),
        ),
        (
            "input[].custom_tool_call and output",
            json!({"input": [{"role": "user", "content": "x"}, {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "t"}, {"type": "custom_tool_call_output", "call_id": "c", "output": "r"}], "tools": [{"type": "custom", "name": "f"}]}),
        ),
        (
            "input[].reasoning: OpenAI's",
            item(
                json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAAA"}),
            ),
        ),
        (
            "input[].reasoning: Claude's",
            item(
                json!({"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "mrdn.anthropic.EsgD"}),
            ),
        ),
        (
            "input[].web_search_call",
            item(json!({"type": "web_search_call", "id": "w", "status": "completed"})),
        ),
        (
            "input[].item_reference",
            item(json!({"type": "item_reference", "id": "i"})),
        ),
        (
            "previous_response_id",
            json!({"previous_response_id": "resp_1"}),
        ),
        ("conversation", json!({"conversation": "conv_1"})),
        ("prompt", json!({"prompt": {"id": "p"}})),
        ("background", json!({"background": true})),
        ("store", json!({"store": true})),
        (
            "include: reasoning.encrypted_content",
            json!({"include": ["reasoning.encrypted_content"]}),
        ),
        (
            "include: others",
            json!({"include": ["file_search_call.results"]}),
        ),
        ("max_output_tokens", json!({"max_output_tokens": 999})),
        ("max_tool_calls", json!({"max_tool_calls": 3})),
        ("temperature", json!({"temperature": 0.5})),
        ("top_p", json!({"top_p": 0.5})),
        ("top_logprobs", json!({"top_logprobs": 2})),
        ("truncation", json!({"truncation": "auto"})),
        (
            "reasoning.effort",
            json!({"reasoning": {"effort": "medium"}}),
        ),
        (
            "reasoning.summary",
            json!({"reasoning": {"effort": "medium", "summary": "auto"}}),
        ),
        ("text.verbosity", json!({"text": {"verbosity": "low"}})),
        (
            "text.format: json_schema",
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {}}}}}),
        ),
        ("tools[]: function", json!({"tools": tool()})),
        (
            "tools[]: custom",
            json!({"tools": [{"type": "custom", "name": "f"}]}),
        ),
        (
            "tools[]: namespace",
            json!({"tools": [{"type": "namespace", "name": "n", "tools": tool()}]}),
        ),
        (
            "tools[]: web_search",
            json!({"tools": [{"type": "web_search"}]}),
        ),
        (
            "tools[]: file_search",
            json!({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}),
        ),
        (
            "tools[]: local_shell",
            json!({"tools": [{"type": "local_shell"}]}),
        ),
        (
            "tool_choice: required",
            json!({"tools": tool(), "tool_choice": "required"}),
        ),
        (
            "tool_choice: function",
            json!({"tools": tool(), "tool_choice": {"type": "function", "name": "f"}}),
        ),
        (
            "parallel_tool_calls",
            json!({"tools": tool(), "parallel_tool_calls": false}),
        ),
        ("service_tier: flex", json!({"service_tier": "flex"})),
        ("user", json!({"user": "u1"})),
        ("safety_identifier", json!({"safety_identifier": "u1"})),
        ("metadata", json!({"metadata": {"a": "b"}})),
        ("prompt_cache_key", json!({"prompt_cache_key": "k"})),
        ("client_metadata", json!({"client_metadata": {"a": "b"}})),
        ("a field that is new", json!({"brand_new": 1})),
    ]
}

fn probes(client: ClientDialect) -> Vec<Probe> {
    match client {
        ClientDialect::Chat => chat_probes(),
        ClientDialect::Messages => messages_probes(),
        _ => responses_probes(),
    }
}

fn with(client: ClientDialect, patch: &Value) -> Value {
    let mut body = match client {
        ClientDialect::Chat => json!({"messages": [{"role": "user", "content": "x"}]}),
        ClientDialect::Messages => {
            json!({"max_tokens": 100, "messages": [{"role": "user", "content": "x"}]})
        }
        _ => json!({"input": [{"role": "user", "content": "x"}]}),
    };
    body["model"] = json!("m");
    for (name, value) in patch.as_object().unwrap() {
        body[name.as_str()] = value.clone();
    }
    body
}

/// A word and why.
fn outcome(pair: Pair, patch: &Value) -> (&'static str, String) {
    let body = with(pair.client, patch);
    let world = World::of(pair.provider);
    let (request, word) = match world.tell(pair, &body) {
        Ok(request) => (request, ""),
        Err(refused) => match World::of(pair.provider).drops().tell(pair, &body) {
            Ok(request) => (request, "400, or with `drop_params` "),
            Err(_) => return ("rejected", refused.message),
        },
    };
    let losses = |change| {
        let found = request.losses.iter().find(|loss| loss.change == change);
        found.map(|loss| loss.reason.to_owned())
    };
    if let Some(why) = losses(Change::Dropped) {
        return match word.is_empty() {
            true => ("dropped", why),
            false => ("dropped with `drop_params`, else rejected", why),
        };
    }
    if let Some(why) = losses(Change::Changed) {
        return match word.is_empty() {
            true => ("mapped", why),
            false => ("mapped with `drop_params`, else rejected", why),
        };
    }
    match is_kept(&request, patch) {
        true => ("kept", String::new()),
        false => ("mapped", String::new()),
    }
}

/// Whether every member is there under its own name with its own value.
fn is_kept(request: &Request, patch: &Value) -> bool {
    let told = json_of(&request.body);
    let patch = patch.as_object().unwrap();
    patch
        .iter()
        .all(|(name, value)| told.get(name) == Some(value))
}

fn document() -> String {
    let mut text = String::from(
        "# Translation between dialects\n\n\
        Requests of one dialect reach providers of another (`core/src/translate`). What becomes of \
        every field is found out by asking the translator: this file is written by \
        `UPDATE_DOCS=1 cargo test -p meridian-core --test translate coverage`, for a model of which \
        the price map knows nothing, at the dialect's own provider.\n\n\
        - **kept**: the same name and value. **mapped**: told in the provider's own way; a reason \
        says what is not quite the same. **dropped**: left out. **rejected**: 400 that names the \
        field.\n\
        - Everything dropped, and everything mapped with a reason, is named in \
        `x-meridian-dropped` (changed fields with a `~` before them).\n\
        - Under a strict policy any of them is a 400. `drop_params` lets parameters go that would \
        else be a 400; `additional_drop_params` takes fields out before anything else; \
        `allowed_openai_params` passes a field under its own name.\n\
        - Flags of the price map (`supports_sampling_params`, `supports_forced_tool_use`, \
        `supports_adaptive_thinking`, ...) decide for the models that have them.\n",
    );
    for pair in pairs() {
        let (client, provider) = (pair.client.label(), pair.provider.label());
        let _ = write!(
            text,
            "\n## {client} -> {provider}\n\n| Field | | |\n|---|---|---|\n"
        );
        for (field, patch) in probes(pair.client) {
            let (word, why) = outcome(pair, &patch);
            let why = why.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(text, "| `{field}` | {word} | {why} |");
        }
    }
    text
}

#[test]
fn the_document_says_what_the_translator_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TRANSLATION.md");
    let wanted = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == wanted,
        "run UPDATE_DOCS=1 cargo test -p meridian-core --test translate coverage"
    );
}

#[test]
fn nothing_is_lost_in_silence() {
    // A loss must be told: what is neither kept nor told must be somewhere in the request.
    for pair in pairs() {
        for (field, patch) in probes(pair.client) {
            let body = with(pair.client, &patch);
            let bare = World::of(pair.provider).tell(pair, &with(pair.client, &json!({})));
            let told = World::of(pair.provider).drops().tell(pair, &body);
            let (Ok(bare), Ok(told)) = (bare, told) else {
                continue;
            };
            let quiet = [
                "stream_options",
                "include: reasoning.encrypted_content",
                "n: 1",
            ];
            if told.losses.is_empty() && !quiet.contains(&field) {
                assert!(bare.body != told.body, "{pair:?} {field}");
            }
        }
    }
}
