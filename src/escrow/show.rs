//! What the operator sees.

use meridian_core::escrow::{Actor, Rights};

/// How this node's rights are, for metrics and health.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Who this node is; `None` before it has a number.
    pub actor: Option<Actor>,
    /// Budgets in use here.
    pub budgets: u64,
    /// Periods with a row here.
    pub periods: u64,
    /// Free rights here, nano-dollars.
    pub free: Rights,
    /// Held by requests that run here.
    pub reserved: Rights,
    /// How far settled spend can be over budgets, as far as this node has caused it.
    pub bound: Rights,
    /// Some who share budgets are out of reach.
    pub cut_off: bool,
    /// Of the bound: held or spent without rights, or granted to be.
    pub overdraft: Rights,
    /// Lowered and not destroyed yet.
    pub pending_decrease: Rights,
    /// Rights of nodes that were written off.
    pub suspense: Rights,
    /// Brought in from other regions, and above what this node may spend of it.
    pub above: Rights,
    /// Nodes of other regions that are fenced in budgets in use.
    pub fenced: u64,
    /// Live nodes of this region, this one included.
    pub nodes_near: u64,
    /// Live nodes of other regions.
    pub nodes_far: u64,
    /// Ways to regions: name, whether it is open, frames sent.
    pub links: Vec<(String, bool, u64)>,
    /// How nodes of the region reach each other.
    pub mode: &'static str,
    /// Requests that asked for rights.
    pub asked: u64,
    /// Those that waited for some.
    pub waited: u64,
    /// Frames that no node of the installation wrote.
    pub forged: u64,
    /// Scopes whose limits are kept together with other nodes.
    pub limits: u64,
    /// Nodes that share limits and are not heard.
    pub silent: u64,
    /// Requests whose limits found no place among them.
    pub left_out: u64,
}
