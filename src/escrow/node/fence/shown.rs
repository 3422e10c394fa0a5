//! What the operator sees of an order to fence a region.

use std::collections::BTreeSet;

use meridian_core::escrow::Actor;
use serde_json::{Value, json};

use super::super::Desk;
use super::NAMED_MAX;
use crate::escrow::frames::Report;

impl Desk {
    /// What became of the last order.
    pub(in crate::escrow) fn fencing_shown(&self) -> Value {
        let Some(order) = &self.fences.order else {
            return Value::Null;
        };
        let mut live = self.members.live().iter();
        let heard_all = live.all(|actor| {
            let away = *actor == self.me || actor.region == order.region;
            away || order.reports.contains_key(actor)
        });
        let sum = order.reports.values();
        let sum = sum.fold(order.report.clone(), Report::plus);
        let named = |actors: &BTreeSet<Actor>| {
            let some = actors.iter().take(NAMED_MAX).map(ToString::to_string);
            some.collect::<Vec<_>>()
        };
        let there = self.windows.values();
        let there = there.filter(|opened| opened.home == order.region).count();
        let unknown = sum.unknown.iter().map(|number| self.region_named(*number));
        json!({
            "region": self.region_named(order.region),
            "proof": "fence",
            "done": sum.done && heard_all,
            "made_anew": sum.amount as f64 / 1e9,
            "budgets": sum.budgets,
            "stays_out": {
                "spendable_there": sum.left as f64 / 1e9,
                "budgets_without_an_answer": sum.failed,
                "budgets_ordered_before": sum.ordered,
                "nodes_that_do_not_answer": named(&sum.silent),
                "regions_that_do_not_answer": unknown.collect::<Vec<_>>(),
                "nodes_without_ceilings": named(&sum.open),
                "at_home_in_the_lost_region": there,
            },
        })
    }

    /// A region's name.
    pub(super) fn region_named(&self, number: u8) -> String {
        let mut far = self.mail.far();
        let named = far.find_map(|(of, name, _)| (of == number).then(|| name.to_owned()));
        named.unwrap_or_else(|| self.region.clone())
    }
}
