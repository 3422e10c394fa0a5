//! Which deployment gets a request, and what follows when it fails: decisions only.

pub mod failure;
pub mod health;
pub mod policy;
pub mod share;
