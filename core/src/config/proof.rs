//! How a deployment proves itself to its provider: one key, or an identity whose credentials end.

use std::collections::HashMap;

use super::cloud::Cloud;
use super::environ;
use super::identity::{Reading, aws_of_params, entra_of_params, google_of_params};
use super::problem::Problems;
use super::provider::Provider;
use super::section::Area;
use super::target::AuthStyle;
use crate::identity::Identity;
use crate::ids::Secret;

/// What proves it, and how that travels.
pub(super) struct Proof {
    pub(super) key: Option<Secret>,
    pub(super) auth: AuthStyle,
    pub(super) identity: Option<Identity>,
}

impl Proof {
    fn key(key: &str, auth: AuthStyle) -> Self {
        Self {
            key: Some(Secret::new(key)),
            auth,
            identity: None,
        }
    }

    fn identity(identity: Identity, auth: AuthStyle) -> Self {
        Self {
            key: None,
            auth,
            identity: Some(identity),
        }
    }

    const NONE: Self = Self {
        key: None,
        auth: AuthStyle::None,
        identity: None,
    };
}

/// The proof of a deployment. `None` after an error.
pub(super) fn resolve(
    params: &Area<'_>,
    provider: Provider,
    (is_azure, cloud): (bool, Option<&Cloud>),
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Proof> {
    match cloud {
        Some(Cloud::Vertex { .. }) => {
            if let Some(key) = params.text("api_key") {
                return Some(Proof::key(key, AuthStyle::XGoogApiKey));
            }
            let reading = Reading::new(Some(params), env);
            let (identity, _) = google_of_params(reading, problems)?;
            Some(Proof::identity(identity, AuthStyle::Token))
        }
        Some(cloud) => match cloud.aws() {
            Some((region, _)) => aws(params, region, env, problems),
            None => Some(of_key(params, provider, is_azure, env)),
        },
        None => {
            let is_azures = matches!(provider, Provider::Azure | Provider::AzureAi);
            let of_key = of_key(params, provider, is_azure, env);
            if !is_azures || of_key.key.is_some() {
                return Some(of_key);
            }
            let reading = Reading::new(Some(params), env);
            let is_asked = environ::switch(env, super::MANAGED_IDENTITY);
            let identity = entra_of_params(reading, is_asked, problems)?;
            Some(identity.map_or(of_key, |identity| {
                Proof::identity(identity, AuthStyle::Token)
            }))
        }
    }
}

/// A bearer key of Bedrock; keys that the deployment itself names come before one of the
/// environment.
fn aws(
    params: &Area<'_>,
    region: &str,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Proof> {
    const OWN: [&str; 5] = [
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_profile_name",
        "aws_role_name",
        "aws_web_identity_token",
    ];
    let names_its_own = OWN.iter().any(|key| params.has(key));
    let of_environment = environ::variable(env, "AWS_BEARER_TOKEN_BEDROCK");
    let of_environment = of_environment.filter(|_| !names_its_own);
    if let Some(key) = params.text("api_key").or(of_environment) {
        return Some(Proof::key(key, AuthStyle::Bearer));
    }
    let identity = aws_of_params(Reading::new(Some(params), env), region, problems)?;
    Some(Proof::identity(identity, AuthStyle::Signature))
}

fn of_key(
    params: &Area<'_>,
    provider: Provider,
    is_azure: bool,
    env: &HashMap<String, String>,
) -> Proof {
    let token = params.text("azure_ad_token");
    if let Some(token) = token.filter(|token| is_azure && !token.starts_with("oidc/")) {
        return Proof::key(token, AuthStyle::Bearer);
    }
    let own = params.text("api_key");
    let inherited = || match params.has("api_key") {
        true => None,
        false => environ::first(env, provider.key_variables()),
    };
    let Some(key) = own.or_else(inherited) else {
        return Proof::NONE;
    };
    let from_token = own.is_none() && environ::variable(env, "ANTHROPIC_API_KEY").is_none();
    let is_oauth = key.starts_with("sk-ant-oat");
    let style = match provider {
        Provider::Anthropic if is_oauth || from_token => AuthStyle::Bearer,
        Provider::Anthropic => AuthStyle::XApiKey,
        Provider::AzureAi if !is_azure => AuthStyle::XApiKeyAndApiKey,
        Provider::Azure | Provider::AzureAi => AuthStyle::ApiKey,
        Provider::Gemini => AuthStyle::XGoogApiKey,
        _ => AuthStyle::Bearer,
    };
    Proof::key(key, style)
}
