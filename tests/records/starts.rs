//! Starts without a store, with a snapshot and without one.

use std::time::Duration;

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::raw::Request;
use serde_json::json;

use crate::relay::Wire;
use crate::world::{NOBODYS_KEY, Region};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_the_master_key_works_and_keys_are_not_called_wrong() {
    let mut region = Region::start().await;
    let mut node = region.node().await;
    let key = node.gateway.key(&json!({})).await;
    node.has_saved(1).await;
    node.gateway.stop(LONG).await;
    std::fs::remove_file(node.gateway.data_dir().join("records.snapshot")).unwrap();
    region.postgres.kill();
    node.gateway.start().await;
    assert_eq!(node.status(MASTER_KEY).await, 200);
    for key in [key.as_str(), NOBODYS_KEY] {
        let answer = node.ask(key).await;
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "auth_unavailable");
        assert!(answer.head.header("retry-after").is_some());
        let managed = Request::get("/key/info").bearer(key);
        assert_eq!(node.gateway.send(&managed).await.status(), 503);
    }
    region.postgres.run();
    node.becomes(&key, 200, Duration::from_secs(10)).await;
    assert_eq!(node.status(NOBODYS_KEY).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_go_on_over_a_start_without_a_store() {
    let region = Region::start().await;
    let mut node = region.node().await;
    // One request costs some millionths of a dollar.
    let key = node.gateway.key(&json!({"max_budget": 0.001})).await;
    node.has_saved(1).await;
    assert_eq!(node.status(&key).await, 200);
    node.cut(Wire::Cut);
    let mut served = 0;
    while node.status(&key).await == 200 {
        served += 1;
        assert!(served < 1_000);
    }
    // Killed: what the snapshot does not have is in the journal.
    node.gateway.kill().await;
    node.gateway.start().await;
    let answer = node.ask(&key).await;
    assert_eq!(answer.status(), 429, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_changed_is_refused_and_all_is_read_anew() {
    let region = Region::start().await;
    let mut node = region.node().await;
    let key = node.gateway.key(&json!({"key_alias": "mine"})).await;
    node.has_saved(1).await;
    node.gateway.stop(LONG).await;
    let file = node.gateway.data_dir().join("records.snapshot");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&key), "no key in clear");
    std::fs::write(&file, text.replace("mine", "evil")).unwrap();
    node.gateway.start().await;
    assert!(
        node.gateway
            .log()
            .contains("the snapshot of records is refused")
    );
    assert_eq!(node.status(&key).await, 200);
    node.has_saved(1).await;
    let list = "/key/list?return_full_object=true";
    let list = node.gateway.admin("GET", list, &json!(null)).await;
    assert!(list.text().contains("mine"));
}
