//! Meridian's rules as pure state machines: no IO, no clock, no randomness, no async.
//!
//! Time (`WallMs`), dice and bytes are arguments. The module list is the glossary.

pub mod endpoint;
pub mod error;
pub mod ids;
pub mod key;
pub mod money;
pub mod spend;
pub mod time;
pub mod usage;
