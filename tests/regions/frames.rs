//! What budgets cost the links between regions.

use std::time::Duration;

use meridian_testkit::deadline::now;
use meridian_testkit::regions::Regions;
use meridian_testkit::regions::load::{Demand, Load};
use meridian_testkit::scale::scaled;
use serde_json::json;

use crate::world::World;

/// Keys that are used all the time.
fn keys() -> usize {
    scaled(200, 1_000)
}
/// How long they are used.
fn length() -> Duration {
    scaled(Duration::from_secs(8), Duration::from_secs(60))
}
/// Most messages a second that one region may send to another.
const FRAMES_PER_S: f64 = 20.0;

/// Messages that each link has carried.
fn frames(regions: &Regions) -> Vec<u64> {
    let links = regions.links.values();
    links.map(|link| link.traffic().frames()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_active_keys_need_few_messages_between_regions() {
    let world = World::start(|_| {}).await;
    let regions = &world.regions;
    let mut demands = Vec::new();
    for number in 0..keys() {
        let fields = json!({"max_budget": 100.0});
        demands.push(Demand {
            key: regions.gateway(0, 0).key(&fields).await,
            model: format!("fake-frames-{number}"),
            rates: vec![60.0 / keys() as f64; 3],
            tokens: 20,
            streams: 0,
        });
    }
    // The last one is known everywhere: so are those before it.
    regions.key(0, &json!({})).await;
    let (before, began) = (frames(regions), now());
    let load = Load::begin(regions.addresses(), demands, length());
    let outcomes = load.finish().await;
    let seconds = began.elapsed().as_secs_f64();
    let after = frames(regions);
    let rate = |(after, before): (&u64, &u64)| (after - before) as f64 / seconds;
    let rates: Vec<f64> = after.iter().zip(&before).map(rate).collect();
    let most = rates.iter().copied().fold(0.0, f64::max);
    let served = outcomes.iter().filter(|one| one.status == 200).count();
    println!(
        "{} keys, {served} requests: at most {most:.1} frames/s on a link",
        keys()
    );
    for (link, relay) in &regions.links {
        println!("{link:?}: {:?}", relay.traffic());
    }
    assert!(most <= FRAMES_PER_S, "{rates:.1?} frames a second");
    // How many are served is what `budgets.rs` looks at: most keys are new here.
    assert!(served * 2 > outcomes.len(), "{served} served");
}
