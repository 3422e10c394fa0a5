//! Fetching: one answer of one token server, or a file.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use meridian_core::identity::{Identity, IdentityKind, Told};
use meridian_core::ids::Secret;
use meridian_core::sigv4::AwsCredentials;
use meridian_core::time::WallMs;
use pingora_core::connectors::http::Connector;
use serde_json::Value;

use super::{aws, entra, google};
use crate::clock;
use crate::http_get::{self, Called, GetError, GetLimits, Request};

/// Largest answer of a token server.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Longest wait for one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Life of a token whose server does not say it.
const LIFE_UNKNOWN_S: i64 = 300;
/// Longest part of a server's complaint that is passed on.
const COMPLAINT_CHARS_MAX: usize = 200;

/// What proves who asks.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Keys for signatures.
    Aws(AwsCredentials),
    /// Sent as `Authorization: Bearer`.
    Bearer(Secret),
}

/// A credential and its end.
#[derive(Clone, Debug)]
pub struct Token {
    /// The credential.
    pub credential: Credential,
    /// When it ends; `None`: never.
    pub expires_at: Option<WallMs>,
    /// Last moment to use it.
    pub usable_until: Option<WallMs>,
    /// The project that its document or machine belongs to (Google).
    pub project: Option<String>,
    /// The project that requests are billed to (Google).
    pub quota_project: Option<String>,
}

impl Token {
    /// One that never ends.
    pub(super) fn fixed(credential: Credential) -> Self {
        Self::until(credential, None)
    }

    pub(super) fn until(credential: Credential, expires_at: Option<WallMs>) -> Self {
        Self {
            credential,
            expires_at,
            usable_until: expires_at,
            project: None,
            quota_project: None,
        }
    }

    /// A bearer token of an OAuth answer.
    pub(super) fn of_answer(answer: &Value, whose: &'static str) -> Result<Self, FetchError> {
        let token = text(answer, "access_token").ok_or(FetchError::Unreadable(whose))?;
        let life = answer.get("expires_in").and_then(seconds);
        let at = answer.get("expires_on").and_then(seconds);
        let now = clock::now();
        let of_life = life.map(|life| now.plus_ms(life.saturating_mul(1_000)));
        let of_end = at.map(|at| WallMs(at.saturating_mul(1_000)));
        let unknown = now.plus_ms(LIFE_UNKNOWN_S * 1_000);
        let expires_at = of_life.or(of_end).unwrap_or(unknown);
        let credential = Credential::Bearer(Secret::new(token));
        Ok(Self::until(credential, Some(expires_at)))
    }
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A file or document does not say what it should.
    #[error("{0}")]
    Wrong(String),
    /// No answer.
    #[error("{whose}: {error}")]
    Unreachable {
        /// The server.
        whose: &'static str,
        /// What happened.
        error: GetError,
    },
    /// A refusal.
    #[error("{whose} answered {status}: {complaint}")]
    Refused {
        /// The server.
        whose: &'static str,
        /// Its status.
        status: u16,
        /// What it says.
        complaint: String,
    },
    /// An answer without what was asked for.
    #[error("{0}: the answer has no credentials")]
    Unreadable(&'static str),
    /// No place of the chain has any.
    #[error("nothing found: {0}")]
    Nowhere(String),
}

/// Asks token servers.
pub(super) struct Fetcher {
    connector: Connector,
}

impl Fetcher {
    pub(super) fn new() -> Self {
        Self {
            connector: Connector::new(None),
        }
    }

    /// One fetch, whatever it takes.
    pub(super) async fn fetch(&self, identity: &Identity) -> Result<Token, FetchError> {
        match &identity.kind {
            IdentityKind::Aws(aws) => aws::fetch(self, aws).await,
            IdentityKind::Google(google) => google::fetch(self, google).await,
            IdentityKind::Entra(entra) => entra::fetch(self, entra).await,
        }
    }

    /// An answer of any status.
    pub(super) async fn ask(
        &self,
        whose: &'static str,
        request: &Request,
    ) -> Result<Called, FetchError> {
        let limits = GetLimits {
            body_bytes_max: ANSWER_BYTES_MAX,
            timeout: ANSWER_TIMEOUT,
        };
        let called = http_get::call(&self.connector, request, limits).await;
        called.map_err(|error| FetchError::Unreachable { whose, error })
    }

    /// An answer with status 200.
    pub(super) async fn ask_good(
        &self,
        whose: &'static str,
        request: &Request,
    ) -> Result<Bytes, FetchError> {
        let called = self.ask(whose, request).await?;
        match called.status {
            200..=299 => Ok(called.body),
            status => Err(FetchError::Refused {
                whose,
                status,
                complaint: complaint(&called.body),
            }),
        }
    }

    /// An answer with status 200 that is JSON.
    pub(super) async fn ask_json(
        &self,
        whose: &'static str,
        request: &Request,
    ) -> Result<Value, FetchError> {
        let body = self.ask_good(whose, request).await?;
        serde_json::from_slice(&body).map_err(|_| FetchError::Unreadable(whose))
    }
}

/// A form that is posted.
pub(super) fn form(url: &str, fields: &[(&str, &str)]) -> Request {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    Request {
        method: Method::POST,
        url: url.to_owned(),
        headers: vec![(
            "content-type",
            "application/x-www-form-urlencoded".to_owned(),
        )],
        body: pairs.join("&").into(),
    }
}

/// Percent-encoded for forms and queries.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A file, read anew whenever it is needed: others replace it.
pub(super) async fn file(path: &str) -> Result<String, FetchError> {
    let read = tokio::fs::read_to_string(path).await;
    read.map_err(|error| FetchError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// A text that is known or in a file.
pub(super) async fn told(told: &Told) -> Result<String, FetchError> {
    match told {
        Told::Text(text) => Ok(text.reveal().to_owned()),
        Told::File(path) => Ok(file(path).await?.trim().to_owned()),
    }
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Seconds as a number or, as Azure writes them, as text.
fn seconds(value: &Value) -> Option<i64> {
    let whole = value.as_i64().or_else(|| value.as_f64().map(|s| s as i64));
    whole.or_else(|| value.as_str()?.parse().ok())
}

/// What a token server says went wrong; never what it was sent.
fn complaint(body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().and_then(|body| {
        let description = text(body, "error_description").or_else(|| text(body, "error"));
        let message = || text(body.get("error")?, "message");
        let plain = || text(body, "message").or_else(|| text(body, "Message"));
        description.or_else(message).or_else(plain)
    });
    let raw = String::from_utf8_lossy(body);
    let element = || aws::element(&raw, "Message");
    let said = said.map(str::to_owned).or_else(element);
    let line = said.unwrap_or_default().replace(['\r', '\n'], " ");
    line.chars().take(COMPLAINT_CHARS_MAX).collect()
}
