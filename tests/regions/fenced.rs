//! A region that is cut off and alive: the operator has it fenced, the others use what it cannot
//! spend any more, and when it is back nothing is there twice.

use std::time::Duration;

use meridian_testkit::deadline::within;
use meridian_testkit::regions::ledger::Accounts;
use meridian_testkit::regions::{PRICES, Regions};
use meridian_testkit::wire::Wire;
use serde_json::{Value, json};

use crate::bound::bound;
use crate::lost::{until, use_up};
use crate::world::{SETTLED_WITHIN, World};

const MODEL: &str = "fake-fenced";
/// The budget in nano-dollars: a hundred requests.
const BUDGET: u64 = 1_000_000_000;
/// What the region is to hold above its ceiling before it is cut off, in dollars.
const ABOVE: f64 = 0.2;
/// The region that is cut off, and its number here.
const CUT: (&str, usize) = ("ap", 2);
const NODES: usize = 2;
const PAUSE: Duration = Duration::from_millis(20);

async fn fence(regions: &Regions) -> Result<Value, String> {
    let order = json!({"region": CUT.0, "proof": "fence"});
    let first = regions.gateway(0, 0);
    let answer = first.admin("POST", "/budget/region_lost", &order).await;
    match answer.status() {
        200 => Ok(answer.json()),
        status => Err(format!("{status} {}", answer.text())),
    }
}

/// The same, once the way to the region is known to be closed.
async fn fence_in_time(regions: &Regions) -> Value {
    let told = async {
        loop {
            if let Ok(answer) = fence(regions).await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    within(SETTLED_WITHIN, "a region that is not reached", told).await
}

/// Answers in a region, as many as these: one that has no rights yet is asked again.
async fn answers(regions: &Regions, key: &str, region: usize, count: usize) {
    let asked = async {
        let mut answers = 0;
        for turn in 0.. {
            let answer = regions.ask(region, turn % NODES, key, MODEL).await;
            answers += usize::from(answer.status() == 200);
            if answers == count {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    within(SETTLED_WITHIN, "rights in every region", asked).await;
}

/// Waits until the region that will be cut off holds enough above its ceilings.
async fn hold_above(regions: &Regions, key: &str) {
    let target = format!("/budget/state/{key}");
    let look = async {
        loop {
            for node in 0..NODES {
                let gateway = regions.gateway(CUT.1, node);
                let state = gateway.admin("GET", &target, &Value::Null).await.json();
                let actor = state["actor"].as_str().unwrap_or_default();
                let own = &state["budgets"][0]["nodes"][actor]["ceiling"];
                if own["above"].as_f64() > Some(ABOVE) {
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    within(SETTLED_WITHIN, "rights above a ceiling", look).await;
}

fn is_fenced(budget: &Value) -> bool {
    let mut nodes = budget["nodes"].as_object().into_iter().flatten();
    nodes.any(|(_, node)| node["ceiling"]["fenced"] == "reclaimed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_fenced_and_alive_spends_what_was_witnessed_and_nothing_is_there_twice() {
    let world = World::start(|plan| plan.meridian = "  isolation_s: 1".to_owned()).await;
    let regions = &world.regions;
    let key = regions.key(0, &json!({"max_budget": 1.0})).await;
    answers(regions, &key, 1, 2).await;
    answers(regions, &key, CUT.1, 20).await;
    hold_above(regions, &key).await;
    let alive = fence(regions).await.unwrap_err();
    assert!(
        alive.starts_with("400") && alive.contains("lives"),
        "{alive}"
    );

    regions.cut(CUT.1, Wire::Cut);
    let answer = fence_in_time(regions).await;
    println!("{answer}");
    assert_eq!(answer["done"], true, "{answer}");
    let made = answer["made_anew"].as_f64().unwrap_or_default();
    assert!(made >= ABOVE / 2.0, "{answer}");
    assert_eq!(
        answer["stays_out"]["budgets_without_an_answer"], 0,
        "{answer}"
    );
    until(regions, &key, "a fence", |budget| {
        is_fenced(budget) && budget["rights_made_for"] == 1.0
    })
    .await;
    // The bound does not have what the region is to destroy: it cannot spend it.
    let told = bound(regions, &key).await.unwrap_or_default();
    let (there, here) = tokio::join!(
        use_up(regions, &key, MODEL, &[CUT.1]),
        use_up(regions, &key, MODEL, &[0, 1])
    );
    let Accounts { billed, ledger, .. } = regions.settled(MODEL, PRICES, SETTLED_WITHIN).await;
    println!("{there} answers there and {here} here after the cut, bound {told}, {billed:?}");
    assert_eq!(billed, ledger);
    assert!(billed.cost <= BUDGET + told, "{billed:?}");
    // Without what was made anew it would be less by that.
    let unused = BUDGET.saturating_sub(billed.cost) as f64 / 1e9;
    assert!(unused < made / 2.0 && unused < 0.1, "{billed:?}");

    regions.heal();
    until(regions, &key, "what was to be destroyed", |budget| {
        let nodes = budget["nodes"].as_object().into_iter().flatten();
        let burned = nodes.filter_map(|(_, node)| node["destroyed"].as_f64());
        burned.sum::<f64>() > made - 1e-6 && !is_fenced(budget)
    })
    .await;
    use_up(regions, &key, MODEL, &[0, 1, CUT.1]).await;
    let Accounts { billed, ledger, .. } = regions.settled(MODEL, PRICES, SETTLED_WITHIN).await;
    assert_eq!(billed, ledger);
    assert!(billed.cost <= BUDGET + told, "{billed:?}");
}
