//! Stopping in order: what runs is let run.

use std::time::{Duration, Instant};

use meridian_testkit::deadline::{SOON, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use serde_json::json;

use crate::world::scripted;

use super::load::Load;
use crate::ledger;

/// Streams that run when the signal comes.
const STREAMS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_lets_streams_finish_and_completes_the_ledger() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let mut gateway = setup.start().await;
    let key = gateway.key(&json!({"key_alias": "crash-0"})).await;
    let load = Load::start(gateway.addr(), std::slice::from_ref(&key), 3, 7);
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let body = json!({
            "model": "fake-x+tokens=60+chunk_ms=20", "stream": true, "user": format!("s{number}"),
            "messages": [{"role": "user", "content": "hello"}],
        });
        let mut conn = Conn::open(gateway.addr()).await;
        let request = Request::post("/v1/chat/completions", &body).bearer(&key);
        conn.send(&request.bytes()).await.unwrap();
        let head = conn.head().await.unwrap();
        assert_eq!(head.status, 200);
        streams.push((conn, head));
    }
    gateway.signal("TERM");
    for (mut conn, head) in streams {
        let answer = conn.rest_of(head).await;
        assert_eq!(answer.end, BodyEnd::Complete);
        assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    }
    let status = gateway.exited(Duration::from_secs(30)).await;
    assert!(status.success(), "{status:?}");
    let fates = within(Duration::from_secs(30), "the load", load.finish()).await;
    gateway.start().await;
    let rows = ledger::rows(&gateway).await;
    let served = provider.settled().await;
    assert_eq!(rows.len(), served.len(), "one row for each request served");
    for row in &rows {
        let marker = row["end_user"].as_str().unwrap();
        let truth = &provider.attempts(marker)[0];
        let metadata = &row["metadata"];
        assert_eq!(metadata["estimated"], false, "{row}");
        assert_eq!(metadata["end_reason"], "complete", "{row}");
        assert_eq!(row["completion_tokens"], truth.usage.completion, "{row}");
        assert_eq!(row["prompt_tokens"], truth.usage.prompt, "{row}");
    }
    let whole = fates.values().filter(|fate| fate.complete).count();
    assert_eq!(whole + STREAMS, rows.len(), "and each client got it whole");
}

/// Nothing runs, but balancers do not know yet that this node leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_serves_until_balancers_know_that_it_leaves() {
    const DELAY: Duration = Duration::from_secs(6);
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let setup = setup.env("MERIDIAN_DRAIN_DELAY_S", &DELAY.as_secs().to_string());
    let mut gateway = setup.start().await;
    let key = gateway.key(&json!({})).await;
    let told = Instant::now();
    gateway.signal("TERM");
    let mut conn = leaving(&gateway).await;
    let body = json!({"model": "fake-x", "messages": [{"role": "user", "content": "hello"}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(&key);
    conn.send(&request.bytes()).await.unwrap();
    let head = conn.head().await.unwrap();
    assert_eq!(
        head.status, 200,
        "a request that comes by an old route is served"
    );
    assert_eq!(
        head.header("connection"),
        Some("close"),
        "and told to find another one"
    );
    let status = gateway.exited(Duration::from_secs(30)).await;
    assert!(status.success(), "{status:?}");
    assert!(
        told.elapsed() >= DELAY,
        "it left after {:?}",
        told.elapsed()
    );
}

/// A new connection to a gateway whose readiness says that it leaves.
async fn leaving(gateway: &Gateway) -> Conn {
    let request = Request::get("/health/readiness").field("connection", "close");
    let deadline = Instant::now() + SOON;
    loop {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(&request.bytes()).await.unwrap();
        let head = conn.head().await.unwrap();
        if head.status == 503 {
            return Conn::open(gateway.addr()).await;
        }
        assert!(Instant::now() < deadline, "readiness stays {}", head.status);
    }
}
