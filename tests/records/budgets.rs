//! Budgets that nodes share: what all of them together let through is the budget, whatever becomes
//! of what lies between them.

use std::time::Duration;

use meridian_testkit::deadline::{insist, now};
use serde_json::{Value, json};

use crate::relay::{Relay, Wire};
use crate::world::{Node, Region};

/// What the tests wait for at most where no time is promised.
const LONG: Duration = Duration::from_secs(30);

/// Spend that a node shows for a key.
pub(crate) async fn spend(node: &Node, key: &str) -> f64 {
    let info = format!("/key/info?key={key}");
    let info = node.gateway.admin("GET", &info, &Value::Null).await;
    let info = info.json();
    info.pointer("/info/spend")
        .and_then(Value::as_f64)
        .unwrap_or(f64::NAN)
}

/// Asks nodes in turn until all of them refuse for money; how many requests were served.
async fn use_up(nodes: &[&Node], key: &str) -> u32 {
    let (mut served, mut refused, began) = (0, 0, now());
    while refused < 4 * nodes.len() {
        for node in nodes {
            let answer = node.ask(key).await;
            match answer.status() {
                200 => {
                    served += 1;
                    refused = 0;
                }
                429 => refused += 1,
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert!(began.elapsed() < 3 * LONG, "{served} served, no end");
    }
    served
}

/// What one request costs, as the node that served it counted.
pub(crate) async fn cost_of_one(node: &Node) -> f64 {
    let key = node.gateway.key(&json!({"max_budget": 1000})).await;
    assert_eq!(node.status(&key).await, 200);
    insist(LONG, async || match spend(node, &key).await {
        cost if cost > 0.0 => Ok(cost),
        cost => Err(format!("a request costs {cost}")),
    })
    .await
}

/// Served requests are as many as the budget pays for; a few less where the last bit of it is not
/// enough for the most that a request can cost.
pub(crate) fn assert_used_up(served: u32, cost: f64, budget: f64) {
    let most = (budget / cost).floor();
    let served = f64::from(served);
    assert!(served <= most, "{served} served, {budget} pays for {most}");
    assert!(served >= 0.6 * most - 4.0, "{served} served of {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_use_one_budget_up_and_never_over_it() {
    let region = Region::start().await;
    let (one, two) = (region.node().await, region.node().await);
    let cost = cost_of_one(&one).await;
    let budget = 40.0 * cost;
    let key = one.gateway.key(&json!({"max_budget": budget})).await;
    let served = use_up(&[&one, &two], &key).await;
    assert_used_up(served, cost, budget);

    // Raised, it goes on; reset, it begins anew; on both nodes.
    let raise = json!({"key": key, "max_budget": 2.0 * budget});
    one.done("/key/update", raise).await;
    one.becomes(&key, 200, LONG).await;
    two.becomes(&key, 200, LONG).await;
    let more = 2 + use_up(&[&one, &two], &key).await;
    assert_used_up(served + more, cost, 2.0 * budget);
    one.done("/key/update", json!({"key": key, "spend": 0}))
        .await;
    one.becomes(&key, 200, LONG).await;
    two.becomes(&key, 200, LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_spent_that_has_left_is_known_to_one_that_comes_later() {
    let region = Region::start().await;
    let (mut one, two) = (region.node().await, region.node().await);
    let cost = cost_of_one(&one).await;
    let budget = json!({"max_budget": 100.0 * cost});
    let key = two.gateway.key(&budget).await;
    one.becomes(&key, 200, LONG).await;
    for _ in 0..9 {
        assert_eq!(one.status(&key).await, 200);
    }
    one.gateway.stop(LONG).await;
    let three = region.node().await;
    three.becomes(&key, 200, LONG).await;
    insist(LONG, async || match spend(&three, &key).await {
        known if (known - 11.0 * cost).abs() < cost / 2.0 => Ok(()),
        known => Err(format!("{known} spent by 11 requests of {cost}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_spent_of_a_key_is_shown_as_soon_as_it_is_stored() {
    const ROUNDS: usize = 4;
    let spent = |row: &Value| row["spend"].as_f64().expect("dollars");
    let region = Region::start().await;
    let (one, two) = (region.node().await, region.node().await);
    let key = one.gateway.key(&json!({"max_budget": 1000})).await;
    two.becomes(&key, 200, LONG).await;
    for round in 1..=ROUNDS {
        assert_eq!(one.status(&key).await, 200);
        let stored = insist(LONG, async || {
            let answer = two.gateway.report("/spend/logs/v2?page_size=100").await;
            match answer.json()["data"].as_array() {
                Some(rows) if rows.len() > round => Ok(rows.iter().map(spent).sum::<f64>()),
                rows => Err(format!("round {round}: {rows:?}")),
            }
        })
        .await;
        let shown = spend(&two, &key).await;
        assert!((shown - stored).abs() < 1e-9, "{shown} of {stored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_nodes_tell_each_other_and_a_killed_one_forgets_nothing() {
    let region = Region::start().await;
    let (one, mut two) = (region.node().await, region.node().await);
    let cost = cost_of_one(&one).await;
    let budget = 30.0 * cost;
    let key = one.gateway.key(&json!({"max_budget": budget})).await;
    for node in [&one, &two] {
        node.becomes(&key, 200, LONG).await;
        node.to_redis.set(Wire::Cut);
    }
    two.gateway.kill().await;
    two.gateway.start().await;
    let served = 2 + use_up(&[&one, &two], &key).await;
    assert_used_up(served, cost, budget);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_share_a_budget_and_a_cut_gives_nobody_more() {
    let (eu, us) = (Region::named("eu").await, Region::named("us").await);
    let to_us = Relay::to(us.redis.addr()).await;
    let to_eu = Relay::to(eu.redis.addr()).await;
    let links = |to: &str, relay: &Relay| {
        let url = format!("redis://{}", relay.addr());
        format!("meridian:\n  regions:\n    links: {{{to}: {{url: '{url}'}}}}\n")
    };
    let in_eu = eu.node_with(&links("us", &to_us)).await;
    let in_us = us.node_with(&links("eu", &to_eu)).await;
    let cost = cost_of_one(&in_eu).await;
    let budget = 60.0 * cost;
    let key = in_eu.gateway.key(&json!({"max_budget": budget})).await;
    in_eu.becomes(&key, 200, LONG).await;
    in_us.becomes(&key, 200, LONG).await;
    let before = 2;
    for relay in [&to_us, &to_eu] {
        relay.set(Wire::BlackHole);
    }
    let apart = use_up(&[&in_eu, &in_us], &key).await;
    for relay in [&to_us, &to_eu] {
        relay.set(Wire::Whole);
    }
    let began = now();
    let mut after = 0;
    // What the one could not reach it finds once they hear each other again.
    while began.elapsed() < Duration::from_secs(15) {
        after += use_up(&[&in_us, &in_eu], &key).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_used_up(before + apart + after, cost, budget);
}
