//! The fake provider over HTTP/2: same answers, and the faults that only h2 has.

use std::time::Duration;

use h2::Reason;
use meridian_testkit::deadline::{SOON, now};
use meridian_testkit::h2client::{H2, H2End};
use meridian_testkit::provider::{End, Provider, UPSTREAM_KEY};
use meridian_testkit::raw::{Conn, Request};
use serde_json::json;

fn chat(model: &str) -> Request {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": model, "messages": messages, "stream": true});
    Request::post("/v1/chat/completions", &body).bearer(UPSTREAM_KEY)
}

fn events(body: &[u8]) -> usize {
    String::from_utf8_lossy(body).matches("data: ").count()
}

#[tokio::test]
async fn answers_over_h2_with_and_without_tls() {
    let clear = Provider::start();
    let mut conn = H2::open(clear.addr()).await;
    let answer = conn.exchange(&chat("fake+trailer=x-t:1")).await;
    assert_eq!((answer.status, answer.end), (200, H2End::Complete));
    assert_eq!(events(&answer.body), 8);
    assert_eq!(answer.trailers.unwrap()["x-t"], "1");
    assert!(clear.last().h2);

    let secure = Provider::start_tls();
    let pem = secure.ca_pem().unwrap();
    let mut conn = H2::open_tls(secure.addr(), pem).await;
    assert_eq!(conn.exchange(&chat("fake")).await.status, 200);
    let mut conn = Conn::open_tls(secure.addr(), pem).await;
    assert_eq!(conn.exchange(&chat("fake")).await.status(), 200);
    assert!(!secure.last().h2);
}

#[tokio::test]
async fn faults_over_h2() {
    let provider = Provider::start();
    for (model, status, end, seen) in [
        ("fake+reset@3", 200, H2End::Reset(Reason::INTERNAL_ERROR), 3),
        ("fake+close@3", 200, H2End::Lost, 3),
        (
            "fake+reset@head",
            0,
            H2End::Reset(Reason::INTERNAL_ERROR),
            0,
        ),
        ("fake+close@head", 0, H2End::Lost, 0),
        ("fake+truncate@3", 200, H2End::Complete, 3),
        ("fake+goaway@after", 200, H2End::Complete, 8),
        ("fake+goaway@2", 200, H2End::Complete, 8),
        (
            "fake+reset@99",
            200,
            H2End::Reset(Reason::INTERNAL_ERROR),
            8,
        ),
        ("fake+close@end", 200, H2End::Lost, 8),
        ("fake+empty", 200, H2End::Complete, 0),
    ] {
        let mut conn = H2::open(provider.addr()).await;
        let answer = conn.exchange(&chat(model)).await;
        assert_eq!((answer.status, answer.end), (status, end), "{model}");
        assert_eq!(events(&answer.body), seen, "{model}");
    }
}

#[tokio::test]
async fn a_goaway_ends_the_connection_for_new_requests() {
    let provider = Provider::start();
    let mut conn = H2::open(provider.addr()).await;
    assert_eq!(
        conn.exchange(&chat("fake+goaway@after")).await.end,
        H2End::Complete
    );
    conn.ended(SOON).await;
}

#[tokio::test]
async fn a_reset_stream_is_noticed_at_once() {
    let provider = Provider::start();
    let mut conn = H2::open(provider.addr()).await;
    for model in [
        "fake+stall@head",
        "fake+stall@3",
        "fake+tokens=500+chunk_ms=20",
    ] {
        let mut stream = conn.start(&chat(model)).await;
        let before = provider.meter().totals().cancels;
        let mut open = None;
        if model != "fake+stall@head" {
            open = Some(stream.head().await.unwrap());
        }
        provider
            .wait(SOON, |rows| {
                rows.last().is_some_and(|row| row.model == model)
            })
            .await;
        let left = now();
        stream.reset(Reason::CANCEL);
        let gone = |rows: &[meridian_testkit::provider::Row]| rows.last().unwrap().cancelled();
        let rows = provider.wait(SOON, gone).await;
        assert_eq!(rows.last().unwrap().end, End::ClientReset);
        assert!(left.elapsed() < Duration::from_secs(1), "{model}");
        assert_eq!(provider.meter().totals().cancels, before + 1);
        drop(open);
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let provider = Provider::start();
    let padding = "x".repeat(8 << 20);
    let body = json!({"model": "fake+huge=3000000", "messages": [{"content": padding}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(UPSTREAM_KEY);
    let mut conn = H2::open(provider.addr()).await;
    let answer = conn.exchange(&request).await;
    assert!(answer.body.len() > 3_000_000);
    assert!(provider.last_request().body == request.body);
}
