//! What an operator does and is paged for: units, upgrades, alerts, dashboards, failing machines.
#![cfg(test)]

mod failures;
mod leaving;
#[path = "../it/ledger.rs"]
mod ledger;
mod loadtest;
mod management;
mod monitoring;
mod side_by_side;
mod units;
mod upgrade;
