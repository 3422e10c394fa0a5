//! Tests of what budgets do when they are used up under a stream, and while those who decide are
//! out of reach.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::json;

use super::exposure::give;
use crate::budget::policy::{Degraded, OnExhausted, Policy};
use crate::escrow::Slot;
use crate::meters::*;
use crate::record::Bounds;

const NOW: WallMs = WallMs(1_800_000_000_000);

/// Counters of a scope with a budget of 1,000 and what its record says of policies.
fn meters(kind: ScopeKind, metadata: serde_json::Value) -> Arc<Meters> {
    let bounds = Bounds {
        max_budget: Some(NanoUsd(1_000)),
        ..Bounds::default()
    };
    let written = Written {
        bounds: &bounds,
        metadata: metadata.as_object().unwrap(),
    };
    let whose = Whose::Scope(Scope::new(kind, "t"));
    let meters = Meters::new(whose, written, NanoUsd::ZERO, &TimeZone::UTC, NOW);
    Arc::new(meters)
}

/// The same with rights on this node.
fn with_rights(metadata: serde_json::Value, rights: i64) -> (Arc<Meters>, Arc<Slot>) {
    let meters = meters(ScopeKind::Team, metadata);
    let slot = give(&Window::whole(&meters), rights);
    (meters, slot)
}

fn need(cost: i64, decides: Decides) -> Need<'static> {
    Need {
        cost: NanoUsd(cost),
        tokens: 1,
        model: "m",
        free: false,
        key_alias: None,
        decides,
        excess: NanoUsd::ZERO,
    }
}

fn grows(more: i64, all: Policy) -> Grows {
    Grows {
        more: NanoUsd(more),
        may_finish: true,
        all,
    }
}

const FINISH: Policy = Policy {
    on_exhausted: OnExhausted::Finish,
    degraded: Degraded::LeaseOnly,
    overdraft_percent: 5,
    finish_tokens: 1_000,
};

#[test]
fn a_stream_that_may_end_takes_more_than_there_is_and_the_bound_says_so() {
    let (meters, slot) = with_rights(json!({}), 100);
    let mut admission = meters
        .admit(need(60, Decides::Rights), Vec::new(), NOW)
        .unwrap();
    admission.expose(NanoUsd(500), FINISH);
    assert_eq!(slot.excess(), 500);
    assert!(admission.grow(grows(90, Policy::default()), NOW).is_err());
    assert_eq!(
        (slot.avail(), slot.reserved(), slot.overdraft()),
        (40, 60, 0)
    );
    let covered = admission.grow(grows(90, FINISH), NOW).unwrap();
    assert_eq!(covered, Covered::Past);
    admission.expose(NanoUsd(410), FINISH);
    assert_eq!(
        (slot.avail(), slot.reserved(), slot.overdraft()),
        (-50, 150, 50)
    );
    assert_eq!(slot.excess(), 410);
    // Nobody else is let in meanwhile, and it has taken what it may.
    let other = meters.admit(need(1, Decides::Rights), Vec::new(), NOW);
    assert!(other.is_err());
    let taken = Grows {
        may_finish: false,
        ..grows(90, FINISH)
    };
    assert!(admission.grow(taken, NOW).is_err());
    admission.settle(NanoUsd(150), 1);
    assert_eq!((slot.used(), slot.overrun(), slot.excess()), (150, 0, 0));
    assert_eq!(slot.overdraft(), 50, "nobody has paid it off");
}

#[test]
fn one_budget_that_cuts_is_enough_whatever_the_others_say() {
    let (team, of_team) = with_rights(json!({"on_exhausted": "refuse_only"}), 100);
    let user = meters(ScopeKind::User, json!({"on_exhausted": "cut"}));
    let of_user = give(&Window::whole(&user), 100);
    let dues = vec![Due::of(user)];
    let mut admission = team.admit(need(60, Decides::Rights), dues, NOW).unwrap();
    assert!(admission.grow(grows(90, FINISH), NOW).is_err());
    for slot in [&of_team, &of_user] {
        assert_eq!((slot.avail(), slot.reserved()), (40, 60));
    }
    admission.release();
    for slot in [&of_team, &of_user] {
        assert_eq!((slot.avail(), slot.reserved(), slot.excess()), (100, 0, 0));
    }
}

#[test]
fn a_node_on_its_own_holds_what_a_stream_takes_past_the_end() {
    let meters = meters(ScopeKind::Team, json!({}));
    let need = need(900, Decides::Count);
    let mut admission = meters.admit(need, Vec::new(), NOW).unwrap();
    assert!(admission.grow(grows(300, Policy::default()), NOW).is_err());
    admission.grow(grows(300, FINISH), NOW).unwrap();
    let window = Window::whole(&meters);
    assert_eq!(window.committed(NOW), (NanoUsd::ZERO, NanoUsd(1_200)));
    assert!(meters.admit(need, Vec::new(), NOW).is_err());
    admission.settle(NanoUsd(1_100), 1);
    assert_eq!(window.committed(NOW), (NanoUsd(1_100), NanoUsd(1_100)));
}

#[test]
fn what_is_granted_beyond_rights_is_bounded_told_and_paid_off() {
    let (meters, slot) = with_rights(json!({}), 100);
    let spend = |cost: i64| {
        let admission = meters.admit(need(cost, Decides::Rights), Vec::new(), NOW);
        admission.map(|admission| admission.settle(NanoUsd(cost), 1))
    };
    slot.set_granted(50);
    assert_eq!(slot.overdraft(), 50, "it may be spent from now on");
    spend(60).unwrap();
    spend(60).unwrap();
    assert!(spend(31).is_err(), "more than is granted");
    spend(30).unwrap();
    assert_eq!(
        (slot.used(), slot.avail(), slot.overdraft()),
        (150, -50, 50)
    );
    // Those who decide are heard again: what comes pays it off first.
    slot.set_granted(0);
    assert!(spend(1).is_err());
    slot.credit(60);
    spend(10).unwrap();
    assert_eq!((slot.avail(), slot.overdraft()), (0, 0));
}

#[test]
fn what_is_known_to_be_spent_is_spent_whatever_is_granted() {
    let (meters, slot) = with_rights(json!({}), 0);
    slot.set_granted(500);
    let grant = Window::whole(&meters).gate().grant(NOW).unwrap();
    grant.set_elsewhere(980);
    let denied = meters.admit(need(30, Decides::Rights), Vec::new(), NOW);
    assert!(denied.unwrap_err().lacking.is_none());
    let admitted = meters.admit(need(20, Decides::Rights), Vec::new(), NOW);
    admitted.unwrap().release();
}

#[test]
fn a_closed_budget_refuses_and_it_is_no_answer_about_money() {
    let (meters, slot) = with_rights(json!({"degraded_policy": "fail_closed"}), 100);
    let mut running = meters
        .admit(need(10, Decides::Rights), Vec::new(), NOW)
        .unwrap();
    let grant = Window::whole(&meters).gate().grant(NOW).unwrap();
    grant.set_closed(true);
    let denied = meters.admit(need(10, Decides::Rights), Vec::new(), NOW);
    let denied = denied.unwrap_err();
    assert!(denied.lacking.is_none());
    assert_eq!(denied.error.reply().status, 503, "{}", denied.error);
    assert!(denied.error.to_string().contains("fail_closed"));
    // What runs goes on.
    running.extend(NanoUsd(20), NOW).unwrap();
    running.settle(NanoUsd(30), 1);
    assert_eq!((slot.used(), slot.avail()), (30, 70));
}
