//! Two regions, each with its own Postgres and Redis.

use std::time::Duration;

use meridian_testkit::deadline::{insist, now};
use serde_json::{Value, json};

use crate::relay::{Relay, Wire};
use crate::world::{Node, Region};

/// Between regions.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// A region that was cut off knows everything again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// What the tests wait for at most where no time is promised.
const LONG: Duration = Duration::from_secs(30);

/// Two regions with a node each and the wires from one to the other's Redis.
struct Pair {
    eu: Region,
    us: Region,
    in_eu: Node,
    in_us: Node,
    eu_to_us: Relay,
    us_to_eu: Relay,
}

impl Pair {
    async fn start() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
        let (eu, us) = (Region::named("eu").await, Region::named("us").await);
        let eu_to_us = Relay::to(us.redis.addr()).await;
        let us_to_eu = Relay::to(eu.redis.addr()).await;
        let links = |to: &str, relay: &Relay| {
            format!(
                "meridian:\n  regions:\n    links: {{{to}: {{url: 'redis://{}'}}}}\n{more}",
                relay.addr()
            )
        };
        let in_eu = eu.node_with(&links("us", &eu_to_us)).await;
        let in_us = us.node_with(&links("eu", &us_to_eu)).await;
        Self {
            eu,
            us,
            in_eu,
            in_us,
            eu_to_us,
            us_to_eu,
        }
    }

    fn cut(&self, wire: Wire) {
        self.eu_to_us.set(wire);
        self.us_to_eu.set(wire);
    }
}

/// Waits until the region's store has a key: memory has it before.
async fn has_stored(node: &Node, key: &str) {
    let info = format!("/key/info?key={key}");
    insist(ELSEWHERE, async || {
        let info = node.gateway.admin("GET", &info, &json!(null)).await;
        match info.status() {
            200 => Ok(()),
            status => Err(format!("the key is not stored: {status}")),
        }
    })
    .await;
}

async fn call(node: &Node, target: &str, body: Value) -> (u16, Value) {
    let answer = node.gateway.admin("POST", target, &body).await;
    (answer.status(), answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_lives_in_both_regions_and_only_home_gives_rights() {
    let pair = Pair::start().await;
    let key = pair.in_eu.gateway.key(&json!({"max_budget": 5})).await;
    let made = pair.in_us.becomes(&key, 200, ELSEWHERE).await;
    let named = json!({"key": key});

    has_stored(&pair.in_us, &key).await;
    // A block in the other region holds there at once, and at home soon.
    pair.in_us.done("/key/block", named.clone()).await;
    assert_eq!(pair.in_us.status(&key).await, 401);
    let blocked = pair.in_eu.becomes(&key, 401, ELSEWHERE).await;
    let (status, refusal) = call(&pair.in_us, "/key/unblock", named.clone()).await;
    assert_eq!(status, 409, "{refusal}");
    assert!(refusal.to_string().contains("region eu"), "{refusal}");
    let raise = json!({"key": key, "max_budget": 50});
    assert_eq!(call(&pair.in_us, "/key/update", raise).await.0, 409);

    // Home shows it and gives it back; both regions follow.
    insist(ELSEWHERE, async || {
        let info = format!("/key/info?key={key}");
        let info = pair.in_eu.gateway.admin("GET", &info, &json!(null)).await;
        match info.json().pointer("/info/blocked") {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err(format!("home does not show the block: {}", info.text())),
        }
    })
    .await;
    pair.in_eu.done("/key/unblock", named.clone()).await;
    assert_eq!(pair.in_eu.status(&key).await, 200);
    let unblocked = pair.in_us.becomes(&key, 200, ELSEWHERE).await;

    // A lower budget is taken anywhere, and so is a deletion, for good.
    pair.in_us
        .done("/key/update", json!({"key": key, "max_budget": 0}))
        .await;
    let lowered = pair.in_eu.becomes(&key, 429, ELSEWHERE).await;
    pair.in_us.done("/key/delete", json!({"keys": [key]})).await;
    let deleted = pair.in_eu.becomes(&key, 401, ELSEWHERE).await;
    assert_eq!(pair.in_us.status(&key).await, 401);
    println!(
        "made {made:?}, blocked {blocked:?}, unblocked {unblocked:?}, lowered {lowered:?}, \
         deleted {deleted:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_was_cut_off_or_whose_redis_forgot_learns_everything() {
    let pair = Pair::start().await;
    let first = pair.in_eu.gateway.key(&json!({})).await;
    has_stored(&pair.in_us, &first).await;
    pair.cut(Wire::BlackHole);
    let second = pair.in_eu.gateway.key(&json!({})).await;
    pair.in_us.done("/key/block", json!({"key": first})).await;
    assert_eq!(pair.in_us.status(&first).await, 401);
    assert_eq!(pair.in_eu.status(&first).await, 200, "cut off");
    pair.us.redis.ask(&["FLUSHALL"]);
    pair.eu.redis.ask(&["FLUSHALL"]);
    pair.cut(Wire::Whole);
    pair.in_us.becomes(&second, 200, BACK_WITHIN).await;
    pair.in_eu.becomes(&first, 401, BACK_WITHIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_comes_through_while_the_other_regions_postgres_is_down() {
    let mut pair = Pair::start().await;
    let key = pair.in_eu.gateway.key(&json!({})).await;
    pair.in_us.becomes(&key, 200, ELSEWHERE).await;
    pair.us.postgres.kill();
    pair.in_us
        .shows("/records/store", &json!("down"), LONG)
        .await;
    pair.in_eu.done("/key/delete", json!({"keys": [key]})).await;
    // Deleted as far as this region knows; that it never existed nobody could say now.
    let began = now();
    insist(ELSEWHERE, async || match pair.in_us.status(&key).await {
        401 | 503 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
    println!("revoked after {:?}", began.elapsed());
    pair.us.postgres.run();
    pair.in_us.becomes(&key, 401, LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_region_that_is_silent_for_too_long_are_not_believed() {
    let pair = Pair::with("    max_stale_s: 5\n").await;
    let theirs = pair.in_eu.gateway.key(&json!({})).await;
    let own = pair.in_us.gateway.key(&json!({})).await;
    // Longer than they are believed without being told.
    let began = now();
    while began.elapsed() < Duration::from_secs(8) {
        assert_eq!(pair.in_us.status(&own).await, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pair.in_us.becomes(&theirs, 200, ELSEWHERE).await;
    pair.eu_to_us.set(Wire::BlackHole);
    pair.in_us.becomes(&theirs, 503, LONG).await;
    let answer = pair.in_us.ask(&theirs).await;
    assert_eq!(answer.json()["error"]["type"], "stale_auth");
    assert!(answer.head.header("retry-after").is_some());
    assert_eq!(pair.in_us.status(&own).await, 200);
    pair.eu_to_us.set(Wire::Whole);
    pair.in_us.becomes(&theirs, 200, BACK_WITHIN).await;
}
