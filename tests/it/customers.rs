//! Customers that callers name, and the budget that all of them have.

use std::time::Duration;

use meridian_testkit::deadline::{SOON, within};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::World;

/// Less than a request costs, in dollars.
const DUST: f64 = 0.000_000_1;

async fn ask(world: &World, key: &str, customer: &str) -> Response {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": "fake-x", "max_tokens": 16, "messages": messages,
        "user": customer});
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    world.send(&request).await
}

/// Until the customer has a record.
async fn is_written(world: &World, customer: &str) {
    let target = format!("/customer/info?end_user_id={customer}");
    let written = async {
        while world
            .gateway
            .admin("GET", &target, &Value::Null)
            .await
            .status()
            != 200
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(3 * SOON, "a record of the customer", written).await;
}

#[tokio::test]
async fn a_customer_that_nobody_wrote_has_the_common_budget() {
    let limited =
        |config: meridian_testkit::config::Config| config.litellm("max_end_user_budget_id: common");
    let world = World::with("", limited).await;
    let budget = json!({"budget_id": "common", "max_budget": DUST});
    let made = world.gateway.admin("POST", "/budget/new", &budget).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    let key = world.gateway.key(&json!({})).await;
    assert_eq!(ask(&world, &key, "walk-in").await.status(), 200);
    is_written(&world, "walk-in").await;
    let refused = ask(&world, &key, "walk-in").await;
    let text = refused.text();
    assert_eq!(refused.status(), 429, "{text}");
    let says = "ExceededBudget: End User=walk-in over budget.";
    assert!(text.contains(says), "{text}");
    assert_eq!(ask(&world, &key, "another").await.status(), 200);
}
