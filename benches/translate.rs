//! CPU of one chunk: passed through, and told in another dialect.
//! `cargo bench --bench translate`.

use std::io::Write;

use bytes::Bytes;
use meridian_core::endpoint::Endpoint;
use meridian_core::meter::Meter;
use meridian_core::relay::StreamRelay;
use meridian_core::translate::{ClientDialect, Memo, Pair, ProviderDialect, Reply, Stream};
use meridian_core::wire::edit::UsageChunk;

/// Streams per measurement.
const STREAMS: u32 = 40;

/// Measurements of each way.
const ROUNDS: u32 = 40;

/// Events of text in a stream.
const DELTAS: u32 = 1_000;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for (name, client, provider, stream) in [
        (
            "chat -> messages",
            ClientDialect::Messages,
            ProviderDialect::Chat,
            chat(),
        ),
        (
            "chat -> responses",
            ClientDialect::Responses,
            ProviderDialect::Chat,
            chat(),
        ),
        (
            "messages -> chat",
            ClientDialect::Chat,
            ProviderDialect::Messages,
            messages(),
        ),
        (
            "messages -> responses",
            ClientDialect::Responses,
            ProviderDialect::Messages,
            messages(),
        ),
        (
            "responses -> chat",
            ClientDialect::Chat,
            ProviderDialect::Responses,
            responses(),
        ),
        (
            "responses -> messages",
            ClientDialect::Messages,
            ProviderDialect::Responses,
            responses(),
        ),
    ] {
        let endpoint = match provider {
            ProviderDialect::Messages => Endpoint::Messages,
            ProviderDialect::Responses => Endpoint::Responses,
            _ => Endpoint::ChatCompletions,
        };
        let Some(pair) = Pair::new(client, provider) else {
            continue;
        };
        let (passed, told) = best(
            || passthrough(endpoint, &stream),
            || translated(pair, &stream),
        )?;
        writeln!(
            out,
            "{passed:>6.0} ns passed through, {told:>6.0} ns told ({:.2} x)  {name}",
            told / passed
        )?;
    }
    Ok(())
}

/// Nanoseconds of CPU for one event, of both ways: the best of runs that take turns, so that a
/// busy machine burdens both alike.
fn best(passed: impl Fn(), told: impl Fn()) -> std::io::Result<(f64, f64)> {
    let (mut least_passed, mut least_told) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        least_passed = least_passed.min(once(&passed)?);
        least_told = least_told.min(once(&told)?);
    }
    Ok((least_passed, least_told))
}

fn once(run: &impl Fn()) -> std::io::Result<f64> {
    let started_ns = cpu_ns()?;
    for _ in 0..STREAMS {
        run();
    }
    let spent_ns = cpu_ns()?.saturating_sub(started_ns);
    Ok(spent_ns as f64 / f64::from(STREAMS * DELTAS))
}

/// CPU that this thread has had, in nanoseconds.
fn cpu_ns() -> std::io::Result<u64> {
    // What the kernel booked last lags behind by a tick, unless the thread gives way.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let spent = stat.split_whitespace().next();
    spent
        .and_then(|spent| spent.parse().ok())
        .ok_or_else(|| std::io::Error::other("no CPU time in /proc/thread-self/schedstat"))
}

fn passthrough(endpoint: Endpoint, events: &[Bytes]) {
    let meter = Meter::for_endpoint(endpoint);
    let mut relay = StreamRelay::new(endpoint, meter, UsageChunk::Asked);
    let mut out = Vec::new();
    for event in events {
        let _ = relay.push(event, &mut out);
        out.clear();
    }
    relay.finish(&mut out);
}

fn translated(pair: Pair, events: &[Bytes]) {
    let reply = Reply {
        model: "model".to_owned(),
        seed: 7,
        created_s: 1,
        request_id: String::new(),
        memo: Memo::default(),
    };
    let Some(mut stream) = Stream::new(pair, reply) else {
        return;
    };
    let mut out = Vec::new();
    for event in events {
        let _ = stream.feed(event, &mut out);
        out.clear();
    }
    stream.finish(&mut out);
}

/// A stream with these events around its deltas, one chunk for each.
fn stream(before: &[&str], delta: &str, after: &[&str]) -> Vec<Bytes> {
    let deltas = (0..DELTAS).map(|_| delta);
    let all = before
        .iter()
        .copied()
        .chain(deltas)
        .chain(after.iter().copied());
    all.map(|event| Bytes::from(format!("{event}\n\n")))
        .collect()
}

fn chat() -> Vec<Bytes> {
    let delta = r#"data: {"id":"chatcmpl-Dx0XabcdefghijklmnopqrstuvwxYZ","object":"chat.completion.chunk","created":1782955817,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_d046abc","choices":[{"index":0,"delta":{"content":" a few words"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"C63rabc"}"#;
    let end = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"g","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    stream(&[], delta, &[end, "data: [DONE]"])
}

fn messages() -> Vec<Bytes> {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\
        \"model\":\"c\",\"usage\":{\"input_tokens\":3}}}";
    let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
        \"content_block\":{\"type\":\"text\",\"text\":\"\"}}";
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
        \"delta\":{\"type\":\"text_delta\",\"text\":\" a few words\"}              }";
    let end = "event: message_stop\ndata: {\"type\":\"message_stop\"}";
    stream(&[start, block], delta, &[end])
}

fn responses() -> Vec<Bytes> {
    let start = "event: response.created\ndata: {\"type\":\"response.created\",\
        \"sequence_number\":0,\"response\":{\"id\":\"r\",\"model\":\"g\"}}";
    let delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\
        \"sequence_number\":4,\"item_id\":\"msg_67e5393080ec81918116f16210e1395c\",\
        \"output_index\":0,\"content_index\":0,\"delta\":\" a few words\",\"logprobs\":[],\
        \"obfuscation\":\"abc\"}";
    let end = "event: response.completed\ndata: {\"type\":\"response.completed\",\
        \"sequence_number\":5,\"response\":{\"id\":\"r\",\"model\":\"g\",\"status\":\"completed\",\
        \"output\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}";
    stream(&[start], delta, &[end])
}
