//! What a connection logs in with.

use meridian_core::config::DatabaseServer;
use meridian_core::ids::Secret;

/// Where passwords come from.
#[derive(Clone, Debug)]
pub(super) enum Passwords {
    /// From the configuration.
    Fixed,
}

impl Passwords {
    /// The password for a connection that is opened now; `None` where none is needed.
    pub(super) async fn current(&self, server: &DatabaseServer) -> Result<Option<Secret>, String> {
        match self {
            Self::Fixed => Ok(server.password.as_ref().map(|password| password.0.clone())),
        }
    }
}
