//! AWS's token service: a role for keys or for another issuer's token.

use meridian_core::identity::{AssumeRole, WebIdentity};
use meridian_core::ids::Secret;
use meridian_core::sigv4::{AwsCredentials, Signed, payload_hash};
use meridian_core::time::WallMs;

use super::{Keys, Sts};
use crate::clock;
use crate::credentials::fetch::{self, FetchError, form};

const WHOSE: &str = "AWS's token service";
const VERSION: &str = "2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// Exchanges another issuer's token; no keys are needed.
pub(super) async fn web_identity(sts: Sts<'_>, web: &WebIdentity) -> Result<Keys, FetchError> {
    let token = fetch::told(&web.token).await?;
    let request = form(
        &format!("{}/", sts.url),
        &[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", VERSION),
            ("RoleArn", &web.role_arn),
            ("RoleSessionName", &web.session),
            ("WebIdentityToken", &token),
        ],
    );
    read(&sts.fetcher.ask_good(WHOSE, &request).await?)
}

/// Takes a role with keys.
pub(super) async fn assume(
    sts: Sts<'_>,
    keys: &AwsCredentials,
    role: &AssumeRole,
) -> Result<Keys, FetchError> {
    let mut fields = vec![
        ("Action", "AssumeRole"),
        ("Version", VERSION),
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", role.session.as_str()),
    ];
    if let Some(id) = &role.external_id {
        fields.push(("ExternalId", id.reveal()));
    }
    let mut request = form(&format!("{}/", sts.url), &fields);
    let host = sts.url.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let signed = Signed {
        method: "POST",
        host,
        path: "/",
        query: "",
        content_type: CONTENT_TYPE,
        payload: &payload_hash([&request.body[..]]),
        region: sts.region,
        service: "sts",
    };
    let headers = signed.sign(keys, clock::now());
    request
        .headers
        .push(("authorization", headers.authorization));
    request.headers.push(("x-amz-date", headers.date));
    if let Some(token) = &keys.session_token {
        let header = ("x-amz-security-token", token.reveal().to_owned());
        request.headers.push(header);
    }
    read(&sts.fetcher.ask_good(WHOSE, &request).await?)
}

fn read(body: &[u8]) -> Result<Keys, FetchError> {
    let body = String::from_utf8_lossy(body);
    let of = |name| element(&body, name).ok_or(FetchError::Unreadable(WHOSE));
    let end = WallMs::parse_iso(&of("Expiration")?);
    Ok(Keys {
        keys: AwsCredentials {
            access_key_id: of("AccessKeyId")?,
            secret_access_key: Secret::new(of("SecretAccessKey")?),
            session_token: Some(Secret::new(of("SessionToken")?)),
        },
        expires_at: Some(end.ok_or(FetchError::Unreadable(WHOSE))?),
    })
}

/// The text of the first element with this name. What is read of AWS's answers this way (keys,
/// tokens, dates, messages) holds no elements.
pub(in crate::credentials) fn element(xml: &str, name: &str) -> Option<String> {
    let after = xml.split_once(&format!("<{name}>"))?.1;
    let text = after.split_once(&format!("</{name}>"))?.0;
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    let plain = entities
        .iter()
        .fold(text.trim().to_owned(), |text, (from, to)| {
            text.replace(from, to)
        });
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_services_own_answer() {
        let body = br#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId>
            <SecretAccessKey>a+b/c</SecretAccessKey><SessionToken>t&amp;u==</SessionToken>
            <Expiration>2026-11-20T12:00:00Z</Expiration></Credentials></AssumeRoleResult>
            </AssumeRoleResponse>"#;
        let keys = read(body).unwrap();
        assert_eq!(keys.keys.access_key_id, "ASIA1");
        assert!(keys.keys.session_token.unwrap().matches("t&u=="));
        assert_eq!(keys.expires_at, WallMs::parse_iso("2026-11-20T12:00:00Z"));
        assert!(read(b"<html>sign in</html>").is_err());
    }
}
