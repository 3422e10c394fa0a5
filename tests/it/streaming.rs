//! Streams: not a byte changed, not a moment held back, alive through silence.

use std::path::Path;
use std::time::Duration;

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::h2client::{H2, H2End};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use serde_json::{Value, json};

use crate::world::{Api, World, fixtures, meta, standard};

/// Sizes of the provider's writes: tiny, odd, around a TCP segment, whole.
const WRITES: [usize; 5] = [17, 61, 997, 1_400, 0];

/// The recorded failure after a 200: answered as an error, see `endings`.
const FAILURE: &str = "openai/vercel_responses_stream_error.chunks.ndjson";

/// Every recorded stream that is an answer, and the API that it answers.
fn recordings() -> Vec<(String, Api)> {
    let mut found = Vec::new();
    for folder in ["openai", "azure", "anthropic", "golden"] {
        for entry in std::fs::read_dir(fixtures().join(folder)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let api = match folder {
                "anthropic" => Api::Messages,
                "golden" if file.contains("to_anthropic") => Api::Messages,
                "golden" => Api::Chat,
                _ if file.contains("responses") => Api::Responses,
                _ if file.contains("completions") => Api::Completions,
                _ => Api::Chat,
            };
            let name = format!("{folder}/{file}");
            let is_stream = file.ends_with(".sse") || file.ends_with(".chunks.ndjson");
            if is_stream && name != FAILURE {
                found.push((name, api));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(found.len() >= 32, "{} recordings", found.len());
    found
}

/// A recorded stream as the provider sent it: bare chunks get their API's framing.
fn recorded(name: &str, api: Api) -> Vec<u8> {
    let bytes = std::fs::read(fixtures().join(name)).unwrap();
    if name.ends_with(".sse") {
        return bytes;
    }
    let text = String::from_utf8(bytes).unwrap();
    let chunks = text.lines().filter(|line| !line.trim().is_empty());
    let event = |chunk: &str| match api {
        Api::Chat | Api::Completions | Api::Embeddings => format!("data: {chunk}\n\n"),
        Api::Responses | Api::Messages => {
            let kind = serde_json::from_str::<Value>(chunk).unwrap()["type"].clone();
            format!("event: {}\ndata: {chunk}\n\n", kind.as_str().unwrap())
        }
    };
    let mut stream: String = chunks.map(event).collect();
    if matches!(api, Api::Chat | Api::Completions) {
        stream += "data: [DONE]\n\n";
    }
    stream.into_bytes()
}

fn replay(api: Api, name: &str, every: usize, usage: bool) -> Request {
    let script = format!("+replay={name}+every={every}");
    let mut body = api.body(&api.model(&script), "r", true);
    if usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    Request::post(api.path(), &body).bearer(MASTER_KEY)
}

fn write_recordings(directory: &Path) {
    for (name, api) in recordings() {
        let file = file_name(&name);
        std::fs::write(directory.join(file), recorded(&name, api)).unwrap();
    }
}

/// Without the folder: `/` would end a directive's model name in some paths.
fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn recorded_streams_arrive_without_a_changed_byte() {
    let directory = tempfile::tempdir().unwrap();
    write_recordings(directory.path());
    let world = World::replaying(directory.path().to_owned()).await;
    for (name, api) in recordings() {
        let asks = matches!(api, Api::Chat | Api::Completions);
        let sent = recorded(&name, api);
        // What LiteLLM made is long and alike: its smallest pieces would take half of the time.
        let sizes = match name.starts_with("golden") {
            true => &WRITES[1..],
            false => &WRITES[..],
        };
        let request = |every: &usize| replay(api, file_name(&name), *every, asks);
        let requests: Vec<Request> = sizes.iter().map(request).collect();
        let answers = requests.iter().map(|request| world.send(request));
        let answers = futures::future::join_all(answers).await;
        for (every, answer) in sizes.iter().zip(answers) {
            assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
            assert_eq!(answer.end, BodyEnd::Complete, "{name} every {every}");
            let same = answer.body == sent;
            assert!(same, "{name} every {every}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn usage_is_always_asked_for_and_hidden_from_who_did_not() {
    let directory = tempfile::tempdir().unwrap();
    write_recordings(directory.path());
    let world = World::replaying(directory.path().to_owned()).await;
    for name in ["agw_chat_stream.sse", "chat_stream.sse"] {
        let sent = std::fs::read_to_string(directory.path().join(name)).unwrap();
        let without: String = sent
            .split_inclusive("\n\n")
            .filter(|event| !event.contains("\"choices\":[],"))
            .collect();
        assert_ne!(sent, without, "the recording has a usage chunk");
        for every in WRITES {
            let answer = world.send(&replay(Api::Chat, name, every, false)).await;
            assert_eq!(answer.text(), without, "{name} every {every}");
            let upstream = world.provider.last_request().json();
            let asked = &upstream["stream_options"]["include_usage"];
            assert_eq!(asked, &json!(true), "{name}");
        }
    }
}

#[tokio::test]
async fn every_chunk_leaves_when_it_arrives() {
    let world = World::new("").await;
    let mut best = 0;
    // A busy machine may schedule any one run badly; buffering would fail all of them.
    for _ in 0..3 {
        let request = Api::Chat.ask("+tokens=100+chunk_ms=20", "f", true);
        let answer = world.send(&request).await;
        let times: Vec<_> = answer.pieces.iter().map(|(at, _)| *at).collect();
        let apart = |pair: &&[std::time::Instant]| pair[1] - pair[0] > Duration::from_millis(4);
        best = best.max(times.windows(2).filter(apart).count());
        if best >= 95 {
            return;
        }
    }
    panic!("only {best} of 100 chunks 20 ms apart arrived apart");
}

#[tokio::test]
async fn proxies_are_told_not_to_buffer() {
    let world = World::new("").await;
    for api in Api::STREAMING {
        let answer = world.send(&api.ask("", "h", true)).await;
        assert_eq!(answer.header("x-accel-buffering"), Some("no"), "{api:?}");
        let cache = answer.header("cache-control").unwrap();
        assert!(cache.contains("no-transform"), "{api:?}: {cache}");
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/event-stream"), "{api:?}: {kind}");
        assert_eq!(answer.header("content-encoding"), None);
    }
}

fn ping(api: Api) -> &'static str {
    match api {
        Api::Messages => "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        _ => ": keepalive\n\n",
    }
}

#[tokio::test]
async fn silence_is_bridged_before_the_first_delta() {
    let world = World::new("keepalive_s: 1").await;
    for (api, script) in [
        (Api::Chat, "+first_ms=2600"),
        (Api::Responses, "+first_ms=2600"),
        (Api::Messages, "+first_ms=2600"),
        (Api::Chat, "+head_ms=2600"),
        (Api::Messages, "+head_ms=2600"),
    ] {
        let marker = format!("k{api:?}{}", &script[1..5]);
        let answer = world.send(&api.ask(script, &marker, true)).await;
        assert_eq!(answer.status(), 200);
        let text = answer.text();
        let pings = text.matches(ping(api)).count();
        assert!((1..=3).contains(&pings), "{api:?} {script}: {text}");
        assert!(text.starts_with(ping(api)), "{api:?} {script}: {text}");
        assert_eq!(answer.end, BodyEnd::Complete);
        let row = world.row(&marker).await;
        assert_eq!(meta(&row, "end_reason"), "complete");
        assert_eq!(row["completion_tokens"], 5);
    }
}

#[tokio::test]
async fn keepalives_never_split_an_event() {
    let directory = tempfile::tempdir().unwrap();
    write_recordings(directory.path());
    let options = meridian_testkit::provider::Options {
        fixtures: Some(directory.path().to_owned()),
        ..Default::default()
    };
    let provider = Provider::start_with(options).unwrap();
    let config = standard(&provider);
    let world = World::over(provider, config, "keepalive_s: 1").await;
    let name = "agw_stream_tool.sse";
    let sent = std::fs::read_to_string(directory.path().join(name)).unwrap();
    let second = sent.find("content_block_delta").unwrap();
    let boundary = sent[second..].find("\n\n").unwrap() + second + 2;
    // One silence in the middle of an event, one between two.
    for (cut, pings) in [(second + 10, 0), (boundary, 1)] {
        let script = format!("+replay={name}+cut={cut}+chunk_ms=1700");
        let answer = world.send(&Api::Messages.ask(&script, "s", true)).await;
        let text = answer.text();
        let ping = ping(Api::Messages);
        assert_eq!(text.matches(ping).count(), pings, "{text}");
        assert_eq!(text.replace(ping, ""), sent);
    }
}

#[tokio::test]
async fn keepalives_can_be_turned_off() {
    let world = World::new("keepalive_s: 0").await;
    let answer = world.send(&Api::Chat.ask("+first_ms=300", "o", true)).await;
    assert!(!answer.text().contains("keepalive"), "{}", answer.text());
    assert_eq!(answer.events().last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn streams_work_over_h2_without_empty_frames() {
    let world = World::new("").await;
    let mut h2 = H2::open(world.gateway.addr()).await;
    for round in 0..120 {
        let api = Api::STREAMING[round % 3];
        let script = if round < 3 {
            "+tokens=20+chunk_ms=5"
        } else {
            ""
        };
        let answer = h2.exchange(&api.ask(script, "h2", true)).await;
        assert_eq!(
            (answer.status, answer.end),
            (200, H2End::Complete),
            "{round}"
        );
        let empty = answer.pieces.iter().filter(|(_, piece)| piece.is_empty());
        assert_eq!(empty.count(), 0, "{round} {api:?}");
        let text = String::from_utf8(answer.body).unwrap();
        let end = match api {
            Api::Messages => "message_stop",
            Api::Responses => "response.completed",
            _ => "[DONE]",
        };
        assert!(text.contains(end), "{round}: {text}");
        if round < 3 {
            assert!(answer.pieces.len() >= 15, "{}", answer.pieces.len());
        }
    }
}

#[tokio::test]
async fn streams_work_over_tls_with_either_protocol() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = made.cert.pem();
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (
        directory.path().join("c.pem"),
        directory.path().join("k.pem"),
    );
    std::fs::write(&cert, &ca).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let provider = Provider::start();
    let tls = format!("tls:\n  cert: {}\n  key: {}", cert.display(), key.display());
    let config = crate::world::with_section(standard(&provider), &tls);
    let setup = meridian_testkit::gateway::Setup::new(crate::world::binary(), &config);
    let gateway = setup.tls(&ca).start().await;

    let request = Api::Chat.ask("", "t", true);
    let mut conn = Conn::open_tls(gateway.addr(), &ca).await;
    for _ in 0..2 {
        let answer = conn.exchange(&request).await;
        assert_eq!((answer.status(), answer.end), (200, BodyEnd::Complete));
        assert_eq!(answer.events().last().unwrap(), "[DONE]");
    }
    let mut h2 = H2::open_tls(gateway.addr(), &ca).await;
    let answer = h2.exchange(&request).await;
    assert_eq!((answer.status, answer.end), (200, H2End::Complete));
    assert!(String::from_utf8_lossy(&answer.body).ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_failure_after_the_first_keepalive_is_told_in_the_stream() {
    let change = |config: meridian_testkit::config::Config| config.router("num_retries: 1");
    let world = World::with("keepalive_s: 1", change).await;
    for (api, error) in [
        (Api::Chat, "data: {\"error\":"),
        (Api::Responses, "event: response.failed\n"),
        (Api::Messages, "event: error\n"),
    ] {
        let marker = format!("late{api:?}");
        let request = api.ask("+head_ms=1300+status=500", &marker, true);
        let answer = world.send(&request).await;
        assert_eq!((answer.status(), answer.end), (200, BodyEnd::Complete));
        let text = answer.text();
        assert!(text.starts_with(ping(api)), "{text}");
        assert!(text.contains(error), "{text}");
        assert!(
            !text.contains("[DONE]") && !text.contains("message_stop"),
            "{text}"
        );
        // The second attempt ran unseen behind the same head.
        assert_eq!(world.provider.attempts(&marker).len(), 2);
        let row = world.row(&marker).await;
        assert_eq!(meta(&row, "end_reason"), "upstream_failed");
        assert_eq!(row["spend"], 0.0, "{row:#}");
    }
    let answer = world
        .send(&Api::Chat.ask("+head_ms=1300+kind=json", "lj", true))
        .await;
    assert!(
        answer.text().starts_with(ping(Api::Chat)),
        "{}",
        answer.text()
    );
    assert_eq!(answer.events().last().unwrap(), "[DONE]");
}
