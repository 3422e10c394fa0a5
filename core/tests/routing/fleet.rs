//! A hundred gateways that know nothing of each other.

use crate::faults::LATENCY;
use crate::rng::lognormal;
use crate::world::{Behaviour, Chooser, World, answer, healthy};

/// Largest share of one provider in any second.
fn herd(chooser: Chooser) -> f64 {
    // Something changes every ten seconds: now this one is better, now that one.
    let wavering = |offset: f64| -> Behaviour {
        Box::new(move |second, in_flight, rng| {
            let better = ((second / 10.0 + offset) as u64).is_multiple_of(2);
            let median = if better { 0.2 } else { 0.4 };
            answer(lognormal(
                rng,
                median * (1.0 + f64::from(in_flight) / 400.0),
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
