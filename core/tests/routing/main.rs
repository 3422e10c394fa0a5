//! Gateways and providers that exist on paper: seeded, in simulated time, without IO.
//!
//! `cargo test -p meridian-core --test routing -- --nocapture` prints the figures of
//! docs/ROUTING.md.

#[cfg(test)]
mod callers;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod latency;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod residency;
#[cfg(test)]
#[path = "../sim/rng.rs"]
mod rng;
#[cfg(test)]
mod world;
