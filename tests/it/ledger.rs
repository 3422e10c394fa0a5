//! The ledger as the management API shows it.

use meridian_testkit::gateway::Gateway;
use serde_json::{Value, json};

/// Rows per page of `/spend/logs/v2`.
const PAGE: usize = 100;

/// Every row, oldest first.
pub(crate) async fn rows(gateway: &Gateway) -> Vec<Value> {
    let mut rows = Vec::new();
    for page in 1.. {
        let target = format!("/spend/logs/v2?page={page}&page_size={PAGE}&sort_order=asc");
        let answer = gateway.report(&target).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let mut answer = answer.json();
        let Value::Array(more) = answer["data"].take() else {
            panic!("no rows: {answer}");
        };
        let more_to_come = more.len() == PAGE;
        rows.extend(more);
        if !more_to_come {
            assert_eq!(answer["total"], json!(rows.len()));
            break;
        }
    }
    rows
}

/// Spend of a key in nano-dollars as `/key/info` says it.
pub(crate) async fn key_spend(gateway: &Gateway, key: &str) -> i64 {
    let target = format!("/key/info?key={key}");
    let answer = gateway.admin("GET", &target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    nano(&answer.json()["info"]["spend"])
}

/// What a row cost, in nano-dollars.
pub(crate) fn cost(row: &Value) -> i64 {
    let cost = row["metadata"]["cost_nano_usd"].as_i64();
    cost.expect("nano-dollars")
}

/// Dollars of an answer as nano-dollars.
pub(crate) fn nano(dollars: &Value) -> i64 {
    let dollars = dollars.as_f64().expect("an amount in dollars");
    (dollars * 1e9).round() as i64
}
