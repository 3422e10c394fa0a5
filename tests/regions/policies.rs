//! What budgets do when they are used up under a stream, and while those who decide are out of
//! reach: two regions of one gateway.

use std::time::Duration;

use meridian_testkit::deadline::within;
use meridian_testkit::raw::{Request, Response};
use meridian_testkit::regions::{PRICES, Regions, body};
use meridian_testkit::scale::scaled;
use meridian_testkit::wire::Wire;
use serde_json::{Value, json};

use crate::world::{SETTLED_WITHIN, World};

const MODEL: &str = "fake-policy";
/// What a request costs, in nano-dollars.
const COST: u64 = 20 * PRICES.output + 10 * PRICES.input;
/// More than a dollar and what is granted beyond it pay for.
const MOST: usize = 130;
/// Requests at home before, so that it has most of the rights.
const AT_HOME: usize = 20;

async fn two_regions() -> World {
    World::start(|plan| {
        plan.names.truncate(2);
        plan.nodes = 1;
    })
    .await
}

async fn ask(regions: &Regions, region: usize, key: &str) -> Response {
    regions.ask(region, 0, key, MODEL).await
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

/// How the budget of a key stands at the gateway of a region.
async fn state(regions: &Regions, region: usize, key: &str) -> Value {
    let target = format!("/budget/state/{key}");
    let gateway = regions.gateway(region, 0);
    let answer = gateway.admin("GET", &target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["budgets"][0].clone()
}

/// Waits until the budget stands as wanted.
async fn stands(regions: &Regions, region: usize, key: &str, wanted: impl Fn(&Value) -> bool) {
    let look = async {
        while !wanted(&state(regions, region, key).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(SETTLED_WITHIN, "the state of a budget", look).await;
}

/// Answers until the budget refuses.
async fn use_up(regions: &Regions, region: usize, key: &str) -> usize {
    let mut served = 0;
    loop {
        let answer = ask(regions, region, key).await;
        match answer.status() {
            200 => served += 1,
            status => {
                assert_eq!(status, 429, "{}", answer.text());
                return served;
            }
        }
        assert!(served < MOST, "more than the budget and its overdraft");
    }
}

/// A key at home in the first region that the second one has used.
async fn key(regions: &Regions, fields: Value) -> String {
    let key = regions.key(0, &fields).await;
    for _ in 0..AT_HOME {
        becomes(regions, 0, &key, 200).await;
    }
    becomes(regions, 1, &key, 200).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_does_what_its_policy_says_while_the_region_that_decides_is_out_of_reach() {
    // A partition is noticed after seconds, and a grant withdrawn seconds after it.
    if scaled(true, false) {
        return;
    }
    let world = two_regions().await;
    let regions = &world.regions;
    let with = |policy: &str| json!({"max_budget": 1, "degraded_policy": policy});
    let closed = key(regions, with("fail_closed")).await;
    let lease = key(regions, json!({"max_budget": 1})).await;
    let mut fields = with("fail_open");
    fields["overdraft_percent"] = json!(20);
    let open = key(regions, fields).await;
    regions.cut_all(Wire::Cut);
    let begun = state(regions, 1, &open).await;
    let amount = |name: &str| begun[name].as_f64().expect("an amount");
    let requests = |dollars: f64| (dollars * 1e9 / COST as f64) as usize;
    // Never more than what is left, as far as the region knows.
    let (free, left) = (amount("free_here"), 1.0 - amount("used"));
    let paid = requests(left.min(free + 0.2));
    assert!(paid > requests(free) + 2, "home has nothing: {begun}");
    let mut served = use_up(regions, 1, &open).await;
    use_up(regions, 1, &lease).await;
    // Closed: the region that does not hear home refuses, and it is no answer about money.
    let refused = becomes(regions, 1, &closed, 503).await;
    assert!(refused.text().contains("fail_closed"), "{}", refused.text());
    assert_eq!(ask(regions, 0, &closed).await.status(), 200, "home decides");
    // Open: what is granted beyond rights, and no more.
    stands(regions, 1, &open, |it| it["overdraft_granted"] == 0.2).await;
    let before = state(regions, 1, &open).await;
    assert!(
        before["bound"]["overdraft"].as_f64() > Some(0.19),
        "{before}"
    );
    assert_eq!(before["degraded_policy"], "fail_open", "{before}");
    served += use_up(regions, 1, &open).await;
    assert!(
        served <= paid && served + 2 >= paid,
        "{served} of {paid}: {begun}"
    );
    // Leases: what the region has.
    assert_eq!(use_up(regions, 1, &lease).await, 0);
    let told = state(regions, 1, &lease).await;
    assert_eq!(
        (&told["cut_off"], &told["overdraft_granted"]),
        (&json!(true), &json!(0.0))
    );
    regions.heal();
    becomes(regions, 1, &closed, 200).await;
    // Rights that come pay off what was spent without any.
    let paid = |it: &Value| it["overdraft_granted"] == 0.0 && it["bound"]["overdraft"] == 0.0;
    let paid = async {
        while !paid(&state(regions, 1, &open).await) {
            ask(regions, 1, &open).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(
        SETTLED_WITHIN,
        "what was spent without rights is paid off",
        paid,
    )
    .await;
}

/// A stream that costs more than its budget.
async fn stream(regions: &Regions, key: &str) -> String {
    let mut body = body(MODEL, 4_000, true);
    body["model"] = json!(format!("{MODEL}+tokens=3000+prompt=10"));
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
        let says = text.contains("Budget has been exceeded!");
        assert_eq!(says, !whole, "{policy}");
        if whole {
            let refused = becomes(regions, 0, &key, 429).await;
            assert!(refused.text().contains("Budget has been exceeded!"));
        }
        let told = state(regions, 0, &key).await;
        assert_eq!(told["on_exhausted"], policy);
        let used = told["used"].as_f64().expect("an amount");
        let over = told["bound"]["total_nano_usd"].as_i64();
        let over = over.expect("an amount") as f64 / 1e9;
        // $1.50 when it ends; the bound names all that is over.
        assert_eq!(used > 1.4, whole, "{policy}: {told}");
        assert!(used <= 1.0 + over + 1e-9, "{policy}: {told}");
        let overdraft = told["bound"]["overdraft"].as_f64().expect("an amount");
        assert_eq!(overdraft > 0.4, whole, "{policy}: {told}");
    }
}
