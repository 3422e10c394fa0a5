//! A replica for reports that does not keep up: what is decided never comes from it, and reports
//! say how old they are.

use std::time::Duration;

use meridian_testkit::deadline::insist;
use meridian_testkit::raw::Response;
use serde_json::{Value, json};

use super::world::{NAME, Node, Region};

/// Changes hold on every node in this time without Redis; the machine is busy.
const WITHIN: Duration = Duration::from_secs(10);

async fn report(node: &Node, target: &str) -> Response {
    let answer = node.gateway.admin("GET", target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
    answer
}

fn behind_s(answer: &Response) -> f64 {
    let said = answer.header("x-meridian-report-behind-s");
    said.expect("a report says how old it is").parse().unwrap()
}

/// Asks until the report is as wanted.
async fn becomes(node: &Node, target: &str, wanted: impl Fn(&Response) -> bool) {
    insist(2 * WITHIN, async || match report(node, target).await {
        answer if wanted(&answer) => Ok(()),
        answer => Err(format!("{target}: {}", answer.text())),
    })
    .await;
}

#[tokio::test]
async fn a_block_and_a_budget_hold_in_time_while_the_replica_stands_still() {
    let region = Region::start().await;
    let standby = region.postgres.standby();
    let url = standby.url(NAME);
    let one = region
        .node_with_env(&[("DATABASE_URL_READ_REPLICA", &url)])
        .await;
    let two = region
        .node_with_env(&[("DATABASE_URL_READ_REPLICA", &url)])
        .await;
    let made = one
        .done("/key/generate", json!({"key_alias": "seen"}))
        .await;
    let seen = made["key"].as_str().unwrap().to_owned();
    two.becomes(&seen, 200, WITHIN).await;
    let logs = format!("/spend/logs?api_key={seen}");
    let rows = |answer: &Response| answer.json().as_array().map_or(0, Vec::len);
    becomes(&two, &logs, |answer| {
        rows(answer) == 1 && behind_s(answer) == 0.0
    })
    .await;

    standby.ask(NAME, "SELECT pg_wal_replay_pause()");
    // Without Redis, so that nothing but the primary can tell.
    for node in [&one, &two] {
        node.to_redis.set(super::relay::Wire::Cut);
    }
    let made = one
        .done("/key/generate", json!({"key_alias": "unseen"}))
        .await;
    let unseen = made["key"].as_str().unwrap().to_owned();
    two.becomes(&unseen, 200, WITHIN).await;
    one.done("/key/block", json!({"key": seen})).await;
    let took = two.becomes(&seen, 401, WITHIN).await;
    println!("a block held after {took:?} on the other node");
    let body = json!({"key": unseen, "max_budget": 0.000_000_001, "spend": 1});
    one.done("/key/update", body).await;
    let took = two.becomes(&unseen, 429, WITHIN).await;
    println!("a budget held after {took:?} on the other node");
    // Management reads what is written, on each node.
    for node in [&one, &two] {
        let info = report(node, &format!("/key/info?key={seen}")).await;
        assert_eq!(info.json()["info"]["blocked"], true);
        assert_eq!(info.header("x-meridian-report-behind-s"), None);
        let list = report(node, "/key/list?size=100").await.json();
        assert_eq!(list["total_count"], 2);
    }
    // Reports are as old as the replica, and say so.
    let old = format!("/spend/logs?api_key={unseen}");
    becomes(&two, &old, |answer| behind_s(answer) > 0.0).await;
    assert_eq!(rows(&report(&two, &old).await), 0);

    standby.ask(NAME, "SELECT pg_wal_replay_resume()");
    becomes(&two, &old, |answer| {
        rows(answer) > 0 && behind_s(answer) == 0.0
    })
    .await;
    // Nothing that was decided meanwhile is undone by what the replica had.
    assert_eq!(
        (one.status(&seen).await, two.status(&seen).await),
        (401, 401)
    );
    assert_eq!(two.status(&unseen).await, 429);
}
