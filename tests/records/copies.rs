//! A data directory that was restored from a copy, or is used twice: what the copy says is free of
//! a budget is not spent a second time, and the rest of the budget is not lost.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use meridian_testkit::deadline::{SOON, now};
use serde_json::{Value, json};

use crate::budgets::{assert_used_up, cost_of_one, spend};
use crate::relay::Wire;
use crate::world::{NAME, Node, Region};

/// Requests that a budget pays for, with something to spare for estimates.
const PAYS_FOR: f64 = 40.0;
/// What the tests wait for at most where no time is promised.
const LONG: Duration = Duration::from_secs(60);
/// Whoever gets no answer for so long has used the budget up.
const FOR_GOOD: Duration = Duration::from_secs(4);

/// As `cp -a` does it, while a process writes there or not.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Asks so often, and waits until Postgres has it all.
async fn ask(node: &Node, key: &str, times: u32, cost: f64) {
    let before = spend(node, key).await;
    for _ in 0..times {
        assert_eq!(node.status(key).await, 200);
    }
    let flushed = node.gateway.report("/spend/logs").await;
    assert_eq!(flushed.status(), 200);
    let now_spent = spend(node, key).await;
    let wanted = before + f64::from(times) * cost;
    assert!(
        (now_spent - wanted).abs() < cost / 2.0,
        "{now_spent}, not {wanted}"
    );
}

/// Asks the nodes in turn until none has answered for a while; how many requests were served.
async fn use_up(nodes: &[&Node], key: &str) -> u32 {
    let (mut served, mut last) = (0, now());
    while last.elapsed() < FOR_GOOD {
        for node in nodes {
            match node.status(key).await {
                200 => (served, last) = (served + 1, now()),
                // While the budget begins anew.
                429 | 503 => {}
                other => panic!("{other}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served
}

/// As whom the node shares budgets.
async fn actor(node: &Node) -> String {
    let state = node.gateway.admin("GET", "/budget/state", &Value::Null);
    let state = state.await.json();
    state["actor"].as_str().unwrap_or_default().to_owned()
}

/// A budget of which 10 requests are used when its node's directory is copied, and 20 when the node
/// is killed and the copy put back.
struct Restored {
    _region: Region,
    node: Node,
    key: String,
    cost: f64,
    budget: f64,
    actor: String,
}

async fn restored() -> Restored {
    let region = Region::start().await;
    let mut node = region.node().await;
    let cost = cost_of_one(&node).await;
    let budget = PAYS_FOR * cost;
    let key = node.gateway.key(&json!({ "max_budget": budget })).await;
    ask(&node, &key, 10, cost).await;
    let safe = tempfile::tempdir().unwrap();
    let (data, kept) = (node.gateway.data_dir(), safe.path().join("kept"));
    copy(&data, &kept);
    ask(&node, &key, 10, cost).await;
    let actor = actor(&node).await;
    node.gateway.kill().await;
    copy(&kept, &data);
    Restored {
        _region: region,
        node,
        key,
        cost,
        budget,
        actor,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_put_back_from_a_copy_spends_nothing_twice() {
    let mut it = restored().await;
    it.node.gateway.start().await;
    let served = 20 + use_up(&[&it.node], &it.key).await;
    assert_used_up(served, it.cost, it.budget);
    assert_ne!(actor(&it.node).await, it.actor);
    assert!(it.node.gateway.log().contains("older copy of itself"));
    // Once more on the same directory: what was found out is not forgotten.
    it.node.gateway.stop(SOON).await;
    it.node.gateway.start().await;
    assert_eq!(use_up(&[&it.node], &it.key).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_starts_without_postgres_is_replaced_when_that_is_back() {
    let mut it = restored().await;
    it.node.to_postgres.set(Wire::Cut);
    it.node.gateway.start().await;
    it.node.to_postgres.set(Wire::Whole);
    // Whoever keeps it running starts it again.
    it.node.gateway.exited(LONG).await;
    it.node.gateway.start().await;
    let served = 20 + use_up(&[&it.node], &it.key).await;
    assert_used_up(served, it.cost, it.budget);
    assert_ne!(actor(&it.node).await, it.actor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_two_nodes_use_belongs_to_the_first_of_them() {
    let region = Region::start().await;
    let (first, mut second) = (region.node().await, region.node().await);
    let cost = cost_of_one(&first).await;
    let budget = PAYS_FOR * cost;
    second.gateway.stop(SOON).await;
    let key = first.gateway.key(&json!({ "max_budget": budget })).await;
    ask(&first, &key, 10, cost).await;
    copy(&first.gateway.data_dir(), &second.gateway.data_dir());
    let before = actor(&first).await;
    second.gateway.start().await;
    second.gateway.exited(LONG).await;
    second.gateway.start().await;
    let served = 10 + use_up(&[&first, &second], &key).await;
    assert_used_up(served, cost, budget);
    assert_eq!(actor(&first).await, before);
    assert_ne!(actor(&second).await, before);
    // The original lives, and its budgets go on: none begins anew again and again.
    let generations = "SELECT count(DISTINCT generation) FROM meridian.budget_entry";
    let began = region.postgres.ask(NAME, generations);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(region.postgres.ask(NAME, generations), began);
}

/// What a node held that is lost with its disk is there again once the operator says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_held_that_is_lost_with_its_disk_is_made_anew_on_demand() {
    let region = Region::start().await;
    let (mut first, second) = (region.node().await, region.node().await);
    let cost = cost_of_one(&first).await;
    let budget = PAYS_FOR * cost;
    let key = first.gateway.key(&json!({ "max_budget": budget })).await;
    ask(&first, &key, 10, cost).await;
    let lost = actor(&first).await;
    first.gateway.kill().await;
    std::fs::remove_dir_all(first.gateway.data_dir()).unwrap();
    let before = 10 + use_up(&[&second], &key).await;
    let order = json!({"actor": lost, "anew": true});
    let answer = second
        .gateway
        .admin("POST", "/budget/write_off", &order)
        .await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json()["written_off"], true, "{}", answer.text());
    let served = before + use_up(&[&second], &key).await;
    assert_used_up(served, cost, budget);
    // All of it, not what one node happened to have.
    assert!(f64::from(served) >= PAYS_FOR - 6.0, "{before}, {served}");
}
