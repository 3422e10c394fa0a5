//! Which source a deployment's settings and the environment name.

use std::collections::HashMap;

use crate::config::{self, Loaded};
use crate::identity::{AwsSource, EntraProof, GoogleSource, Identity, IdentityKind};

fn load(params: &str, env: &[(&str, &str)]) -> Loaded {
    let env: HashMap<String, String> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let text = format!("model_list: [{{model_name: m, litellm_params: {{{params}}}}}]\n");
    let mut read = |_: &std::path::Path| Ok(text.clone());
    config::load_with(
        &mut read,
        std::path::Path::new("c.yaml"),
        &env,
        config::MasterKey::Generated,
    )
}

fn identity(params: &str, env: &[(&str, &str)]) -> Option<Identity> {
    let loaded = load(params, env);
    let config = loaded.config.expect("a configuration");
    config.models[0].target.as_ref().unwrap().identity.clone()
}

fn complaints(params: &str, env: &[(&str, &str)]) -> String {
    let problems = load(params, env).problems;
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn aws(params: &str, env: &[(&str, &str)]) -> crate::identity::Aws {
    match identity(params, env).unwrap().kind {
        IdentityKind::Aws(aws) => *aws,
        other => panic!("{other:?}"),
    }
}

const BEDROCK: &str = "model: bedrock/anthropic.claude-x-v1:0, aws_region_name: eu-west-1";

#[test]
fn keys_of_the_deployment_win_over_the_environment() {
    let env = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let params = format!("{BEDROCK}, aws_access_key_id: OWN, aws_secret_access_key: s");
    match aws(&params, &env).source {
        AwsSource::Keys(keys) => assert_eq!(keys.access_key_id, "OWN"),
        other => panic!("{other:?}"),
    }
    match aws(BEDROCK, &env).source {
        AwsSource::Chain(chain) => assert_eq!(chain.keys.unwrap().access_key_id, "ENV"),
        other => panic!("{other:?}"),
    }
    let half = complaints(&format!("{BEDROCK}, aws_access_key_id: OWN"), &env);
    assert!(
        half.contains("aws_access_key_id: needs `aws_secret_access_key`"),
        "{half}"
    );
}

#[test]
fn a_role_is_taken_with_an_external_id_and_a_session() {
    let params = format!(
        "{BEDROCK}, aws_role_name: 'arn:aws:iam::1:role/r', aws_session_name: s, \
         aws_external_id: x"
    );
    let aws = aws(&params, &[("HOME", "/home/u")]);
    let role = aws.assume.unwrap();
    assert_eq!(
        (role.arn.as_str(), role.session.as_str()),
        ("arn:aws:iam::1:role/r", "s")
    );
    assert!(role.external_id.unwrap().matches("x"));
    assert_eq!(aws.sts, "https://sts.eu-west-1.amazonaws.com");
}

#[test]
fn a_web_identity_is_that_of_the_deployment_or_of_the_pod() {
    let own = format!(
        "{BEDROCK}, aws_role_name: 'arn:r', aws_web_identity_token: oidc/file//var/run/token"
    );
    assert!(matches!(aws(&own, &[]).source, AwsSource::WebIdentity(_)));
    let env = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_ROLE_ARN", "arn:pod"),
    ];
    match aws(BEDROCK, &env).source {
        AwsSource::Chain(chain) => assert_eq!(chain.web.unwrap().role_arn, "arn:pod"),
        other => panic!("{other:?}"),
    }
    let alone = complaints(&format!("{BEDROCK}, aws_web_identity_token: t"), &[]);
    assert!(alone.contains("needs `aws_role_name`"), "{alone}");
}

#[test]
fn a_bearer_key_of_bedrock_needs_no_signature() {
    assert!(identity(BEDROCK, &[("AWS_BEARER_TOKEN_BEDROCK", "k")]).is_none());
    let own = format!("{BEDROCK}, api_key: k");
    assert!(identity(&own, &[]).is_none());
    assert!(identity(BEDROCK, &[]).is_some());
}

#[test]
fn equal_settings_share_a_source_and_different_ones_do_not() {
    let of = |params: &str, env: &[(&str, &str)]| identity(params, env).unwrap().fingerprint;
    let keys = format!("{BEDROCK}, aws_access_key_id: A, aws_secret_access_key: s");
    assert_eq!(of(&keys, &[]), of(&keys, &[]));
    let other = format!("{BEDROCK}, aws_access_key_id: A, aws_secret_access_key: t");
    assert_ne!(of(&keys, &[]), of(&other, &[]));
    assert_ne!(of(BEDROCK, &[]), of(BEDROCK, &[("AWS_PROFILE", "p")]));
}

const VERTEX: &str =
    "model: vertex_ai/gemini-2.5-pro, vertex_location: europe-west1, vertex_project: p";

#[test]
fn googles_credentials_are_a_document_a_file_or_the_machines() {
    let of = |params: &str, env: &[(&str, &str)]| match identity(params, env).unwrap().kind {
        IdentityKind::Google(google) => google.source,
        other => panic!("{other:?}"),
    };
    let document = format!(
        "{VERTEX}, vertex_credentials: '{{\"type\":\"service_account\",\"client_email\":\"e\",\
         \"private_key\":\"k\"}}'"
    );
    assert!(matches!(of(&document, &[]), GoogleSource::Document(_)));
    let file = format!("{VERTEX}, vertex_credentials: /key.json");
    assert!(matches!(of(&file, &[]), GoogleSource::File(path) if path == "/key.json"));
    let env = [("GOOGLE_APPLICATION_CREDENTIALS", "/adc.json")];
    assert!(matches!(of(VERTEX, &env), GoogleSource::File(path) if path == "/adc.json"));
    assert!(matches!(of(VERTEX, &[]), GoogleSource::Default { .. }));
    let wrong = complaints(
        &format!("{VERTEX}, vertex_credentials: '{{\"type\":\"service_account\"}}'"),
        &[],
    );
    assert!(
        wrong.contains("vertex_credentials: has no `client_email`"),
        "{wrong}"
    );
}

const AZURE: &str = "model: azure/d, api_base: 'https://r.openai.azure.com'";

#[test]
fn entras_client_is_the_deployments_or_the_environments() {
    let of = |params: &str, env: &[(&str, &str)]| match identity(params, env)?.kind {
        IdentityKind::Entra(entra) => Some(entra.proof),
        other => panic!("{other:?}"),
    };
    let own = format!("{AZURE}, tenant_id: t, client_id: c, client_secret: s");
    assert!(matches!(of(&own, &[]), Some(EntraProof::Secret(..))));
    let half = complaints(&format!("{AZURE}, client_secret: s"), &[]);
    assert!(half.contains("client_secret: needs `tenant_id`"), "{half}");
    let pod = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/f"),
    ];
    assert!(matches!(of(AZURE, &pod), Some(EntraProof::Federated(..))));
    let service = [("IDENTITY_ENDPOINT", "http://i"), ("IDENTITY_HEADER", "h")];
    assert!(matches!(of(AZURE, &service), Some(EntraProof::Managed(_))));
    let keyed = format!("{AZURE}, api_key: k");
    assert!(of(&keyed, &pod).is_none());
    assert!(of(AZURE, &[]).is_none());
}
