//! Nodes that share a Postgres and a Redis: how changes get from one to the others, and what they
//! serve while either is gone.
#![cfg(test)]

mod budgets;
mod changes;
mod copies;
mod outages;
mod regions;
mod relay;
mod replica;
mod starts;
mod world;
