//! CPU of one chunk: passed through, and told in another dialect.
//! `cargo bench -p meridian-core --bench translate`, `-- gemini` for one provider alone.

use std::io::Write;

use bytes::Bytes;
use meridian_core::endpoint::Endpoint;
use meridian_core::meter::Meter;
use meridian_core::relay::StreamRelay;
use meridian_core::translate::{ClientDialect, Memo, Pair, ProviderDialect, Reply, Stream};
use meridian_core::wire::edit::UsageChunk;
use meridian_core::wire::event_stream::write_event;

/// Streams per measurement.
const STREAMS: u32 = 40;

/// Measurements of each way.
const ROUNDS: u32 = 40;

/// Events of text in a stream.
const DELTAS: u32 = 1_000;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    // Cargo adds `--bench` to what it is given.
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wanted = wanted.iter().find(|word| !word.starts_with("--"));
    for (client, provider) in [
        (ClientDialect::Messages, ProviderDialect::Chat),
        (ClientDialect::Responses, ProviderDialect::Chat),
        (ClientDialect::Chat, ProviderDialect::Messages),
        (ClientDialect::Responses, ProviderDialect::Messages),
        (ClientDialect::Chat, ProviderDialect::Responses),
        (ClientDialect::Messages, ProviderDialect::Responses),
        (ClientDialect::Chat, ProviderDialect::Converse),
        (ClientDialect::Messages, ProviderDialect::Converse),
        (ClientDialect::Chat, ProviderDialect::Gemini),
        (ClientDialect::Messages, ProviderDialect::Gemini),
        (ClientDialect::Chat, ProviderDialect::Cohere),
        (ClientDialect::Messages, ProviderDialect::Cohere),
    ] {
        let Some(pair) = Pair::new(client, provider) else {
            continue;
        };
        if wanted.is_some_and(|wanted| wanted != provider.label()) {
            continue;
        }
        let (endpoint, passes) = passing(client, provider);
        let stream = told(provider);
        let (passed, told) = best(
            || passthrough(endpoint, &passes),
            || translated(pair, &stream),
        )?;
        writeln!(
            out,
            "{passed:>6.0} ns passed through, {told:>6.0} ns told ({:.2} x)  {} -> {}",
            told / passed,
            provider.label(),
            client.label()
        )?;
    }
    Ok(())
}

/// What a told stream is held against: the same stream passed through. Nobody gets Gemini's or
/// Cohere's own; what passes from them is what their OpenAI-compatible doors say.
fn passing(client: ClientDialect, provider: ProviderDialect) -> (Endpoint, Vec<Bytes>) {
    match (provider, client) {
        (ProviderDialect::Gemini, _) => (Endpoint::ChatCompletions, gemini_as_chat()),
        (ProviderDialect::Cohere, _) => (Endpoint::ChatCompletions, cohere_as_chat()),
        (ProviderDialect::Chat, _) => (Endpoint::ChatCompletions, chat()),
        (ProviderDialect::Messages, _) => (Endpoint::Messages, messages()),
        (ProviderDialect::Responses, _) => (Endpoint::Responses, responses()),
        (_, ClientDialect::Messages) => (Endpoint::Messages, messages()),
        (_, _) => (Endpoint::ChatCompletions, chat()),
    }
}

fn told(provider: ProviderDialect) -> Vec<Bytes> {
    match provider {
        ProviderDialect::Messages => messages(),
        ProviderDialect::Responses => responses(),
        ProviderDialect::Converse => converse(),
        ProviderDialect::Gemini => gemini(),
        ProviderDialect::Cohere => cohere(),
        _ => chat(),
    }
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

fn converse() -> Vec<Bytes> {
    let frame = |name: &str, payload: &str| {
        let mut frame = Vec::new();
        // Nothing here is longer than a frame may be.
        let _ = write_event(name, payload.as_bytes(), &mut frame);
        Bytes::from(frame)
    };
    let delta = frame(
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":" a few words"},"p":"abcdefghijklmnopqrstuvw"}"#,
    );
    let start = frame("messageStart", r#"{"role":"assistant","p":"abcdefgh"}"#);
    let ends = [
        frame("contentBlockStop", r#"{"contentBlockIndex":0,"p":"abc"}"#),
        frame("messageStop", r#"{"stopReason":"end_turn","p":"abc"}"#),
        frame(
            "metadata",
            r#"{"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}"#,
        ),
    ];
    let deltas = (0..DELTAS).map(|_| delta.clone());
    std::iter::once(start).chain(deltas).chain(ends).collect()
}

fn gemini() -> Vec<Bytes> {
    let delta = r#"data: {"candidates":[{"content":{"parts":[{"text":" a few words"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10},"modelVersion":"gemini-2.5-flash","responseId":"abcdefghijklmnopqrstuvw"}"#;
    let end = r#"data: {"candidates":[{"content":{"parts":[{"text":"."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10}}"#;
    stream(&[], delta, &[end])
}

/// The same at `/v1beta/openai`: usage in every chunk, as there.
fn gemini_as_chat() -> Vec<Bytes> {
    let delta = r#"data: {"choices":[{"delta":{"content":" a few words","role":"assistant"},"index":0}],"created":1782955817,"id":"abcdefghijklmnopqrstuvw","model":"gemini-2.5-flash","object":"chat.completion.chunk","usage":{"completion_tokens":3,"prompt_tokens":7,"total_tokens":10}}"#;
    let end = r#"data: {"choices":[{"delta":{"content":"."},"finish_reason":"stop","index":0}],"created":1,"id":"a","model":"g","object":"chat.completion.chunk","usage":{"completion_tokens":3,"prompt_tokens":7,"total_tokens":10}}"#;
    stream(&[], delta, &[end, "data: [DONE]"])
}

/// The same at `/compatibility/v1`.
fn cohere_as_chat() -> Vec<Bytes> {
    let delta = r#"data: {"id":"4a5f3c1e-6f1b-4e0a-9a53-1d0f6c2b7e11","choices":[{"index":0,"finish_reason":null,"delta":{"content":" a few words"}}],"created":1782955817,"model":"command-a-03-2025","object":"chat.completion.chunk"}"#;
    let end = r#"data: {"id":"a","choices":[{"index":0,"finish_reason":"stop","delta":{}}],"created":1,"model":"c","object":"chat.completion.chunk"}"#;
    stream(&[], delta, &[end, "data: [DONE]"])
}

fn cohere() -> Vec<Bytes> {
    let start = "event: message-start\ndata: {\"id\":\"a\",\"type\":\"message-start\",\"delta\":\
        {\"message\":{\"role\":\"assistant\",\"content\":[]}}}";
    let block = "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":\
        {\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}";
    let delta = "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":\
        {\"message\":{\"content\":{\"text\":\" a few words\"}}}}";
    let end = "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\
        \"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":1,\"output_tokens\":1}}}}";
    stream(&[start, block], delta, &[end])
}
