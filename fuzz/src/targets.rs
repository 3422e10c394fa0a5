//! What is fuzzed, for `cargo fuzz` and for the short corpus in `make test`. A target fails by
//! panicking. The first bytes of an input choose the dialects and where it is cut.

#![allow(dead_code, unused_imports, reason = "every fuzzer uses one of them")]

mod passed;

use std::collections::HashSet;

use bytes::Bytes;
use meridian_core::relay::{Alias, Ending};
use meridian_core::remote::{self, Fetched, ITEMS_MAX};
use meridian_core::translate::{
    Capabilities, ClientDialect, Context, Count, CountClient, Counter, Flag, Memo, Pair, Platform,
    Policy, ProviderDialect, Reply, Stream,
};
use meridian_core::wire::event_stream::{FRAME_BYTES_MAX, FrameReader, write_event};
use meridian_core::wire::file_refs::{self, FILES_MAX};
use meridian_core::wire::json_array::ArraySplitter;
use meridian_core::wire::span::BodySpans;
use meridian_core::wire::sse::{Event, EventScanner};

pub(crate) use passed::{batch, body, fault, relay};

/// The input in pieces, whose sizes follow from `seed`.
fn pieces(data: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = data;
    let mut size = usize::from(seed % 7) + 1;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
        size = size * 5 % 13 + 1;
    }
    pieces
}

/// Server-sent events read the same however they are cut.
pub(crate) fn sse(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else {
        return;
    };
    let read = |chunks: &[&[u8]]| {
        let mut scanner = EventScanner::new(1 << 16);
        let mut found = Vec::new();
        for chunk in chunks {
            let mut at = scanner.skip_line_feed(chunk);
            while let Ok(Some(end)) = scanner.next_end(chunk, at) {
                let event = Event::parse(scanner.event(chunk, at, end));
                if event.data.is_some() || event.name.is_some() {
                    let name = event.name.map(<[u8]>::to_vec);
                    found.push((name, event.data.map(|data| data.into_owned())));
                }
                at = end;
            }
        }
        found
    };
    assert_eq!(read(&[data]), read(&pieces(data, *seed)));
}

/// Event-stream frames read the same however they are cut, and what is written is read.
pub(crate) fn event_stream(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else {
        return;
    };
    let read = |chunks: &[&[u8]]| {
        let mut reader = FrameReader::new(1 << 16);
        let mut found = Vec::new();
        for chunk in chunks {
            reader.feed(chunk);
            loop {
                match reader.next_frame() {
                    Ok(Some(message)) => {
                        let headers = message.headers.iter().count();
                        let content = format!("{:?}", message.content());
                        found.push((headers, message.payload.to_vec(), content));
                    }
                    Ok(None) => break,
                    Err(error) => return (found, Err(error)),
                }
            }
        }
        (found, reader.finish())
    };
    assert_eq!(read(&[data]), read(&pieces(data, *seed)));
    let mut framed = Vec::new();
    if write_event("chunk", data, &mut framed).is_ok() {
        let mut reader = FrameReader::new(FRAME_BYTES_MAX);
        reader.feed(&framed);
        let message = reader.next_frame();
        assert!(message.is_ok_and(|message| message.is_some_and(|it| it.payload == data)));
    }
}

/// Arrays are split the same however they are cut.
pub(crate) fn json_array(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else {
        return;
    };
    let read = |chunks: &[&[u8]]| {
        let mut splitter = ArraySplitter::new(1 << 16);
        let mut found = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk);
            loop {
                match splitter.next_item() {
                    Ok(Some(item)) => found.push(item.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (found, Err(error)),
                }
            }
        }
        (found, splitter.finish())
    };
    assert_eq!(read(&[data]), read(&pieces(data, *seed)));
}

/// Every pair that exists.
pub(crate) fn pairs() -> Vec<Pair> {
    let clients = ClientDialect::ALL.into_iter();
    let all = clients.flat_map(|client| {
        let providers = ProviderDialect::ALL.into_iter();
        providers.filter_map(move |provider| Pair::new(client, provider))
    });
    all.collect()
}

fn pair_of(byte: u8) -> Pair {
    let pairs = pairs();
    pairs[usize::from(byte) % pairs.len()]
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

fn reply() -> Reply {
    Reply {
        model: "model".to_owned(),
        seed: 7,
        created_s: 1_700_000_000,
        request_id: "req_1".to_owned(),
        memo: Memo {
            usage_chunk: true,
            ..Memo::default()
        },
    }
}

/// A request is told as JSON or refused with a field.
pub(crate) fn request(data: &[u8]) {
    let Some(([which, how], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let pair = pair_of(*which);
    let model = match how & 3 {
        0 => "us.anthropic.claude-sonnet-4-5-v1:0",
        1 => "gemini-3-pro-preview",
        2 => "amazon.nova-lite-v1:0",
        _ => "some-model",
    };
    let capabilities = Capabilities::default()
        .with(Flag::AdaptiveThinking, how & 4 != 0)
        .with(Flag::NativeFormat, how & 8 != 0)
        .with(Flag::Sampling, how & 16 == 0);
    let policy = Policy {
        drop_params: how & 32 != 0,
        strict: how & 64 != 0,
        ..Policy::default()
    };
    let context = Context {
        model,
        provider: "provider",
        platform: Platform::Compatible,
        capabilities: &capabilities,
        policy: &policy,
        betas: (how & 128 != 0).then_some("context-1m-2025-08-07,x"),
        anthropic_version: None,
    };
    match meridian_core::translate::request(pair, body, &context) {
        Ok(request) if is_json(body) => {
            assert!(is_json(&request.body), "{pair:?}");
            assert!(request.more.iter().all(|body| is_json(body)));
        }
        Ok(_) => {}
        Err(refusal) => assert!(!refusal.message.is_empty() && !refusal.field.is_empty()),
    }
}

/// A whole answer is told as JSON.
pub(crate) fn answer(data: &[u8]) {
    let Some((which, body)) = data.split_first() else {
        return;
    };
    let pair = pair_of(*which);
    let answer = meridian_core::translate::response(pair, body, reply());
    if let (Ok(answer), true) = (answer, is_json(body)) {
        assert!(is_json(&answer.body), "{pair:?}");
    }
}

/// A stream is told the same however it is cut, in whole events, and ends once.
pub(crate) fn stream(data: &[u8]) {
    let Some(([which, seed], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let pair = pair_of(*which);
    let framed;
    let bytes = match pair.provider {
        ProviderDialect::Converse => {
            framed = frames(bytes);
            &framed
        }
        _ => bytes,
    };
    let (whole, ending) = tell(pair, &[bytes]);
    let (cut, cut_ending) = tell(pair, &pieces(bytes, *seed));
    assert_eq!(
        String::from_utf8_lossy(&whole),
        String::from_utf8_lossy(&cut)
    );
    assert_eq!(ending, cut_ending);
}

/// Lines `type json` as frames, so that mutations reach the reader behind the checksums.
fn frames(lines: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let space = line.iter().position(|byte| *byte == b' ');
        let (name, payload) = line.split_at(space.unwrap_or(0));
        let name = String::from_utf8_lossy(name);
        let _ = write_event(&name, payload.trim_ascii(), &mut framed);
    }
    framed
}

fn tell(pair: Pair, chunks: &[&[u8]]) -> (Vec<u8>, Option<Ending>) {
    let mut out = Vec::new();
    let Some(mut stream) = Stream::new(pair, reply()) else {
        return (out, None);
    };
    for chunk in chunks {
        if stream.feed(chunk, &mut out).is_err() {
            return (out, None);
        }
    }
    let ending = stream.finish(&mut out);
    assert!(out.is_empty() || out.ends_with(b"\n\n"), "half an event");
    (out, Some(ending))
}

/// The files that a body names are the same ones in whatever letters the body is written, and each
/// is told once.
pub(crate) fn file_refs(data: &[u8]) {
    let Some((_, body)) = data.split_first() else {
        return;
    };
    let Ok(spans) = BodySpans::scan(body) else {
        return;
    };
    let Ok(found) = file_refs::file_refs(body, &spans) else {
        return;
    };
    assert!(found.len() <= FILES_MAX);
    let ids: HashSet<&str> = found.iter().map(|file| file.id.as_str()).collect();
    assert_eq!(ids.len(), found.len(), "a file that is told twice");
    assert!(found.iter().all(|file| !file.field.is_empty()));
    // Duplicate members and texts that are none are not kept by a reader of whole documents.
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return;
    };
    let escaped = escaped(&value);
    let spans = BodySpans::scan(&escaped);
    let again = spans.map(|spans| file_refs::file_refs(&escaped, &spans));
    let again = again.unwrap().unwrap();
    assert!(again.iter().all(|file| ids.contains(file.id.as_str())));
}

/// A document with every letter of its names escaped.
fn escaped(value: &serde_json::Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_escaped(value, &mut out);
    out
}

fn write_escaped(value: &serde_json::Value, out: &mut Vec<u8>) {
    match value {
        serde_json::Value::Object(members) => {
            out.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.push(b'"');
                for unit in name.encode_utf16() {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
                out.extend_from_slice(b"\":");
                write_escaped(value, out);
            }
            out.push(b'}');
        }
        serde_json::Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_escaped(item, out);
            }
            out.push(b']');
        }
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}

/// A body with bytes in the places of addresses is JSON, and names nothing on the web there.
pub(crate) fn places(data: &[u8]) {
    let Some((how, body)) = data.split_first() else {
        return;
    };
    let media = match how & 1 {
        0 => "image/png",
        _ => "text/plain",
    };
    fill(body, media);
    // Without members that stand twice, of which one is left.
    let parsed = serde_json::from_slice::<serde_json::Value>(body);
    let Some((filled, count)) = parsed
        .ok()
        .and_then(|body| fill(body.to_string().as_bytes(), media))
    else {
        return;
    };
    let spans = BodySpans::scan(&filled).unwrap();
    let left = remote::places(&filled, &spans).len();
    assert!(left == 0 || count == ITEMS_MAX, "{left} of {count}");
}

fn fill(body: &[u8], media: &'static str) -> Option<(Vec<u8>, usize)> {
    let spans = BodySpans::scan(body).ok()?;
    let found = remote::places(body, &spans);
    let count = found.len();
    assert!(count <= ITEMS_MAX);
    let fetched = |place| {
        let bytes = b"\x89PNG\xff\"\\".as_slice();
        (place, Fetched { media, bytes })
    };
    let items: Vec<_> = found.into_iter().map(fetched).collect();
    let filled = remote::filled(body, &items);
    assert!(!is_json(body) || is_json(&filled), "{filled:?}");
    Some((filled, count))
}

/// A stream under another name is the same however it is cut, and only its first name changes.
pub(crate) fn alias(data: &[u8]) {
    let Some((seed, data)) = data.split_first() else {
        return;
    };
    let read = |chunks: &[&[u8]]| {
        let mut alias = Alias::new("a \"name\"");
        let mut out = Vec::new();
        for chunk in chunks {
            alias.push(Bytes::copy_from_slice(chunk), &mut out);
        }
        alias.finish(&mut out);
        out.concat()
    };
    let whole = read(&[data]);
    let cut = read(&pieces(data, *seed));
    assert_eq!(
        String::from_utf8_lossy(&whole),
        String::from_utf8_lossy(&cut)
    );
    if let (Some(named), true) = (Alias::new("a \"name\"").body(data), is_json(data)) {
        assert!(is_json(&named));
    }
}

/// A question for a provider's count is JSON, and the answer to any is one in the caller's words.
pub(crate) fn count(data: &[u8]) {
    let Some(([which, how], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let clients = [
        CountClient::Messages,
        CountClient::Responses,
        CountClient::TokenCounter,
    ];
    let counters = [
        (Counter::Messages, Platform::Anthropic),
        (Counter::Responses, Platform::OpenAi),
        (Counter::Converse, Platform::BedrockConverse),
        (Counter::Gemini, Platform::AiStudio),
        (Counter::Gemini, Platform::Vertex),
    ];
    let client = clients[usize::from(*which) % clients.len()];
    let (counter, platform) = counters[usize::from(*how) % counters.len()];
    let capabilities = Capabilities::default();
    let policy = Policy::default();
    let context = Context {
        model: "some-model",
        provider: "provider",
        platform,
        capabilities: &capabilities,
        policy: &policy,
        betas: None,
        anthropic_version: None,
    };
    if let (Ok(asked), true) = (client.ask(counter, body, &context), is_json(body)) {
        assert!(is_json(&asked.body), "{client:?} {counter:?}");
    }
    let _ = client.estimate(body);
    if let (Some(tokens), true) = (counter.read(body), is_json(body)) {
        let told = client.answer(Count {
            tokens,
            requested: "a \"name\"",
            used: "some-model",
            native: Some(("provider", body)),
        });
        assert!(is_json(&told), "{client:?}");
    }
}
