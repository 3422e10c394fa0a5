//! Rights of scopes.
