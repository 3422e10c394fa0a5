//! What can be said of a source without asking anybody: files that are not there, documents that
//! say nothing, keys that cannot sign. For `meridian check` and the log at start.

use meridian_core::identity::{
    AwsSource, Document, EntraProof, GoogleSource, Identity, IdentityKind, Told,
};
use serde_json::{Map, Value};

use super::fetch::FetchError;
use super::jwt;

/// What is wrong with a source; `None` says only that nothing is known to be.
pub fn inspect(identity: &Identity) -> Option<String> {
    let checked = match &identity.kind {
        IdentityKind::Aws(aws) => match &aws.source {
            AwsSource::WebIdentity(web) => told(&web.token),
            AwsSource::Chain(chain) => match (&chain.keys, &chain.web) {
                (None, Some(web)) => told(&web.token),
                _ => Ok(()),
            },
            AwsSource::Keys(_) | AwsSource::Profile(_) => Ok(()),
        },
        IdentityKind::Google(google) => match &google.source {
            GoogleSource::Document(Document(fields)) => document(fields),
            GoogleSource::File(path) => file(path).and_then(|text| {
                let parsed = serde_json::from_str(&text);
                let fields: Map<String, Value> = parsed.map_err(|error| {
                    FetchError::Wrong(format!("{path}: not a credentials document: {error}"))
                })?;
                document(&fields)
            }),
            GoogleSource::Metadata { .. } | GoogleSource::Default { .. } => Ok(()),
        },
        IdentityKind::Entra(entra) => match &entra.proof {
            EntraProof::Certificate(_, path) => file(path).and_then(|text| {
                jwt::thumbprint(&text)?;
                jwt::key(&text).map(drop)
            }),
            EntraProof::Federated(_, token) => told(token),
            EntraProof::Secret(..) | EntraProof::Managed(_) => Ok(()),
        },
    };
    checked.err().map(|error| error.to_string())
}

fn document(fields: &Map<String, Value>) -> Result<(), FetchError> {
    match fields.get("private_key").and_then(Value::as_str) {
        Some(pem) => jwt::key(pem).map(drop),
        None => Ok(()),
    }
}

fn told(told: &Told) -> Result<(), FetchError> {
    match told {
        Told::Text(_) => Ok(()),
        Told::File(path) => file(path).map(drop),
    }
}

fn file(path: &str) -> Result<String, FetchError> {
    std::fs::read_to_string(path).map_err(|error| FetchError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
