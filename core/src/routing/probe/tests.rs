//! Probes in invented time and money.

use super::*;

const HOUR_MS: i64 = 3600 * 1000;

fn policy(billed_per_day: Option<i64>) -> ProbePolicy {
    ProbePolicy {
        every: Duration::from_secs(300),
        timeout: Duration::from_secs(10),
        billed_per_day: billed_per_day.map(NanoUsd),
    }
}

fn due(heard_at_s: u64, own_heard_at_s: u64) -> Due {
    let second = |at: u64| MonoUs(at * 1_000_000);
    Due {
        now: second(1_000),
        heard_at: second(heard_at_s),
        own_heard_at: second(own_heard_at_s),
        lists: true,
        cost: Some(NanoUsd(40)),
    }
}

#[test]
fn probes_are_spread_and_those_that_failed_come_sooner() {
    let policy = policy(None);
    let seconds = |last, dice| pause(&policy, last, dice).as_secs();
    assert_eq!(
        (seconds(Last::Never, 0.0), seconds(Last::Never, 0.5)),
        (0, 150)
    );
    assert_eq!(
        (seconds(Last::Answered, 0.0), seconds(Last::Answered, 0.5)),
        (270, 300)
    );
    assert_eq!(seconds(Last::Failed, 0.5), 30);
    let often = ProbePolicy {
        every: Duration::from_secs(1),
        ..policy
    };
    assert_eq!(pause(&often, Last::Failed, 0.5), Duration::from_secs(1));
}

#[test]
fn a_billed_probe_needs_permission_silence_a_price_and_room() {
    let (spending, now) = (Spending::default(), WallMs(HOUR_MS));
    let made = |policy: &ProbePolicy, due: &Due| kind(policy, due, &spending, now);
    let allowed = policy(Some(100));
    // Nothing since it appeared; a caller an hour ago; the last one heard was the probe itself.
    for quiet in [due(0, 0), due(600, 0), due(900, 900)] {
        assert_eq!(made(&allowed, &quiet), Some(Kind::Billed));
        assert_eq!(made(&policy(None), &quiet), Some(Kind::Models));
    }
    assert_eq!(
        made(&allowed, &due(900, 800)),
        Some(Kind::Models),
        "traffic"
    );
    let unpriced = Due {
        cost: None,
        ..due(0, 0)
    };
    assert_eq!(made(&allowed, &unpriced), Some(Kind::Models));
    let bare = Due {
        lists: false,
        ..unpriced
    };
    assert_eq!(made(&allowed, &bare), None);
    assert_eq!(
        made(&policy(Some(39)), &due(0, 0)),
        Some(Kind::Models),
        "cap"
    );
}

#[test]
fn a_day_never_costs_more_than_its_cap() {
    let (cap, bound, now) = (NanoUsd(100), NanoUsd(40), WallMs(5 * HOUR_MS));
    let mut spending = Spending::so_far(NanoUsd(10), now);
    assert!(spending.reserve(cap, bound, now) && spending.reserve(cap, bound, now));
    assert!(
        !spending.reserve(cap, bound, now),
        "two are out, at 40 each"
    );
    spending.settle(bound, NanoUsd(5), now);
    spending.settle(bound, NanoUsd(5), now);
    assert_eq!(spending.spent(now), NanoUsd(20));
    assert!(spending.reserve(cap, bound, now));
    let tomorrow = WallMs(24 * HOUR_MS);
    assert_eq!(spending.spent(tomorrow), NanoUsd::ZERO);
    spending.settle(bound, NanoUsd(30), tomorrow);
    assert_eq!(spending.spent(tomorrow), NanoUsd(30));
    assert!(!spending.reserve(cap, NanoUsd(71), tomorrow));
}

#[test]
fn only_refusals_that_concern_the_model_count() {
    let judged = |status: u16, body: &str| {
        let answer = ErrorAnswer {
            status,
            retry_after: None,
            retry_after_ms: None,
            body: body.as_bytes(),
            provider: "OpenAIException",
        };
        match judge_list(Provider::OpenAi, &answer, WallMs(0)) {
            Listing::Answered => None,
            Listing::Failed { verdict, .. } => Some(verdict.class),
        }
    };
    let scope = r#"{"error": {"message": "Missing scopes: model.read", "code": "missing_scope"}}"#;
    let model = r#"{"error": {"message": "no such model", "code": "model_not_found"}}"#;
    for (status, body) in [
        (404, ""),
        (404, model),
        (405, ""),
        (429, "{}"),
        (403, "{}"),
        (401, scope),
    ] {
        assert_eq!(judged(status, body), None, "{status} {body}");
    }
    assert_eq!(judged(401, "{}"), Some(FailureClass::Auth));
    assert_eq!(judged(500, "oops"), Some(FailureClass::Server));
    assert_eq!(judged(503, ""), Some(FailureClass::Overload));
    let poor = r#"{"error": {"message": "no money", "code": "insufficient_quota"}}"#;
    assert_eq!(judged(429, poor), Some(FailureClass::Quota));
}
