//! Tests of what running requests can cost over their rights.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, json};

use crate::escrow::{Grant, Pid, Slot};
use crate::meters::*;
use crate::record::Bounds;

const NOW: WallMs = WallMs(1_800_000_000_000);

/// Gives a budget this many rights on this node.
pub(super) fn give(window: &Window, rights: i64) -> Arc<Slot> {
    let pid = Pid {
        scope: window.scope_id(),
        index: i64::MAX,
        generation: 0,
    };
    let slot = Slot::with_rights(rights);
    let grant = Grant::new(pid, Arc::clone(&slot), None);
    window.gate().set(Some(Arc::new(grant)));
    slot
}

/// Counters with a budget of 1,000 and one of 900 for the model `other`.
fn meters() -> Arc<Meters> {
    let budgets = json!({"other": {"budget_limit": 0.000_000_9, "time_period": "30d"}});
    let bounds = Bounds {
        max_budget: Some(NanoUsd(1_000)),
        model_max_budget: budgets.as_object().unwrap().clone(),
        ..Bounds::default()
    };
    let written = Written {
        bounds: &bounds,
        metadata: &Map::new(),
    };
    let whose = Whose::Scope(Scope::new(ScopeKind::Team, "t"));
    let meters = Meters::new(whose, written, NanoUsd::ZERO, &TimeZone::UTC, NOW);
    Arc::new(meters)
}

fn need(cost: i64) -> Need<'static> {
    Need {
        cost: NanoUsd(cost),
        tokens: 1,
        model: "m",
        free: false,
        key_alias: None,
        decides: Decides::Rights,
        excess: NanoUsd(7),
    }
}

#[test]
fn every_budget_of_a_running_request_tells_what_it_can_cost_over_its_rights() {
    let meters = meters();
    let whole = give(&Window::whole(&meters), 100);
    let mut name = Window::whole(&meters).name();
    name.model = Some("other".to_owned());
    let model = give(&Window::find(&meters, &name).unwrap(), 100);
    let mut admission = meters.admit(need(60), Vec::new(), NOW).unwrap();
    assert_eq!((whole.excess(), model.excess()), (7, 0));
    // A fallback comes under the other model's budget.
    assert!(admission.enter("other", NanoUsd(60), 1, NOW));
    assert_eq!((whole.excess(), model.excess()), (7, 7));
    admission.settle(NanoUsd(65), 1);
    assert_eq!((whole.excess(), model.excess()), (0, 0));
    assert_eq!((whole.overrun(), model.overrun()), (5, 5));
}

#[test]
fn what_only_counts_is_counted_where_less_than_nothing_is_left() {
    let meters = meters();
    let slot = give(&Window::whole(&meters), 10);
    for cost in [30, 5] {
        let free = Need {
            free: true,
            ..need(0)
        };
        let admission = meters.admit(free, Vec::new(), NOW).unwrap();
        admission.settle(NanoUsd(cost), 1);
    }
    assert_eq!((slot.used(), slot.avail(), slot.overrun()), (35, -25, 35));
}
