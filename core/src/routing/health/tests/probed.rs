//! Probes beside the traffic: what they find, and what they must leave alone.

use super::*;

fn probe_fails(health: &Health, class: FailureClass, now: MonoUs) -> Option<Cooled> {
    let (verdict, policy) = (class.verdict(), CooldownPolicy::default());
    let failed = Failed {
        verdict,
        wait: None,
    };
    health.probe_failed(now, failed, &around(&policy))
}

fn report(health: &Health, now: MonoUs) -> Report {
    health.report(now, &CooldownPolicy::default(), &LatencyArgs::default())
}

#[test]
fn a_dead_deployment_is_found_without_traffic_and_stays_out_until_something_answers() {
    let health = fresh();
    for n in 0..4 {
        assert_eq!(probe_fails(&health, FailureClass::Network, at(n)), None);
    }
    assert_eq!(report(&health, at(4)).standing(), Standing::Partial);
    let first = probe_fails(&health, FailureClass::Network, at(10)).unwrap();
    assert_eq!(report(&health, at(11)).standing(), Standing::Out);
    assert_eq!(probe_fails(&health, FailureClass::Network, at(20)), None);
    // The time is over: the probe tries, so that no caller has to.
    let over = first.opened.until;
    let second = probe_fails(&health, FailureClass::Network, over).unwrap();
    assert_eq!(second.opened.times, 2);
    assert!(second.opened.until.since(over) > first.opened.until.since(at(10)));
    assert!(health.answered(over.plus(Duration::from_millis(1))));
    let now = over.plus(Duration::from_millis(2));
    let back = report(&health, now);
    assert_eq!((back.standing(), back.ttft), (Standing::Healthy, None));
    assert!(back.ramp < 0.1, "its share grows");
    assert!(begin(&health, Entry::Usual, now).is_some());
}

#[test]
fn a_list_of_models_takes_back_nothing_but_silence() {
    for class in [
        FailureClass::RateLimit,
        FailureClass::Overload,
        FailureClass::Server,
        FailureClass::Timeout,
        FailureClass::Auth,
        FailureClass::Quota,
    ] {
        let health = fresh();
        let opened = (0..5).filter_map(|n| fail(&health, class, at(n))).count();
        assert_eq!(opened, 1, "{class:?}");
        let before = gate(&health, at(10));
        assert!(!health.answered(at(10)), "{class:?}");
        assert_eq!(gate(&health, at(10)), before, "{class:?}");
    }
    let health = fresh();
    assert!(!health.answered(at(1)), "nothing to take back");
    let used = fail(&health, FailureClass::Server, at(2));
    assert!(used.is_none() && !health.answered(at(3)));
    assert_eq!(report(&health, at(4)).failures, 1, "no success for free");
}

#[test]
fn a_probe_is_no_traffic_and_no_load() {
    let health = fresh();
    assert_eq!(probe_fails(&health, FailureClass::Server, at(50)), None);
    let seen = report(&health, at(60));
    assert_eq!((seen.heard_at, seen.rpm, seen.in_flight), (at(0), 0, 0));
    assert_eq!(probe_fails(&health, FailureClass::Client, at(70)), None);
    assert_eq!(report(&health, at(80)).failures, 1, "nobody's fault");
}

#[test]
fn with_cooldowns_off_everything_stands_in_use() {
    let policy = CooldownPolicy {
        disabled: true,
        ..CooldownPolicy::default()
    };
    let health = fresh();
    break_down(&health);
    let seen = health.report(at(1), &policy, &LatencyArgs::default());
    assert_eq!(seen.worse_gate(), Gate::Closed);
    assert_eq!(seen.standing(), Standing::Partial, "it failed");
}
