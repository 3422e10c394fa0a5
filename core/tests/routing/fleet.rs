//! A hundred gateways that know nothing of each other.

use std::collections::HashMap;

use meridian_core::routing::policy::AffinityPolicy;

use crate::faults::LATENCY;
use crate::providers::{Behaviour, answer, healthy};
use crate::rng::lognormal;
use crate::world::{Chooser, World};

/// Largest share of one provider in any second.
fn herd(chooser: Chooser) -> f64 {
    // Something changes every ten seconds: now this one is better, now that one.
    let wavering = |offset: f64| -> Behaviour {
        Box::new(move |call, rng| {
            let better = ((call.second / 10.0 + offset) as u64).is_multiple_of(2);
            let median = if better { 0.2 } else { 0.4 };
            answer(lognormal(
                rng,
                median * (1.0 + f64::from(call.in_flight) / 400.0),
                0.4,
            ))
        })
    };
    let providers = vec![wavering(0.0), wavering(1.0), healthy(0.3), healthy(0.3)];
    let mut world = World::new(21, 100, chooser, providers);
    world.traffic(0, 500.0, 0.0, 60.0);
    world.run();
    let shares = (10..60).flat_map(|second| {
        let from = f64::from(second);
        let world = &world;
        (0..4).map(move |provider| world.share(provider, from, from + 1.0))
    });
    shares.fold(0.0, f64::max)
}

#[test]
fn a_hundred_gateways_are_no_herd() {
    let (ours, mean) = (herd(LATENCY), herd(Chooser::MeanOfTen));
    println!(
        "100 gateways, 4 providers, busiest second of one: latency-based {:.0} %, mean of ten {:.0} %",
        100.0 * ours,
        100.0 * mean
    );
    assert!(ours < 0.5, "{ours}");
}

#[test]
fn conversations_find_their_cache_at_four_gateways_and_two_regions() {
    let hits = |affinity: AffinityPolicy| {
        let providers = (0..8).map(|_| healthy(0.3)).collect();
        let mut world = World::new(22, 4, LATENCY, providers);
        world.policy.affinity = affinity;
        world.policy.regions.own = Some("eu-west-1".to_owned());
        for (index, facts) in world.facts.iter_mut().enumerate() {
            let region = ["eu-west-1", "us-east-1"][index % 2];
            facts.region = Some(region.to_owned());
        }
        world.conversations(2_000, 10, 100.0);
        world.run();
        let mut last: HashMap<u64, usize> = HashMap::new();
        let (mut hits, mut turns) = (0, 0);
        for send in &world.sends {
            let Some(conversation) = send.conversation else {
                continue;
            };
            if let Some(before) = last.insert(conversation, send.provider) {
                turns += 1;
                hits += usize::from(before == send.provider);
            }
        }
        hits as f64 / f64::from(turns)
    };
    let on = AffinityPolicy::On {
        prefix_bytes: 1024,
        load_max: 1.25,
    };
    let (with, without) = (hits(on), hits(AffinityPolicy::Off));
    println!(
        "turns that find their cache: {:.0} % with affinity, {:.0} % without",
        100.0 * with,
        100.0 * without
    );
    assert!(with >= 0.9, "{with}");
}
