//! A request whose signature travels in its headers.

use sha2::{Digest, Sha256};

use super::{AwsCredentials, authorization, hex, sorted, stamps};
use crate::time::WallMs;

/// What is signed of a request. Nothing else may be changed on its way, everything else may.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Method in capitals.
    pub method: &'a str,
    /// `Host` header.
    pub host: &'a str,
    /// Path as it is sent, percent-encoded.
    pub path: &'a str,
    /// Query as it is sent, percent-encoded; empty where there is none.
    pub query: &'a str,
    /// `Content-Type` header.
    pub content_type: &'a str,
    /// Digest of the body: [`payload_hash`].
    pub payload: &'a str,
    /// AWS's name of the region.
    pub region: &'a str,
    /// AWS's name of what is called.
    pub service: &'a str,
}

/// Headers that prove who sends a request.
#[derive(Clone, Debug)]
pub struct SignatureHeaders {
    /// `Authorization`.
    pub authorization: String,
    /// `X-Amz-Date`.
    pub date: String,
}

/// Digest of a body in hex.
pub fn payload_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    parts.into_iter().for_each(|part| digest.update(part));
    hex(&digest.finalize())
}

impl Signed<'_> {
    /// Signs for `now`. The session's token of the credentials goes into `X-Amz-Security-Token`.
    pub fn sign(&self, credentials: &AwsCredentials, now: WallMs) -> SignatureHeaders {
        let (day, date) = stamps(now);
        let mut headers = vec![
            ("content-type", self.content_type),
            ("host", self.host),
            ("x-amz-date", date.as_str()),
        ];
        if let Some(token) = &credentials.session_token {
            headers.push(("x-amz-security-token", token.reveal()));
        }
        let what = (self.method, self.path, &*sorted(self.query));
        let by = (credentials, self.region, self.service);
        let authorization = authorization(what, &headers, self.payload, by, (&day, &date));
        SignatureHeaders {
            authorization,
            date,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ids::Secret;

    /// Signatures that botocore made, for every shape of a model id.
    const VECTORS: &str = include_str!("../../tests/fixtures/bedrock/sigv4_vectors.json");

    #[test]
    fn signatures_are_those_of_awss_own_library() {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        assert!(vectors.len() >= 4);
        for vector in &vectors {
            let text = |name: &str| vector[name].as_str().unwrap_or_default();
            let url = text("url").strip_prefix("https://").unwrap();
            let (host, rest) = url.split_once('/').unwrap();
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            let credentials = AwsCredentials {
                access_key_id: text("access_key").to_owned(),
                secret_access_key: Secret::new(text("secret_key")),
                session_token: vector["session_token"].as_str().map(Secret::new),
            };
            let at = text("timestamp");
            let at = format!(
                "{}-{}-{}T{}:{}:{}Z",
                &at[0..4],
                &at[4..6],
                &at[6..8],
                &at[9..11],
                &at[11..13],
                &at[13..15]
            );
            let request = Signed {
                method: text("method"),
                host,
                path: &format!("/{path}"),
                query,
                content_type: "application/json",
                payload: &payload_hash([text("body").as_bytes()]),
                region: text("region"),
                service: text("service"),
            };
            let signed = request.sign(&credentials, WallMs::parse_iso(&at).unwrap());
            let headers = &vector["headers"];
            assert_eq!(
                Some(signed.authorization.as_str()),
                headers["Authorization"].as_str(),
                "{}",
                text("name")
            );
            assert_eq!(Some(signed.date.as_str()), headers["X-Amz-Date"].as_str());
        }
    }

    #[test]
    fn queries_are_signed_in_order_and_bodies_in_parts() {
        assert_eq!(sorted("b=2&a=1&c"), "a=1&b=2&c=");
        assert_eq!(
            payload_hash([&b"ab"[..], &b"c"[..]]),
            payload_hash([&b"abc"[..]])
        );
    }
}
