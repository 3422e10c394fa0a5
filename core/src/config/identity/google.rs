//! Google Cloud: `vertex_credentials`, then Google's variables, then its default places.

use serde_json::Value;

use super::super::problem::Problems;
use super::Reading;
use crate::identity::{Document, Google, GoogleSource, Identity, IdentityKind};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA: &str = "http://metadata.google.internal";
/// Where `gcloud` leaves a user's credentials.
const USERS_FILE: &str = ".config/gcloud/application_default_credentials.json";
/// The version of AWS as a source that is known.
const AWS: &str = "aws1";
/// LiteLLM's key and its older name.
const KEYS: [&str; 2] = ["vertex_credentials", "vertex_ai_credentials"];

/// An identity, and the project that its document names.
pub(in crate::config) fn of_params(
    reading: Reading<'_>,
    problems: &mut Problems,
) -> Option<(Identity, Option<String>)> {
    let source = match own(&reading, problems)? {
        Some(source) => source,
        None => of_environment(&reading),
    };
    let scope = SCOPE.to_owned();
    let (name, project) = match &source {
        GoogleSource::Document(Document(fields)) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str);
            let email = text("client_email").or_else(|| text("audience"));
            let name = email.or_else(|| text("client_id")).unwrap_or("document");
            let project = text("project_id").or_else(|| text("quota_project_id"));
            (format!("Google {name}"), project.map(str::to_owned))
        }
        GoogleSource::File(path) => (format!("Google credentials in {path}"), None),
        GoogleSource::Metadata { .. } => ("Google's metadata server".to_owned(), None),
        GoogleSource::Default { .. } => ("Google's default credentials".to_owned(), None),
    };
    let aws = super::aws::places(&reading);
    let google = Google { source, scope, aws };
    let identity = reading.identity(name, IdentityKind::Google(Box::new(google)));
    Some((identity, project))
}

/// What the deployment itself names: a mapping, a document as text, or a path.
fn own(reading: &Reading<'_>, problems: &mut Problems) -> Option<Option<GoogleSource>> {
    for key in KEYS {
        match reading.json(key) {
            Some(Value::Object(fields)) => {
                return document(reading, key, fields, problems).map(Some);
            }
            Some(Value::String(text)) if text.trim_start().starts_with('{') => {
                let Ok(Value::Object(fields)) = serde_json::from_str(&text) else {
                    reading.error(key, "begins like JSON and is none", problems);
                    return None;
                };
                return document(reading, key, fields, problems).map(Some);
            }
            Some(Value::String(path)) if !path.trim().is_empty() => {
                return Some(Some(GoogleSource::File(path.trim().to_owned())));
            }
            _ => {}
        }
    }
    Some(None)
}

fn document(
    reading: &Reading<'_>,
    key: &str,
    fields: serde_json::Map<String, Value>,
    problems: &mut Problems,
) -> Option<GoogleSource> {
    match missing(&fields) {
        None => Some(GoogleSource::Document(Document(fields))),
        Some(complaint) => {
            reading.error(key, complaint, problems);
            None
        }
    }
}

/// What a credentials document lacks, for people.
fn missing(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let kind = fields.get("type").and_then(Value::as_str);
    let needed: &[&str] = match kind {
        Some("service_account") => &["client_email", "private_key"],
        Some("authorized_user") => &["client_id", "client_secret", "refresh_token"],
        Some("external_account") => &[
            "audience",
            "subject_token_type",
            "token_url",
            "credential_source",
        ],
        Some("impersonated_service_account") => {
            &["source_credentials", "service_account_impersonation_url"]
        }
        Some(other) => return Some(format!("`type` {other:?} is not one that is known here")),
        None => return Some("has no `type`".to_owned()),
    };
    let lacks = needed.iter().find(|name| !fields.contains_key(**name));
    lacks
        .map(|name| format!("has no `{name}`"))
        .or_else(|| wrong_source(fields.get("credential_source")?))
}

/// What a source of another cloud lacks.
fn wrong_source(source: &Value) -> Option<String> {
    const URL: &str = "regional_cred_verification_url";
    let kind = source.get("environment_id")?;
    match (kind.as_str(), source.get(URL)) {
        (Some(AWS), Some(Value::String(_))) => None,
        (Some(AWS), _) => Some(format!("`credential_source` has no `{URL}`")),
        _ => Some(format!(
            "`credential_source.environment_id` is {kind}: only \"{AWS}\" is known here"
        )),
    }
}

fn of_environment(reading: &Reading<'_>) -> GoogleSource {
    let named = reading.variable(&["VERTEXAI_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"]);
    let host = reading.variable(&["GCE_METADATA_HOST", "GCE_METADATA_ROOT"]);
    let url = host.map_or_else(|| METADATA.to_owned(), |host| format!("http://{host}"));
    if let Some(text) = named {
        if let Ok(Value::Object(fields)) = serde_json::from_str(text) {
            return GoogleSource::Document(Document(fields));
        }
        return GoogleSource::File(text.to_owned());
    }
    GoogleSource::Default {
        file: reading.at_home(USERS_FILE),
        url,
    }
}
