//! Every source against a real local server that answers as the token server would.

mod federation;
mod outage;
mod server;
mod sources;

use std::sync::Arc;

use meridian_core::identity::{
    AwsChain, AwsFiles, AwsPlaces, Fingerprint, Google, GoogleSource, Identity, IdentityKind,
};
use tokio::sync::watch;

use super::*;

/// A key and a certificate that exist for these tests alone.
const PEM: &str = include_str!("tests/client.pem");

/// The loop, until the test ends.
struct Running {
    credentials: Arc<Credentials>,
    _stop: watch::Sender<bool>,
}

fn start() -> Running {
    let credentials = Credentials::new();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(Arc::clone(&credentials).run(stopped));
    Running {
        credentials,
        _stop: stop,
    }
}

fn identity(kind: IdentityKind) -> Identity {
    Identity {
        fingerprint: Fingerprint([7; 32]),
        name: "the test's source".to_owned(),
        kind,
    }
}

fn machine_of(url: &str) -> Identity {
    identity(IdentityKind::Google(Box::new(Google {
        source: GoogleSource::Metadata {
            url: url.to_owned(),
        },
        scope: "s".to_owned(),
        aws: AwsPlaces {
            chain: AwsChain {
                keys: None,
                web: None,
                profile: "default".to_owned(),
                files: AwsFiles::default(),
                container: None,
                imds: None,
            },
            region: None,
            sts: None,
        },
    })))
}

fn bearer(token: &Token) -> String {
    match &token.credential {
        Credential::Bearer(secret) => secret.reveal().to_owned(),
        other => panic!("{other:?}"),
    }
}
