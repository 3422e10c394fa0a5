//! What batches were billed, as the ledger tells it.

use std::time::Duration;

use meridian_testkit::gateway::Gateway;
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long a bill may take on a busy machine.
pub(crate) const BILLED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The bills of a batch by their models.
async fn bills(gateway: &Gateway, batch: &str) -> Vec<Value> {
    let logs = gateway.report("/spend/logs/v2?page_size=100").await;
    assert_eq!(logs.status(), 200, "{}", logs.text());
    let logs = logs.json();
    let rows = logs["data"].as_array().unwrap().iter();
    let of_batch =
        |row: &&Value| row["call_type"] == "aretrieve_batch" && row["request_id"] == *batch;
    let mut bills: Vec<Value> = rows.filter(of_batch).cloned().collect();
    bills.sort_by_key(|row| row["model"].as_str().unwrap().to_owned());
    bills
}

/// The same once there are so many.
pub(crate) async fn billed(gateway: &Gateway, batch: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + BILLED_WITHIN;
    loop {
        let bills = bills(gateway, batch).await;
        if bills.len() >= count {
            assert_eq!(bills.len(), count, "{bills:#?}");
            return bills;
        }
        assert!(Instant::now() < until, "{batch} is not billed: {bills:#?}");
        sleep(AGAIN_AFTER).await;
    }
}
