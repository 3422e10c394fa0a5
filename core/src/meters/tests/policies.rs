//! Tests of what budgets do beyond their rights.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, json};

use crate::budget::policy::{Degraded, OnExhausted};
use crate::escrow::{Grant, Pid, Slot};
use crate::meters::*;
use crate::record::Bounds;

const NOW: WallMs = WallMs(1_800_000_000_000);

/// Counters with a budget of 1,000 and this many rights on this node.
fn meters(metadata: serde_json::Value, rights: i64) -> (Arc<Meters>, Arc<Slot>) {
    let bounds = Bounds {
        max_budget: Some(NanoUsd(1_000)),
        ..Bounds::default()
    };
    let metadata: Map<String, serde_json::Value> = metadata.as_object().unwrap().clone();
    let written = Written {
        bounds: &bounds,
        metadata: &metadata,
    };
    let whose = Whose::Scope(Scope::new(ScopeKind::Team, "t"));
    let meters = Meters::new(whose, written, NanoUsd::ZERO, &TimeZone::UTC, NOW);
    let meters = Arc::new(meters);
    let window = Window::whole(&meters);
    let pid = Pid {
        scope: window.scope_id(),
        index: i64::MAX,
        generation: 0,
    };
    let slot = Slot::with_rights(rights);
    window
        .gate()
        .set(Some(Arc::new(Grant::new(pid, Arc::clone(&slot), None))));
    (meters, slot)
}

fn need(cost: i64, cut_off: Option<Policy>) -> Need<'static> {
    Need {
        cost: NanoUsd(cost),
        tokens: 1,
        model: "m",
        free: false,
        key_alias: None,
        decides: Decides::Rights,
        excess: NanoUsd(7),
        cut_off,
    }
}

#[test]
fn a_stream_is_cut_or_passes_its_budget_as_its_own_policy_or_that_of_all_says() {
    let all = Policy {
        on_exhausted: OnExhausted::Finish,
        ..Policy::default()
    };
    for (own, cut) in [
        (json!({}), false),
        (json!({"on_exhausted": "refuse_only"}), false),
        (json!({"on_exhausted": "cut"}), true),
    ] {
        let (meters, slot) = meters(own, 100);
        let mut admission = meters.admit(need(60, None), Vec::new(), NOW).unwrap();
        assert_eq!(slot.excess(), 7);
        let grown = admission.grow(NanoUsd(90), all, NOW);
        assert_eq!(grown.is_err(), cut);
        if cut {
            assert_eq!((slot.avail(), slot.past()), (40, 0));
            continue;
        }
        // 40 of the 90 were there.
        assert_eq!((slot.avail(), slot.reserved(), slot.past()), (-50, 150, 50));
        assert!(meters.admit(need(1, None), Vec::new(), NOW).is_err());
        admission.settle(NanoUsd(120), 1);
        assert_eq!((slot.avail(), slot.reserved(), slot.past()), (-20, 0, 0));
        // What was spent beyond the rights stays in the bound.
        assert_eq!((slot.overrun(), slot.excess()), (20, 0));
    }
}

#[test]
fn one_budget_that_cuts_is_enough_and_the_others_stay_as_they_were() {
    let (team, of_team) = meters(json!({"on_exhausted": "finish"}), 100);
    let (other, of_other) = meters(json!({"on_exhausted": "cut"}), 100);
    let dues = vec![Due::of(other)];
    let mut admission = team.admit(need(60, None), dues, NOW).unwrap();
    assert!(admission.grow(NanoUsd(90), Policy::default(), NOW).is_err());
    for slot in [&of_team, &of_other] {
        assert_eq!((slot.avail(), slot.reserved(), slot.past()), (40, 60, 0));
    }
    admission.release();
    for slot in [&of_team, &of_other] {
        assert_eq!((slot.avail(), slot.reserved(), slot.excess()), (100, 0, 0));
    }
}

#[test]
fn without_the_others_an_open_budget_goes_on_until_it_knows_that_all_is_spent() {
    let all = Policy {
        degraded: Degraded::FailOpen,
        ..Policy::default()
    };
    let (closed, _) = meters(json!({"degraded_policy": "lease_only"}), 10);
    assert!(closed.admit(need(60, Some(all)), Vec::new(), NOW).is_err());
    let (open, slot) = meters(json!({}), 10);
    // The others are heard: no rights, no request.
    assert!(open.admit(need(60, None), Vec::new(), NOW).is_err());
    let mut spent = 0;
    while let Ok(admission) = open.admit(need(60, Some(all)), Vec::new(), NOW) {
        assert!(admission.is_unbounded());
        admission.settle(NanoUsd(60), 1);
        spent += 60;
    }
    assert_eq!((spent, slot.used(), slot.overrun()), (1_020, 1_020, 1_010));
}
