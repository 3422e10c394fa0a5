//! Providers that fail, die and come back.

use meridian_core::routing::plan::Why;
use meridian_core::routing::policy::{FailureClass, LatencyArgs, Strategy};

use crate::providers::{Behaviour, Outcome, answer, fail, healthy};
use crate::rng::lognormal;
use crate::world::{Chooser, World};

pub(crate) const LATENCY: Chooser = Chooser::Plan(Strategy::LatencyBased(LatencyArgs {
    decay: std::time::Duration::from_secs(10),
    buffer: 0.0,
}));
pub(crate) const SHUFFLE: Chooser = Chooser::Plan(Strategy::SimpleShuffle);

/// Refuses within a millisecond between two seconds, and is healthy otherwise.
fn dead_between(from: f64, to: f64) -> Behaviour {
    Box::new(move |call, rng| match (from..to).contains(&call.second) {
        true => fail(0.001, FailureClass::Network),
        false => answer(lognormal(rng, 0.3, 0.4)),
    })
}

#[test]
fn a_provider_that_fails_in_a_millisecond_gets_less_than_two_percent() {
    for chooser in [LATENCY, SHUFFLE] {
        for (rate, length) in [(0.5, 3_600.0), (20.0, 300.0), (200.0, 60.0)] {
            let providers = vec![healthy(0.3), healthy(0.3), dead_between(0.0, 1e9)];
            let mut world = World::new(1, 1, chooser, providers);
            world.traffic(0, rate, 0.0, length);
            world.run();
            let share = world.share(2, 0.0, length);
            let name = chooser.name();
            println!(
                "fails in 1 ms, {name}, {rate}/s: {:.2} % of sends",
                100.0 * share
            );
            assert!(share < 0.02, "{chooser:?} {rate}: {share}");
            assert_eq!(world.errors(), 0);
        }
    }
}

#[test]
fn also_without_any_time_out_failing_fast_is_not_being_fast() {
    let providers = vec![healthy(0.3), healthy(0.3), dead_between(0.0, 1e9)];
    let mut world = World::new(8, 1, LATENCY, providers);
    world.policy.cooldown.disabled = true;
    world.traffic(0, 20.0, 0.0, 300.0);
    world.run();
    let share = world.share(2, 0.0, 300.0);
    assert!(share < 0.02, "{share}");
    assert_eq!(world.errors(), 0);
}

#[test]
fn two_of_three_die_at_300_requests_a_second_and_nobody_sees_it() {
    for chooser in [LATENCY, SHUFFLE] {
        let providers = vec![
            healthy(0.3),
            dead_between(20.0, 60.0),
            dead_between(20.0, 60.0),
        ];
        let mut world = World::new(2, 2, chooser, providers);
        world.traffic(0, 300.0, 0.0, 120.0);
        world.run();
        assert_eq!(world.errors(), 0, "{chooser:?}");
        let dead = world.share(1, 21.0, 60.0) + world.share(2, 21.0, 60.0);
        assert!(dead < 0.01, "rebalanced within a second: {dead}");
        let extra = world.sends.len() as f64 / world.got.len() as f64;
        assert!(extra < 1.05, "{extra}");
    }
}

#[test]
fn one_that_breaks_with_requests_in_flight_loses_none_of_them() {
    // What was sent in the second before it dies never gets a first token.
    let breaks: Behaviour = Box::new(|call, rng| match call.second {
        19.0..20.0 => fail(20.0 - call.second, FailureClass::Network),
        20.0..60.0 => fail(0.001, FailureClass::Network),
        _ => answer(lognormal(rng, 0.3, 0.4)),
    });
    let mut world = World::new(3, 2, LATENCY, vec![healthy(0.3), healthy(0.3), breaks]);
    world.traffic(0, 300.0, 0.0, 90.0);
    world.run();
    assert_eq!(world.errors(), 0);
}

#[test]
fn it_comes_back_without_a_spike() {
    let providers = vec![healthy(0.3), healthy(0.3), dead_between(20.0, 80.0)];
    let mut world = World::new(4, 100, LATENCY, providers);
    world.traffic(0, 300.0, 0.0, 240.0);
    world.run();
    assert_eq!(world.errors(), 0);
    let fair = 100.0;
    let peak = (800..2_400)
        .map(|tenth| world.sent_to(2, f64::from(tenth) / 10.0, f64::from(tenth) / 10.0 + 1.0));
    let peak = peak.max().unwrap_or(0) as f64 / fair;
    println!("after recovery: busiest second {peak:.2} of the fair share");
    assert!(peak < 1.6, "{peak}");
    let share = world.share(2, 220.0, 240.0);
    assert!((0.25..0.42).contains(&share), "its share is back: {share}");
}

#[test]
fn while_it_is_half_open_one_request_tries_it() {
    // From second 3 on it answers, but only after five seconds: plenty of time for others to try.
    let slow: Behaviour = Box::new(|call, rng| match call.second {
        0.0..3.0 => fail(0.001, FailureClass::Server),
        3.0..20.0 => answer(5.0),
        _ => answer(lognormal(rng, 0.3, 0.4)),
    });
    let mut world = World::new(5, 1, SHUFFLE, vec![healthy(0.3), slow]);
    world.traffic(0, 200.0, 0.0, 30.0);
    world.run();
    let probes: Vec<f64> = world
        .sends
        .iter()
        .filter(|send| send.why == Why::Probe)
        .map(|send| send.at)
        .collect();
    assert_eq!(probes.len(), 1, "{probes:?}");
    assert_eq!(world.sent_to(1, 3.0, probes[0] + 4.99), 1);
    assert!(world.sent_to(1, probes[0] + 5.0, 30.0) > 100);
}

#[test]
fn a_limit_with_a_time_is_kept_to_the_end() {
    let limited: Behaviour = Box::new(|call, rng| match call.second < 30.0 {
        true => Outcome::Fail {
            after: 0.05,
            class: FailureClass::RateLimit,
            wait: Some(std::time::Duration::from_secs_f64(
                (30.0 - call.second).ceil(),
            )),
        },
        false => answer(lognormal(rng, 0.3, 0.4)),
    });
    let mut world = World::new(6, 1, LATENCY, vec![healthy(0.3), limited]);
    world.traffic(0, 100.0, 0.0, 60.0);
    world.run();
    assert_eq!(world.errors(), 0);
    assert!(world.sent_to(1, 1.0, 30.0) == 0);
    assert!(world.sent_to(1, 45.0, 60.0) > 100);
    assert_eq!(world.cooled.len(), 1, "{:?}", world.cooled);
}

#[test]
fn when_everything_is_down_extra_sends_keep_to_the_budget() {
    let down = || dead_between(0.0, 1e9);
    let mut world = World::new(7, 1, SHUFFLE, vec![down(), down(), down()]);
    world.traffic(0, 50.0, 0.0, 300.0);
    world.run();
    let extra = world.sends.len() as f64 / world.got.len() as f64 - 1.0;
    println!("all down: {:.1} % extra sends", 100.0 * extra);
    // A tenth, and one in a second for quiet nodes.
    assert!(extra < 0.1 + 1.0 / 50.0 + 0.01, "{extra}");
    assert_eq!(world.errors(), world.got.len());
}
