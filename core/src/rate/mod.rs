//! Limits per minute and limits on parallel requests that hold over nodes and regions together.
//!
//! `limit` counts on one node, in windows. Here every node keeps the bucket of the whole
//! installation ([`Bucket`]) and debits what it hears of the others ([`Gossip`]): debt is paid by
//! refusing later, so in the long run the limit holds whatever the delay. Nodes that hear nothing
//! of a part of the others run on their share of demand until they do. Nothing waits for anybody.
//!
//! Permits for parallel requests are leased, since they come back: [`PermitVault`] and
//! [`PermitLease`]. docs/BUDGETS.md has the rules and what a simulator measured.

mod bucket;
mod gossip;
mod permits;

pub use bucket::{Bucket, Wait};
pub use gossip::{Counts, Gossip, SILENT_AFTER};
pub use permits::{Beat, Grant, LEASE_LASTS, PermitLease, PermitVault};

#[cfg(test)]
mod tests;
