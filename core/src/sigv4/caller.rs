//! A question to AWS's token service that somebody else asks: who signed this? It proves to
//! Google, which sends it, that the signer is who AWS says.

use super::{AwsCredentials, authorization, encoded, payload_hash, sorted, stamps};
use crate::time::WallMs;

/// Header that ties the question to what it is asked for.
const TARGET_HEADER: &str = "x-goog-cloud-target-resource";

/// A signed `GetCallerIdentity`.
#[derive(Clone, Copy, Debug)]
pub struct CallerIdentity<'a> {
    /// URL with its query: `https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity&...`.
    pub url: &'a str,
    /// AWS's name of the region that it is signed for.
    pub region: &'a str,
    /// The pool and provider that it is good for.
    pub target: &'a str,
}

impl CallerIdentity<'_> {
    /// The request as Google takes it for a subject token: percent-encoded JSON, good from `now`
    /// on. `None`: the URL names no host.
    pub fn token(&self, credentials: &AwsCredentials, now: WallMs) -> Option<String> {
        let headers = self.headers(credentials, now)?;
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| serde_json::json!({"key": name, "value": value}))
            .collect();
        let request = serde_json::json!({"url": self.url, "method": "POST", "headers": headers});
        Some(encoded(&request.to_string()))
    }

    /// Its headers. `None`: the URL names no host.
    pub fn headers(
        &self,
        credentials: &AwsCredentials,
        now: WallMs,
    ) -> Option<Vec<(&'static str, String)>> {
        let rest = self.url.split_once("://")?.1;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match place.find('/') {
            Some(at) => place.split_at(at),
            None => (place, "/"),
        };
        if host.is_empty() {
            return None;
        }
        let (day, date) = stamps(now);
        let mut headers = vec![("host", host.to_owned()), ("x-amz-date", date.clone())];
        if let Some(token) = &credentials.session_token {
            headers.push(("x-amz-security-token", token.reveal().to_owned()));
        }
        headers.push((TARGET_HEADER, self.target.to_owned()));
        let signed: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let what = ("POST", path, &*sorted(query));
        let by = (credentials, self.region, "sts");
        let authorization = authorization(what, &signed, &payload_hash([]), by, (&day, &date));
        headers.push(("authorization", authorization));
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Secret;

    /// Made with botocore 1.43.11's `SigV4Auth`.
    const SIGNATURES: [(Option<&str>, &str, &str); 2] = [
        (
            None,
            "host;x-amz-date;x-goog-cloud-target-resource",
            "d3c1ad849ece88bd33996ae534c8ccceedb69ecefb00c21a8651268139eabf32",
        ),
        (
            Some("session/token=="),
            "host;x-amz-date;x-amz-security-token;x-goog-cloud-target-resource",
            "d93d5c9343e6f5bf02cf0bb251f4c9d447ca9c5e750025ecba966c42b5241571",
        ),
    ];

    fn question() -> CallerIdentity<'static> {
        CallerIdentity {
            url: "https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            region: "eu-west-1",
            target: "//iam.googleapis.com/projects/1/locations/global/\
                     workloadIdentityPools/p/providers/a",
        }
    }

    #[test]
    fn the_signature_is_that_of_awss_own_library() {
        for (token, names, signature) in SIGNATURES {
            let credentials = AwsCredentials {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                session_token: token.map(Secret::new),
            };
            let at = WallMs::parse_iso("2026-11-29T12:30:45Z").unwrap();
            let headers = question().headers(&credentials, at).unwrap();
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261129/eu-west-1/sts/aws4_request, \
                 SignedHeaders={names}, Signature={signature}"
            );
            assert_eq!(headers.last().unwrap(), &("authorization", expected));
            let token = question().token(&credentials, at).unwrap();
            assert!(token.starts_with("%7B%22headers%22"), "{token}");
        }
    }

    #[test]
    fn a_url_without_a_host_is_not_signed() {
        let credentials = AwsCredentials {
            access_key_id: "A".to_owned(),
            secret_access_key: Secret::new("s"),
            session_token: None,
        };
        for url in ["", "sts", "https://", "https:///?a=b"] {
            let question = CallerIdentity { url, ..question() };
            assert_eq!(question.token(&credentials, WallMs(0)), None, "{url}");
        }
    }
}
