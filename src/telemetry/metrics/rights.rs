//! Families about this node's rights in budgets that nodes share; amounts in dollars.

use super::catalogue::PlainFamily;
use super::exposition::Page;
use super::plain::{counter, gauge};

const BUDGETS: PlainFamily = gauge(
    "meridian_rights_budgets",
    &[],
    "Shared budgets that requests of this node use",
);
const FREE: PlainFamily = gauge(
    "meridian_rights_free_dollars",
    &[],
    "Rights of this node that no request holds, in budgets in use",
);
const RESERVED: PlainFamily = gauge(
    "meridian_rights_reserved_dollars",
    &[],
    "Rights that running requests of this node hold",
);
const BOUND: PlainFamily = gauge(
    "meridian_rights_bound_dollars",
    &[],
    "How far settled spend can be over budgets, as far as this node knows",
);
const PENDING: PlainFamily = gauge(
    "meridian_rights_pending_decrease_dollars",
    &[],
    "Budgets that were lowered while rights for the old limit are still out",
);
const CUT_OFF: PlainFamily = gauge(
    "meridian_rights_cut_off",
    &[],
    "1 while some who share budgets are out of reach: each budget follows its degraded_policy",
);
const OVERDRAFT: PlainFamily = gauge(
    "meridian_rights_overdraft_dollars",
    &[],
    "Of the bound: held or spent without rights, or granted to be (fail_open)",
);
const SUSPENSE: PlainFamily = gauge(
    "meridian_rights_suspense_dollars",
    &[],
    "Rights of nodes that were written off: they count as spent",
);
const ABOVE: PlainFamily = gauge(
    "meridian_rights_above_ceiling_dollars",
    &[],
    "Rights of this node above its witnessed ceiling: other regions can use them, this one not yet",
);
const FENCED: PlainFamily = gauge(
    "meridian_rights_fenced_nodes",
    &[],
    "Nodes of other regions from which nothing is taken until they have destroyed what they owe",
);
const NODES: PlainFamily = gauge(
    "meridian_rights_nodes",
    &["place"],
    "Live nodes, this one included, in its region (near) and in others (far)",
);
const MODE: PlainFamily = gauge(
    "meridian_rights_coordination",
    &["mode"],
    "1 for how the nodes of the region reach each other now",
);
const LINK_UP: PlainFamily = gauge(
    "meridian_rights_link_up",
    &["region"],
    "1 while rights reach the region",
);
const FRAMES: PlainFamily = counter(
    "meridian_rights_frames_total",
    &["region"],
    "Frames about rights that went to the region",
);
const ASKED: PlainFamily = counter(
    "meridian_rights_asked_total",
    &[],
    "Requests that found too few rights on this node",
);
const WAITED: PlainFamily = counter(
    "meridian_rights_waited_total",
    &[],
    "Those that waited for rights from elsewhere",
);
const FORGED: PlainFamily = counter(
    "meridian_rights_forged_total",
    &[],
    "Frames that no node of the installation wrote",
);

const LIMITS: PlainFamily = gauge(
    "meridian_limits_scopes",
    &[],
    "Scopes whose limits per minute and at the same time are kept together with other nodes",
);
const SILENT: PlainFamily = gauge(
    "meridian_limits_silent_nodes",
    &[],
    "Nodes that share limits and are not heard: meanwhile a part of each limit is used here",
);
const LEFT_OUT: PlainFamily = counter(
    "meridian_limits_left_out_total",
    &[],
    "Requests under limits that found no place among those kept together",
);

/// All of them.
pub(super) const RIGHTS: [&PlainFamily; 20] = [
    &BUDGETS, &FREE, &RESERVED, &BOUND, &OVERDRAFT, &PENDING, &CUT_OFF, &SUSPENSE, &ABOVE, &FENCED,
    &NODES, &MODE, &LINK_UP, &FRAMES, &ASKED, &WAITED, &FORGED, &LIMITS, &SILENT, &LEFT_OUT,
];

/// Values of the label `mode`.
const MODES: [&str; 3] = ["redis", "nodes", "alone"];

/// This node's rights.
#[derive(Clone, Debug, Default)]
pub struct RightsGauges {
    /// Budgets in use.
    pub budgets: u64,
    /// Nano-dollars.
    pub free: i64,
    /// Nano-dollars.
    pub reserved: i64,
    /// Nano-dollars.
    pub bound: i64,
    /// Nano-dollars.
    pub pending_decrease: i64,
    /// Nano-dollars.
    pub overdraft: i64,
    /// Some who share budgets are out of reach.
    pub cut_off: bool,
    /// Nano-dollars.
    pub suspense: i64,
    /// Nano-dollars.
    pub above: i64,
    /// Nodes of other regions.
    pub fenced: u64,
    /// Live nodes of this region and of others.
    pub nodes: [u64; 2],
    /// How nodes of the region reach each other.
    pub mode: &'static str,
    /// Ways to regions: name, whether it is open, frames sent.
    pub links: Vec<(String, bool, u64)>,
    /// Requests that found too few rights.
    pub asked: u64,
    /// Those that waited.
    pub waited: u64,
    /// Frames of strangers.
    pub forged: u64,
    /// Scopes whose limits are kept together.
    pub limits: u64,
    /// Nodes of those that are not heard.
    pub silent: u64,
    /// Requests whose limits found no place.
    pub left_out: u64,
}

/// Only headers where budgets are not shared.
pub(super) fn write(page: &mut Page, rights: Option<&RightsGauges>) {
    let dollars = |of: fn(&RightsGauges) -> i64| rights.map(|rights| of(rights) as f64 / 1e9);
    let count = |of: fn(&RightsGauges) -> u64| rights.map(|rights| of(rights) as f64);
    page.value(&BUDGETS, count(|rights| rights.budgets));
    page.value(&FREE, dollars(|rights| rights.free));
    page.value(&RESERVED, dollars(|rights| rights.reserved));
    page.value(&BOUND, dollars(|rights| rights.bound));
    page.value(&OVERDRAFT, dollars(|rights| rights.overdraft));
    page.value(&PENDING, dollars(|rights| rights.pending_decrease));
    page.value(&CUT_OFF, count(|rights| u64::from(rights.cut_off)));
    page.value(&SUSPENSE, dollars(|rights| rights.suspense));
    page.value(&ABOVE, dollars(|rights| rights.above));
    page.value(&FENCED, count(|rights| rights.fenced));
    page.plain_header(&NODES);
    let places = rights
        .into_iter()
        .flat_map(|rights| ["near", "far"].into_iter().zip(rights.nodes));
    for (place, nodes) in places {
        page.sample(&NODES, &[place], nodes as f64);
    }
    page.plain_header(&MODE);
    for mode in MODES.into_iter().filter(|_| rights.is_some()) {
        let here = rights.is_some_and(|rights| rights.mode == mode);
        page.sample(&MODE, &[mode], f64::from(u8::from(here)));
    }
    let links = || rights.into_iter().flat_map(|rights| &rights.links);
    page.plain_header(&LINK_UP);
    for (region, up, _) in links() {
        page.sample(&LINK_UP, &[region], f64::from(u8::from(*up)));
    }
    page.plain_header(&FRAMES);
    for (region, _, frames) in links() {
        page.sample(&FRAMES, &[region], *frames as f64);
    }
    page.value(&ASKED, count(|rights| rights.asked));
    page.value(&WAITED, count(|rights| rights.waited));
    page.value(&FORGED, count(|rights| rights.forged));
    page.value(&LIMITS, count(|rights| rights.limits));
    page.value(&SILENT, count(|rights| rights.silent));
    page.value(&LEFT_OUT, count(|rights| rights.left_out));
}
