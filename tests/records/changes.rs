//! A change on one node, as clients of the others see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meridian_testkit::deadline::{insist, now};
use meridian_testkit::pace::Pace;
use meridian_testkit::scale::scaled;
use serde_json::json;

use crate::relay::Wire;
use crate::world::{Node, Region, chat};

/// A change holds within this time through Redis.
const WITH_REDIS: Duration = Duration::from_secs(2);
/// And within this without.
const WITHOUT_REDIS: Duration = Duration::from_secs(10);

/// Requests a second over the three nodes while changes are made, and how often each is made.
const PER_S: (u64, u64) = (60, 2_000);
const ROUNDS: (usize, usize) = (1, 20);

async fn three(region: &Region) -> Vec<Node> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(region.node().await);
    }
    nodes
}

/// How long until all of them answer this.
async fn all_become(nodes: &[Node], key: &str, status: u16, within: Duration) -> Duration {
    let began = now();
    for node in nodes {
        let left = within.saturating_sub(began.elapsed());
        node.becomes(key, status, left).await;
    }
    began.elapsed()
}

async fn changes_hold_on_every_node(within: Duration, redis: bool) {
    let region = Region::start().await;
    let nodes = three(&region).await;
    if !redis {
        for node in nodes.iter() {
            node.to_redis.set(Wire::Cut);
        }
    }
    let other = nodes[0].gateway.key(&json!({})).await;
    all_become(&nodes, &other, 200, within).await;
    // Traffic with another key goes on all the time.
    let addrs: Vec<SocketAddr> = nodes.iter().map(|node| node.gateway.addr()).collect();
    let load = Pace::start(&addrs, &chat(&other), scaled(PER_S.0, PER_S.1));
    let mut worst = Changes::default();
    for _ in 0..scaled(ROUNDS.0, ROUNDS.1) {
        worst.make(&nodes, within).await;
    }
    let load = load.finish();
    println!("redis {redis}: slowest of each: {worst:?}; load: {load}");
    assert!(load.all_served(), "{load}");
}

/// How long changes took to be seen on all nodes: the slowest of each kind.
#[derive(Debug, Default)]
struct Changes {
    block: Duration,
    unblock: Duration,
    lower: Duration,
    raise: Duration,
    delete: Duration,
}

impl Changes {
    async fn make(&mut self, nodes: &[Node], within: Duration) {
        let key = nodes[0].gateway.key(&json!({"max_budget": 1})).await;
        // A key that was made a moment ago elsewhere works at once.
        for node in nodes.iter() {
            let answer = node.ask(&key).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
        let hash = json!({"key": key});
        nodes[0].done("/key/block", hash.clone()).await;
        let took = all_become(nodes, &key, 401, within).await;
        self.block = self.block.max(took);
        nodes[1].done("/key/unblock", hash.clone()).await;
        let took = all_become(nodes, &key, 200, within).await;
        self.unblock = self.unblock.max(took);
        nodes[2]
            .done("/key/update", json!({"key": key, "max_budget": 0}))
            .await;
        let took = all_become(nodes, &key, 429, within).await;
        self.lower = self.lower.max(took);
        nodes[0]
            .done("/key/update", json!({"key": key, "max_budget": 5}))
            .await;
        let took = all_become(nodes, &key, 200, within).await;
        self.raise = self.raise.max(took);
        nodes[1].done("/key/delete", json!({"keys": [key]})).await;
        let took = all_become(nodes, &key, 401, within).await;
        self.delete = self.delete.max(took);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_hold_on_every_node_within_two_seconds() {
    changes_hold_on_every_node(WITH_REDIS, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_hold_on_every_node_within_ten_seconds_without_redis() {
    changes_hold_on_every_node(WITHOUT_REDIS, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_holds_on_a_node_that_cannot_reach_the_store() {
    let region = Region::start().await;
    let nodes = three(&region).await;
    let key = nodes[0].gateway.key(&json!({})).await;
    all_become(&nodes, &key, 200, WITH_REDIS).await;
    nodes[1].to_postgres.set(Wire::Cut);
    nodes[2].to_postgres.set(Wire::BlackHole);
    nodes[0].done("/key/block", json!({"key": key})).await;
    let took = all_become(&nodes, &key, 401, WITH_REDIS).await;
    println!("through Redis alone: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_to_redis_without_the_key_changes_nothing() {
    let region = Region::start().await;
    let node = region.node().await;
    let key = node.gateway.key(&json!({})).await;
    let record = json!({"kind": "user", "id": "evil", "version": 1, "created_at": 0,
        "updated_at": 0, "body": {"user_role": "proxy_admin"}});
    let message = json!({"form": 1, "node": 7, "records": [record]});
    let forged = format!("{}{message}", "0".repeat(64));
    region
        .redis
        .ask(&["PUBLISH", "meridian:{records}:", &forged]);
    let page = insist(WITHOUT_REDIS, async || {
        let page = node.gateway.admin("GET", "/metrics/", &json!(null)).await;
        let page = page.text();
        match page.contains("meridian_records_events_total{event=\"forged\"} 1") {
            true => Ok(page),
            false => Err("the message was not heard".to_owned()),
        }
    })
    .await;
    assert!(page.contains("meridian_records_events_total{event=\"heard\"} 0"));
    assert_eq!(node.status(&key).await, 200);
}

/// A deletion on one node against an update on another, at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_deleted_keys_stay_deleted_whatever_writes_beside() {
    const TRIES: usize = 1_000;
    const AT_ONCE: usize = 20;
    let region = Region::start().await;
    let nodes = Arc::new(three(&region).await);
    let addrs: Vec<SocketAddr> = nodes.iter().map(|node| node.gateway.addr()).collect();
    let other = nodes[0].gateway.key(&json!({})).await;
    all_become(&nodes, &other, 200, WITH_REDIS).await;
    let load = Pace::start(&addrs, &chat(&other), scaled(PER_S.0, PER_S.1));
    let mut deleted = Vec::new();
    for _ in 0..TRIES / AT_ONCE {
        let tries = (0..AT_ONCE).map(|_| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                let key = nodes[0].gateway.key(&json!({})).await;
                let update = json!({"key": key, "max_budget": 7});
                let names = json!({"keys": [key]});
                let (one, two) = (&nodes[1].gateway, &nodes[2].gateway);
                let (_, updated, gone) = tokio::join!(
                    // In memory there, before it is changed.
                    nodes[1].status(&key),
                    one.admin("POST", "/key/update", &update),
                    two.admin("POST", "/key/delete", &names),
                );
                assert!(
                    matches!(updated.status(), 200 | 404 | 409),
                    "{}",
                    updated.text()
                );
                if gone.status() != 200 {
                    // The update won; now nothing runs beside.
                    nodes[2].done("/key/delete", names).await;
                }
                key
            })
        });
        for one in tries.collect::<Vec<_>>() {
            deleted.push(one.await.unwrap());
        }
    }
    assert_eq!(deleted.len(), TRIES);
    let last = deleted.last().unwrap().clone();
    all_become(&nodes, &last, 401, WITH_REDIS).await;
    for key in &deleted {
        for node in nodes.iter() {
            let status = node.status(key).await;
            assert_eq!(status, 401, "a deleted key gets {status}");
        }
    }
    let load = load.finish();
    println!("{TRIES} tries, no resurrection; load: {load}");
    assert!(load.all_served(), "{load}");
}
