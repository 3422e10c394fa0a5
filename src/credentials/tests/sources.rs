//! Each place that credentials come from.

use meridian_core::config;
use meridian_core::identity::Identity;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::server::{Asked, Server};
use super::*;
use crate::credentials::jwt;

const STS_ANSWER: &str = "<R><Credentials><AccessKeyId>ASIA</AccessKeyId>\
    <SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>\
    <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>";
const KEYS: &str = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"secret","Token":"session",
    "Expiration":"2099-01-01T00:00:00Z"}"#;

/// The identity of a deployment as a configuration gives it.
pub(super) fn of(params: &str, env: &[(&str, &str)]) -> Identity {
    let env: HashMap<String, String> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let text = format!("model_list: [{{model_name: m, litellm_params: {{{params}}}}}]\n");
    let mut read = |_: &Path| Ok(text.clone());
    let loaded = config::load_with(
        &mut read,
        Path::new("c.yaml"),
        &env,
        config::MasterKey::Generated,
    );
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let config = loaded.config.unwrap_or_else(|| panic!("{problems:?}"));
    let target = config.models[0].target.clone();
    target.unwrap().identity.unwrap()
}

pub(super) async fn token(identity: &Identity) -> Token {
    let running = start();
    let source = running.credentials.source(identity);
    let token = source
        .token()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    (*token).clone()
}

fn assert_keys(token: &Token) {
    match &token.credential {
        Credential::Aws(keys) => {
            assert_eq!(keys.access_key_id, "ASIA");
            assert!(keys.session_token.as_ref().unwrap().matches("session"));
        }
        other => panic!("{other:?}"),
    }
    assert!(token.expires_at.is_some());
}

const BEDROCK: &str = "model: bedrock/amazon.nova-lite-v1:0, aws_region_name: eu-west-1";

#[tokio::test]
async fn a_role_is_taken_with_signed_keys_session_name_and_external_id() {
    let server = Server::start(|_| Some((200, STS_ANSWER.to_owned()))).await;
    let params = format!(
        "{BEDROCK}, aws_access_key_id: AKIA, aws_secret_access_key: s, aws_role_name: 'arn:r', \
         aws_session_name: sess, aws_external_id: ext, aws_sts_endpoint: '{}'",
        server.url
    );
    assert_keys(&token(&of(&params, &[])).await);
    let asked = &server.asked()[0];
    let authorization = asked.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIA/"));
    assert!(authorization.contains("/eu-west-1/sts/aws4_request"));
    for (field, value) in [
        ("Action", "AssumeRole"),
        ("RoleArn", "arn:r"),
        ("RoleSessionName", "sess"),
        ("ExternalId", "ext"),
    ] {
        assert_eq!(asked.field(field).as_deref(), Some(value));
    }
}

#[tokio::test]
async fn a_pods_token_is_read_anew_and_exchanged() {
    let server = Server::start(|_| Some((200, STS_ANSWER.to_owned()))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "projected\n").unwrap();
    let env = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:pod"),
        ("AWS_ENDPOINT_URL_STS", server.url.as_str()),
    ];
    assert_keys(&token(&of(BEDROCK, &env)).await);
    let asked = &server.asked()[0];
    assert_eq!(
        asked.field("WebIdentityToken").as_deref(),
        Some("projected")
    );
    assert_eq!(asked.field("RoleArn").as_deref(), Some("arn:pod"));
    assert!(asked.header("authorization").is_none());
}

#[tokio::test]
async fn a_profile_takes_its_role_with_the_keys_of_another() {
    let server = Server::start(|_| Some((200, STS_ANSWER.to_owned()))).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let config = "[profile dev]\nrole_arn = arn:dev\nsource_profile = base\nexternal_id = x\n";
    std::fs::write(at("config"), config).unwrap();
    let keys = "[base]\naws_access_key_id = BASE\naws_secret_access_key = s\n";
    std::fs::write(at("credentials"), keys).unwrap();
    let (config, keys) = (at("config"), at("credentials"));
    let env = [
        ("AWS_CONFIG_FILE", config.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", keys.as_str()),
        ("AWS_ENDPOINT_URL_STS", server.url.as_str()),
    ];
    let params = format!("{BEDROCK}, aws_profile_name: dev");
    assert_keys(&token(&of(&params, &env)).await);
    let authorization = server.asked()[0]
        .header("authorization")
        .unwrap()
        .to_owned();
    assert!(authorization.contains("Credential=BASE/"));
    std::fs::write(
        at("config"),
        format!("[profile p]\ncredential_process = echo '{KEYS}'"),
    )
    .unwrap();
    let flat = std::fs::read_to_string(at("config"))
        .unwrap()
        .replace(",\n", ",");
    std::fs::write(at("config"), flat).unwrap();
    let params = format!("{BEDROCK}, aws_profile_name: p");
    assert_keys(&token(&of(&params, &env)).await);
}

#[tokio::test]
async fn containers_and_instances_give_their_keys() {
    let server = Server::start(|asked| {
        if asked.starts("GET /creds ") {
            let known = asked.header("authorization") == Some("pod-token");
            return Some((if known { 200 } else { 403 }, KEYS.to_owned()));
        }
        if asked.starts("PUT /latest/api/token ") {
            return Some((200, "imds-session".to_owned()));
        }
        if asked.header("x-aws-ec2-metadata-token") != Some("imds-session") {
            return Some((401, String::new()));
        }
        match asked.head.contains("/security-credentials/my-role ") {
            true => Some((200, KEYS.to_owned())),
            false => Some((200, "my-role\n".to_owned())),
        }
    })
    .await;
    let url = format!("{}/creds", server.url);
    let env = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token"),
    ];
    assert_keys(&token(&of(BEDROCK, &env)).await);
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url.as_str())];
    assert_keys(&token(&of(BEDROCK, &env)).await);
}

const VERTEX: &str = "model: vertex_ai/gemini-2.5-pro, vertex_location: global, vertex_project: p";

/// Header and claims of an assertion whose signature is right.
fn claims(
    assertion: &str,
    algorithm: &'static dyn ring::signature::VerificationAlgorithm,
) -> Value {
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let public = jwt::key(PEM).unwrap();
    let key = UnparsedPublicKey::new(algorithm, public.public().as_ref());
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(signed.as_bytes(), &signature)
        .expect("the signature is right");
    let part = |at: usize| -> Value {
        let text = signed.split('.').nth(at).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    json!({"header": part(0), "claims": part(1)})
}

fn oauth(_: &Asked) -> Option<(u16, String)> {
    Some((
        200,
        r#"{"access_token":"ya29","expires_in":3599}"#.to_owned(),
    ))
}

#[tokio::test]
async fn a_service_account_signs_its_own_assertion() {
    let server = Server::start(oauth).await;
    let document = json!({
        "type": "service_account", "client_email": "e@p.iam", "private_key": PEM,
        "private_key_id": "kid1", "token_uri": format!("{}/token", server.url),
        "project_id": "learned",
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sa.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let env = [("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap())];
    let token = token(&of(VERTEX, &env)).await;
    assert_eq!(bearer(&token), "ya29");
    assert_eq!(token.project.as_deref(), Some("learned"));
    let asked = &server.asked()[0];
    let said = claims(
        &asked.field("assertion").unwrap(),
        &RSA_PKCS1_2048_8192_SHA256,
    );
    assert_eq!(said["header"]["kid"], "kid1");
    assert_eq!(said["claims"]["iss"], "e@p.iam");
    assert_eq!(said["claims"]["aud"], format!("{}/token", server.url));
}

#[tokio::test]
async fn a_workload_exchanges_its_token_and_impersonates() {
    let server = Server::start(|asked| match asked.starts("POST /impersonate") {
        true => {
            let known = asked.header("authorization") == Some("Bearer ya29");
            let body = r#"{"accessToken":"last","expireTime":"2099-01-01T00:00:00Z"}"#;
            Some((if known { 200 } else { 403 }, body.to_owned()))
        }
        false => oauth(asked),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let subject = folder.path().join("subject");
    std::fs::write(&subject, r#"{"id_token":"subject"}"#).unwrap();
    let document = json!({
        "type": "external_account", "audience": "//iam/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/sts", server.url),
        "service_account_impersonation_url": format!("{}/impersonate", server.url),
        "credential_source": {"file": subject, "format":
            {"type": "json", "subject_token_field_name": "id_token"}},
    });
    let params = format!("{VERTEX}, vertex_credentials: '{document}'");
    assert_eq!(bearer(&token(&of(&params, &[])).await), "last");
    assert_eq!(
        server.asked()[0].field("subject_token").as_deref(),
        Some("subject")
    );
}

#[tokio::test]
async fn users_and_machines_of_google_have_tokens() {
    let server = Server::start(|asked| match asked.head.contains("project-id") {
        true => Some((200, "machines-project".to_owned())),
        false => oauth(asked),
    })
    .await;
    let document = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "r", "token_uri": server.url, "quota_project_id": "q",
    });
    let params = format!("{VERTEX}, vertex_credentials: '{document}'");
    let user = token(&of(&params, &[])).await;
    assert_eq!(user.quota_project.as_deref(), Some("q"));
    assert_eq!(
        server.asked()[0].field("refresh_token").as_deref(),
        Some("r")
    );
    let host = server.url.strip_prefix("http://").unwrap();
    let machine = token(&of(VERTEX, &[("GCE_METADATA_HOST", host)])).await;
    assert_eq!(machine.project.as_deref(), Some("machines-project"));
}

const AZURE: &str = "model: azure/d, api_base: 'https://r.openai.azure.com'";

#[tokio::test]
async fn clients_of_entra_prove_themselves_in_every_way() {
    let server = Server::start(oauth).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.pem");
    std::fs::write(&path, PEM).unwrap();
    let host = ("AZURE_AUTHORITY_HOST", server.url.as_str());
    let client = format!("{AZURE}, tenant_id: t, client_id: c");
    let of_secret = of(&format!("{client}, client_secret: s3"), &[host]);
    assert_eq!(bearer(&token(&of_secret).await), "ya29");
    let of_certificate = of(
        &client,
        &[
            host,
            ("AZURE_CLIENT_CERTIFICATE_PATH", path.to_str().unwrap()),
        ],
    );
    token(&of_certificate).await;
    let of_file = of(
        &client,
        &[host, ("AZURE_FEDERATED_TOKEN_FILE", path.to_str().unwrap())],
    );
    token(&of_file).await;
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .all(|one| one.starts("POST /t/oauth2/v2.0/token "))
    );
    assert_eq!(asked[0].field("client_secret").as_deref(), Some("s3"));
    let scope = "https://cognitiveservices.azure.com/.default";
    assert_eq!(asked[0].field("scope").as_deref(), Some(scope));
    let assertion = asked[1].field("client_assertion").unwrap();
    let said = claims(&assertion, &RSA_PSS_2048_8192_SHA256);
    assert_eq!(said["header"]["x5t#S256"], jwt::thumbprint(PEM).unwrap());
    assert_eq!(said["claims"]["sub"], "c");
    assert_eq!(
        asked[2].field("client_assertion").as_deref(),
        Some(PEM.trim())
    );
}

#[tokio::test]
async fn machines_of_azure_have_an_identity() {
    let server = Server::start(|asked| {
        let known = asked.header("x-identity-header") == Some("h");
        let body = r#"{"access_token":"msi","expires_on":"4102444800"}"#;
        Some((if known { 200 } else { 400 }, body.to_owned()))
    })
    .await;
    let url = format!("{}/msi", server.url);
    let env = [
        ("IDENTITY_ENDPOINT", url.as_str()),
        ("IDENTITY_HEADER", "h"),
        ("AZURE_CLIENT_ID", "user-assigned"),
    ];
    let token = token(&of(AZURE, &env)).await;
    assert_eq!(bearer(&token), "msi");
    let asked = &server.asked()[0];
    assert!(
        asked
            .head
            .contains("resource=https%3A%2F%2Fcognitiveservices.azure.com")
    );
    assert!(
        asked.head.contains("client_id=user-assigned"),
        "{}",
        asked.head
    );
}

#[test]
fn files_that_are_not_there_and_keys_that_cannot_sign_are_named() {
    let missing = inspect(&of(
        VERTEX,
        &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")],
    ));
    assert!(missing.unwrap().starts_with("/nowhere.json: "));
    let broken = format!(
        "{VERTEX}, vertex_credentials: '{{\"type\":\"service_account\",\"client_email\":\"e\",\
         \"private_key\":\"no\"}}'"
    );
    assert!(inspect(&of(&broken, &[])).unwrap().contains("no PEM block"));
}
