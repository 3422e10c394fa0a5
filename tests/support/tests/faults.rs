//! Every fault of the fake provider really happens on the wire (HTTP/1.1).

use std::net::TcpStream;
use std::time::Duration;

use meridian_testkit::deadline::{SOON, now};
use meridian_testkit::provider::{
    Early, End, Framing, Kind, Mode, Provider, Row, Script, UPSTREAM_KEY,
};
use meridian_testkit::raw::{BodyEnd, Conn, Request, Response};
use serde_json::json;

fn chat(model: &str, stream: bool) -> Request {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": model, "messages": messages, "stream": stream});
    Request::post("/v1/chat/completions", &body).bearer(UPSTREAM_KEY)
}

async fn stream(provider: &Provider, model: &str) -> Response {
    chat(model, true).send(provider.addr()).await
}

#[tokio::test]
async fn refused_reset_and_hung_connections() {
    let provider = Provider::start();
    provider.mode(Mode::Refuse);
    let refused = TcpStream::connect(provider.addr()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    provider.mode(Mode::Reset);
    // The reset may come while the client is still connecting.
    if let Ok(mut conn) = Conn::try_open(provider.addr()).await {
        assert_eq!(conn.head().await.unwrap_err(), BodyEnd::Reset);
    }

    provider.mode(Mode::Hang);
    let mut conn = Conn::open(provider.addr()).await;
    conn.patience = Duration::from_millis(100);
    conn.send(&chat("fake", false).bytes()).await.unwrap();
    assert_eq!(conn.head().await.unwrap_err(), BodyEnd::TimedOut);

    provider.mode(Mode::Serve);
    assert_eq!(
        chat("fake", false).send(provider.addr()).await.status(),
        200
    );
}

#[tokio::test]
async fn a_stream_ends_as_scripted() {
    let provider = Provider::start();
    let healthy = stream(&provider, "fake").await;
    assert_eq!(healthy.end, BodyEnd::Complete);
    let all = healthy.events();
    assert_eq!(all.last().unwrap(), "[DONE]");

    for (model, end, events, meter) in [
        ("fake+reset@3", BodyEnd::Reset, 3, End::Faulted),
        ("fake+close@3", BodyEnd::CutOff, 3, End::Faulted),
        ("fake+close@end", BodyEnd::CutOff, all.len(), End::Faulted),
        ("fake+truncate@3", BodyEnd::Complete, 3, End::Complete),
        ("fake+badchunk@2", BodyEnd::Garbage, 2, End::Faulted),
        ("fake+error@3", BodyEnd::Complete, 4, End::Complete),
        (
            "fake+malformed@2",
            BodyEnd::Complete,
            all.len() + 1,
            End::Complete,
        ),
        (
            "fake+close@after",
            BodyEnd::Complete,
            all.len(),
            End::Faulted,
        ),
        ("fake+empty", BodyEnd::Complete, 0, End::Complete),
    ] {
        let answer = stream(&provider, model).await;
        assert_eq!((answer.status(), answer.end), (200, end), "{model}");
        assert_eq!(answer.events().len(), events, "{model}: {}", answer.text());
        let rows = provider.settled().await;
        assert_eq!(rows.last().unwrap().end, meter, "{model}");
    }
    let cut = stream(&provider, "fake+error@3").await.events();
    assert!(cut[3].contains("\"error\""), "{cut:?}");
}

#[tokio::test]
async fn a_fault_in_the_middle_of_an_event_leaves_half_of_it() {
    let provider = Provider::start();
    let mut conn = Conn::open(provider.addr()).await;
    conn.send(&chat("fake+close@mid2", true).bytes())
        .await
        .unwrap();
    let answer = conn.response().await;
    assert_eq!((answer.events().len(), answer.end), (2, BodyEnd::CutOff));
    let half = String::from_utf8_lossy(conn.unread()).into_owned();
    assert!(
        half.contains("data: {\"id\"") && !half.contains("finish_reason"),
        "{half}"
    );
    assert_eq!(provider.settled().await[0].sent_tokens, 1);
}

#[tokio::test]
async fn before_the_head_nothing_is_sent() {
    let provider = Provider::start();
    for (model, end) in [
        ("fake+reset@head", BodyEnd::Reset),
        ("fake+close@head", BodyEnd::CutOff),
        ("fake+stall@head", BodyEnd::TimedOut),
    ] {
        let mut conn = Conn::open(provider.addr()).await;
        conn.patience = Duration::from_millis(200);
        conn.send(&chat(model, true).bytes()).await.unwrap();
        assert_eq!(conn.head().await.unwrap_err(), end, "{model}");
    }
}

#[tokio::test]
async fn stalls_stop_where_they_should_and_notice_the_client_leaving() {
    let provider = Provider::start();
    for (model, pieces, reset, seen) in [
        ("fake+stall@head", None, false, End::ClientClosed),
        ("fake+stall@0", Some(0), true, End::ClientReset),
        ("fake+stall@3", Some(3), false, End::ClientClosed),
        ("fake+stall@mid3", Some(3), true, End::ClientReset),
    ] {
        let mut conn = Conn::open(provider.addr()).await;
        conn.patience = Duration::from_millis(100);
        conn.send(&chat(model, true).bytes()).await.unwrap();
        if let Some(pieces) = pieces {
            let head = conn.head().await.unwrap();
            let answer = conn.rest_of(head).await;
            assert_eq!(answer.end, BodyEnd::TimedOut, "{model}");
            assert_eq!(answer.events().len(), pieces, "{model}");
        }
        let left = now();
        if reset {
            conn.reset()
        } else {
            drop(conn)
        }
        let rows = provider
            .wait(SOON, |rows| rows.last().is_some_and(Row::cancelled))
            .await;
        let row = rows.last().unwrap();
        assert_eq!(row.end, seen, "{model}");
        let late = row.ended.unwrap().saturating_duration_since(left);
        assert!(
            late < Duration::from_secs(1),
            "{model}: noticed after {late:?}"
        );
    }
    assert_eq!(provider.meter().totals().cancels, 4);
}

#[tokio::test]
async fn a_drip_arrives_as_a_drip() {
    let provider = Provider::start();
    let answer = stream(&provider, "fake+tokens=4+chunk_ms=40+first_ms=80").await;
    let times: Vec<_> = answer.pieces.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 7);
    for pair in times.windows(2) {
        let gap = pair[1].duration_since(pair[0]);
        assert!(gap >= Duration::from_millis(30), "{gap:?}");
    }
}

#[tokio::test]
async fn odd_answers() {
    let provider = Provider::start();
    let huge = stream(&provider, "fake+huge=1200000+tokens=1").await;
    assert!(huge.events().iter().any(|event| event.len() > 1_200_000));

    let json = stream(&provider, "fake+kind=json").await;
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(json.json()["object"], "chat.completion");

    let sse = chat("fake+kind=sse", false).send(provider.addr()).await;
    assert!(
        sse.header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    assert_eq!(sse.events().last().unwrap(), "[DONE]");

    let failed = stream(&provider, "fake+error=429").await;
    assert_eq!(failed.status(), 200);
    assert_eq!(failed.json()["error"]["code"], "rate_limit_exceeded");

    let zipped = stream(&provider, "fake+gzip").await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.body[..2], [0x1f, 0x8b]);

    let model = "fake+header=x-a:b+header=set-cookie:c+status=503+retry_after=7";
    let headers = chat(model, false).send(provider.addr()).await;
    assert_eq!((headers.status(), headers.header("x-a")), (503, Some("b")));
    assert_eq!(headers.header("retry-after"), Some("7"));
}

#[tokio::test]
async fn framings_interim_heads_and_trailers() {
    let provider = Provider::start();
    for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
        for stream in [false, true] {
            let script = Script {
                framing: Some(framing),
                ..Script::default()
            };
            provider.script("m", [script]);
            let answer = chat("m", stream).send(provider.addr()).await;
            assert_eq!(answer.end, BodyEnd::Complete, "{framing:?}");
            let chunked = answer.header("transfer-encoding").is_some();
            assert_eq!(chunked, framing == Framing::Chunked);
            let length = answer.header("content-length").is_some();
            assert_eq!(length, framing == Framing::Length);
            assert!(answer.text().contains("chatcmpl-fake"));
        }
    }
    let model = "fake+interim=100+interim=103+trailer=x-t:1";
    let answer = stream(&provider, model).await;
    assert_eq!(answer.head.interim, [100, 103]);
    assert_eq!(answer.trailers, [("x-t".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn every_error_status_has_its_body() {
    let provider = Provider::start();
    for status in [400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529] {
        let model = format!("fake+status={status}+retry_after_ms=1500");
        let answer = chat(&model, true).send(provider.addr()).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.header("retry-after-ms"), Some("1500"));
        assert!(answer.json()["error"]["message"].is_string());
        let body = json!({"model": model, "max_tokens": 5, "messages": []});
        let request = Request::post("/v1/messages", &body).anthropic(UPSTREAM_KEY);
        let answer = request.send(provider.addr()).await;
        assert_eq!(
            (answer.status(), &answer.json()["type"]),
            (status, &json!("error"))
        );
    }
}

#[tokio::test]
async fn answers_before_the_body_is_read() {
    let provider = Provider::start();
    let early = |early| Script {
        early,
        ..Script::status(413)
    };
    let body = vec![b' '; 4 << 20];
    let request = Request::post_bytes("/v1/chat/completions", body).bearer(UPSTREAM_KEY);

    provider.script("*", [early(Early::Answer)]);
    let mut conn = Conn::open(provider.addr()).await;
    conn.send(&request.head_bytes()).await.unwrap();
    assert_eq!(conn.response().await.status(), 413);

    provider.script("*", [early(Early::AnswerThenRead)]);
    let mut conn = Conn::open(provider.addr()).await;
    for _ in 0..2 {
        assert_eq!(conn.exchange(&request).await.status(), 413);
    }

    provider.script("*", [early(Early::NeverRead)]);
    let mut conn = Conn::open(provider.addr()).await;
    let mut flood = request.head_bytes();
    flood.resize(64 << 20, b' ');
    let sent = conn.send(&flood);
    let sent = tokio::time::timeout(Duration::from_millis(300), sent).await;
    assert!(
        sent.is_err(),
        "a provider that never reads must let the sender block"
    );
}

#[tokio::test]
async fn scripts_come_in_order_and_the_last_one_stays() {
    let provider = Provider::start();
    provider.script(
        "m",
        [
            Script::status(500),
            Script::fault("reset@head"),
            Script::default(),
        ],
    );
    assert_eq!(chat("m", false).send(provider.addr()).await.status(), 500);
    let mut conn = Conn::open(provider.addr()).await;
    conn.send(&chat("m", false).bytes()).await.unwrap();
    assert_eq!(conn.head().await.unwrap_err(), BodyEnd::Reset);
    for _ in 0..2 {
        assert_eq!(chat("m", false).send(provider.addr()).await.status(), 200);
    }
    let typo = chat("fake+tokns=4", false).send(provider.addr()).await;
    assert_eq!(typo.status(), 400);
    provider.script(
        "m",
        [Script {
            kind: Kind::Empty,
            ..Script::default()
        }],
    );
    assert_eq!(chat("m", false).send(provider.addr()).await.text(), "");
}
