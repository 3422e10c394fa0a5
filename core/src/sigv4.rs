//! AWS Signature Version 4: signed requests, queries that carry their own signature, and the
//! passwords made of them.

mod caller;
mod signed;

pub use caller::CallerIdentity;
pub use signed::{SignatureHeaders, Signed, payload_hash};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::ids::Secret;
use crate::time::WallMs;

/// How long a database token may be used to log in; AWS takes no longer one.
pub const DATABASE_TOKEN_S: u32 = 900;

/// What AWS knows a caller by.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`, for credentials that end.
    pub session_token: Option<Secret>,
}

impl PartialEq for AwsCredentials {
    fn eq(&self, other: &Self) -> bool {
        let session = match (&self.session_token, &other.session_token) {
            (None, None) => true,
            (Some(one), Some(two)) => one.matches(two.reveal()),
            _ => false,
        };
        let secret = other.secret_access_key.reveal();
        self.access_key_id == other.access_key_id
            && self.secret_access_key.matches(secret)
            && session
    }
}

impl Eq for AwsCredentials {}

/// A GET request that is signed in its query.
#[derive(Clone, Copy, Debug)]
pub struct Presigned<'a> {
    /// `Host` header, with a port that is not the usual one.
    pub host: &'a str,
    /// Path, percent-encoded.
    pub path: &'a str,
    /// Names and values of the query.
    pub query: &'a [(&'a str, &'a str)],
    /// AWS's name of the region.
    pub region: &'a str,
    /// AWS's name of what is called.
    pub service: &'a str,
    /// How long the signature counts, in seconds.
    pub expires_s: u32,
    /// Digest of the body in hex, or `UNSIGNED-PAYLOAD`.
    pub payload: &'a str,
}

impl Presigned<'_> {
    /// `host/path?query` with the signature at its end, good from `now` on.
    pub fn sign(&self, credentials: &AwsCredentials, now: WallMs) -> String {
        let (day, time) = stamps(now);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let credential = format!("{}/{scope}", credentials.access_key_id);
        let expires = self.expires_s.to_string();
        let mut pairs = self.query.to_vec();
        pairs.extend([
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", credential.as_str()),
            ("X-Amz-Date", time.as_str()),
            ("X-Amz-Expires", expires.as_str()),
            ("X-Amz-SignedHeaders", "host"),
        ]);
        if let Some(token) = &credentials.session_token {
            pairs.push(("X-Amz-Security-Token", token.reveal()));
        }
        let encode = |&(name, value): &(&str, &str)| (encoded(name), encoded(value));
        let mut pairs: Vec<(String, String)> = pairs.iter().map(encode).collect();
        pairs.sort();
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let query = pairs.join("&");
        let Self {
            host,
            path,
            payload,
            ..
        } = self;
        let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\n{payload}");
        let place = (self.region, self.service);
        let signature = signature(credentials, &request, (&day, &time), place);
        format!("{host}{path}?{query}&X-Amz-Signature={signature}")
    }
}

/// The password with which `user` logs into an RDS or Aurora database at `now`.
pub fn database_token(
    credentials: &AwsCredentials,
    region: &str,
    host: &str,
    port: u16,
    user: &str,
    now: WallMs,
) -> Secret {
    let request = Presigned {
        host: &format!("{host}:{port}"),
        path: "/",
        query: &[("Action", "connect"), ("DBUser", user)],
        region,
        service: "rds-db",
        expires_s: DATABASE_TOKEN_S,
        payload: &hex(&Sha256::digest(b"")),
    };
    Secret::new(request.sign(credentials, now))
}

fn signing_key(credentials: &AwsCredentials, day: &str, region: &str, service: &str) -> Vec<u8> {
    let secret = format!("AWS4{}", credentials.secret_access_key.reveal());
    let parts = [day, region, service, "aws4_request"];
    parts
        .iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // Keys of any length are taken.
    Hmac::<Sha256>::new_from_slice(key).map_or(Vec::new(), |mut mac| {
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20130524` and `20130524T000000Z`.
fn stamps(now: WallMs) -> (String, String) {
    let iso = now.to_iso();
    let seconds = iso.split('.').next().unwrap_or_default();
    let digits: String = seconds
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    (digits.chars().take(8).collect(), format!("{digits}Z"))
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The `Authorization` of a request with these headers, which are lower-case and in order.
/// `query` is sorted, `payload` a digest in hex.
fn authorization(
    (method, path, query): (&str, &str, &str),
    headers: &[(&str, &str)],
    payload: &str,
    (credentials, region, service): (&AwsCredentials, &str, &str),
    (day, time): (&str, &str),
) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let path = twice_encoded(path);
    let mut request = format!("{method}\n{path}\n{query}\n");
    for (name, value) in headers {
        request.extend([name, ":", value, "\n"]);
    }
    request.extend(["\n", &*names, "\n", payload]);
    let signature = signature(credentials, &request, (day, time), (region, service));
    let id = &credentials.access_key_id;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
}

/// Every service but S3 encodes the path that is sent once more.
fn twice_encoded(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(encoded).collect();
    match path.is_empty() {
        true => "/".to_owned(),
        false => segments.join("/"),
    }
}

fn sorted(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn signature(
    credentials: &AwsCredentials,
    request: &str,
    (day, time): (&str, &str),
    (region, service): (&str, &str),
) -> String {
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let digest = hex(&Sha256::digest(request.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let key = signing_key(credentials, day, region, service);
    hex(&mac(&key, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(secret: &str) -> AwsCredentials {
        AwsCredentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: None,
        }
    }

    /// From AWS's guide "Deriving a signing key".
    #[test]
    fn the_signing_key_is_that_of_awss_example() {
        let of = credentials("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let key = hex(&signing_key(&of, "20120215", "us-east-1", "iam"));
        assert_eq!(
            key,
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }

    /// From AWS's guide "Authenticating requests: using query parameters".
    #[test]
    fn a_signed_query_is_that_of_awss_example() {
        let request = Presigned {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            region: "us-east-1",
            service: "s3",
            expires_s: 86_400,
            payload: "UNSIGNED-PAYLOAD",
        };
        let at = WallMs::parse_iso("2013-05-24T00:00:00Z").unwrap();
        let of = credentials("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let signed = request.sign(&of, at);
        assert_eq!(
            signed,
            "examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&\
             X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&\
             X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&\
             X-Amz-Signature=\
             aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn a_database_token_names_host_user_and_session_and_changes_with_time() {
        let mut of = credentials("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        of.session_token = Some(Secret::new("a+b/c="));
        let host = "db.abc.eu-west-1.rds.amazonaws.com";
        let at = WallMs::parse_iso("2026-11-18T12:00:00Z").unwrap();
        let token = |at| database_token(&of, "eu-west-1", host, 5432, "app user", at);
        let text = token(at).reveal().to_owned();
        assert!(text.starts_with(&format!("{host}:5432/?Action=connect&DBUser=app%20user&")));
        assert!(
            text.contains("X-Amz-Security-Token=a%2Bb%2Fc%3D&"),
            "{text}"
        );
        assert!(text.contains("X-Amz-Expires=900&"), "{text}");
        assert!(!token(at.plus_ms(1_000)).matches(&text));
    }
}
