//! Holding back, keepalives and endings, on streams small enough to read.

use super::*;
use crate::spend::EndReason;

const DELTA: &str = concat!(
    r#"data: {"id":"c1","choices":[{"index":0,"delta":{"content":"hé"},"finish_reason":null}],"#,
    r#""usage":null}"#
);
const STOP: &str = r#"data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = concat!(
    r#"data: {"id":"c1","choices": [ ],"#,
    r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#
);

fn relay(endpoint: Endpoint, usage_chunk: UsageChunk) -> StreamRelay {
    StreamRelay::new(endpoint, Meter::for_endpoint(endpoint), usage_chunk)
}

fn hiding() -> StreamRelay {
    relay(Endpoint::ChatCompletions, UsageChunk::Injected)
}

/// Pushes and returns what came out.
fn push(relay: &mut StreamRelay, text: &str) -> String {
    let mut out = Vec::new();
    let chunk = Bytes::copy_from_slice(text.as_bytes());
    relay.push(&chunk, &mut out).unwrap();
    assert!(out.iter().all(|piece| !piece.is_empty()));
    String::from_utf8(out.concat()).unwrap()
}

fn finish(relay: &mut StreamRelay) -> (String, Ending) {
    let mut out = Vec::new();
    let ending = relay.finish(&mut out);
    (String::from_utf8(out.concat()).unwrap(), ending)
}

fn abort(relay: &mut StreamRelay, reason: EndReason) -> String {
    let bytes = relay.abort(&abort_reply(reason), "req-1");
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_injected_usage_chunk_is_hidden_with_every_line_end() {
    for end in ["\n\n", "\r\n\r\n", "\r\r"] {
        let whole = [DELTA, STOP, USAGE, "data: [DONE]"].map(|event| format!("{event}{end}"));
        let expected = [&*whole[0], &*whole[1], &*whole[3]].concat();
        let stream = whole.concat();
        for cut in 0..=stream.len() {
            if !stream.is_char_boundary(cut) {
                continue;
            }
            let mut relay = hiding();
            let mut got = push(&mut relay, &stream[..cut]);
            got += &push(&mut relay, &stream[cut..]);
            let (rest, ending) = finish(&mut relay);
            assert_eq!(got + &rest, expected, "{end:?} cut at {cut}");
            assert_eq!(ending, Ending::Complete);
            assert_eq!(relay.meter().usage().unwrap().total(), 5);
        }
    }
}

#[test]
fn only_the_undecided_beginning_of_an_event_waits() {
    let mut relay = hiding();
    let decided = DELTA.find("[{").unwrap() + 2;
    assert_eq!(push(&mut relay, &DELTA[..decided - 1]), "");
    assert!(relay.at_event_boundary());
    assert_eq!(
        push(&mut relay, &DELTA[decided - 1..decided]),
        DELTA[..decided]
    );
    assert!(!relay.at_event_boundary());
    assert_eq!(push(&mut relay, &DELTA[decided..]), DELTA[decided..]);
    assert!(!relay.first_content_seen());
    assert_eq!(push(&mut relay, "\n\n"), "\n\n");
    assert!(relay.first_content_seen() && relay.at_event_boundary());
    // A long event that never names its choices does not wait for ever.
    let long = format!("data: {{\"x\":\"{}", "y".repeat(HELD_BYTES_MAX));
    assert_eq!(push(&mut relay, &long), long);
}

#[test]
fn usage_beside_choices_and_empty_choices_without_usage_stay() {
    let with_choices = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\
                        \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    let azure_first = "data: {\"choices\":[],\"id\":\"\",\"prompt_filter_results\":[]}\n\n";
    let quoted = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\
                  \"\\\"choices\\\":[],\\\"usage\\\":{}\"}}]}\n\n";
    let stream = format!("{azure_first}{with_choices}{quoted}");
    let mut relay = hiding();
    assert_eq!(push(&mut relay, &stream), stream);
    assert_eq!(relay.facts().response_id, None);
    assert_eq!(relay.meter().usage().unwrap().total(), 2);
}

#[test]
fn progress_tells_the_first_delta_and_the_first_error() {
    let mut relay = relay(Endpoint::ChatCompletions, UsageChunk::Asked);
    let mut out = Vec::new();
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\
                \"content\":\"\"}}]}\n\n";
    let progress = relay.push(&Bytes::from(role), &mut out).unwrap();
    assert_eq!((progress.events, progress.first_content), (1, false));
    let progress = relay.push(&Bytes::from(format!("{DELTA}\n\n")), &mut out);
    let progress = progress.unwrap();
    assert_eq!((progress.first_content, progress.content_bytes), (true, 3));
    let error = "data: {\"error\":{\"message\":\"sk-secret0 boom\",\"code\":503}}\n\n";
    let progress = relay.push(&Bytes::from(error), &mut out).unwrap();
    assert!(progress.error && !progress.first_content);
    assert_eq!(progress.content_bytes, 0);
    let complaint = relay.facts().error.clone().unwrap();
    assert_eq!(
        (complaint.status(), &*complaint.message),
        (503, "sk-*** boom")
    );
    assert_eq!(finish(&mut relay).1, Ending::ProviderError);
}

#[test]
fn a_cut_chat_stream_is_closed_and_never_looks_complete() {
    let stream = format!("{DELTA}\n\n{DELTA}\n\n");
    for cut in 1..stream.len() {
        if !stream.is_char_boundary(cut) {
            continue;
        }
        for usage_chunk in [UsageChunk::Asked, UsageChunk::Injected] {
            let mut relay = relay(Endpoint::ChatCompletions, usage_chunk);
            let mut got = push(&mut relay, &stream[..cut]);
            let (rest, ending) = finish(&mut relay);
            got += &rest;
            assert_eq!(ending, Ending::Cut, "{usage_chunk:?} cut at {cut}");
            let closing = abort(&mut relay, EndReason::UpstreamReset);
            let whole = format!("{got}{closing}");
            let last = whole.trim_end().rsplit("\n\n").next().unwrap();
            let json = last.strip_prefix("data: ").unwrap();
            let error: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(error["error"]["code"], "502");
            assert!(!whole.contains("[DONE]"));
        }
    }
}

#[test]
fn each_dialect_ends_in_its_own_words() {
    let mut messages = relay(Endpoint::Messages, UsageChunk::Asked);
    push(
        &mut messages,
        "event: content_block_delta\ndata: {\"type\":",
    );
    assert_eq!(finish(&mut messages).1, Ending::Cut);
    let closing = abort(&mut messages, EndReason::Stall);
    assert!(closing.starts_with("\n\nevent: error\ndata: {\"error\":{"));
    assert!(closing.contains("\"type\":\"timeout_error\"") && closing.ends_with("}\n\n"));
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\
                   \"sequence_number\":6,\"response\":{\"id\":\"resp_1\",\"created_at\":7,\
                   \"model\":\"m\",\"status\":\"in_progress\"}}\n\n";
    let mut responses = relay(Endpoint::Responses, UsageChunk::Asked);
    push(&mut responses, created);
    assert_eq!(finish(&mut responses).1, Ending::Cut);
    let closing = abort(&mut responses, EndReason::UpstreamReset);
    let events: Vec<&str> = closing.trim_end().split("\n\n").collect();
    let data = |event: &str| -> serde_json::Value {
        serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap()
    };
    assert!(events[0].starts_with("event: error\n"));
    assert_eq!(data(events[0])["sequence_number"], 7);
    assert!(events[1].starts_with("event: response.failed\n"));
    assert_eq!(data(events[1])["sequence_number"], 8);
    assert_eq!(data(events[1])["response"]["id"], "resp_1");
    assert_eq!(data(events[1])["response"]["created_at"], 7);
}

#[test]
fn endings_are_judged_by_the_dialects_own_signs() {
    let ending = |endpoint, stream: &str| {
        let mut relay = relay(endpoint, UsageChunk::Asked);
        push(&mut relay, stream);
        finish(&mut relay).1
    };
    let chat = Endpoint::ChatCompletions;
    assert_eq!(ending(chat, ""), Ending::Empty);
    assert_eq!(ending(chat, ": hello\n\n"), Ending::Empty);
    assert_eq!(ending(chat, &format!("{STOP}\n\n")), Ending::Complete);
    assert_eq!(ending(chat, "data: [DONE]"), Ending::Complete);
    let two = STOP.replace("\"index\":0", "\"index\":1");
    assert_eq!(ending(chat, &format!("{DELTA}\n\n{two}\n\n")), Ending::Cut);
    let both = format!("{DELTA}\n\n{two}\n\n{STOP}\n\n");
    assert_eq!(ending(chat, &both), Ending::Complete);
    let flat = "data: {\"object\":\"error\",\"message\":\"m\",\"code\":400}\n\ndata: [DONE]\n\n";
    assert_eq!(ending(chat, flat), Ending::ProviderError);
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(ending(Endpoint::Messages, stop), Ending::Complete);
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
    assert_eq!(ending(Endpoint::Messages, start), Ending::Cut);
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\
                 \"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let after_start = format!("{start}{error}");
    assert_eq!(
        ending(Endpoint::Messages, &after_start),
        Ending::ProviderError
    );
    let done = "data: [DONE]\n\n";
    assert_eq!(ending(Endpoint::Responses, done), Ending::Cut);
    let incomplete = "data: {\"type\":\"response.incomplete\",\"response\":{}}\n\n";
    assert_eq!(ending(Endpoint::Responses, incomplete), Ending::Complete);
}

#[test]
fn keepalives_are_events_that_clients_ignore() {
    let chat = hiding();
    assert_eq!(chat.keepalive(), b": keepalive\n\n");
    let messages = relay(Endpoint::Messages, UsageChunk::Asked);
    let ping = messages.keepalive();
    assert_eq!(ping, b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    assert!(chat.at_event_boundary());
}

#[test]
fn an_event_over_the_limit_ends_in_a_closed_stream() {
    let endpoint = Endpoint::ChatCompletions;
    for usage_chunk in [UsageChunk::Asked, UsageChunk::Injected] {
        let meter = Meter::for_endpoint(endpoint);
        let mut relay = StreamRelay::with_limit(endpoint, meter, usage_chunk, 64);
        let mut out = Vec::new();
        let chunk = Bytes::from(format!("data: 1\n\ndata: {}", "x".repeat(100)));
        let error = relay.push(&chunk, &mut out).unwrap_err();
        assert_eq!(error, SseError::EventTooLarge { limit: 64 });
        assert!(out.concat().starts_with(b"data: 1\n\n"));
        let closing = abort(&mut relay, EndReason::ProviderError);
        assert!(closing.starts_with("\n\ndata: {\"error\""));
    }
}

#[test]
fn framing_is_read_from_the_content_type() {
    let of = |text| Framing::of(Some(text));
    assert_eq!(of("text/event-stream; charset=utf-8"), Framing::Events);
    assert_eq!(of("Application/JSON"), Framing::Json);
    assert_eq!(of("application/problem+json"), Framing::Json);
    assert_eq!(of("audio/mpeg"), Framing::Other);
    assert_eq!(Framing::of(None), Framing::Other);
}
