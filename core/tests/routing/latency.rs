//! Who gets a slow answer.

use meridian_core::routing::policy::FailureClass;

use crate::faults::{LATENCY, SHUFFLE};
use crate::providers::{Behaviour, answer, fail, healthy};
use crate::rng::lognormal;
use crate::world::{Chooser, World};

/// A provider with slow times: ten times slower in the given stretches of seconds, and slower the
/// more it has to do.
fn uneven(median: f64, slow: &'static [(f64, f64)]) -> Behaviour {
    Box::new(move |call, rng| {
        let is_slow = slow
            .iter()
            .any(|(from, to)| (*from..*to).contains(&call.second));
        let factor = if is_slow { 10.0 } else { 1.0 };
        let crowded = 1.0 + f64::from(call.in_flight) / 100.0;
        answer(lognormal(rng, median * factor * crowded, 0.5))
    })
}

/// Four providers over ten minutes; each has its bad times.
fn trace(chooser: Chooser) -> World {
    let providers = vec![
        uneven(0.30, &[(60.0, 90.0), (400.0, 415.0)]),
        uneven(0.35, &[(150.0, 160.0), (300.0, 340.0)]),
        uneven(0.40, &[(200.0, 260.0)]),
        uneven(0.45, &[(30.0, 40.0), (480.0, 500.0)]),
    ];
    let mut world = World::new(11, 4, chooser, providers);
    world.traffic(0, 40.0, 0.0, 600.0);
    world.run();
    world
}

#[test]
fn the_slowest_percent_is_faster_than_with_shuffle_and_with_the_mean_of_ten() {
    let worlds = [LATENCY, SHUFFLE, Chooser::MeanOfTen].map(trace);
    let figures = worlds
        .each_ref()
        .map(|world| [0.5, 0.9, 0.99].map(|part| world.quantile(part)));
    for (name, [p50, p90, p99]) in ["latency-based", "simple-shuffle", "mean of ten"]
        .iter()
        .zip(figures)
    {
        println!("time to first token, {name}: p50 {p50:.2} s, p90 {p90:.2} s, p99 {p99:.2} s");
    }
    let [ours, shuffle, mean] = figures.map(|[_, _, p99]| p99);
    assert!(ours < 0.6 * shuffle, "{ours} {shuffle}");
    assert!(ours < 0.9 * mean, "{ours} {mean}");
    assert_eq!(
        worlds.iter().map(|world| world.got.len()).max(),
        worlds.iter().map(|world| world.got.len()).min()
    );
}

#[test]
fn one_that_turns_ten_times_slower_has_lost_its_load_within_two_seconds() {
    for (gateways, rate) in [(1, 20.0), (1, 100.0), (10, 200.0)] {
        let slow: Behaviour = Box::new(|call, rng| {
            let median = if call.second < 30.0 { 0.3 } else { 3.0 };
            answer(lognormal(rng, median, 0.4))
        });
        let providers = vec![healthy(0.3), healthy(0.3), slow];
        let mut world = World::new(12, gateways, LATENCY, providers);
        world.traffic(0, rate, 0.0, 90.0);
        world.run();
        let (before, after) = (world.share(2, 10.0, 30.0), world.share(2, 32.0, 90.0));
        println!(
            "ten times slower: {gateways} gateways, {rate}/s: {:.1} % before, {:.1} % from 2 s after",
            100.0 * before,
            100.0 * after
        );
        assert!(before > 0.2, "{before}");
        assert!(after < 0.05, "{after}");
    }
}

#[test]
fn one_that_stalls_loses_its_load_though_nothing_comes_back() {
    let stalls: Behaviour = Box::new(|call, rng| match call.second < 30.0 {
        true => answer(lognormal(rng, 0.3, 0.4)),
        false => fail(60.0, FailureClass::Timeout),
    });
    let mut world = World::new(13, 1, LATENCY, vec![healthy(0.3), healthy(0.3), stalls]);
    world.traffic(0, 50.0, 0.0, 80.0);
    world.run();
    assert!(world.share(2, 32.0, 80.0) < 0.02);
    assert_eq!(world.errors(), 0);
}

#[test]
fn a_new_one_takes_its_share_step_by_step() {
    for chooser in [LATENCY, SHUFFLE] {
        let mut world = World::new(14, 4, chooser, (0..3).map(|_| healthy(0.3)).collect());
        world.appears(2, 30.0);
        world.traffic(0, 300.0, 0.0, 60.0);
        world.run();
        let share = |second: f64| world.share(2, 30.0 + second, 32.0 + second);
        let steps = [0.0, 4.0, 8.0, 20.0].map(share);
        let name = chooser.name();
        println!("new provider, {name}: {steps:.2?} of the traffic after 0, 4, 8 and 20 s");
        assert_eq!(world.share(2, 0.0, 30.0), 0.0);
        assert!(steps[0] < 0.12, "{steps:?}");
        assert!(
            steps.windows(2).all(|pair| pair[0] < pair[1] + 0.03),
            "{steps:?}"
        );
        assert!((0.28..0.39).contains(&steps[3]), "{steps:?}");
    }
}
