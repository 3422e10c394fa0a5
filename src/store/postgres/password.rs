//! What a connection logs in with.

use meridian_core::config::{Database, DatabaseServer, Iam};
use meridian_core::ids::Secret;
use meridian_core::sigv4::database_token;

use crate::clock;

/// Where passwords come from.
#[derive(Clone, Debug)]
pub(super) enum Passwords {
    /// From the configuration.
    Fixed,
    /// Signed for each connection when it is made: there is no token that could run out, and
    /// nothing to fetch.
    Signed(Iam),
}

impl Passwords {
    /// As the settings of a database want it.
    pub(super) fn of(database: &Database) -> Self {
        match &database.iam {
            None => Self::Fixed,
            Some(iam) => Self::Signed(iam.clone()),
        }
    }

    /// The password for a connection that is opened now; `None` where none is needed.
    pub(super) fn current(&self, server: &DatabaseServer) -> Option<Secret> {
        match self {
            Self::Fixed => server.password.as_ref().map(|password| password.0.clone()),
            Self::Signed(Iam {
                credentials,
                region,
            }) => {
                let (host, port, user) = (&server.host, server.port, &server.user);
                Some(database_token(
                    credentials,
                    region,
                    host,
                    port,
                    user,
                    clock::now(),
                ))
            }
        }
    }
}
