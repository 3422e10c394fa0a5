//! What a connection logs in with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meridian_core::config::{Database, DatabaseServer, Iam};
use meridian_core::ids::Secret;
use meridian_core::sigv4::database_token;
use tokio::sync::watch;

use crate::clock;
use crate::credentials::{Credential, Credentials, Source};

/// Where passwords come from.
#[derive(Clone, Debug)]
pub(super) enum Passwords {
    /// From the configuration.
    Fixed,
    /// Signed for each connection when it is made, with credentials that are replaced before they
    /// end.
    Signed(Arc<Signed>),
}

/// Who signs.
pub(super) struct Signed {
    region: String,
    source: Arc<Source>,
    credentials: Arc<Credentials>,
    /// Something replaces them.
    runs: AtomicBool,
    /// Ends that when this is dropped.
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.source.name())
    }
}

impl Passwords {
    /// As the settings of a database want it.
    pub(super) fn of(database: &Database) -> Self {
        let Some(Iam { identity, region }) = &database.iam else {
            return Self::Fixed;
        };
        let credentials = Credentials::new();
        Self::Signed(Arc::new(Signed {
            region: region.clone(),
            source: credentials.source(identity),
            credentials,
            runs: AtomicBool::new(false),
            stop: watch::Sender::new(false),
        }))
    }

    /// The password for a connection that is opened now; `None` where none is needed.
    ///
    /// # Errors
    /// There are no credentials to sign with, and why.
    pub(super) async fn current(&self, server: &DatabaseServer) -> Result<Option<Secret>, String> {
        let signed = match self {
            Self::Fixed => {
                return Ok(server.password.as_ref().map(|password| password.0.clone()));
            }
            Self::Signed(signed) => signed,
        };
        // A pool is made before there is a runtime to run in.
        if !signed.runs.swap(true, Ordering::Relaxed) {
            super::refresh(Arc::clone(&signed.credentials), signed.stop.subscribe());
        }
        let token = signed
            .source
            .token()
            .await
            .map_err(|error| error.to_string())?;
        let Credential::Aws(keys) = &token.credential else {
            return Err("credentials of another cloud".to_owned());
        };
        let (host, port, user) = (&server.host, server.port, &server.user);
        let now = clock::now();
        Ok(Some(database_token(
            keys,
            &signed.region,
            host,
            port,
            user,
            now,
        )))
    }
}
