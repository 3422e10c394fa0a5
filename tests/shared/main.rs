//! Nodes of a region that share cooldowns and cached answers through a real Redis, with every way
//! in which it fails.
#![cfg(test)]

mod cache;
mod failures;
mod places;
mod support;

use std::time::Duration;

use meridian::telemetry::metrics::CoordinationMessage;
use meridian_core::routing::health::Gate;
use meridian_testkit::deadline::{SOON, eventually, now};
use meridian_testkit::redis::Redis;
use support::{Node, Whose, yaml};

/// Time out of most tests: long enough to stand until the test is over.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cooldown_of_one_node_holds_on_the_others_within_a_second() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    for whose in [Whose::Deployment, Whose::Credential] {
        let told = now();
        here.cool(whose, LONG);
        let (left, cause) = there.hears(whose, Duration::from_secs(1)).await;
        println!("{whose:?}: heard after {:?}", told.elapsed());
        // What is left, not a moment on somebody's clock.
        assert!(left <= LONG && left > LONG - SOON, "{left:?}");
        assert_eq!(cause, support::CAUSE);
    }
    // Nothing comes back to the node that told.
    assert_eq!(here.messages(CoordinationMessage::Sent), 2);
    assert_eq!(here.messages(CoordinationMessage::Heard), 0);
    assert_eq!(there.messages(CoordinationMessage::Heard), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_later_learns_what_stands() {
    let redis = Redis::start();
    let mut here = Node::new(&redis);
    here.is_up().await;
    here.cool(Whose::Deployment, LONG);
    here.has_sent(1).await;
    let later = Node::new(&redis);
    let (left, _) = later.hears(Whose::Deployment, SOON).await;
    assert!(left <= LONG, "{left:?}");
    // So does the node itself, started again without anything in memory.
    here.restart(&redis);
    here.hears(Whose::Deployment, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longer_of_two_times_stands_on_nodes_and_in_redis() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
    there.cool(Whose::Deployment, Duration::from_secs(20));
    there.has_sent(1).await;
    here.has_heard(1).await;
    for node in [&here, &there] {
        let left = node.left_out(Whose::Deployment).unwrap().0;
        assert!(left > LONG - SOON, "{left:?}");
    }
    let left: i64 = redis
        .ask(&["PTTL", &here.key(Whose::Deployment)])
        .parse()
        .unwrap();
    assert!(left > 90_000, "{left}");
    // A longer one replaces it.
    there.cool(Whose::Deployment, 2 * LONG);
    there.has_sent(2).await;
    let left: i64 = redis
        .ask(&["PTTL", &here.key(Whose::Deployment)])
        .parse()
        .unwrap();
    assert!(left > 220_000, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proved_well_is_not_left_out_again_for_the_same_reason() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
    for node in [&here, &there] {
        node.circuit(Whose::Deployment, |circuit| {
            circuit.close(node.routing.now())
        });
    }
    // The key still stands, and both nodes read it once more at least.
    let reads = support::reads(&redis);
    eventually(4 * SOON, "more reads", || {
        (support::reads(&redis) >= reads + 8).then_some(())
    })
    .await;
    for node in [&here, &there] {
        let gate = node.circuit(Whose::Deployment, |circuit| {
            circuit.gate(node.routing.now())
        });
        assert_eq!(gate, Gate::Closed);
    }
    // A new failure is a new reason.
    here.cool(Whose::Deployment, LONG);
    there.hears(Whose::Deployment, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_that_use_one_redis_share_nothing() {
    let redis = Redis::start();
    let here = Node::of(&yaml(&redis.url()), Some("eu-west-1"));
    let there = Node::of(&yaml(&redis.url()), Some("us-east-1"));
    let neighbour = Node::of(&yaml(&redis.url()), Some("us-east-1"));
    for node in [&here, &there, &neighbour] {
        node.is_up().await;
    }
    here.cool(Whose::Deployment, LONG);
    here.has_sent(1).await;
    neighbour.cool(Whose::Credential, LONG);
    there.hears(Whose::Credential, SOON).await;
    assert_eq!(there.left_out(Whose::Deployment), None);
    assert_eq!(here.left_out(Whose::Credential), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_no_node_wrote_are_counted_and_do_no_harm() {
    let redis = Redis::start();
    let (here, there) = (Node::new(&redis), Node::new(&redis));
    here.is_up().await;
    there.is_up().await;
    let channel = here.channel();
    let huge = "x".repeat(1 << 20);
    let stranger = format!(
        "{{\"v\":1,\"node\":\"0000000000000001\",\"n\":1,\"deployment\":\"stranger\",\
         \"credential\":\"{}\",\"cause\":\"server\",\"left_ms\":5000}}",
        "0".repeat(16)
    );
    for bytes in ["", "nonsense", "{\"v\":1}", &huge] {
        redis.ask(&["PUBLISH", &channel, bytes]);
    }
    redis.ask(&["PUBLISH", &channel, &stranger]);
    // Under its keys too: another type, something without an end, another's message.
    redis.ask(&["RPUSH", &here.key(Whose::Deployment), "x"]);
    redis.ask(&["SET", &here.key(Whose::Credential), &stranger]);
    eventually(SOON, "the count", || {
        let malformed = there.messages(CoordinationMessage::Malformed);
        let unknown = there.messages(CoordinationMessage::Unknown);
        (malformed >= 6 && unknown == 1).then_some(())
    })
    .await;
    assert_eq!(there.left_out(Whose::Deployment), None);
    assert_eq!(there.left_out(Whose::Credential), None);
    // And nothing is in the way of what a node writes.
    for whose in [Whose::Deployment, Whose::Credential] {
        here.cool(whose, LONG);
        there.hears(whose, SOON).await;
    }
    assert_eq!(redis.ask(&["TYPE", &here.key(Whose::Deployment)]), "string");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_the_node() {
    let redis = Redis::start();
    let here = Node::new(&redis);
    here.is_up().await;
    here.cool(Whose::Credential, LONG);
    here.cool(Whose::Deployment, LONG);
    here.has_sent(2).await;
    let keys = redis.ask(&["KEYS", "*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");
    let values: Vec<String> = keys.lines().map(|key| redis.ask(&["GET", key])).collect();
    let all = format!("{keys}\n{}", values.join("\n"));
    for secret in [support::API_KEY, "provider.example", "sk-"] {
        assert!(!all.contains(secret), "{all}");
    }
}
