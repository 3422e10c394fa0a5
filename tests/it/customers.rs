//! Customers that callers name, and the budget that all of them have.

use meridian_testkit::deadline::{SOON, insist};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::World;

/// Less than a request costs, in dollars.
const DUST: f64 = 0.000_000_1;

/// Customers have a budget for less than a request. With a key that names some.
async fn limited() -> (World, String) {
    let limited =
        |config: meridian_testkit::config::Config| config.litellm("max_end_user_budget_id: common");
    let world = World::with("", limited).await;
    let budget = json!({"budget_id": "common", "max_budget": DUST});
    let made = world.gateway.admin("POST", "/budget/new", &budget).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    let key = world.gateway.key(&json!({})).await;
    (world, key)
}

async fn ask(world: &World, key: &str, customer: &str) -> Response {
    world.send(&question("fake-x", key, customer)).await
}

fn question(model: &str, key: &str, customer: &str) -> Request {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": model, "max_tokens": 16, "messages": messages,
        "user": customer});
    Request::post("/v1/chat/completions", &body).bearer(key)
}

/// Until the customer has a record.
async fn is_written(world: &World, customer: &str) {
    let target = format!("/customer/info?end_user_id={customer}");
    insist(3 * SOON, async || {
        let info = world.gateway.admin("GET", &target, &Value::Null).await;
        match info.status() {
            200 => Ok(()),
            status => Err(format!("no record of {customer}: {status}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_customer_that_nobody_wrote_has_the_common_budget() {
    let (world, key) = limited().await;
    assert_eq!(ask(&world, &key, "walk-in").await.status(), 200);
    is_written(&world, "walk-in").await;
    let refused = ask(&world, &key, "walk-in").await;
    let text = refused.text();
    assert_eq!(refused.status(), 429, "{text}");
    let says = "ExceededBudget: End User=walk-in over budget.";
    assert!(text.contains(says), "{text}");
    assert_eq!(ask(&world, &key, "another").await.status(), 200);
}

#[tokio::test]
async fn what_a_customer_spends_while_its_record_is_made_counts() {
    let (world, key) = limited().await;
    // It is let in before there is a record, and ends when there is one.
    let slow = question("fake-m+head_ms=4000", &key, "slow");
    let (slow, ()) = tokio::join!(world.send(&slow), is_written(&world, "slow"));
    assert_eq!(slow.status(), 200, "{}", slow.text());
    let refused = ask(&world, &key, "slow").await;
    assert_eq!(refused.status(), 429, "{}", refused.text());
}
