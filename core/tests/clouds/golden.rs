//! What recorded answers, streams and requests become at Bedrock, Gemini and Cohere, word for
//! word. `UPDATE_GOLDEN=1` writes the files.

use std::path::Path;

use meridian_core::translate::{header_value, response};

use super::*;

const PROVIDERS: [ProviderDialect; 3] = [Converse, Gemini, Cohere];
const CLIENTS: [ClientDialect; 3] = [Chat, Messages, Responses];

fn compare(pair: Pair, name: &str, made: &[u8]) {
    let folder = format!("{}_from_{}", pair.client.label(), pair.provider.label());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/translate");
    let path = root.join(folder).join(name.replace('/', "_"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let stored = std::fs::read(&path).unwrap_or_default();
    assert!(
        stored == made,
        "{}: run UPDATE_GOLDEN=1 cargo test -p meridian-core --test clouds golden",
        path.display()
    );
}

fn pairs() -> impl Iterator<Item = Pair> {
    let of = |provider| CLIENTS.map(|client| pair(client, provider));
    PROVIDERS.into_iter().flat_map(of)
}

#[test]
fn recorded_streams() {
    for pair in pairs() {
        let names = match pair.provider {
            Converse => [
                "bedrock/converse_stream_thinking.bin",
                "bedrock/converse_stream_tools.bin",
            ],
            Gemini => [
                "gemini/stream_text.sse",
                "gemini/stream_tool_thought_signature.sse",
            ],
            _ => [
                "cohere/vercel_cohere-reasoning.chunks.ndjson",
                "cohere/vercel_cohere-tool-call.chunks.ndjson",
            ],
        };
        for name in names {
            let (out, _) = stream(pair, &[&fixture(name)]);
            let stem = name.split('.').next().unwrap();
            compare(pair, &format!("{stem}.sse"), &out);
        }
    }
}

#[test]
fn recorded_answers() {
    for pair in pairs() {
        let names = match pair.provider {
            Converse => [
                "bedrock/converse_thinking_sig.response.json",
                "bedrock/converse_structured.response.json",
            ],
            Gemini => [
                "gemini/vertex_text.response.json",
                "gemini/tools_structured.response.json",
            ],
            _ => [
                "cohere/chat_basic.response.json",
                "cohere/vercel_cohere-tool-call.json",
            ],
        };
        for name in names {
            let answer = response(pair, &fixture(name), reply()).unwrap();
            compare(pair, name, &answer.body);
        }
    }
}

#[test]
fn recorded_requests() {
    for pair in pairs() {
        let names = match pair.client {
            Chat => ["openai/chat_tool.meta.json", "openai/chat_stream.meta.json"],
            Messages => [
                "anthropic/tool_with_thinking_turn2.meta.json",
                "anthropic/parallel_tool_calls.meta.json",
            ],
            _ => [
                "openai/responses_tool.meta.json",
                "openai/responses_reasoning.meta.json",
            ],
        };
        let model = match pair.provider {
            Converse => CLAUDE,
            Gemini => "gemini-2.5-pro",
            _ => "command-a-03-2025",
        };
        for name in names {
            let meta = json_of(&fixture(name));
            let bodies = ["request_body", "request", "body"].map(|name| &meta[name]);
            let body = bodies.into_iter().find(|body| body.is_object()).unwrap();
            let shown = match told(pair, model, body) {
                Ok(request) => json!({
                    "body": json_of(&request.body),
                    "dropped": header_value(&request.losses),
                }),
                Err(refusal) => json!({"refused": refusal.to_string()}),
            };
            let file = name.replace(".meta.json", ".request.json");
            let shown = serde_json::to_vec_pretty(&shown).unwrap();
            compare(pair, &file, &shown);
        }
    }
}
