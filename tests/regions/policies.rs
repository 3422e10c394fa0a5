//! What budgets do when they are used up under a stream, and while others who share them are out of
//! reach: two regions of one gateway, with budgets of both kinds of policy.

use std::time::Duration;

use meridian_testkit::deadline::within;
use meridian_testkit::raw::{Request, Response};
use meridian_testkit::regions::{PRICES, Regions, body};
use meridian_testkit::wire::Wire;
use serde_json::{Value, json};

use crate::bound::bound;
use crate::world::{SETTLED_WITHIN, World};

/// Requests that a dollar pays, one cent each.
const DOLLAR: usize = 100;
/// More than half of a budget: whatever the region has, it is less.
const MOST: usize = 70;

async fn two_regions() -> World {
    World::start(|plan| {
        plan.names.truncate(2);
        plan.nodes = 1;
    })
    .await
}

async fn ask(regions: &Regions, region: usize, key: &str) -> Response {
    regions.ask(region, 0, key, "fake-policy").await
}

/// Asks until it is answered with this status.
async fn becomes(regions: &Regions, region: usize, key: &str, status: u16) -> Response {
    let asked = async {
        loop {
            let answer = ask(regions, region, key).await;
            if answer.status() == status {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(SETTLED_WITHIN, "the status", asked).await
}

async fn state(regions: &Regions, region: usize, key: &str) -> Value {
    let target = format!("/budget/state/{key}");
    let gateway = regions.gateway(region, 0);
    let answer = gateway.admin("GET", &target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_does_what_its_policy_says_while_the_other_region_is_out_of_reach() {
    let world = two_regions().await;
    let regions = &world.regions;
    let key = async |policy: &str| {
        let fields = json!({"max_budget": 1, "degraded_policy": policy});
        let key = regions.key(0, &fields).await;
        becomes(regions, 1, &key, 200).await;
        key
    };
    let closed = key("fail_closed").await;
    let open = key("fail_open").await;
    let lease = key("lease_only").await;
    regions.cut_all(Wire::Cut);
    // Closed: nothing is spent, in neither region, and it is no answer about money.
    for region in [0, 1] {
        let refused = becomes(regions, region, &closed, 503).await;
        assert!(refused.text().contains("fail_closed"), "{}", refused.text());
    }
    // Open: more than any rights that the region can have, and told as having no bound.
    let mut told = 0;
    for _ in 0..MOST {
        let answer = ask(regions, 1, &open).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        told += usize::from(answer.header("x-meridian-budget") == Some("fail_open"));
    }
    assert!(told > 0, "beyond its rights");
    let shown = state(regions, 1, &open).await;
    assert_eq!(
        (&shown["unbounded"], &shown["cut_off"]),
        (&json!(true), &json!(true))
    );
    let of_key = &shown["budgets"][0];
    assert_eq!(of_key["degraded_policy"], "fail_open", "{of_key}");
    // Leases: only what the region has.
    let mut served = 0;
    while ask(regions, 1, &lease).await.status() == 200 {
        served += 1;
        assert!(served < MOST, "a region without the others has not so much");
    }
    assert_eq!(state(regions, 1, &lease).await["unbounded"], false);
    regions.heal();
    becomes(regions, 1, &closed, 200).await;
    // What the open one spent beyond its rights is in its bound.
    let spent = 2 * MOST.min(DOLLAR) as u64 * PRICES.output * 20;
    let bound = bound(regions, &open).await.expect("a bound");
    assert!(bound > 0 && bound <= spent, "{bound}");
}

/// A stream that costs more than its budget.
async fn stream(regions: &Regions, key: &str) -> String {
    let mut body = body("fake-policy", 4_000, true);
    body["model"] = json!("fake-policy+tokens=3000+prompt=10");
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    let sent = async {
        loop {
            let answer = regions.gateway(0, 0).send(&request).await;
            if answer.status() == 200 {
                return answer.text();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(SETTLED_WITHIN, "the stream", sent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_or_ends_and_what_it_costs_beyond_rights_is_in_the_bound() {
    let world = two_regions().await;
    let regions = &world.regions;
    for (policy, whole) in [("cut", false), ("finish", true), ("refuse_only", true)] {
        let fields = json!({"max_budget": 1, "on_exhausted": policy});
        let key = regions.key(0, &fields).await;
        let text = stream(regions, &key).await;
        assert_eq!(text.contains("[DONE]"), whole, "{policy}");
        assert_eq!(
            text.contains("Budget has been exceeded!"),
            !whole,
            "{policy}"
        );
        let refused = becomes(regions, 0, &key, 429).await;
        assert!(refused.text().contains("Budget has been exceeded!"));
        let shown = state(regions, 0, &key).await;
        let of_key = &shown["budgets"][0];
        assert_eq!(of_key["on_exhausted"], policy);
        let used = of_key["used"].as_f64().expect("an amount");
        let over = of_key["bound"]["total_nano_usd"]
            .as_i64()
            .expect("an amount");
        // $1.50 when it ends; the bound names all that is over.
        assert_eq!(used > 1.4, whole, "{policy}: {of_key}");
        assert!(used <= 1.0 + over as f64 / 1e9, "{policy}: {of_key}");
        assert_eq!(of_key["bound"]["overdraft"], 0.0, "nothing runs: {of_key}");
    }
}
