//! Deployments that fail, come back and are slow; each with what a caller sees of it.

use super::*;
use crate::routing::failure::{Blame, Silence};
use crate::routing::policy::{FailureClass, PolicyError};

mod probed;

/// The time of limits; they have tests of their own.
const WALL: WallMs = WallMs(1_700_000_000_000);

fn at(millis: u64) -> MonoUs {
    MonoUs::default().plus(Duration::from_millis(millis))
}

fn fresh() -> Arc<Health> {
    Arc::new(Health::new(Arc::new(Circuit::new(at(0))), at(0)))
}

fn around(policy: &CooldownPolicy) -> Surroundings<'_> {
    Surroundings {
        policy,
        decay: Duration::from_secs(10),
        time: None,
        others: true,
        dice: 0.5,
    }
}

fn begin(health: &Arc<Health>, entry: Entry, now: MonoUs) -> Option<Flight> {
    let policy = CooldownPolicy::default();
    Flight::begin(
        health,
        entry,
        WALL,
        (10, Awaited::FirstToken),
        (now, &policy),
    )
}

fn fail(health: &Arc<Health>, class: FailureClass, now: MonoUs) -> Option<Cooled> {
    fail_with(health, class, now, None, &CooldownPolicy::default())
}

fn fail_with(
    health: &Arc<Health>,
    class: FailureClass,
    now: MonoUs,
    wait: Option<Duration>,
    policy: &CooldownPolicy,
) -> Option<Cooled> {
    let flight = begin(health, Entry::LastResort, now).unwrap();
    let verdict = class.verdict();
    flight.failed(now, Failed { verdict, wait }, &around(policy))
}

/// Fails as often as it takes.
fn break_down(health: &Arc<Health>) {
    let times = (0..5).filter_map(|_| fail(health, FailureClass::Server, at(0)));
    assert_eq!(times.count(), 1);
}

fn succeed(health: &Arc<Health>, entry: Entry, now: MonoUs, taken: u64) {
    let policy = CooldownPolicy::default();
    let mut flight = begin(health, entry, now).unwrap();
    let done = now.plus(Duration::from_millis(taken));
    flight.first_token(done, &around(&policy));
    flight.finished(done, (None, None), &around(&policy));
}

fn gate(health: &Health, now: MonoUs) -> Gate {
    health.gate(now, &CooldownPolicy::default())
}

#[test]
fn one_failure_is_forgiven_and_a_majority_is_not() {
    let health = fresh();
    assert_eq!(fail(&health, FailureClass::Server, at(1)), None);
    (0..3).for_each(|n| succeed(&health, Entry::Usual, at(2 + n), 5));
    assert_eq!(fail(&health, FailureClass::Server, at(10)), None, "2 of 5");
    assert_eq!(fail(&health, FailureClass::Timeout, at(11)), None, "3 of 6");
    let cooled = fail(&health, FailureClass::Network, at(12)).unwrap();
    assert_eq!(cooled.whose, Blame::Deployment);
    assert_eq!(cooled.opened.until, at(5_012));
    assert!(begin(&health, Entry::Usual, at(13)).is_none());
}

#[test]
fn what_callers_cause_never_counts() {
    let health = fresh();
    for class in FailureClass::ALL
        .into_iter()
        .filter(|class| class.verdict().blame == Blame::Nobody)
    {
        for n in 0..100 {
            assert_eq!(fail(&health, class, at(n)), None);
        }
    }
    let cancelled = begin(&health, Entry::Usual, at(100)).unwrap();
    drop(cancelled);
    let report = health.report(at(101), &CooldownPolicy::default(), &LatencyArgs::default());
    assert_eq!(
        (report.failures, report.in_flight, report.ttft),
        (0, 0, None)
    );
    assert_eq!(Silence::CallersDeadline.verdict().blame, Blame::Nobody);
}

#[test]
fn the_longest_deadline_stands() {
    let policy = CooldownPolicy::default();
    let health = fresh();
    let asked = Some(Duration::from_secs(60));
    let cooled = fail_with(&health, FailureClass::RateLimit, at(0), asked, &policy).unwrap();
    assert_eq!(
        cooled.opened.until,
        at(63_000),
        "and a twentieth, so that not all come at once"
    );
    // litellm#40130: a second, shorter one keeps the first.
    let shorter = Some(Duration::from_secs(1));
    assert_eq!(
        fail_with(&health, FailureClass::RateLimit, at(10), shorter, &policy),
        None
    );
    assert!(matches!(gate(&health, at(62_999)), Gate::Open { .. }));
    let longer = Some(Duration::from_secs(100));
    fail_with(&health, FailureClass::RateLimit, at(20), longer, &policy);
    assert!(matches!(gate(&health, at(105_000)), Gate::Open { .. }));
}

#[test]
fn a_limit_without_a_time_leaves_the_only_deployment_in_use() {
    let (policy, health) = (CooldownPolicy::default(), fresh());
    let alone = Surroundings {
        others: false,
        ..around(&policy)
    };
    for n in 0..50 {
        let flight = begin(&health, Entry::Usual, at(n)).unwrap();
        let failed = Failed {
            verdict: FailureClass::RateLimit.verdict(),
            wait: None,
        };
        assert_eq!(flight.failed(at(n), failed, &alone), None);
    }
    let cooled = fail(&health, FailureClass::RateLimit, at(60)).unwrap();
    assert_eq!(cooled.opened.times, 1, "with others there, at once");
}

#[test]
fn a_bad_credential_is_left_out_for_all_its_deployments() {
    let credential = Arc::new(Circuit::new(at(0)));
    let [one, two] = [(); 2].map(|()| Arc::new(Health::new(Arc::clone(&credential), at(0))));
    let cooled = fail(&one, FailureClass::Quota, at(1)).unwrap();
    assert_eq!(cooled.whose, Blame::Credential);
    assert!(matches!(
        gate(&two, at(2)),
        Gate::Open {
            cause: FailureClass::Quota,
            ..
        }
    ));
    // One request tries for all of them.
    let probe = begin(&one, Entry::Probe, at(6_000)).unwrap();
    assert_eq!(gate(&two, at(6_001)), Gate::Probing);
    assert!(begin(&two, Entry::Probe, at(6_001)).is_none());
    drop(probe);
    succeed(&two, Entry::Probe, at(6_002), 5);
    assert_eq!(gate(&one, at(6_010)), Gate::Closed);
}

#[test]
fn exactly_one_request_tries_and_its_failure_doubles_the_time() {
    let health = fresh();
    break_down(&health);
    assert_eq!(gate(&health, at(5_000)), Gate::HalfOpen);
    let probe = begin(&health, Entry::Probe, at(5_000)).unwrap();
    for n in 0..100 {
        assert!(begin(&health, Entry::Probe, at(5_000 + n)).is_none());
        assert!(begin(&health, Entry::Usual, at(5_000 + n)).is_none());
    }
    let policy = CooldownPolicy::default();
    let failed = Failed {
        verdict: FailureClass::Server.verdict(),
        wait: None,
    };
    let cooled = probe.failed(at(5_100), failed, &around(&policy)).unwrap();
    assert_eq!((cooled.opened.until, cooled.opened.times), (at(15_100), 2));
    succeed(&health, Entry::Probe, at(15_100), 50);
    assert_eq!(gate(&health, at(15_151)), Gate::Closed);
    assert!(health.ramp(at(15_151), &policy) < 0.1);
    assert!((health.ramp(at(20_150), &policy) - 0.5).abs() < 0.01);
    assert!((health.ramp(at(25_150), &policy) - 1.0).abs() < 0.001);
    assert!(
        health.score(at(15_151), &LatencyArgs::default()) < 0.1,
        "its past is forgotten"
    );
}

#[test]
fn many_threads_begin_one_time_out() {
    let health = fresh();
    (0..4).for_each(|n| assert_eq!(fail(&health, FailureClass::Server, at(n)), None));
    let cooled: Vec<Cooled> = std::thread::scope(|scope| {
        let fails = (0..8).map(|_| scope.spawn(|| fail(&health, FailureClass::Server, at(9))));
        let fails: Vec<_> = fails.collect();
        let joined = fails.into_iter().map(|one| one.join().unwrap());
        joined.flatten().collect()
    });
    assert_eq!(cooled.len(), 1);
    assert_eq!(
        health.circuit().times(),
        1,
        "the time is not doubled by a crowd"
    );
}

#[test]
fn a_failed_try_keeps_to_what_the_provider_asks() {
    let (health, policy) = (fresh(), CooldownPolicy::default());
    break_down(&health);
    let probe = begin(&health, Entry::Probe, at(6_000)).unwrap();
    let failed = Failed {
        verdict: FailureClass::Overload.verdict(),
        wait: Some(Duration::from_secs(40)),
    };
    let cooled = probe.failed(at(6_000), failed, &around(&policy)).unwrap();
    assert_eq!((cooled.opened.until, cooled.opened.times), (at(48_000), 2));
}

#[test]
fn a_caller_that_waited_in_vain_has_measured_something() {
    let (health, policy, args) = (fresh(), CooldownPolicy::default(), LatencyArgs::default());
    succeed(&health, Entry::Usual, at(0), 300);
    let leave = |sent: u64, left: u64| {
        let flight = begin(&health, Entry::Usual, at(sent)).unwrap();
        flight.left(at(left), &around(&policy));
        health.score(at(left), &args)
    };
    assert!(leave(300, 301) < 0.31, "who leaves at once has not");
    assert!(leave(400, 9_400) > 8.9);
    assert!(matches!(gate(&health, at(9_400)), Gate::Closed));
}

#[test]
fn many_threads_get_one_try() {
    let health = fresh();
    break_down(&health);
    let flights: Vec<Option<Flight>> = std::thread::scope(|scope| {
        let tries = (0..8).map(|_| scope.spawn(|| begin(&health, Entry::Probe, at(6_000))));
        let tries: Vec<_> = tries.collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(flights.iter().flatten().count(), 1);
    drop(flights);
    assert_eq!(health.in_flight(), 0);
    assert_eq!(
        gate(&health, at(6_001)),
        Gate::HalfOpen,
        "a cancelled try may be made again"
    );
}

#[test]
fn allowed_fails_count_by_kind_and_in_all() {
    let policy = CooldownPolicy {
        allowed_fails: Some(3),
        allowed_fails_of: [(PolicyError::RateLimit, 10)].into(),
        ..CooldownPolicy::default()
    };
    let limited = fresh();
    let hit = |n| fail_with(&limited, FailureClass::RateLimit, at(n), None, &policy);
    assert_eq!((0..11).filter_map(hit).count(), 1);
    let broken = fresh();
    let hit = |n| fail_with(&broken, FailureClass::Server, at(n), None, &policy);
    assert_eq!((0..3).filter_map(hit).count(), 0);
    assert!(hit(4).is_some());
}

#[test]
fn cooling_can_be_off_or_of_no_length() {
    let off = CooldownPolicy {
        disabled: true,
        ..CooldownPolicy::default()
    };
    let zero = CooldownPolicy {
        time: Duration::ZERO,
        ..CooldownPolicy::default()
    };
    for policy in [off, zero] {
        let health = fresh();
        for n in 0..100 {
            assert_eq!(
                fail_with(&health, FailureClass::Auth, at(n), None, &policy),
                None
            );
        }
        assert_eq!(health.gate(at(200), &policy), Gate::Closed);
    }
}

#[test]
fn what_breaks_after_its_first_token_is_no_success() {
    let (policy, health) = (CooldownPolicy::default(), fresh());
    let cooled = (0..5).filter_map(|n| {
        let mut flight = begin(&health, Entry::Usual, at(n * 10)).unwrap();
        flight.first_token(at(n * 10 + 1), &around(&policy));
        let failed = Failed {
            verdict: FailureClass::Network.verdict(),
            wait: None,
        };
        flight.failed(at(n * 10 + 2), failed, &around(&policy))
    });
    assert_eq!(cooled.count(), 1);
}

#[test]
fn a_stall_shows_before_any_answer() {
    let (health, args) = (fresh(), LatencyArgs::default());
    succeed(&health, Entry::Usual, at(0), 200);
    let before = health.score(at(200), &args);
    let stalled = begin(&health, Entry::Usual, at(200)).unwrap();
    assert!(health.score(at(2_200), &args) >= 10.0 * before);
    drop(stalled);
    assert!(health.score(at(2_200), &args) < before);
}

#[test]
fn failing_fast_is_not_being_fast() {
    let (failing, slow, args) = (fresh(), fresh(), LatencyArgs::default());
    fail(&failing, FailureClass::Server, at(1));
    succeed(&slow, Entry::Usual, at(0), 2_000);
    assert!(failing.score(at(2_001), &args) > slow.score(at(2_001), &args));
}

#[test]
fn a_few_failures_count_for_as_long_as_a_time_out_and_no_longer() {
    let args = LatencyArgs::default();
    let (failed, other) = (fresh(), fresh());
    for health in [&failed, &other] {
        succeed(health, Entry::Usual, at(0), 300);
    }
    // Fewer than leave it out: nobody will try it but for its score.
    (0..3).for_each(|_| assert_eq!(fail(&failed, FailureClass::Network, at(1_000)), None));
    let scores = |now| (failed.score(at(now), &args), other.score(at(now), &args));
    for now in [1_001, 3_000, 5_999] {
        let (failed, other) = scores(now);
        assert!(failed > 10.0 * other, "{now}: {failed} {other}");
    }
    // Then it gets its weight back, not all at once.
    for (now, least, most) in [(6_001, 10.0, 21.0), (11_001, 1.5, 2.5), (16_001, 0.9, 1.01)] {
        let (failed, other) = scores(now);
        let times = failed / other;
        assert!(least < times && times < most, "{now}: {times}");
    }
}

#[test]
fn a_slow_writer_is_slower_than_a_fast_one() {
    let (policy, args) = (CooldownPolicy::default(), LatencyArgs::default());
    let write = |millis: u64| {
        let health = fresh();
        let mut flight = begin(&health, Entry::Usual, at(0)).unwrap();
        flight.first_token(at(100), &around(&policy));
        flight.finished(at(100 + millis), (Some(120), Some(100)), &around(&policy));
        assert_eq!(health.tokens_this_minute(at(3_000)), 120);
        health.score(at(3_000), &args)
    };
    assert!(write(2_000) > 2.0 * write(500));
}

#[test]
fn limits_leave_no_room_when_they_are_reached() {
    let policy = CooldownPolicy::default();
    let health = fresh();
    health.rates().set(Limits {
        rpm: Some(3),
        tpm: Some(100),
        parallel: Some(2),
    });
    let start = |tokens| {
        let tokens = (tokens, Awaited::Whole);
        Flight::begin(&health, Entry::Usual, WALL, tokens, (at(0), &policy))
    };
    let full = |tokens, wall| health.full(tokens, wall).map(|full| full.limit);
    let (one, two) = (start(10).unwrap(), start(10).unwrap());
    assert_eq!(full(10, WALL), Some(Dimension::Parallel));
    assert!(start(10).is_none(), "also when two plans meet");
    one.finished(at(0), (Some(95), None), &around(&policy));
    assert_eq!(full(10, WALL), Some(Dimension::Tokens));
    two.finished(at(0), (Some(1), None), &around(&policy));
    assert_eq!(full(4, WALL), None);
    drop(start(4));
    let requests = Full {
        limit: Dimension::Requests,
        free_in: Duration::from_secs(60),
    };
    assert_eq!(health.full(0, WALL), Some(requests));
    assert!(start(0).is_none(), "also when two plans meet");
    assert_eq!(full(0, WALL.plus_ms(60_000)), None);
}

#[test]
fn a_try_that_may_not_begin_takes_nothing_of_the_limits() {
    let policy = CooldownPolicy::default();
    let health = fresh();
    health.rates().set(Limits {
        rpm: Some(2),
        ..Limits::default()
    });
    health.circuit().hear(at(1_000), FailureClass::Server);
    let probe = || {
        let tokens = (0, Awaited::Whole);
        Flight::begin(&health, Entry::Probe, WALL, tokens, (at(2_000), &policy))
    };
    let first = probe().unwrap();
    assert!(probe().is_none(), "one tries");
    drop(first);
    assert!(probe().is_some(), "and the second one has its place");
}

#[test]
fn what_another_node_found_out_is_believed() {
    let health = fresh();
    health.circuit().hear(at(9_000), FailureClass::Overload);
    health.circuit().hear(at(4_000), FailureClass::Server);
    let expected = Gate::Open {
        until: at(9_000),
        cause: FailureClass::Overload,
    };
    assert_eq!(gate(&health, at(0)), expected);
    health.circuit().close(at(10));
    assert_eq!(gate(&health, at(11)), Gate::Closed);
}

#[test]
fn nothing_is_lost_when_many_threads_report() {
    let (policy, health) = (CooldownPolicy::default(), fresh());
    let work = |thread: u64| {
        for n in 0..500 {
            let now = at(n);
            let mut flight = begin(&health, Entry::LastResort, now).unwrap();
            match (n + thread) % 4 {
                0 => drop(flight),
                1 => flight.left(now, &around(&policy)),
                2 => {
                    flight.first_token(now, &around(&policy));
                    flight.finished(now, (Some(5), None), &around(&policy));
                }
                _ => {
                    let verdict = FailureClass::Server.verdict();
                    flight.failed(
                        now,
                        Failed {
                            verdict,
                            wait: None,
                        },
                        &around(&policy),
                    );
                }
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || work(thread)))));
    let report = health.report(at(500), &policy, &LatencyArgs::default());
    assert_eq!((report.in_flight, report.waiting), (0, 0));
    assert_eq!(report.oldest_wait, Duration::ZERO);
    assert_eq!(report.rpm, 2_000);
    let next = begin(&health, Entry::Probe, at(900_000));
    assert!(next.is_some(), "no try was lost with its request");
}
