//! The whole gateway, as a process, against the fake provider.
#![cfg(test)]

mod anthropic_files;
mod batches;
mod bills;
mod bodies;
mod cache;
mod clouds;
mod crash;
mod customers;
mod dice;
mod endings;
mod errors;
mod fuzz;
mod ids;
mod keys;
mod ledger;
mod limits;
mod message_batches;
mod objects;
mod probes;
mod prompts;
mod region;
mod reload;
mod remote;
mod routing;
mod scopes;
mod secrets;
mod stored;
mod streaming;
mod translated;
mod turns;
mod upstreams;
mod world;
