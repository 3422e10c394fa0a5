//! The termination table: what the client sees, what is billed and what is free again, for every
//! way in which a request can end.

mod budget;
mod late;

use meridian_core::usage::estimate_tokens;
use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::gateway::Gateway;
use meridian_testkit::provider::{Act, Fault, Point, Script};
use meridian_testkit::raw::{BodyEnd, Request, Response};
use serde_json::{Value, json};

use crate::world::{Api, World, meta};

/// What is expected of one ending.
struct Ending {
    /// Directives of the fake provider.
    script: &'static str,
    status: u16,
    reason: &'static str,
    estimated: bool,
    /// Completion tokens on the bill.
    billed: std::ops::RangeInclusive<u64>,
    /// The client is told of a break inside the stream.
    broken: bool,
}

const fn ending(script: &'static str, status: u16, reason: &'static str) -> Ending {
    Ending {
        script,
        status,
        reason,
        estimated: false,
        billed: 0..=0,
        broken: false,
    }
}

/// A stream that broke after some of its content: billed by what was delivered.
const fn cut(script: &'static str, reason: &'static str) -> Ending {
    Ending {
        estimated: true,
        billed: 1..=20,
        broken: true,
        ..ending(script, 200, reason)
    }
}

/// A key with room for one request at a time and for hardly more than one reservation.
async fn narrow_key(gateway: &Gateway) -> String {
    let fields = json!({"max_parallel_requests": 1, "max_budget": 0.02});
    gateway.key(&fields).await
}

async fn world(timeout_s: u32) -> World {
    let router = format!("num_retries: 0\ntimeout: {timeout_s}\nstream_timeout: {timeout_s}");
    World::with("stall_timeout_s: 1", |config| config.router(&router)).await
}

#[tokio::test]
async fn every_ending_of_a_stream_is_honest_billed_once_and_frees_what_it_held() {
    let whole = Ending {
        billed: 20..=20,
        ..ending("+tokens=20", 200, "complete")
    };
    let malformed = Ending {
        billed: 20..=20,
        ..ending("+tokens=20+malformed@8", 200, "complete")
    };
    let timeout = |script| Ending {
        estimated: true,
        ..ending(script, 408, "timeout")
    };
    let table = [
        whole,
        malformed,
        cut("+tokens=20+truncate@8", "upstream_reset"),
        cut("+tokens=20+reset@8", "upstream_reset"),
        cut("+tokens=20+close@8", "upstream_reset"),
        cut("+tokens=20+close@mid8", "upstream_reset"),
        cut("+tokens=20+badchunk@8", "upstream_reset"),
        cut("+tokens=20+stall@8", "stall"),
        cut("+tokens=20+stall@mid8", "stall"),
        cut("+tokens=20+error@8", "provider_error"),
        ending("+malformed@0", 500, "upstream_failed"),
        ending("+error@0", 500, "upstream_failed"),
        ending("+error=429", 429, "upstream_failed"),
        ending("+status=500", 500, "upstream_failed"),
        ending("+reset@head", 500, "upstream_failed"),
        ending("+close@0", 500, "upstream_failed"),
        ending("+truncate@0", 500, "upstream_failed"),
        ending("+empty", 500, "upstream_failed"),
        timeout("+stall@head"),
        timeout("+stall@0"),
    ];
    let world = world(2).await;
    for api in Api::STREAMING {
        let key = narrow_key(&world.gateway).await;
        for (number, ending) in table.iter().enumerate() {
            check(&world, api, &key, ending, number, true).await;
        }
    }
}

#[tokio::test]
async fn every_ending_of_a_whole_answer_is_honest_billed_once_and_frees_what_it_held() {
    let whole = |script| Ending {
        billed: 5..=5,
        ..ending(script, 200, "complete")
    };
    let timeout = |script| Ending {
        estimated: true,
        ..ending(script, 408, "timeout")
    };
    let table = [
        whole(""),
        whole("+framing=chunked"),
        whole("+framing=close"),
        whole("+interim=100+interim=103"),
        ending("+reset@mid0", 500, "upstream_failed"),
        ending("+close@mid0", 500, "upstream_failed"),
        ending("+truncate@mid0+framing=chunked", 500, "upstream_failed"),
        ending("+truncate@mid0+framing=close", 500, "upstream_failed"),
        ending("+badchunk@mid0+framing=chunked", 500, "upstream_failed"),
        ending("+error=429", 429, "upstream_failed"),
        ending("+error=500", 500, "upstream_failed"),
        ending("+status=503", 503, "upstream_failed"),
        ending("+reset@head", 500, "upstream_failed"),
        ending("+close@head", 500, "upstream_failed"),
        ending("+empty", 500, "upstream_failed"),
        timeout("+stall@head"),
        timeout("+stall@mid0"),
    ];
    let world = world(2).await;
    for api in Api::STREAMING {
        let key = narrow_key(&world.gateway).await;
        for (number, ending) in table.iter().enumerate() {
            check(&world, api, &key, ending, number, false).await;
        }
    }
}

async fn check(world: &World, api: Api, key: &str, want: &Ending, number: usize, stream: bool) {
    let marker = format!("e{api:?}{number}{stream}");
    let case = format!("{api:?} stream={stream} {}", want.script);
    let request = api.ask_as(key, want.script, &marker, stream);
    let answer = world.send(&request).await;
    // Anthropic's error event is `overloaded_error`, which is its 529.
    let status = match (api, want.script) {
        (Api::Messages, "+error@0") => 529,
        _ => want.status,
    };
    assert_eq!(answer.status(), status, "{case}: {}", answer.text());
    assert_eq!(answer.end, BodyEnd::Complete, "{case}: {}", answer.text());
    match (want.status, stream) {
        (200, true) => told_in_stream(&case, api, &answer, want.broken),
        (200, false) => assert!(answer.json()["usage"].is_object(), "{case}"),
        _ => told_in_error(&case, api, &answer),
    }
    let row = world.row(&marker).await;
    let tokens = row["completion_tokens"].as_u64().unwrap();
    assert_eq!(meta(&row, "end_reason"), want.reason, "{case}: {row:#}");
    assert_eq!(meta(&row, "estimated"), want.estimated, "{case}: {row:#}");
    assert_eq!(meta(&row, "http_status"), status, "{case}: {row:#}");
    assert!(want.billed.contains(&tokens), "{case}: {row:#}");
    assert_eq!(world.provider.attempts(&marker).len(), 1, "{case}");
    if want.status != 200 && !want.estimated {
        assert_eq!(row["spend"], 0.0, "{case}");
    }
}

/// What ends a good stream.
pub(crate) fn terminal(api: Api) -> &'static str {
    match api {
        Api::Messages => "message_stop",
        Api::Responses => "response.completed",
        _ => "[DONE]",
    }
}

/// A stream has its end if it is good, and an error in its own words instead if it broke.
pub(crate) fn told_in_stream(case: &str, api: Api, answer: &Response, broken: bool) {
    let text = answer.text();
    assert_eq!(text.contains(terminal(api)), !broken, "{case}: {text}");
    if !broken {
        return;
    }
    let events = answer.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    match api {
        Api::Messages => {
            assert_eq!(last["type"], "error", "{case}: {text}");
            assert!(text.contains("event: error\n"), "{case}: {text}");
            assert!(last["error"]["message"].is_string(), "{case}: {text}");
        }
        Api::Responses => {
            let kind = last["type"].as_str().unwrap();
            let failed = kind == "response.failed" || kind == "error";
            assert!(failed, "{case}: {text}");
        }
        _ => assert!(last["error"]["message"].is_string(), "{case}: {text}"),
    }
}

/// An error has the caller's dialect.
pub(crate) fn told_in_error(case: &str, api: Api, answer: &Response) {
    let body = answer.json();
    assert!(body["error"]["message"].is_string(), "{case}: {body}");
    let is_anthropic = body["type"] == "error";
    assert_eq!(is_anthropic, api == Api::Messages, "{case}: {body}");
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Fin,
    Rst,
    H2Reset,
    H2Gone,
}

/// Where it leaves: script, and how many pieces it reads before (`None`: not even the head).
const BEFORE_HEAD: (&str, Option<usize>) = ("+head_ms=20000", None);
const BEFORE_CONTENT: (&str, Option<usize>) = ("+first_ms=20000", None);
const IN_STREAM: (&str, Option<usize>) = ("+tokens=60+chunk_ms=250", Some(2));
const IN_BODY: (&str, Option<usize>) = ("+every=20+chunk_ms=1000", None);

async fn leave(world: &World, request: &Request, marker: &str, how: Leave, pieces: Option<usize>) {
    use meridian_testkit::h2client::H2;
    use meridian_testkit::raw::Conn;
    let sent = |rows: &[meridian_testkit::provider::Row]| {
        rows.iter().any(|row| row.marker.as_deref() == Some(marker))
    };
    match how {
        Leave::Fin | Leave::Rst => {
            let mut conn = Conn::open(world.gateway.addr()).await;
            conn.send(&request.bytes()).await.unwrap();
            world.provider.wait(SOON, sent).await;
            if let Some(pieces) = pieces {
                conn.head().await.unwrap();
                for _ in 0..pieces {
                    conn.piece().await.unwrap();
                }
            }
            match how {
                Leave::Rst => conn.reset(),
                _ => drop(conn),
            }
        }
        Leave::H2Reset | Leave::H2Gone => {
            let mut h2 = H2::open(world.gateway.addr()).await;
            let mut stream = h2.start(request).await;
            world.provider.wait(SOON, sent).await;
            let mut body = None;
            if let Some(pieces) = pieces {
                let (_, mut held) = stream.head().await.unwrap();
                for _ in 0..pieces {
                    held.data().await.unwrap().unwrap();
                }
                body = Some(held);
            }
            match how {
                Leave::H2Reset => stream.reset(h2::Reason::CANCEL),
                _ => drop(h2),
            }
            drop(body);
        }
    }
}

async fn gone(world: &World, key: &str, api: Api, stream: bool, how: Leave, number: usize) {
    let places = match (stream, api) {
        (true, _) => vec![BEFORE_HEAD, BEFORE_CONTENT, IN_STREAM],
        (false, Api::Embeddings) => vec![BEFORE_HEAD, BEFORE_CONTENT],
        (false, _) => vec![BEFORE_HEAD, BEFORE_CONTENT, IN_BODY],
    };
    for (place, (script, pieces)) in places.into_iter().enumerate() {
        let marker = format!("g{number}p{place}");
        let case = format!("{api:?} stream={stream} {how:?} {script}");
        let request = api.ask_as(key, script, &marker, stream);
        leave(world, &request, &marker, how, pieces).await;
        let left = meridian_testkit::deadline::now();
        let row = eventually(SOON, &format!("the cancel of {case}"), || {
            let row = world.provider.attempts(&marker).pop()?;
            row.cancelled().then_some(row)
        })
        .await;
        let late = row.ended.unwrap().saturating_duration_since(left);
        assert!(late.as_millis() <= 1_000, "{case}: noticed after {late:?}");
        let billed = world.row(&marker).await;
        let reason = match pieces {
            Some(_) => "client_gone_mid_stream",
            None => "client_gone_before_first_byte",
        };
        assert_eq!(meta(&billed, "end_reason"), reason, "{case}: {billed:#}");
        assert_eq!(meta(&billed, "estimated"), true, "{case}: {billed:#}");
        let status = if pieces.is_some() { 200 } else { 499 };
        assert_eq!(meta(&billed, "http_status"), status, "{case}: {billed:#}");
        assert!(billed["prompt_tokens"].as_u64().unwrap() > 0, "{case}");
        assert_eq!(world.provider.attempts(&marker).len(), 1, "{case}");
        // The permit and the reservation are free: the key has room for one.
        let next = api.ask_as(key, "", &format!("{marker}n"), stream);
        let answer = world.send(&next).await;
        assert_eq!(answer.status(), 200, "{case}: {}", answer.text());
    }
}

async fn all_gone(how: Leave) {
    let world = world(30).await;
    let cases = [
        (Api::Chat, true),
        (Api::Chat, false),
        (Api::Responses, true),
        (Api::Responses, false),
        (Api::Messages, true),
        (Api::Messages, false),
        (Api::Embeddings, false),
    ];
    for (number, (api, stream)) in cases.into_iter().enumerate() {
        let fields = json!({"max_parallel_requests": 1, "max_budget": 0.03});
        let key = world.gateway.key(&fields).await;
        gone(&world, &key, api, stream, how, number).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_cancels_upstream_within_a_second() {
    all_gone(Leave::Fin).await;
}

#[tokio::test]
async fn a_client_that_resets_cancels_upstream_within_a_second() {
    all_gone(Leave::Rst).await;
}

#[tokio::test]
async fn an_h2_stream_that_is_reset_cancels_upstream_within_a_second() {
    all_gone(Leave::H2Reset).await;
}

#[tokio::test]
async fn an_h2_connection_that_ends_cancels_upstream_within_a_second() {
    all_gone(Leave::H2Gone).await;
}

#[tokio::test]
async fn a_left_stream_is_read_to_its_end_where_that_is_asked_for() {
    let world = World::new("response_on_disconnect: drain").await;
    for api in Api::STREAMING {
        let marker = format!("drain{api:?}");
        let request = api.ask("+tokens=20+chunk_ms=30", &marker, true);
        leave(&world, &request, &marker, Leave::Fin, Some(2)).await;
        let row = world.row(&marker).await;
        assert_eq!(
            meta(&row, "end_reason"),
            "client_gone_mid_stream",
            "{row:#}"
        );
        assert_eq!(meta(&row, "estimated"), false, "{row:#}");
        assert_eq!(row["completion_tokens"], 20, "{row:#}");
    }
}

#[tokio::test]
async fn a_recorded_quota_error_inside_a_stream_is_answered_as_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let recorded =
        crate::world::fixtures().join("openai/vercel_responses_stream_error.chunks.ndjson");
    let chunks = std::fs::read_to_string(recorded).unwrap();
    let framed: String = chunks
        .lines()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    std::fs::write(directory.path().join("quota.sse"), framed).unwrap();
    let world = World::replaying(directory.path().to_owned()).await;
    let request = Api::Responses.ask("+replay=quota.sse", "quota", true);
    let request = request.field("x-litellm-num-retries", "0");
    let answer = world.send(&request).await;
    assert_eq!(answer.status(), 429, "{}", answer.text());
    assert!(answer.text().contains("quota"), "{}", answer.text());
    let row = world.row("quota").await;
    assert_eq!(meta(&row, "end_reason"), "upstream_failed");
    assert_eq!(row["spend"], 0.0);
}

/// A provider that does not answer, or refuses, and then answers.
fn after(first: Script) -> [Script; 2] {
    [first, Script::default()]
}

fn silent() -> Script {
    let fault = Fault {
        act: Act::Stall,
        at: Point::Head,
    };
    Script {
        fault: Some(fault),
        ..Script::default()
    }
}

#[tokio::test]
async fn attempts_that_were_not_answered_in_time_are_on_the_bill_of_the_one_that_was() {
    let router = "num_retries: 2\ntimeout: 2\nstream_timeout: 2";
    let world = World::with("", |config| config.router(router)).await;
    for (api, stream) in [(Api::Chat, false), (Api::Chat, true), (Api::Messages, true)] {
        let marker = format!("late{api:?}{stream}");
        let model = format!("late-{api:?}-{stream}").to_lowercase();
        world
            .provider
            .script(&format!("fake-{model}"), after(silent()));
        let named = api.model("").replace("-m", &format!("-{model}"));
        let body = api.body(&named, &marker, stream);
        let request = Request::post(api.path(), &body).bearer(MASTER_KEY);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let row = world.row(&marker).await;
        assert_eq!(world.provider.attempts(&marker).len(), 2, "{row:#}");
        assert_eq!(meta(&row, "end_reason"), "complete", "{row:#}");
        assert_eq!(meta(&row, "estimated"), true, "{row:#}");
        assert_eq!(row["completion_tokens"], 5, "{row:#}");
        let lost = estimate_tokens(&request.body);
        let prompt = row["prompt_tokens"].as_u64().unwrap();
        // Dollars per million: 1 for input, 2 for output.
        let nano = (lost + prompt) * 1_000 + 5 * 2_000;
        assert_eq!(meta(&row, "cost_nano_usd"), nano, "{row:#}");
    }
}

#[tokio::test]
async fn every_attempt_that_was_not_answered_in_time_is_billed_and_no_refused_one() {
    let router = "num_retries: 2\ntimeout: 2";
    let world = World::with("", |config| config.router(router)).await;
    let refusing = Script {
        status: 500,
        ..Script::default()
    };
    let cases = [
        ("none", [silent(), silent(), silent()], 408, 3),
        ("some", [silent(), refusing.clone(), silent()], 408, 2),
        ("last", [silent(), refusing.clone(), refusing], 500, 1),
    ];
    for (name, scripts, status, billed) in cases {
        world.provider.script(&format!("fake-{name}"), scripts);
        let body = Api::Chat.body(&format!("fake-{name}"), name, false);
        let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), status, "{name}: {}", answer.text());
        let row = world.row(name).await;
        assert_eq!(world.provider.attempts(name).len(), 3, "{name}: {row:#}");
        assert_eq!(meta(&row, "estimated"), true, "{name}: {row:#}");
        let nano = billed * estimate_tokens(&request.body) * 1_000;
        assert_eq!(meta(&row, "cost_nano_usd"), nano, "{name}: {row:#}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_after_a_refused_attempt_pays_nothing() {
    let world = World::with("", |config| config.router("num_retries: 1")).await;
    let refusing = Script {
        status: 500,
        retry_after: Some("8".to_owned()),
        ..Script::default()
    };
    world.provider.script("fake-pause", after(refusing));
    let body = Api::Chat.body("fake-pause", "pause", false);
    let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
    let mut conn = meridian_testkit::raw::Conn::open(world.gateway.addr()).await;
    conn.send(&request.bytes()).await.unwrap();
    let refused = || world.gateway.log().contains("attempt failed").then_some(());
    eventually(SOON, "the refusal", refused).await;
    drop(conn);
    let row = world.row("pause").await;
    assert_eq!(meta(&row, "end_reason"), "client_gone_before_first_byte");
    assert_eq!(row["spend"], 0.0, "{row:#}");
    assert_eq!(meta(&row, "estimated"), false, "{row:#}");
}
