//! Which deployment gets a request, and what follows when it fails: decisions only.
//!
//! [`attempts`] says what comes next for a client's request, [`plan`] which deployment gets it,
//! [`health`] takes in what became of it, [`failure`] says what a failure is. What wins over what
//! is one table in docs/ROUTING.md.

pub mod affinity;
pub mod attempts;
pub mod explain;
pub mod failure;
pub mod health;
pub mod hedge;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod request;
pub mod share;
pub mod strategy;
