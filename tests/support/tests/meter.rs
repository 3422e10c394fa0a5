//! What the provider records and counts is what was on the wire.

use meridian_testkit::provider::{End, Options, Provider, Script, UPSTREAM_KEY};
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use serde_json::json;

fn chat(model: &str, user: &str) -> Request {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": model, "messages": messages, "stream": true, "user": user});
    Request::post("/v1/chat/completions", &body).bearer(UPSTREAM_KEY)
}

#[tokio::test]
async fn requests_are_recorded_to_the_byte() {
    let provider = Provider::start();
    let body = r#"{ "model" : "fake" ,"messages":[], "odd": 1.50, "ü": "\u00fc" }"#;
    let plain = Request::post_bytes("/v1/chat/completions?a=b", body)
        .bearer(UPSTREAM_KEY)
        .field("X-Odd-Case", "  v ");
    plain.send(provider.addr()).await;
    let seen = provider.last_request();
    assert_eq!(seen.head, plain.head_bytes());
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(seen.header("x-odd-case").as_deref(), Some("v"));

    for size in [1, 7, 4096] {
        let chunked = plain.clone().chunks_of(size);
        assert_eq!(chunked.send(provider.addr()).await.status(), 200);
        assert_eq!(provider.last_request().body, body.as_bytes());
    }
    let mut conn = Conn::open(provider.addr()).await;
    conn.send_slowly(&plain.bytes(), 9, std::time::Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(conn.response().await.status(), 200);
}

#[tokio::test]
async fn large_bodies_are_recorded_whole() {
    let provider = Provider::start();
    let padding = "x".repeat(32 << 20);
    let body = json!({"model": "fake", "messages": [{"role": "user", "content": padding}]});
    for chunks in [None, Some(1 << 20)] {
        let mut request = Request::post("/v1/chat/completions", &body).bearer(UPSTREAM_KEY);
        request.chunked = chunks;
        assert_eq!(request.send(provider.addr()).await.status(), 200);
        assert!(provider.last_request().body == request.body);
    }
}

#[tokio::test]
async fn tokens_are_counted_by_marker() {
    let provider = Provider::start();
    chat("fake+tokens=7+prompt=11", "a")
        .send(provider.addr())
        .await;
    chat("fake+tokens=7+prompt=11+close@4", "a")
        .send(provider.addr())
        .await;
    chat("fake+status=500", "b").send(provider.addr()).await;
    provider.settled().await;
    let rows = provider.attempts("a");
    let counted: Vec<_> = rows.iter().map(|row| (row.sent_tokens, row.end)).collect();
    assert_eq!(counted, [(7, End::Complete), (3, End::Faulted)]);
    assert_eq!((rows[0].usage.prompt, rows[0].usage.completion), (11, 7));
    let totals = provider.meter().totals();
    assert_eq!(
        (totals.requests, totals.complete, totals.cancels),
        (3, 2, 0)
    );
    assert_eq!((totals.prompt_tokens, totals.completion_tokens), (22, 7));
    assert_eq!(totals.sent_tokens, 10);
    assert_eq!(provider.attempts("b")[0].status, 500);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_with_how_far_it_got() {
    let provider = Provider::start();
    let mut conn = Conn::open(provider.addr()).await;
    conn.send(&chat("fake+tokens=50+chunk_ms=20", "gone").bytes())
        .await
        .unwrap();
    conn.head().await.unwrap();
    for _ in 0..4 {
        conn.piece().await.unwrap();
    }
    conn.half_close().await;
    let rows = provider.settled().await;
    assert_eq!(rows[0].end, End::ClientClosed);
    assert!(
        (3..10).contains(&rows[0].sent_tokens),
        "{}",
        rows[0].sent_tokens
    );
}

#[tokio::test]
async fn the_control_paths_do_what_the_methods_do() {
    let provider = Provider::start();
    let order = json!({"model": "m", "scripts": [{"status": 503}, {"fault": "close@2"}]});
    let set = Request::post("/__script", &order)
        .send(provider.addr())
        .await;
    assert_eq!(set.status(), 200, "{}", set.text());
    assert_eq!(chat("m", "x").send(provider.addr()).await.status(), 503);
    assert_eq!(
        chat("m", "x").send(provider.addr()).await.end,
        BodyEnd::CutOff
    );
    provider.settled().await;
    let meter = Request::get("/__meter?rows=1")
        .send(provider.addr())
        .await
        .json();
    assert_eq!(meter["totals"]["requests"], 2);
    assert_eq!(meter["rows"][1]["marker"], "x");
    assert_eq!(meter["rows"][1]["end"], "faulted");
    Request::post("/__reset", &json!({}))
        .send(provider.addr())
        .await;
    assert_eq!(chat("m", "x").send(provider.addr()).await.status(), 200);
    let typo = json!({"model": "m", "scripts": [{"statsu": 503}]});
    assert_eq!(
        Request::post("/__script", &typo)
            .send(provider.addr())
            .await
            .status(),
        400
    );
}

#[tokio::test]
async fn a_recorded_body_is_replayed_at_any_cut() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = "data: {\"a\":\"ü\"}\r\n\r\ndata: [DONE]\n\n";
    std::fs::write(dir.path().join("r.sse"), recorded).unwrap();
    let provider = Provider::start_with(Options {
        fixtures: Some(dir.path().to_owned()),
        ..Options::default()
    })
    .unwrap();
    for cut in 1..recorded.len() {
        let answer = chat(&format!("fake+replay=r.sse+cut={cut}"), "r")
            .send(provider.addr())
            .await;
        assert_eq!(answer.text(), recorded);
        let lengths: Vec<usize> = answer.pieces.iter().map(|(_, piece)| piece.len()).collect();
        assert_eq!(lengths, [cut, recorded.len() - cut]);
    }
    let script = Script {
        replay: Some("r.sse".to_owned()),
        every: 1,
        ..Script::default()
    };
    provider.script("m", [script]);
    let answer = chat("m", "r").send(provider.addr()).await;
    assert_eq!(
        (answer.text().as_str(), answer.pieces.len()),
        (recorded, recorded.len())
    );
}
