//! Meridian: the deeds (IO) around the rules in `meridian-core`.
// The states of a request lie inside each other deeper than the compiler follows unasked.
#![recursion_limit = "256"]

pub mod admin;
pub mod byte_budget;
pub mod cache;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config_load;
pub mod credentials;
pub mod escrow;
pub mod http_get;
pub mod import;
pub mod journal;
pub mod merged;
pub mod migrate;
pub mod owners;
pub mod plane;
pub mod price_source;
pub mod priority;
pub mod records;
mod redis;
pub mod registry;
pub mod remote;
pub mod routing;
pub mod rules;
pub mod server;
pub mod shared;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod turnstile;
pub mod upstream;

/// The allocator: less CPU per request than the system's (decision 8).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
