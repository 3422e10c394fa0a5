//! What recorded answers, streams and requests become, word for word: every change of it is to be
//! seen in review. `UPDATE_GOLDEN=1` writes the files.

use std::path::{Path, PathBuf};

use meridian_core::translate::{ClientDialect, Memo, Pair, ProviderDialect, response};
use serde_json::json;

use crate::fixtures::{World, pairs, recorded, reply, streams, told};

fn folder(pair: Pair) -> PathBuf {
    let name = format!("{}_from_{}", pair.client.label(), pair.provider.label());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/translate");
    root.join(name)
}

fn compare(pair: Pair, name: &str, made: &[u8]) {
    let path = folder(pair).join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder(pair)).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let stored = std::fs::read(&path).unwrap_or_default();
    assert!(
        stored == made,
        "{}: run UPDATE_GOLDEN=1 cargo test -p meridian-core --test translate golden",
        path.display()
    );
}

/// Streams that show most of what a dialect has, and are not long.
fn is_shown(name: &str) -> bool {
    [
        "agw_stream_tool",
        "compaction",
        "refusal",
        "tool_no_args",
        "openai/chat_stream",
        "empty_content",
        "model_router",
        "responses_stream_text",
        "custom_tool",
        "responses_stream_error",
        "fallback",
    ]
    .iter()
    .any(|part| name.contains(part))
}

#[test]
fn recorded_streams() {
    let memo = || Memo {
        usage_chunk: true,
        custom_tools: vec!["write_sql".to_owned()],
        ..Memo::default()
    };
    let mut count = 0;
    for pair in pairs() {
        for (name, bytes) in streams(pair.provider) {
            if is_shown(&name) {
                let (out, ..) = told(pair, &bytes, memo());
                let file = name.replace('/', "_").replace(".chunks.ndjson", ".sse");
                compare(pair, &file, &out);
                count += 1;
            }
        }
    }
    assert!(count >= 18, "{count}");
}

#[test]
fn recorded_answers() {
    for pair in pairs() {
        let names: &[&str] = match pair.provider {
            ProviderDialect::Messages => &[
                "anthropic/tool_with_thinking.response.json",
                "anthropic/parallel_tool_calls.response.json",
                "anthropic/vercel_refusal.json",
                "anthropic/cache_usage_1.response.json",
            ],
            ProviderDialect::Responses => &[
                "openai/responses_tool.response.json",
                "openai/responses_reasoning.response.json",
            ],
            _ => &[
                "openai/chat_tool.response.json",
                "openai/chat_basic.response.json",
                "openai/compat_tool_calls_without_id.response.json",
                "azure/chat_content_filter_results.response.json",
            ],
        };
        for name in names {
            let answer = response(pair, &recorded(name), reply(Memo::default())).unwrap();
            compare(pair, &name.replace('/', "_"), &answer.body);
        }
    }
}

/// Recorded requests, told to another provider.
#[test]
fn recorded_requests() {
    for pair in pairs() {
        let names: &[&str] = match pair.client {
            ClientDialect::Chat => &["openai/chat_tool.meta.json", "openai/chat_stream.meta.json"],
            ClientDialect::Messages => &[
                "anthropic/tool_with_thinking_turn2.meta.json",
                "anthropic/parallel_tool_calls.meta.json",
            ],
            _ => &[
                "openai/responses_tool.meta.json",
                "openai/responses_reasoning.meta.json",
            ],
        };
        for name in names {
            let meta: serde_json::Value = serde_json::from_slice(&recorded(name)).unwrap();
            let body = body_of(&meta);
            let request = World::of(pair.provider).drops().tell(pair, &body).unwrap();
            let losses = meridian_core::translate::header_value(&request.losses);
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            let shown = json!({"body": body, "dropped": losses, "headers": request.headers});
            let shown = serde_json::to_vec_pretty(&shown).unwrap();
            let file = name
                .replace('/', "_")
                .replace(".meta.json", ".request.json");
            compare(pair, &file, &shown);
        }
    }
}

/// The request of a recording.
fn body_of(meta: &serde_json::Value) -> serde_json::Value {
    for name in ["request_body", "request", "body"] {
        if meta[name].is_object() {
            return meta[name].clone();
        }
    }
    panic!("no request in {meta}");
}
