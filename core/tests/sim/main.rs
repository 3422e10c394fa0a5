//! Budgets over regions that exist on paper: seeded, in simulated time, without IO.
//!
//! `cargo test -p meridian-core --test sim -- --nocapture` prints the figures of docs/BUDGETS.md;
//! `SIM_SEED=17 cargo test -p meridian-core --test sim one_seed -- --nocapture` runs one seed.

#[cfg(test)]
mod checks;
#[cfg(test)]
mod counters;
#[cfg(test)]
mod deeds;
#[cfg(test)]
mod demand;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
mod fences;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod network;
#[cfg(test)]
mod node;
#[cfg(test)]
mod office;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod rng;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod shrink;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod strikes;
#[cfg(test)]
mod world;
