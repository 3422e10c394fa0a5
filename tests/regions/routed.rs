//! The budget of a provider over regions and nodes: they have it together, and what one spent all
//! are refused.

use std::time::Duration;

use meridian_testkit::deadline::{now, within};
use meridian_testkit::regions::{PRICES, Regions};
use serde_json::{Value, json};

use crate::world::{SETTLED_WITHIN, World};

const MODEL: &str = "fake-routed";
/// What a request costs, in nano-dollars, and how many the budget pays.
const COST: u64 = 20 * PRICES.output + 10 * PRICES.input;
const PAID: usize = 30;
/// Whoever gets no answer for so long has used the budget up.
const FOR_GOOD: Duration = Duration::from_secs(3);

/// How the provider's budget stands at the gateway of a region.
async fn state(regions: &Regions, region: usize) -> Value {
    let gateway = regions.gateway(region, 0);
    let target = "/budget/state/provider:openai";
    let answer = gateway.admin("GET", target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["budgets"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_provider_is_one_for_all_regions() {
    let world = World::start(|plan| {
        plan.names.truncate(2);
        plan.nodes = 1;
        let budget = "{budget_limit: 0.3003, time_period: 30d}";
        plan.router = format!("num_retries: 0\nprovider_budget_config: {{openai: {budget}}}");
    })
    .await;
    let regions = &world.regions;
    let key = regions.key(0, &json!({})).await;
    let (mut served, mut last, mut refusal) = (0, now(), String::new());
    for turn in 0.. {
        let answer = regions.ask(turn % 2, 0, &key, MODEL).await;
        if answer.status() == 200 {
            (served, last) = (served + 1, now());
        } else if answer.status() == 429 {
            refusal = answer.text();
            assert!(served > 0, "nothing is spent yet: {refusal}");
        }
        let waits = if served == 0 {
            SETTLED_WITHIN
        } else {
            FOR_GOOD
        };
        if last.elapsed() > waits {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // With a budget of its own in each region it would be twice as much.
    assert!(served <= PAID && served + 3 >= PAID, "{served} of {PAID}");
    assert!(
        refusal.contains("Exceeded budget for provider openai: "),
        "{refusal}"
    );
    let spent = (served as u64 * COST) as f64 / 1e9 - 1e-9;
    for region in [0, 1] {
        let told = async {
            while state(regions, region).await["used"].as_f64() < Some(spent) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(SETTLED_WITHIN, "both regions know what is spent", told).await;
        let state = state(regions, region).await;
        assert_eq!(state["bound"]["overdraft"], 0.0, "{state}");
    }
}
