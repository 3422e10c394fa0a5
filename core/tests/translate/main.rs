//! Requests, answers and streams told in other dialects: recorded ones, cut anywhere, and what
//! clients can rely on.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod agents;
mod answers;
mod coverage;
mod errors;
mod fixtures;
mod golden;
mod grammar;
mod probes;
mod requests;
mod signatures;
mod streams;
mod usage;
