//! Which deployment gets a request, and what follows when it fails: decisions only.

pub mod policy;
