//! Recorded streams pass through unchanged however they are cut, and their facts equal an
//! independent reading.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use meridian_core::endpoint::Endpoint;
use meridian_core::meter::{Facts, Meter};
use meridian_core::relay::{Ending, StreamRelay};
use meridian_core::usage::{ServiceTier, Usage};
use meridian_core::wire::edit::UsageChunk;
use serde_json::Value;

/// A recorded stream.
struct Recording {
    name: String,
    endpoint: Endpoint,
    bytes: Vec<u8>,
}

/// All recorded streams. Those stored as one JSON value per line are framed with this line end.
fn recordings(line_end: &str) -> Vec<Recording> {
    let mut found = Vec::new();
    for folder in ["openai", "azure", "anthropic", "golden"] {
        let path = format!("{}/tests/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_lines = file.ends_with(".chunks.ndjson");
            if !is_lines && !file.ends_with(".sse") {
                continue;
            }
            let endpoint = match folder {
                "anthropic" => Endpoint::Messages,
                "golden" if file.contains("to_anthropic") => Endpoint::Messages,
                _ if file.contains("responses") => Endpoint::Responses,
                "openai" if file.contains("completions") => Endpoint::Completions,
                _ => Endpoint::ChatCompletions,
            };
            let text = std::fs::read_to_string(path).unwrap();
            let bytes = if is_lines {
                framed(&text, endpoint, line_end)
            } else {
                text.replace('\n', line_end)
            };
            found.push(Recording {
                name: format!("{folder}/{file}"),
                endpoint,
                bytes: bytes.into_bytes(),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() >= 33, "{} recordings", found.len());
    found
}

fn framed(lines: &str, endpoint: Endpoint, line_end: &str) -> String {
    let mut stream = String::new();
    let is_chat = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let value: Value = serde_json::from_str(line).unwrap();
        if !is_chat {
            let kind = value["type"].as_str().unwrap();
            stream += &format!("event: {kind}{line_end}");
        }
        stream += &format!("data: {line}{line_end}{line_end}");
    }
    if is_chat {
        stream += &format!("data: [DONE]{line_end}{line_end}");
    }
    stream
}

/// What a relay made of a stream.
struct Relayed {
    bytes: Vec<u8>,
    facts: Facts,
    usage: Option<Usage>,
    ending: Ending,
}

fn relayed<'a>(
    endpoint: Endpoint,
    usage_chunk: UsageChunk,
    pieces: impl Iterator<Item = &'a Bytes>,
) -> Relayed {
    let mut relay = StreamRelay::new(endpoint, Meter::for_endpoint(endpoint), usage_chunk);
    let mut out = Vec::new();
    for piece in pieces {
        relay.push(piece, &mut out).unwrap();
    }
    let ending = relay.finish(&mut out);
    Relayed {
        bytes: out.concat(),
        facts: relay.facts().clone(),
        usage: relay.meter().usage(),
        ending,
    }
}

/// Runs `check` on the stream in single bytes and in two pieces, cut at offsets all over it; then
/// cuts at every offset (see [`cut_inside_events`]).
fn at_every_cut(recording: &Recording, usage_chunk: UsageChunk, check: impl Fn(&Relayed, &str)) {
    let whole = Bytes::from(recording.bytes.clone());
    let bytes: Vec<Bytes> = (0..whole.len()).map(|at| whole.slice(at..at + 1)).collect();
    let result = relayed(recording.endpoint, usage_chunk, bytes.iter());
    check(&result, &format!("{} in single bytes", recording.name));
    for cut in (0..=whole.len()).step_by(whole.len() / 100 + 1) {
        let pieces = [whole.slice(..cut), whole.slice(cut..)];
        let result = relayed(recording.endpoint, usage_chunk, pieces.iter());
        check(&result, &format!("{} cut at {cut}", recording.name));
    }
    cut_inside_events(recording, usage_chunk, &whole);
}

/// Cuts at every offset. What comes before the event that is cut has been relayed once; after
/// the event and its successor the relay must be where the uncut one is, so that what follows
/// cannot differ.
fn cut_inside_events(recording: &Recording, usage_chunk: UsageChunk, whole: &Bytes) {
    let meter = Meter::for_endpoint(recording.endpoint);
    let mut before = StreamRelay::new(recording.endpoint, meter, usage_chunk);
    let text = String::from_utf8_lossy(whole);
    let mut start = 0;
    for event in text.split_inclusive("\n\n") {
        let end = start + event.len();
        let next = text[end..]
            .find("\n\n")
            .map_or(whole.len(), |len| end + len + 2);
        let mut uncut = before.clone();
        let mut expected = Vec::new();
        uncut.push(&whole.slice(start..end), &mut expected).unwrap();
        let after_event = uncut.clone();
        uncut.push(&whole.slice(end..next), &mut expected).unwrap();
        for cut in start..end {
            let mut relay = before.clone();
            let mut out = Vec::new();
            for piece in [start..cut, cut..end, end..next] {
                relay.push(&whole.slice(piece), &mut out).unwrap();
            }
            let context = format!("{} cut at {cut}", recording.name);
            assert!(out.concat() == expected.concat(), "{context}");
            assert_eq!(relay.facts(), uncut.facts(), "{context}");
            assert_eq!(relay.meter().usage(), uncut.meter().usage(), "{context}");
            let boundaries = (relay.at_event_boundary(), uncut.at_event_boundary());
            assert_eq!(boundaries.0, boundaries.1, "{context}");
        }
        before = after_event;
        start = end;
    }
}

/// The `data:` values of a stream, read the naive way.
fn values(recording: &Recording) -> Vec<Value> {
    let text = String::from_utf8(recording.bytes.clone()).unwrap();
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    lines
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
        .collect()
}

fn count(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// Usage as a second, independent reader sees it.
fn reference(recording: &Recording) -> Option<Usage> {
    let values = values(recording);
    match recording.endpoint {
        Endpoint::Messages => Some(anthropic_reference(&values)),
        Endpoint::Responses => {
            let last = values.iter().rfind(|value| !value["response"].is_null())?;
            let usage = &last["response"]["usage"];
            usage.is_object().then(|| Usage {
                prompt: count(usage, "/input_tokens"),
                completion: count(usage, "/output_tokens"),
                cache_read: count(usage, "/input_tokens_details/cached_tokens"),
                reasoning: count(usage, "/output_tokens_details/reasoning_tokens"),
                tier: if last["response"]["service_tier"] == "flex" {
                    ServiceTier::Flex
                } else {
                    ServiceTier::Standard
                },
                ..Usage::default()
            })
        }
        _ => {
            let last = values.iter().rfind(|value| value["usage"].is_object())?;
            let usage = &last["usage"];
            Some(Usage {
                prompt: count(usage, "/prompt_tokens"),
                completion: count(usage, "/completion_tokens"),
                cache_read: count(usage, "/prompt_tokens_details/cached_tokens"),
                reasoning: count(usage, "/completion_tokens_details/reasoning_tokens"),
                ..Usage::default()
            })
        }
    }
}

fn anthropic_reference(values: &[Value]) -> Usage {
    let mut counts = [0; 4];
    let fields = [
        "/input_tokens",
        "/output_tokens",
        "/cache_read_input_tokens",
        "/cache_creation_input_tokens",
    ];
    for value in values {
        let usage = match value["type"].as_str() {
            Some("message_start") => &value["message"]["usage"],
            Some("message_delta") => &value["usage"],
            _ => continue,
        };
        for (slot, field) in counts.iter_mut().zip(fields) {
            let new = count(usage, field);
            *slot = if new > 0 { new } else { *slot };
        }
        if let Some(steps) = usage["iterations"].as_array() {
            counts = fields.map(|field| steps.iter().map(|step| count(step, field)).sum());
        }
    }
    let [input, completion, cache_read, cache_write] = counts;
    Usage {
        prompt: input + cache_read + cache_write,
        completion,
        cache_read,
        cache_write,
        ..Usage::default()
    }
}

#[test]
fn recorded_streams_pass_unchanged_at_every_cut() {
    for recording in recordings("\n") {
        let expected = reference(&recording);
        let whole = Bytes::from(recording.bytes.clone());
        let at_once = relayed(recording.endpoint, UsageChunk::Asked, [whole].iter());
        let is_failure = recording.name.contains("stream_error");
        let ending = if is_failure {
            Ending::ProviderError
        } else {
            Ending::Complete
        };
        at_every_cut(&recording, UsageChunk::Asked, |result, context| {
            assert!(result.bytes == recording.bytes, "{context}");
            assert_eq!(result.usage, expected, "{context}");
            assert_eq!(result.facts, at_once.facts, "{context}");
            assert_eq!(result.ending, ending, "{context}");
        });
        assert_eq!(at_once.facts.malformed, 0);
        assert_eq!(
            at_once.facts.content_seen,
            !is_failure && !is_refused(&recording)
        );
        assert_eq!(
            at_once.facts.events,
            values(&recording).len() as u64 + done(&recording)
        );
    }
}

/// The recorded refusal has no content at all.
fn is_refused(recording: &Recording) -> bool {
    recording.name == "anthropic/vercel_refusal.chunks.ndjson"
}

fn done(recording: &Recording) -> u64 {
    let text = String::from_utf8_lossy(&recording.bytes);
    u64::from(text.contains("[DONE]"))
}

#[test]
fn the_hidden_usage_chunk_is_all_that_changes_at_every_cut() {
    let mut hidden = 0;
    for recording in recordings("\n") {
        let is_chat = matches!(
            recording.endpoint,
            Endpoint::ChatCompletions | Endpoint::Completions
        );
        if !is_chat {
            continue;
        }
        let text = String::from_utf8(recording.bytes.clone()).unwrap();
        let is_usage = |event: &&str| {
            let value = event.trim().strip_prefix("data: ");
            let value: Option<Value> = value.and_then(|value| serde_json::from_str(value).ok());
            value.is_some_and(|value| {
                value["choices"].as_array().is_some_and(Vec::is_empty) && value["usage"].is_object()
            })
        };
        let events: Vec<&str> = text.split_inclusive("\n\n").collect();
        hidden += events
            .iter()
            .copied()
            .filter(|event| is_usage(event))
            .count();
        let kept = events.iter().copied().filter(|event| !is_usage(event));
        let expected = kept.collect::<String>().into_bytes();
        let usage = reference(&recording);
        at_every_cut(&recording, UsageChunk::Injected, |result, context| {
            assert!(result.bytes == expected, "{context}");
            assert_eq!(result.usage, usage, "{context}");
            assert_eq!(result.ending, Ending::Complete, "{context}");
        });
    }
    assert_eq!(hidden, 14);
}

#[test]
fn other_line_ends_change_nothing() {
    for line_end in ["\r\n", "\r"] {
        for recording in recordings(line_end) {
            let expected = reference(&recording);
            let whole = Bytes::from(recording.bytes.clone());
            for size in [1, 2, 3, 7, 64, 1000, usize::MAX] {
                let size = size.min(whole.len());
                let pieces: Vec<Bytes> = (0..whole.len())
                    .step_by(size)
                    .map(|at| whole.slice(at..(at + size).min(whole.len())))
                    .collect();
                for usage_chunk in [UsageChunk::Asked, UsageChunk::Injected] {
                    let result = relayed(recording.endpoint, usage_chunk, pieces.iter());
                    assert_eq!(result.usage, expected, "{} {size}", recording.name);
                    let same = result.bytes == recording.bytes;
                    assert!(same || usage_chunk == UsageChunk::Injected);
                }
            }
        }
    }
}

#[test]
fn the_recorded_failure_after_a_200_is_seen() {
    let recordings = recordings("\n");
    let failure = recordings.iter().find(|r| r.name.contains("stream_error"));
    let failure = failure.unwrap();
    let whole = Bytes::from(failure.bytes.clone());
    let result = relayed(failure.endpoint, UsageChunk::Asked, [whole].iter());
    let error = result.facts.error.unwrap();
    assert_eq!(error.code.as_deref(), Some("insufficient_quota"));
    assert_eq!(error.status(), 429);
    assert!(!result.facts.content_seen);
    assert_eq!(result.usage, None);
}
