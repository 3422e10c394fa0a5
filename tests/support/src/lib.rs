//! What Meridian is tested against: a fake provider that is the truth about what was served, a
//! harness that runs the real gateway, and clients that put exact bytes on the wire.
//!
//! Test code: it stops with a message where the product would answer an error.

pub mod clock;
pub mod config;
pub mod deadline;
pub mod fake;
pub mod gateway;
pub mod h2client;
pub mod pace;
pub mod pgbouncer;
pub mod postgres;
pub mod provider;
pub mod raw;
pub mod redis;
pub mod regions;
pub mod relay;
pub mod run;
pub mod scale;
pub mod wire;
