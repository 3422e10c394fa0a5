//! Meridian's rules as pure state machines: no IO, no clock, no randomness, no async.
//!
//! Time (`WallMs`), dice and bytes are arguments. The module list is the glossary.

pub mod access;
pub mod auth;
pub mod batch;
pub mod budget;
pub mod cache;
pub mod config;
pub mod cron;
pub mod endpoint;
pub mod error;
pub mod escrow;
pub mod health;
pub mod hlc;
pub mod identity;
pub mod ids;
pub mod journal;
pub mod key;
pub mod limit;
pub mod listing;
pub mod litellm;
pub mod meter;
pub mod meters;
pub mod mock;
pub mod money;
pub mod party;
pub mod period;
pub mod price;
pub mod rate;
pub mod record;
pub mod region;
pub mod relay;
pub mod remote;
pub mod restream;
pub mod routes;
pub mod routing;
pub mod scope;
pub mod sealed;
pub mod signature;
pub mod sigv4;
pub mod spend;
pub mod time;
pub mod transcript;
pub mod translate;
pub mod usage;
pub mod wire;
