//! Three regions of two gateways, each with its own Redis and Postgres, joined by links that take
//! 80, 160 and 230 ms and are cut: budgets, limits and revocations held by real processes.
//!
//! As it is run by `make test`, each scenario takes seconds. `MERIDIAN_LONG=1` runs them in
//! full length: partitions of two minutes, limits for two minutes, 10,000 disconnects.
#![cfg(test)]

mod bound;
mod budgets;
mod faults;
mod fenced;
mod frames;
mod limits;
mod lost;
mod policies;
mod revocations;
mod routed;
mod world;
