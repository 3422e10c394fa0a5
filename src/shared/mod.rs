//! What the nodes of a region tell each other through Redis: who is left out, and for how long.
//!
//! Never needed: without Redis each node finds out for itself. No request waits for any of it;
//! one task in `src/server` runs a [`Sharer`], and what it hears goes into the same atomics that
//! failures on this node go into. A cooldown is written under a key that expires with it, and
//! published; a node hears what is published, and reads the keys every few seconds, so that one
//! that was away learns what stands. Times are always durations that are left, never moments:
//! clocks of nodes need not agree.

mod client;
mod cooldowns;
mod doorbell;
mod link;
mod message;
mod names;
mod regions;
mod wire;

pub use cooldowns::Sharer;
pub use doorbell::Doorbell;
pub use link::Link;
pub use regions::{Courier, Leader, Mailbox};
pub use wire::{Heed, Wire, WireEnd, WireState};
