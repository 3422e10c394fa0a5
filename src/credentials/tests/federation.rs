//! Google's tokens for whoever this machine is at AWS, against a token service that checks the
//! signature as AWS would.

use meridian_core::ids::Secret;
use meridian_core::sigv4::{AwsCredentials, CallerIdentity};
use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::server::{Asked, Server};
use super::sources::{of, token};
use super::*;

const AUDIENCE: &str = "//iam.googleapis.com/projects/1/locations/global/\
                        workloadIdentityPools/p/providers/a";
const KEYS: &str = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"secret","Token":"session",
    "Expiration":"2099-01-01T00:00:00Z"}"#;
const QUERY: &str = "?Action=GetCallerIdentity&Version=2011-06-15";

/// Percent-decoded.
fn decoded(text: &str) -> String {
    let body = format!("x={text}");
    let head = String::new();
    Asked { head, body }.field("x").unwrap()
}

/// `20261129T123045Z`.
fn moment(date: &str) -> WallMs {
    let digits: Vec<&str> = [0..4, 4..6, 6..8, 9..11, 11..13, 13..15]
        .into_iter()
        .map(|part| &date[part])
        .collect();
    let [year, month, day, hour, minute, second] = digits[..] else {
        panic!("{date}");
    };
    WallMs::parse_iso(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).unwrap()
}

/// Google, and the AWS that it asks: a token for whoever signed with these keys.
fn exchanged(asked: &Asked, secret: &str, session: Option<&str>) -> (u16, String) {
    let subject = asked.field("subject_token").unwrap();
    let request: Value = serde_json::from_str(&decoded(&subject)).unwrap();
    let header = |name: &str| {
        let list = request["headers"].as_array().unwrap();
        let found = list.iter().find(|one| one["key"] == name);
        found.and_then(|one| one["value"].as_str()).unwrap_or("")
    };
    let url = request["url"].as_str().unwrap();
    let question = CallerIdentity {
        url,
        region: "eu-west-3",
        target: AUDIENCE,
    };
    let keys = AwsCredentials {
        access_key_id: "ASIA".to_owned(),
        secret_access_key: Secret::new(secret),
        session_token: session.map(Secret::new),
    };
    let at = moment(header("x-amz-date"));
    let expected = question.headers(&keys, at).unwrap();
    let signed = expected
        .iter()
        .all(|(name, value)| header(name) == value.as_str());
    let whole = request["method"] == "POST"
        && url == format!("https://sts.eu-west-3.amazonaws.com{QUERY}")
        && asked.field("audience").as_deref() == Some(AUDIENCE);
    let kind = asked.field("subject_token_type").unwrap_or_default();
    match signed && whole && kind == "urn:ietf:params:aws:token-type:aws4_request" {
        true => (
            200,
            r#"{"access_token":"ya29.aws","expires_in":3600}"#.to_owned(),
        ),
        false => (
            403,
            format!(r#"{{"error_description":"signed by nobody: {url}"}}"#),
        ),
    }
}

fn document(url: &str, source: &Value) -> String {
    let document = json!({
        "type": "external_account", "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": format!("{url}/sts"),
        "credential_source": source,
    });
    format!("model: vertex_ai/gemini-x, vertex_project: p, vertex_credentials: '{document}'")
}

fn source(url: &str) -> Value {
    json!({
        "environment_id": "aws1",
        "region_url": format!("{url}/zone"),
        "url": format!("{url}/roles"),
        "imdsv2_session_token_url": format!("{url}/session"),
        "regional_cred_verification_url": format!("https://sts.{{region}}.amazonaws.com{QUERY}"),
    })
}

#[tokio::test]
async fn an_instance_of_aws_is_known_at_google_by_its_role() {
    let server = Server::start(|asked| {
        if asked.starts("PUT /session ") {
            let ttl = asked.header("x-aws-ec2-metadata-token-ttl-seconds");
            return Some((if ttl.is_some() { 200 } else { 400 }, "imds".to_owned()));
        }
        let in_session = asked.header("x-aws-ec2-metadata-token") == Some("imds");
        Some(match asked.head.split(' ').nth(1).unwrap() {
            "/sts" => exchanged(asked, "secret", Some("session")),
            _ if !in_session => (401, String::new()),
            "/zone" => (200, "eu-west-3b".to_owned()),
            "/roles/" => (200, "gateway\n".to_owned()),
            "/roles/gateway" => (200, KEYS.to_owned()),
            _ => (404, String::new()),
        })
    })
    .await;
    let identity = of(&document(&server.url, &source(&server.url)), &[]);
    let token = token(&identity).await;
    assert_eq!(bearer(&token), "ya29.aws");
}

#[tokio::test]
async fn keys_and_region_of_variables_and_profiles_come_before_the_instances() {
    let server = Server::start(|asked| {
        Some(match asked.starts("POST /sts ") {
            true => exchanged(asked, "s", None),
            false => (404, String::new()),
        })
    })
    .await;
    let params = document(&server.url, &source(&server.url));
    let of_variables = of(
        &params,
        &[
            ("AWS_ACCESS_KEY_ID", "ASIA"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_DEFAULT_REGION", "eu-west-3"),
        ],
    );
    assert_eq!(bearer(&token(&of_variables).await), "ya29.aws");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let profile = "[gw]\naws_access_key_id = ASIA\naws_secret_access_key = s\nregion = eu-west-3\n";
    std::fs::write(&path, profile).unwrap();
    let of_profile = of(
        &params,
        &[
            ("AWS_PROFILE", "gw"),
            ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap()),
        ],
    );
    assert_eq!(bearer(&token(&of_profile).await), "ya29.aws");
    let asked = server.asked();
    assert!(asked.iter().all(|one| one.starts("POST /sts ")));
}

#[tokio::test]
async fn waiting_requests_share_one_exchange_and_a_refusal_is_told() {
    let server = Server::start(|asked| Some(exchanged(asked, "another", None))).await;
    let env = [
        ("AWS_ACCESS_KEY_ID", "ASIA"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_REGION", "eu-west-3"),
    ];
    let refused = of(&document(&server.url, &source(&server.url)), &env);
    let running = start();
    let first = running.credentials.source(&refused);
    assert!(first.token().await.is_err());
    let report = &running.credentials.report()[0];
    let why = report.error.clone().unwrap_or_default();
    assert!(why.contains("signed by nobody"), "{why}");

    let server = Server::start(|asked| Some(exchanged(asked, "s", None))).await;
    let good = of(&document(&server.url, &source(&server.url)), &env);
    let running = start();
    let source = running.credentials.source(&good);
    let all = futures::future::join_all((0..20).map(|_| source.token())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.asked().len(), 1);
}
