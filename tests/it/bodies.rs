//! Request bodies of any size and framing arrive whole or are refused so that the client can
//! read why; slow and greedy clients are bounded.

use std::time::Duration;

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::{SOON, eventually, insist, now};
use meridian_testkit::h2client::{H2, H2End};
use meridian_testkit::provider::{Options, Provider, Row};
use meridian_testkit::raw::{BodyEnd, Conn, Request};

use crate::world::{Api, World, binary, meta, standard, with_section};

const MIB: usize = 1 << 20;

/// A chat request whose body has exactly `size` bytes, odd spacing included.
fn sized(size: usize, model: &str) -> Request {
    let start = format!("{{ \"model\" :\t\"{model}\", \"zz\":1.50,\"pad\":\"");
    let end = "\",\"messages\":[{\"role\":\"user\",\"content\":\"\u{e9}\"}] }\n";
    let pad = "x".repeat(size - start.len() - end.len());
    let body = [&start, pad.as_str(), end].concat();
    Request::post_bytes("/v1/chat/completions", body).bearer(MASTER_KEY)
}

/// What the provider must have got: the model's name replaced, nothing else touched.
fn expected(request: &Request, model: &str, upstream: &str) -> Vec<u8> {
    let text = String::from_utf8(request.body.clone()).unwrap();
    text.replacen(&format!("\"{model}\""), &format!("\"{upstream}\""), 1)
        .into_bytes()
}

/// The sizes that the issue names, around every buffer boundary.
const SIZES: [usize; 9] = [
    200,
    4_096,
    64 * 1024 - 1,
    64 * 1024,
    64 * 1024 + 1,
    256 * 1024 + 1,
    MIB,
    5 * MIB,
    32 * MIB,
];

async fn bodies_arrive(provider: Provider) {
    let url = format!("{}/v1", provider.url());
    let ca = provider.ca_pem().map(str::to_owned);
    let directory = tempfile::tempdir().unwrap();
    let mut section = String::new();
    if let Some(pem) = &ca {
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        section = format!("upstream_ca_file: {}", file.display());
    }
    let config = standard(&provider).model("renamed", "openai/fake-upstream", &url, "");
    let world = World::over(provider, config, &section).await;
    let mut h2 = H2::open(world.gateway.addr()).await;
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.patience = Duration::from_secs(60);
    for size in SIZES {
        for chunked in [None, Some(16 * 1024 + 7)] {
            let mut request = sized(size, "renamed");
            request.chunked = chunked;
            assert_eq!(request.body.len(), size);
            let answer = conn.exchange(&request).await;
            assert_eq!(answer.status(), 200, "{size}: {}", answer.text());
            let seen = world.provider.last();
            assert_eq!(seen.h2, ca.is_some());
            let same = seen.request.unwrap().body == expected(&request, "renamed", "fake-upstream");
            assert!(same, "{size} chunked={chunked:?}");
        }
        let request = sized(size, "renamed");
        let answer = h2.exchange(&request).await;
        assert_eq!(
            (answer.status, answer.end),
            (200, H2End::Complete),
            "{size}"
        );
        let seen = world.provider.last_request().body;
        assert!(
            seen == expected(&request, "renamed", "fake-upstream"),
            "{size} h2"
        );
    }
    assert_eq!(
        world.provider.meter().totals().requests,
        SIZES.len() as u64 * 3
    );
}

#[tokio::test]
async fn bodies_arrive_to_the_byte_over_h1_upstream() {
    bodies_arrive(Provider::start()).await;
}

#[tokio::test]
async fn bodies_arrive_to_the_byte_over_h2_upstream() {
    bodies_arrive(Provider::start_tls()).await;
}

#[tokio::test]
async fn bodies_too_small_to_be_requests_are_answered() {
    let world = World::new("").await;
    for body in ["", "{", "1", "{}", "[]", "\u{feff}{}"] {
        let request = Request::post_bytes("/v1/chat/completions", body).bearer(MASTER_KEY);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 400, "{body:?}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{body:?}");
    }
    assert_eq!(world.provider.meter().totals().requests, 0);
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body() {
    let world = World::new("").await;
    let request = sized(70_000, "fake-m").field("expect", "100-continue");
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(&request.head_bytes()).await.unwrap();
    // It comes although not a byte of the body was sent, and once.
    assert_eq!(conn.any_head().await.unwrap().status, 100);
    conn.send(&request.body).await.unwrap();
    let answer = conn.response().await;
    assert_eq!((answer.status(), answer.head.interim.len()), (200, 0));

    let large = sized(200, "fake-m").field("expect", "100-continue");
    let large = large.field("content-length", "99999999");
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(&large.head_bytes()).await.unwrap();
    let refused = conn.response().await;
    assert_eq!((refused.status(), refused.head.interim.len()), (413, 0));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_readably() {
    let world = World::new("body_bytes_max: 2097152").await;
    for (path, anthropic) in [("/v1/chat/completions", false), ("/v1/messages", true)] {
        for size in [2 * MIB + 1, 12 * MIB] {
            for chunked in [None, Some(60_000)] {
                let mut request = sized(size, "fake-m");
                request.target = path.to_owned();
                request.chunked = chunked;
                let case = format!("{path} {size} {chunked:?}");
                // Like most clients: all of the body first, then the answer.
                let mut conn = Conn::open(world.gateway.addr()).await;
                conn.send(&request.bytes()).await.expect(&case);
                let answer = conn.response().await;
                assert_eq!(answer.status(), 413, "{case}: {}", answer.text());
                assert_eq!(answer.end, BodyEnd::Complete, "{case}");
                let is_anthropic = answer.json()["type"] == "error";
                assert_eq!(is_anthropic, anthropic, "{case}");
            }
            let mut h2 = H2::open(world.gateway.addr()).await;
            let mut request = sized(size, "fake-m");
            request.target = path.to_owned();
            let answer = h2.exchange(&request).await;
            assert_eq!(
                (answer.status, answer.end),
                (413, H2End::Complete),
                "h2 {size}"
            );
        }
    }
    assert_eq!(world.provider.meter().totals().requests, 0);
}

#[tokio::test]
async fn buffered_bytes_are_capped_over_all_requests() {
    let world = World::new("body_bytes_max: 2500000\nbuffered_bytes_max: 2600000").await;
    let request = sized(2 * MIB, "fake-m");
    let mut first = Conn::open(world.gateway.addr()).await;
    first.send(&request.bytes()[..MIB]).await.unwrap();
    held(&world, 900_000).await;
    let refused = world.send(&request).await;
    assert_eq!(refused.status(), 503, "{}", refused.text());
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..60).contains(&after));
    first.send(&request.bytes()[MIB..]).await.unwrap();
    assert_eq!(first.response().await.status(), 200);
    assert_eq!(world.send(&request).await.status(), 200);
}

/// Waits until the gateway holds this many bytes of requests.
async fn held(world: &World, bytes: u64) {
    insist(SOON, async || {
        let now = world.gateway.metric("meridian_buffered_bytes", "").await;
        match now >= bytes as f64 {
            true => Ok(()),
            false => Err(format!("{now} of {bytes} bytes")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_stalled_upload_is_answered_408_in_time() {
    let world = World::new("body_timeout_s: 1").await;
    let request = sized(50_000, "fake-m");
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(&request.bytes()[..10_000]).await.unwrap();
    let sent = now();
    let answer = conn.response().await;
    assert_eq!(answer.status(), 408, "{}", answer.text());
    assert!(
        sent.elapsed() < Duration::from_secs(4),
        "{:?}",
        sent.elapsed()
    );
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let world = World::new("body_timeout_s: 1\ndownstream_idle_s: 1").await;
    let mut conn = Conn::open(world.gateway.addr()).await;
    let started = now();
    let endless = vec![b'a'; 200];
    conn.send(b"POST /v1/chat/completions HTTP/1.1\r\nx-")
        .await
        .unwrap();
    // Each byte comes well before any timeout of a single read.
    let dripped = conn
        .send_slowly(&endless, 1, Duration::from_millis(200))
        .await;
    assert!(dripped.is_err(), "200 bytes were taken one by one");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_slow_reader_is_bounded_in_memory_and_time() {
    let provider = Provider::start_with(Options::default()).unwrap();
    let config = with_section(standard(&provider), "write_timeout_s: 2");
    let gateway = meridian_testkit::gateway::Setup::new(binary(), &config)
        .start()
        .await;
    let world = World { provider, gateway };
    // 200 events of 1 MiB, which nobody reads.
    let request = Api::Chat.ask("+tokens=200+huge=1048576", "slow", true);
    let before = world.gateway.rss_kib();
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(&request.bytes()).await.unwrap();
    conn.head().await.unwrap();
    let mut most = 0;
    let row = eventually(SOON * 2, "the end of a stream that nobody reads", || {
        most = most.max(world.gateway.rss_kib());
        let row = world.provider.attempts("slow").pop()?;
        row.cancelled().then_some(row)
    })
    .await;
    assert!(
        row.sent_bytes < 60 * MIB,
        "{} bytes were taken",
        row.sent_bytes
    );
    let grown = most.saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB for one slow reader");
    let billed = world.row("slow").await;
    assert_eq!(meta(&billed, "end_reason"), "client_gone_mid_stream");
    drop(conn);
}

#[tokio::test]
async fn connections_are_reused_and_requests_may_be_pipelined() {
    let world = World::new("").await;
    let mut conn = Conn::open(world.gateway.addr()).await;
    for round in 0..6 {
        let request = Api::Chat.ask("", "keep", round % 2 == 0);
        let answer = conn.exchange(&request).await;
        assert_eq!(
            (answer.status(), answer.end),
            (200, BodyEnd::Complete),
            "{round}"
        );
    }
    // Upstream connections are reused as well.
    let all_six = |rows: &[Row]| rows.len() == 6;
    let rows = world.provider.wait(SOON, all_six).await;
    let first = rows[0].connection;
    assert!(rows.iter().all(|row| row.connection == first), "{rows:#?}");

    let mut all = Vec::new();
    for (tokens, stream) in [(1, false), (2, true), (3, false), (4, true)] {
        let request = Api::Chat.ask(&format!("+tokens={tokens}"), "pipe", stream);
        all.extend_from_slice(&request.bytes());
    }
    conn.send(&all).await.unwrap();
    for (tokens, stream) in [(1, false), (2, true), (3, false), (4, true)] {
        let answer = conn.response().await;
        assert_eq!((answer.status(), answer.end), (200, BodyEnd::Complete));
        match stream {
            true => assert!(answer.events().len() > tokens),
            false => assert_eq!(answer.json()["usage"]["completion_tokens"], tokens),
        }
    }
    let close = Api::Chat
        .ask("", "close", false)
        .field("connection", "close");
    let answer = conn.exchange(&close).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(conn.head().await.unwrap_err(), BodyEnd::CutOff);
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_ended() {
    let world = World::new("").await;
    let body = Api::Chat.body("fake-m", "smuggled", false).to_string();
    let smuggled = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {MASTER_KEY}\r\n\
         content-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(smuggled.as_bytes()).await.unwrap();
    let answer = conn.response().await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(conn.head().await.is_err(), "the connection goes on");

    let two_lengths = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {MASTER_KEY}\r\n\
         content-length: 5\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(two_lengths.as_bytes()).await.unwrap();
    if let Ok(head) = conn.head().await {
        assert_eq!(head.status, 400);
    }
    assert_eq!(world.provider.meter().totals().requests, 0);
}

#[tokio::test]
async fn half_requests_leave_nothing_behind() {
    let world = World::new("").await;
    let request = sized(100_000, "fake-m");
    let bytes = request.bytes();
    for cut in [1, 20, request.head_bytes().len(), 50_000, bytes.len() - 1] {
        for reset in [false, true] {
            let mut conn = Conn::open(world.gateway.addr()).await;
            conn.send(&bytes[..cut]).await.unwrap();
            match reset {
                true => conn.reset(),
                false => drop(conn),
            }
        }
    }
    assert_eq!(world.send(&request).await.status(), 200);
    assert_eq!(world.provider.meter().totals().requests, 1);
}

#[tokio::test]
async fn probes_of_the_root_are_answered() {
    let world = World::new("").await;
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let head = conn.head().await.unwrap();
    assert_eq!(head.status, 200);
    // No body may follow: the next request is answered on the same connection.
    conn.send(b"GET /health/liveliness HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(conn.response().await.status(), 200);
}

#[tokio::test]
async fn an_h2_stream_that_nobody_reads_is_ended() {
    let world = World::new("write_timeout_s: 2").await;
    let request = Api::Chat.ask("+tokens=200+huge=1048576", "slow2", true);
    let mut h2 = H2::open(world.gateway.addr()).await;
    let mut stream = h2.start(&request).await;
    let body = stream.head().await.unwrap();
    let row = eventually(SOON * 2, "the end of a stream that nobody reads", || {
        let row = world.provider.attempts("slow2").pop()?;
        row.cancelled().then_some(row)
    })
    .await;
    assert!(
        row.sent_bytes < 60 * MIB,
        "{} bytes were taken",
        row.sent_bytes
    );
    let billed = world.row("slow2").await;
    assert_eq!(meta(&billed, "end_reason"), "client_gone_mid_stream");
    drop((body, stream, h2));
}

#[tokio::test]
async fn answers_of_any_size_arrive_whole_and_are_billed_by_their_usage() {
    let world = World::new("").await;
    for (number, size) in [100, 64 * 1024, MIB, 9 * MIB, 20 * MIB]
        .into_iter()
        .enumerate()
    {
        for framing in ["length", "chunked"] {
            let marker = format!("big{number}{framing}");
            let script = format!("+huge={size}+framing={framing}");
            let answer = world.send(&Api::Chat.ask(&script, &marker, false)).await;
            assert_eq!((answer.status(), answer.end), (200, BodyEnd::Complete));
            let json = answer.json();
            let text = json["choices"][0]["message"]["content"].as_str().unwrap();
            assert!(text.len() >= size, "{size}: {}", text.len());
            let row = world.row(&marker).await;
            assert_eq!(row["completion_tokens"], 5, "{size} {framing}: {row:#}");
            assert_eq!(meta(&row, "estimated"), false, "{size} {framing}");
        }
    }
}
