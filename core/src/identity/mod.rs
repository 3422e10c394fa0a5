//! Who a deployment is at its provider, where that is proved by something that ends: keys of a
//! role, access tokens. Where each comes from, and when it is fetched again.

mod refresh;

use std::fmt;

use serde_json::{Map, Value};

use crate::ids::Secret;
use crate::sigv4::AwsCredentials;

pub use refresh::{FAILED_PAUSE_MAX, Refresh};

/// A source of credentials. Two deployments with the same fingerprint share one.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Digest of everything that it was read from.
    pub fingerprint: Fingerprint,
    /// What messages call it: the file, role or client, never a secret.
    pub name: String,
    /// Where credentials come from.
    pub kind: IdentityKind,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Identity {}

/// Digest that tells sources apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}", self.0[0], self.0[1])
    }
}

/// Whose credentials.
#[derive(Clone, Debug)]
pub enum IdentityKind {
    /// Keys for signatures.
    Aws(Box<Aws>),
    /// Access tokens of Google Cloud.
    Google(Box<Google>),
    /// Access tokens of Microsoft Entra.
    Entra(Box<Entra>),
}

/// AWS: a first credential, and the role that is taken with it.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Where keys come from.
    pub source: AwsSource,
    /// A role that they are exchanged for.
    pub assume: Option<AssumeRole>,
    /// Base URL of the token service.
    pub sts: String,
    /// Region that requests to the token service are signed for.
    pub region: String,
}

/// Where AWS keys come from.
#[derive(Clone, Debug)]
pub enum AwsSource {
    /// The configuration.
    Keys(AwsCredentials),
    /// The section of AWS's files that `profile` names; other places only where it asks for them.
    Profile(Box<AwsChain>),
    /// A token that proves a workload's identity.
    WebIdentity(WebIdentity),
    /// What AWS's own tools would use.
    Chain(Box<AwsChain>),
}

/// AWS's files.
#[derive(Clone, Debug, Default)]
pub struct AwsFiles {
    /// `~/.aws/config` or `AWS_CONFIG_FILE`.
    pub config: Option<String>,
    /// `~/.aws/credentials` or `AWS_SHARED_CREDENTIALS_FILE`.
    pub credentials: Option<String>,
}

/// The places that AWS's tools look at, in their order.
#[derive(Clone, Debug)]
pub struct AwsChain {
    /// `AWS_ACCESS_KEY_ID` and its companions.
    pub keys: Option<AwsCredentials>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`.
    pub web: Option<WebIdentity>,
    /// `AWS_PROFILE`, or `default`.
    pub profile: String,
    /// Where profiles are.
    pub files: AwsFiles,
    /// Credentials of an ECS task or EKS pod.
    pub container: Option<Container>,
    /// Base URL of the instance's metadata; `None` where it is turned off.
    pub imds: Option<String>,
}

/// A token and the role that it is exchanged for.
#[derive(Clone, Debug)]
pub struct WebIdentity {
    /// The token.
    pub token: Told,
    /// The role.
    pub role_arn: String,
    /// Name of the session.
    pub session: String,
}

/// A text that is known, or a file that is read whenever it is needed.
#[derive(Clone, Debug)]
pub enum Told {
    /// The text itself.
    Text(Secret),
    /// Path of a file.
    File(String),
}

/// Credentials of an ECS task or EKS pod.
#[derive(Clone, Debug)]
pub struct Container {
    /// Where they are fetched.
    pub url: String,
    /// Sent as `Authorization`.
    pub token: Option<Told>,
}

/// A role.
#[derive(Clone, Debug)]
pub struct AssumeRole {
    /// The role.
    pub arn: String,
    /// Name of the session.
    pub session: String,
    /// What the role's owner asks for beside the caller's identity.
    pub external_id: Option<Secret>,
}

/// Google Cloud.
#[derive(Clone, Debug)]
pub struct Google {
    /// Where tokens come from.
    pub source: GoogleSource,
    /// Scopes, separated by blanks.
    pub scope: String,
    /// Who this machine is at AWS, for documents that prove it to Google.
    pub aws: AwsPlaces,
}

/// Who a machine is at AWS by what AWS's own tools would find there.
#[derive(Clone, Debug)]
pub struct AwsPlaces {
    /// Where keys come from.
    pub chain: AwsChain,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// Base URL of the token service, where a variable moves it.
    pub sts: Option<String>,
}

impl AwsPlaces {
    /// Base URL of the token service of a region.
    pub fn sts(&self, region: &str) -> String {
        let usual = || format!("https://sts.{region}.{}", dns_suffix(region));
        self.sts.clone().unwrap_or_else(usual)
    }
}

/// Where AWS's names of a region end.
pub fn dns_suffix(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    }
}

/// Where Google's tokens come from.
#[derive(Clone, Debug)]
pub enum GoogleSource {
    /// A credentials document: service account, user, external account, impersonation.
    Document(Document),
    /// A file with one, read whenever a token is fetched.
    File(String),
    /// The machine's own account.
    Metadata {
        /// Base URL of the metadata server.
        url: String,
    },
    /// The file of the user's `gcloud` where there is one, else the machine's account.
    Default {
        /// Path of the file.
        file: Option<String>,
        /// Base URL of the metadata server.
        url: String,
    },
}

/// A JSON document with secrets.
#[derive(Clone)]
pub struct Document(pub Map<String, Value>);

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Microsoft Entra.
#[derive(Clone, Debug)]
pub struct Entra {
    /// How it proves itself.
    pub proof: EntraProof,
    /// Scope with `/.default`.
    pub scope: String,
}

/// How a client proves itself to Entra.
#[derive(Clone, Debug)]
pub enum EntraProof {
    /// A secret.
    Secret(EntraClient, Secret),
    /// A certificate with its key, in one PEM file.
    Certificate(EntraClient, String),
    /// A token of another issuer.
    Federated(EntraClient, Told),
    /// The machine's identity.
    Managed(Managed),
}

/// A client of Entra.
#[derive(Clone, Debug)]
pub struct EntraClient {
    /// Base URL of the login service.
    pub authority: String,
    /// Directory.
    pub tenant: String,
    /// Application.
    pub client: String,
}

/// A managed identity.
#[derive(Clone, Debug)]
pub struct Managed {
    /// Full URL without its query.
    pub url: String,
    /// Version of its API.
    pub api_version: &'static str,
    /// `X-IDENTITY-HEADER` of App Service; the metadata server wants `Metadata: true` instead.
    pub header: Option<Secret>,
    /// The user-assigned identity, where it is not the machine's own.
    pub client: Option<String>,
}
