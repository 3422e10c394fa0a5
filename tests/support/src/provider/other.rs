//! Everything that is not a conversation: embeddings, models, files, audio and so on.

use base64::Engine as _;
use serde_json::{Value, json};

use super::answer::{Answer, Question, Turn, Usage};
use super::ask::{Family, Operation};
use super::body::Body;
use super::errors;

/// Numbers in a fake embedding.
const DIMENSIONS: usize = 8;
/// Bytes of fake speech.
const SPEECH_BYTES: usize = 4096;
const CREATED: u64 = 1_700_000_000;

pub(crate) fn answer(question: &Question<'_>, turn: &Turn<'_>) -> Answer {
    let route = question.route;
    let prompt_only = Usage {
        prompt: turn.usage.prompt,
        ..Usage::default()
    };
    let of = |prompt: u64, completion: u64| Usage {
        prompt,
        completion,
        ..Usage::default()
    };
    let (value, usage) = match route.operation {
        Operation::Embeddings => (embeddings(turn), prompt_only),
        Operation::Rerank => (rerank(turn), prompt_only),
        Operation::CountTokens => (json!({"input_tokens": turn.usage.prompt}), Usage::default()),
        Operation::Models => (models(), Usage::default()),
        Operation::Moderations => (moderation(turn.seq), Usage::default()),
        Operation::Images => (images(turn), of(10, 100)),
        Operation::Speech => return speech(turn),
        Operation::Transcriptions => (transcription(question), of(14, 4)),
        Operation::Files => match file(question) {
            Some(value) => (value, Usage::default()),
            None => return file_content(),
        },
        Operation::Batches => (batch(question), Usage::default()),
        Operation::ResponsesItem => (stored_response(question), Usage::default()),
        Operation::Root => return Answer::of(200, Body::default()),
        _ => {
            let body = errors::body(route.family, 404, question.seq);
            return Answer::of(404, Body::whole(body, 0));
        }
    };
    let mut answer = Answer::of(
        turn.script.status,
        Body::whole(value.to_string().into_bytes(), 0),
    );
    answer.usage = usage;
    answer
}

fn embeddings(turn: &Turn<'_>) -> Value {
    let numbers: Vec<f32> = (0..DIMENSIONS).map(|n| n as f32 / 16.0).collect();
    let embedding = if turn.ask.base64 {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        json!(base64::engine::general_purpose::STANDARD.encode(bytes))
    } else {
        json!(numbers)
    };
    let one = |index: usize| json!({"object": "embedding", "index": index, "embedding": embedding});
    let list: Vec<Value> = (0..turn.ask.items.max(1)).map(one).collect();
    let model: Value = serde_json::from_str(&turn.model).unwrap_or_default();
    let prompt = turn.usage.prompt;
    json!({"object": "list", "data": list, "model": model,
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt}})
}

fn rerank(turn: &Turn<'_>) -> Value {
    let count = turn.ask.items.max(1);
    let score = |index: usize| 1.0 - index as f64 / count as f64;
    let one = |index: usize| json!({"index": index, "relevance_score": score(index)});
    let results: Vec<Value> = (0..count).map(one).collect();
    json!({"id": format!("rerank-fake{}", turn.seq), "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}})
}

fn models() -> Value {
    let one = |id: &str| {
        json!({"id": id, "object": "model", "created": CREATED, "owned_by": "fake",
            "type": "model", "display_name": id, "created_at": "2025-01-01T00:00:00Z"})
    };
    json!({"object": "list", "data": [one("fake-ok"), one("claude-fake-ok")],
        "has_more": false, "first_id": "fake-ok", "last_id": "claude-fake-ok"})
}

fn moderation(seq: u64) -> Value {
    json!({"id": format!("modr-fake{seq}"), "model": "omni-moderation-fake", "results":
        [{"flagged": false, "categories": {"violence": false},
        "category_scores": {"violence": 0.01}}]})
}

fn images(turn: &Turn<'_>) -> Value {
    // One transparent pixel.
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA\
               AABJRU5ErkJggg==";
    let list = vec![json!({"b64_json": png}); turn.ask.items.clamp(1, 10)];
    json!({"created": CREATED, "data": list, "usage": {"input_tokens": 10,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
        "output_tokens": 100, "total_tokens": 110}})
}

fn speech(turn: &Turn<'_>) -> Answer {
    let bytes: Vec<u8> = (0..SPEECH_BYTES).map(|n| (n * 31 % 251) as u8).collect();
    let mut answer = Answer::of(turn.script.status, Body::whole(bytes, 0));
    answer
        .headers
        .push(("content-type".into(), "audio/mpeg".into()));
    answer
}

fn transcription(question: &Question<'_>) -> Value {
    json!({"text": format!("heard {} bytes", question.body.len()),
        "usage": {"type": "tokens", "input_tokens": 14, "input_token_details":
        {"text_tokens": 0, "audio_tokens": 14}, "output_tokens": 4, "total_tokens": 18}})
}

/// A file object; `None` asks for its content.
fn file(question: &Question<'_>) -> Option<Value> {
    let one = |id: &str| {
        json!({"id": id, "object": "file", "bytes": question.body.len(), "created_at": CREATED,
            "filename": "fake.jsonl", "purpose": "batch", "status": "processed"})
    };
    let rest = question.route.rest.as_str();
    let id = rest.split('/').next().unwrap_or_default();
    match (question.method, rest) {
        ("POST", _) => Some(one(&format!("file-fake{}", question.seq))),
        ("DELETE", _) => Some(json!({"id": id, "object": "file", "deleted": true})),
        (_, "") => Some(json!({"object": "list", "data": [one("file-fake0")], "has_more": false})),
        _ if rest.ends_with("/content") => None,
        _ => Some(one(id)),
    }
}

fn file_content() -> Answer {
    let lines = b"{\"custom_id\":\"a\"}\n{\"custom_id\":\"b\"}\n".to_vec();
    let mut answer = Answer::of(200, Body::whole(lines, 0));
    let kind = "application/octet-stream".to_owned();
    answer.headers.push(("content-type".into(), kind));
    answer
}

fn batch(question: &Question<'_>) -> Value {
    let rest = question.route.rest.as_str();
    let one = |id: &str, status: &str| {
        json!({"id": id, "object": "batch", "endpoint": "/v1/chat/completions",
            "input_file_id": "file-fake0", "completion_window": "24h", "status": status,
            "created_at": CREATED, "request_counts": {"total": 2, "completed": 0, "failed": 0}})
    };
    match (question.method, rest.split_once('/')) {
        ("POST", Some((id, "cancel"))) => one(id, "cancelling"),
        ("POST", _) => one(&format!("batch_fake{}", question.seq), "validating"),
        _ if rest.is_empty() => {
            json!({"object": "list", "data": [one("batch_fake0", "completed")], "has_more": false})
        }
        _ => one(rest, "completed"),
    }
}

fn stored_response(question: &Question<'_>) -> Value {
    let (id, tail) = match question.route.rest.split_once('/') {
        Some((id, tail)) => (id, tail),
        None => (question.route.rest.as_str(), ""),
    };
    let one = |status: &str| {
        json!({"id": id, "object": "response", "created_at": CREATED, "status": status,
            "model": "fake-ok", "output": [], "error": null, "usage": {"input_tokens": 3,
            "output_tokens": 5, "total_tokens": 8}})
    };
    match (question.method, tail) {
        ("DELETE", _) => json!({"id": id, "object": "response", "deleted": true}),
        (_, "cancel") => one("cancelled"),
        (_, "input_items") => json!({"object": "list", "data": [], "has_more": false}),
        _ => one("completed"),
    }
}

/// Whether the credential of a request is one of `keys`, in the header its family uses.
pub(crate) fn credential_accepted(
    family: Family,
    header: impl Fn(&str) -> Option<String>,
    keys: &[String],
) -> bool {
    let bearer = header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.to_owned())
    });
    let known = |key: Option<String>| key.is_some_and(|key| keys.contains(&key));
    match family {
        Family::OpenAi => known(bearer),
        Family::Azure => known(bearer) || known(header("api-key")),
        Family::Anthropic => {
            let named = known(header("x-api-key")) || known(header("api-key"));
            (known(bearer) || named) && header("anthropic-version").is_some()
        }
    }
}
