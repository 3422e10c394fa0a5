//! Limits per minute and limits on parallel requests that hold over nodes and regions together.
//!
//! `limit` counts on one node, in windows. Here every node keeps the last minute of the whole
//! installation ([`Minute`]) and debits what it hears of the others ([`Gossip`]): what had no room
//! is a debt that takes the place of what leaves the minute, so in the long run the limit holds
//! whatever the delay. Nodes that hear nothing of a part of the others ([`Ears`]) run on their
//! share of demand until they do. Nothing waits for anybody.
//!
//! Permits for parallel requests are leased, since they come back: [`Vault`] and [`Tenure`].
//! docs/BUDGETS.md has the rules and what a simulator measured.

mod ears;
mod gossip;
mod joint;
mod minute;
mod permits;

pub use ears::{Ears, Life, SILENT_AFTER, Standing};
pub use gossip::{Counts, Gossip, Past};
pub use joint::{Joint, NoRoom, Taken};
pub use minute::{Full, Minute, Second};
pub use permits::{Beat, Grant, GrantId, LEASE_LASTS, Permits, Tenure, Vault, even_part};

#[cfg(test)]
mod tests;
