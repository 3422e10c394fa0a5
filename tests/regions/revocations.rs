//! A key that is revoked in one region: the others refuse it, and cut its streams.

use std::time::Duration;

use meridian_testkit::deadline::{SOON, now, within};
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use meridian_testkit::regions::{Regions, body};
use meridian_testkit::scale::scaled;
use serde_json::{Value, json};

use crate::world::World;

/// Time between two chunks of the streams here.
const CHUNK_MS: u64 = 200;
/// The promise is 2 s; how busy the machine of `make test` is nobody knows.
fn within_promise() -> Duration {
    scaled(SOON, Duration::from_secs(2))
}

/// A stream that would go on for minutes.
async fn stream(regions: &Regions, region: usize, node: usize, key: &str) -> Conn {
    let mut body = body("fake-revoked", 2_000, true);
    body["model"] = json!(format!("fake-revoked+tokens=2000+chunk_ms={CHUNK_MS}"));
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    let mut conn = Conn::open(regions.gateway(region, node).addr()).await;
    conn.send(&request.bytes()).await.expect("a gateway reads");
    assert_eq!(conn.head().await.expect("an answer").status, 200);
    conn.piece().await.expect("its first chunk");
    conn
}

/// Reads a stream to its end: all that came.
async fn rest(mut conn: Conn) -> (BodyEnd, String) {
    let mut text = String::new();
    loop {
        match conn.piece().await {
            Ok(piece) => text += &String::from_utf8_lossy(&piece),
            Err(end) => return (end, text),
        }
    }
}

async fn refused(regions: &Regions, region: usize, node: usize, key: &str) {
    loop {
        let answer = regions.ask(region, node, key, "fake-revoked-later").await;
        if answer.status() == 401 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn revoke(regions: &Regions, target: &str, fields: &dyn Fn(&str) -> Value) {
    let key = regions.key(0, &json!({})).await;
    let mut ends = tokio::task::JoinSet::new();
    for (region, node) in [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
        let conn = stream(regions, region, node, &key).await;
        ends.spawn(async move { (rest(conn).await, now()) });
    }
    // In another region than the key's own: an order that only takes rights away is taken anywhere.
    let asked = now();
    regions.done(1, target, &fields(&key)).await;
    let began = now();
    let mut slowest = Duration::ZERO;
    for (region, node) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
        let refusal = refused(regions, region, node, &key);
        within(within_promise(), "a refusal everywhere", refusal).await;
        slowest = slowest.max(began.elapsed());
    }
    let mut cut = Duration::ZERO;
    while let Some(ended) = within(SOON, "an end of streams", ends.join_next()).await {
        let ((end, text), at) = ended.expect("a reader does not panic");
        assert_eq!(end, BodyEnd::Complete, "{text}");
        assert!(text.contains("\"error\""), "a cut stream says so: {text}");
        assert!(
            !text.contains("[DONE]"),
            "a cut stream does not look whole: {text}"
        );
        cut = cut.max(at.duration_since(began));
    }
    println!(
        "{target}: took {:?}; refused everywhere after {slowest:?}, streams cut after {cut:?}",
        began.duration_since(asked)
    );
    let promised = within_promise() + Duration::from_millis(2 * CHUNK_MS);
    assert!(cut <= promised, "cut after {cut:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_in_one_region_is_refused_and_cut_in_all() {
    let world = World::start(|_| {}).await;
    let regions = &world.regions;
    revoke(regions, "/key/block", &|key| json!({"key": key})).await;
    revoke(regions, "/key/delete", &|key| json!({"keys": [key]})).await;
}
