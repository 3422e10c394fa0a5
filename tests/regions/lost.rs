//! A region that is gone: the operator says so, the others use what it held, and a region that
//! comes back all the same destroys as much.

use std::time::Duration;

use meridian_testkit::deadline::{now, within};
use meridian_testkit::regions::ledger::Accounts;
use meridian_testkit::regions::{PRICES, Regions};
use serde_json::{Value, json};

use crate::bound::bound;
use crate::world::{SETTLED_WITHIN, World};

const MODEL: &str = "fake-lost";
/// The budget, and what a request costs: in nano-dollars.
const BUDGET: u64 = 1_000_000_000;
const COST: u64 = 20 * PRICES.output + 10 * PRICES.input;
/// Requests before the region is lost.
const ASKED: u64 = 16;
/// The region that is lost, and its number here.
const LOST: (&str, usize) = ("ap", 2);
const NODES: usize = 2;
/// Whoever gets no answer for so long has used the budget up: rights come within 1.5 s, or refusals
/// without a look, which last a quarter of a second, are over by then.
const FOR_GOOD: Duration = Duration::from_secs(3);

/// Asks in turn at both gateways of these regions until all have refused for a while; says how many
/// answers there were.
pub(crate) async fn use_up(regions: &Regions, key: &str, model: &str, of: &[usize]) -> u64 {
    let (mut answers, mut last) = (0, now());
    for turn in 0.. {
        let (region, node) = (of[turn % of.len()], turn / of.len() % NODES);
        if regions.ask(region, node, key, model).await.status() == 200 {
            (answers, last) = (answers + 1, now());
        }
        if last.elapsed() > FOR_GOOD {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

/// Waits until what a gateway of the first region says of a key's budget is as wanted.
pub(crate) async fn until(
    regions: &Regions,
    key: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) {
    let target = format!("/budget/state/{key}");
    let look = async {
        loop {
            for node in 0..NODES {
                let state = regions.gateway(0, node).admin("GET", &target, &Value::Null);
                if wanted(&state.await.json()["budgets"][0]) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(SETTLED_WITHIN, what, look).await;
}

/// Calls a region lost; an error is what the gateway says against it.
async fn call_lost(regions: &Regions, region: &str) -> Result<(), String> {
    let order = json!({ "region": region });
    let first = regions.gateway(0, 0);
    let answer = first.admin("POST", "/budget/region_lost", &order).await;
    match answer.status() {
        200 => Ok(()),
        status => Err(format!("{status} {}", answer.text())),
    }
}

/// The same, once the region has not been heard for long enough.
async fn call_lost_in_time(regions: &Regions) {
    let told = async {
        loop {
            if call_lost(regions, LOST.0).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(SETTLED_WITHIN, "a region that is not heard any more", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_region_held_is_used_and_destroyed_when_it_comes_back() {
    let mut world = World::start(|_| {}).await;
    let regions = &mut world.regions;
    let key = regions.key(0, &json!({"max_budget": 1.0})).await;
    for turn in 0..ASKED as usize {
        let region = if turn % 4 == 0 { turn / 4 % 2 } else { LOST.1 };
        let answer = regions.ask(region, turn % NODES, &key, MODEL).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    // What is on its way between regions, or not told yet, is not made anew: the whole budget is
    // accounted for by who speaks for the first region.
    until(regions, &key, "a whole picture of the budget", |budget| {
        let dollars = |value: &Value| value.as_f64().unwrap_or(0.0);
        let near = budget["nodes"].as_object().into_iter().flatten();
        let near = near.filter(|(_, node)| node["region"] == budget["home"]);
        let near: f64 = near.map(|(_, node)| dollars(&node["free"])).sum();
        let far = budget["regions"].as_array().into_iter().flatten();
        let far: f64 = far.map(|region| dollars(&region["free"])).sum();
        let used = dollars(&budget["used"]);
        near + far + used > 0.99 && used >= (ASKED * COST) as f64 / 1e9
    })
    .await;

    let alive = call_lost(regions, LOST.0).await.unwrap_err();
    assert!(
        alive.starts_with("400") && alive.contains("lives"),
        "{alive}"
    );
    let unknown = call_lost(regions, "moon").await.unwrap_err();
    assert!(unknown.contains("linked are ap, us"), "{unknown}");
    for node in 0..NODES {
        regions.regions[LOST.1].nodes[node].gateway.kill().await;
    }
    call_lost_in_time(regions).await;
    until(regions, &key, "an order to destroy", |budget| {
        let ordered = budget["bound"]["pending_decrease"].as_f64() > Some(0.0);
        ordered && budget["rights_made_for"] == 1.0
    })
    .await;
    let more = use_up(regions, &key, MODEL, &[0, 1]).await;
    // The two regions held a half of it at most.
    assert!(more >= 60, "{more} more");
    let Accounts { billed, ledger, .. } = regions.settled(MODEL, PRICES, SETTLED_WITHIN).await;
    assert_eq!(billed, ledger);
    assert!(billed.cost <= BUDGET, "{billed:?}");
    println!("{more} answers more when the region was called lost, {billed:?}");
    assert!(billed.cost >= BUDGET / 100 * 85, "{billed:?}");

    for node in 0..NODES {
        regions.regions[LOST.1].nodes[node].gateway.start().await;
    }
    let settled = async {
        while bound(regions, &key).await != Some(0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(SETTLED_WITHIN, "what was to be destroyed", settled).await;
    use_up(regions, &key, MODEL, &[0, 1, LOST.1]).await;
    let Accounts { billed, ledger, .. } = regions.settled(MODEL, PRICES, SETTLED_WITHIN).await;
    assert_eq!(billed, ledger);
    assert!(billed.cost <= BUDGET + COST, "{billed:?}");
}
