//! Rights to spend, shared between nodes and regions without ever being doubled.
//!
//! A budget's period is a bounded counter. Its rights are minted once, by claims; each is owned by
//! one actor; to spend takes own rights only, so a request asks nobody. Rights move by rows whose
//! cells are absolute and only grow ([`Row`]), so it does not matter what the network or a Redis
//! loses, doubles or reorders. The sum over all actors gives the budget's bound (docs/BUDGETS.md).
//!
//! [`Escrow`] is the state machine of a node: `step(now, event, out)`. [`Slot`] is what requests
//! touch. Neither reads a clock or does IO.

mod account;
mod book;
mod bound;
mod ceiling;
mod demand;
mod digest;
mod doubt;
mod fence;
mod gate;
mod holds;
mod ids;
mod lease;
mod lost;
mod members;
mod message;
mod node;
mod outbox;
mod plan;
mod rebalance;
mod rollover;
mod row;
mod settings;
mod slot;
mod visits;

pub use book::{Book, BookEntry};
pub use bound::{Exposure, Running};
pub use ceiling::Ceiling;
pub use fence::{Fence, reclaim};
pub use gate::{Gate, Grant};
pub use holds::{Holds, Refused};
pub use ids::{Actor, BadActor, Pid, RegionNumbers, ScopeId};
pub use lost::Lost;
pub use members::Members;
pub use message::{Effect, Event, Message, Standing, Ticket, Want};
pub use node::Escrow;
pub use plan::{BadPlan, Plan};
pub use rollover::{ClockHealth, Entry, Rollover, SKEW_MAX_MS, clock_health};
pub use row::{Rights, Row};
pub use settings::Settings;
pub use slot::{Hold, Short, Slot};

#[cfg(test)]
mod tests;
