//! Requests to Bedrock, Gemini and Cohere, and their recorded answers and streams in the dialects
//! of callers, streams cut at every byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use meridian_core::relay::Ending;
use meridian_core::translate::{
    Capabilities, ClientDialect, Context, Flag, Memo, Pair, Platform, Policy, ProviderDialect,
    Refusal, Reply, Request, Stream, request,
};
use meridian_core::wire::event_stream::write_exception;
use serde_json::{Value, json};

mod answers;
mod costs;
mod embeddings;
mod golden;
mod requests;
mod turns;

use ClientDialect::{Chat, Messages, Responses};
use ProviderDialect::{Cohere, Converse, Gemini};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn pair(client: ClientDialect, provider: ProviderDialect) -> Pair {
    Pair::new(client, provider).unwrap()
}

/// A request that keeps what it can and leaves out what it must.
fn told(pair: Pair, model: &str, body: &Value) -> Result<Request, Refusal> {
    let policy = Policy {
        drop_params: true,
        ..Policy::default()
    };
    told_by(pair, model, body, &policy, &capabilities())
}

fn capabilities() -> Capabilities {
    Capabilities::default().with(Flag::NativeFormat, true)
}

fn told_by(
    pair: Pair,
    model: &str,
    body: &Value,
    policy: &Policy,
    capabilities: &Capabilities,
) -> Result<Request, Refusal> {
    let context = Context {
        model,
        provider: "provider",
        platform: Platform::AiStudio,
        capabilities,
        policy,
        betas: None,
        anthropic_version: None,
    };
    request(pair, body.to_string().as_bytes(), &context)
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Names of the fields that were lost, changed ones with `~`.
fn lost(request: &Request) -> Vec<String> {
    let value = meridian_core::translate::header_value(&request.losses);
    value
        .split(',')
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    if !name.ends_with(".ndjson") {
        return bytes;
    }
    let mut framed = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            framed.extend_from_slice(b"data: ");
            framed.extend_from_slice(line);
            framed.extend_from_slice(b"\n\n");
        }
    }
    framed
}

fn reply() -> Reply {
    Reply {
        model: "m".to_owned(),
        seed: 7,
        created_s: 1_700_000_000,
        request_id: "req_1".to_owned(),
        memo: Memo {
            usage_chunk: true,
            ..Memo::default()
        },
    }
}

/// A stream of these chunks in the client's dialect.
fn stream(pair: Pair, chunks: &[&[u8]]) -> (Vec<u8>, Ending) {
    let mut stream = Stream::new(pair, reply()).unwrap();
    let mut out = Vec::new();
    for chunk in chunks {
        stream.feed(chunk, &mut out).unwrap();
        assert!(out.is_empty() || out.ends_with(b"\n\n"), "half an event");
    }
    let ending = stream.finish(&mut out);
    (out, ending)
}

/// Data of the events of a stream.
fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter(|data| *data != "[DONE]")
        .map(|data| json_of(data.as_bytes()))
        .collect()
}
