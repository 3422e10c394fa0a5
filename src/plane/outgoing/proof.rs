//! Headers that prove who asks: a token, or a signature over what is sent.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use meridian_core::sigv4::{AwsCredentials, Signed, payload_hash};

use crate::clock;
use crate::credentials::{Credential, Token};
use crate::rules::Door;

/// Content type of everything that is signed.
const JSON: &str = "application/json";

/// Headers that prove a request with this path and body.
pub(super) fn headers(
    door: &Door,
    token: &Token,
    method: &Method,
    path: &str,
    body: &[Bytes],
) -> Vec<(HeaderName, HeaderValue)> {
    match &token.credential {
        Credential::Bearer(bearer) => {
            let value = format!("Bearer {}", bearer.reveal());
            let mut headers = vec![secret("authorization", &value)];
            if let Some(project) = &token.quota_project {
                headers.push(secret("x-goog-user-project", project));
            }
            headers
        }
        Credential::Aws(keys) => {
            let cloud = door.paths.cloud.as_ref().and_then(|cloud| cloud.aws());
            let Some((region, service)) = cloud else {
                return Vec::new();
            };
            signed(door, keys, (region, service), method, path, body)
        }
    }
}

fn signed(
    door: &Door,
    keys: &AwsCredentials,
    (region, service): (&str, &str),
    method: &Method,
    path: &str,
    body: &[Bytes],
) -> Vec<(HeaderName, HeaderValue)> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let request = Signed {
        method: method.as_str(),
        host: &door.authority,
        path,
        query,
        content_type: JSON,
        payload: &payload_hash(body.iter().map(|part| &part[..])),
        region,
        service,
    };
    let made = request.sign(keys, clock::now());
    let mut headers = vec![
        secret("authorization", &made.authorization),
        secret("x-amz-date", &made.date),
    ];
    if let Some(session) = &keys.session_token {
        headers.push(secret("x-amz-security-token", session.reveal()));
    }
    headers
}

/// An empty value where the text cannot stand in a header: the provider then says so.
fn secret(name: &'static str, text: &str) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::try_from(text);
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    (HeaderName::from_static(name), value)
}
