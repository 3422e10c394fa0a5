//! Where a deployment's requests go and how they are signed.

use std::collections::HashMap;

use super::base_url::{BadUrl, BaseUrl};
use super::cloud::{self, Cloud};
use super::environ;
use super::problem::Problems;
use super::proof;
use super::provider::{Provider, is_claude};
use super::section::Area;
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::ids::Secret;

/// Version of the dated Azure URLs when nobody names one: LiteLLM's default.
const AZURE_VERSION: &str = "2025-02-01-preview";
/// Version of Foundry's `/models` door: LiteLLM's default.
const FOUNDRY_VERSION: &str = "2024-05-01-preview";

/// Which of Azure's URL families a deployment uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureForm {
    /// `/openai/deployments/{deployment}/...?api-version=2024-10-21`.
    Dated {
        /// The date.
        api_version: String,
    },
    /// `/openai/v1/...`, the deployment in the body.
    V1 {
        /// `preview` is sent as a query; other texts are not.
        preview: bool,
    },
    /// Foundry's `/models/...?api-version=2024-05-01-preview`.
    Models {
        /// The date.
        api_version: String,
    },
}

/// How the credential travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStyle {
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key` (Azure).
    ApiKey,
    /// `x-api-key` (Anthropic).
    XApiKey,
    /// `x-api-key` and `api-key` (Claude in Foundry).
    XApiKeyAndApiKey,
    /// `x-goog-api-key` (Google).
    XGoogApiKey,
    /// A signature of AWS, made for each request with what the identity gives.
    Signature,
    /// `Authorization: Bearer` with what the identity gives.
    Token,
    /// There is no credential.
    None,
}

/// Where a deployment is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Scheme, host, port and path prefix; the prefix includes `/v1` where the API has it.
    pub base: BaseUrl,
    /// For Azure and for OpenAI's dialect on Foundry.
    pub azure: Option<AzureForm>,
    /// For AWS, Google and Cohere.
    pub cloud: Option<Cloud>,
    /// How the credential travels.
    pub auth: AuthStyle,
    /// The credential, where it is one that does not end.
    pub api_key: Option<Secret>,
    /// Where credentials come from that do.
    pub identity: Option<Identity>,
}

impl Target {
    /// Path and query of an operation. `tail` is the operation's path without `/v1`, with ids and
    /// query: `/chat/completions`, `/responses/resp_1?include=x`. `model` is the provider's name.
    pub fn path(&self, endpoint: Endpoint, tail: &str, model: &str) -> String {
        let prefix = &self.base.path;
        let (path, version) = match &self.azure {
            None | Some(AzureForm::V1 { preview: false }) => return format!("{prefix}{tail}"),
            Some(AzureForm::V1 { preview: true }) => (format!("{prefix}{tail}"), "preview"),
            Some(AzureForm::Models { api_version }) => {
                (format!("{prefix}{tail}"), api_version.as_str())
            }
            Some(AzureForm::Dated { api_version }) if in_deployment(endpoint) => {
                let deployment = escape(model);
                let path = format!("{prefix}/openai/deployments/{deployment}{tail}");
                (path, api_version.as_str())
            }
            Some(AzureForm::Dated { api_version }) => {
                (format!("{prefix}/openai{tail}"), api_version.as_str())
            }
        };
        let joint = if tail.contains('?') { '&' } else { '?' };
        format!("{path}{joint}api-version={version}")
    }

    /// Path and query of the list of models; `None` where there is none (Foundry's `/models`).
    pub fn models_path(&self) -> Option<String> {
        let lists = !matches!(self.azure, Some(AzureForm::Models { .. })) && self.cloud.is_none();
        // Like files, the list belongs to the account and not to a deployment.
        lists.then(|| self.path(Endpoint::Files, "/models", ""))
    }
}

/// Whether dated Azure URLs name the deployment in the path.
fn in_deployment(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Embeddings
        | Endpoint::ImagesGenerations
        | Endpoint::ImagesEdits
        | Endpoint::AudioSpeech
        | Endpoint::AudioTranscriptions => true,
        Endpoint::Responses
        | Endpoint::ResponsesItem
        | Endpoint::ResponsesTool
        | Endpoint::Messages
        | Endpoint::CountTokens
        | Endpoint::InputTokens
        | Endpoint::TokenCounter
        | Endpoint::Moderations
        | Endpoint::Rerank
        | Endpoint::Files
        | Endpoint::Batches
        | Endpoint::MessageBatches
        | Endpoint::AnthropicFiles => false,
    }
}

/// A path segment: what RFC 3986 does not let stand there is percent-encoded.
fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Resolves the target of one deployment. `model` may be replaced by the deployment that an Azure
/// URL names. `None` after an error, or when the provider has no upstream here.
pub(super) fn resolve(
    params: &Area<'_>,
    provider: Provider,
    model: &mut String,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Target> {
    if !provider.is_served() || provider == Provider::Mock {
        return None;
    }
    let cloud = cloud::resolve(params, provider, model, env, problems);
    let (text, key) = match &cloud {
        Some(cloud) => cloud_base(params, provider, (cloud, model), env, problems)?,
        None => base_text(params, provider, env, problems)?,
    };
    let (text, version) = split_version(&text);
    let mut base = match BaseUrl::parse(text) {
        Ok(base) => base,
        Err(why) => {
            problems.error(params.at(key), &params.path_of(key), why.to_string());
            return None;
        }
    };
    let api_version = params
        .text("api_version")
        .or(version)
        .or_else(|| azure_variable(provider, env));
    let azure = match (provider, &cloud) {
        (Provider::Azure, _) => Some(azure_form(&mut base, api_version, model)),
        (Provider::AzureAi, _) if !is_claude(model) => Some(foundry_form(&mut base, api_version)),
        (_, Some(cloud)) => {
            cloud::tidy(&mut base, cloud);
            None
        }
        _ => {
            tidy(&mut base, provider);
            None
        }
    };
    let proof = proof::resolve(
        params,
        provider,
        (azure.is_some(), cloud.as_ref()),
        env,
        problems,
    )?;
    let target = Target {
        base,
        azure,
        cloud,
        auth: proof.auth,
        api_key: proof.key,
        identity: proof.identity,
    };
    warn(params, provider, key, &target, problems);
    Some(target)
}

/// The URL text and the key that a problem with it belongs to.
fn base_text(
    params: &Area<'_>,
    provider: Provider,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<(String, &'static str)> {
    for key in ["api_base", "base_url"] {
        if let Some(text) = params.text(key) {
            return Some((text.to_owned(), key));
        }
        if params.is_unset(key) {
            let message = "its variable is not set: requests and their credential would go to the \
                provider's default; set it or remove the line";
            problems.error(params.at(key), &params.path_of(key), message);
            return None;
        }
    }
    let variables = provider.base_variables();
    let names: Vec<&str> = variables.iter().map(String::as_str).collect();
    let found = environ::first(env, &names).or(provider.default_base());
    if let Some(text) = found {
        return Some((text.to_owned(), "api_base"));
    }
    let message = match names.first() {
        Some(name) => format!(
            "required for `{}`: write the base URL here or set `{name}`",
            provider.label()
        ),
        None => format!("required for `{}`", provider.label()),
    };
    problems.error(params.at("api_base"), &params.path_of("api_base"), message);
    None
}

/// The same for a cloud, whose URL follows from its region.
fn cloud_base(
    params: &Area<'_>,
    provider: Provider,
    (cloud, model): (&Cloud, &str),
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<(String, &'static str)> {
    let (keys, variables) = cloud::base_keys(provider);
    for key in keys.iter().copied() {
        if let Some(text) = params.text(key) {
            return Some((text.to_owned(), key));
        }
        if params.is_unset(key) {
            let message = "its variable is not set: requests would go to the provider's default; \
                set it or remove the line";
            problems.error(params.at(key), &params.path_of(key), message);
            return None;
        }
    }
    let found = environ::first(env, variables).map(str::to_owned);
    let text = found.unwrap_or_else(|| cloud::usual_base(cloud, model));
    Some((text, "api_base"))
}

/// Azure's portal shows URLs with their version behind them.
fn split_version(text: &str) -> (&str, Option<&str>) {
    match text.split_once("?api-version=") {
        Some((url, version)) if !version.contains(['&', '#']) => (url, Some(version)),
        _ => (text, None),
    }
}

fn azure_variable(provider: Provider, env: &HashMap<String, String>) -> Option<&str> {
    match provider {
        Provider::Azure => environ::variable(env, "AZURE_API_VERSION"),
        _ => None,
    }
}

fn azure_form(base: &mut BaseUrl, api_version: Option<&str>, model: &mut String) -> AzureForm {
    if let Some((prefix, named)) = base.path.clone().split_once("/openai/deployments/") {
        let deployment = named.split('/').next().unwrap_or_default();
        if !deployment.is_empty() {
            *model = deployment.to_owned();
        }
        base.path = prefix.to_owned();
    }
    let has_v1 = base.cut("/openai/v1");
    let version = api_version.unwrap_or(AZURE_VERSION);
    if has_v1 || matches!(version, "v1" | "latest" | "preview") {
        base.cut("/openai");
        base.path.push_str("/openai/v1");
        let preview = version == "preview";
        return AzureForm::V1 { preview };
    }
    base.cut("/openai");
    let api_version = version.to_owned();
    AzureForm::Dated { api_version }
}

fn foundry_form(base: &mut BaseUrl, api_version: Option<&str>) -> AzureForm {
    base.cut("/chat/completions");
    let is_foundry = base.host.ends_with(".services.ai.azure.com");
    let wants_v1 = matches!(api_version, Some("v1" | "latest" | "preview"));
    if base.path.ends_with("/v1") || wants_v1 || !is_foundry {
        if !base.path.ends_with("/v1") {
            base.path
                .push_str(if is_foundry { "/openai/v1" } else { "/v1" });
        }
        let preview = api_version == Some("preview");
        return AzureForm::V1 { preview };
    }
    base.cut("/models");
    base.path.push_str("/models");
    let api_version = api_version.unwrap_or(FOUNDRY_VERSION).to_owned();
    AzureForm::Models { api_version }
}

/// Brings what people write as a base URL into one form.
fn tidy(base: &mut BaseUrl, provider: Provider) {
    match provider {
        Provider::Anthropic => {
            base.cut("/messages");
            base.cut("/v1");
            base.path.push_str("/v1");
        }
        Provider::AzureAi => {
            base.cut("/messages");
            base.cut("/v1");
            base.cut("/anthropic");
            base.path.push_str("/anthropic/v1");
        }
        _ => {
            base.cut("/chat/completions");
            let is_ollama = provider.label().starts_with("ollama");
            if is_ollama && base.path.is_empty() {
                base.path.push_str("/v1");
            }
        }
    }
}

fn warn(
    params: &Area<'_>,
    provider: Provider,
    key: &str,
    target: &Target,
    problems: &mut Problems,
) {
    let path = params.path_of(key);
    let Target { base, api_key, .. } = target;
    if !base.tls && api_key.is_some() && !base.is_loopback() {
        let message = "the credential crosses the network in clear text; use `https://`";
        problems.warning(params.at(key), &path, message);
    }
    let speaks_openai = matches!(
        provider,
        Provider::OpenAi | Provider::HostedVllm | Provider::OpenAiCompatible(_)
    );
    if speaks_openai && base.path.is_empty() && params.has(key) {
        let message = format!(
            "requests go to {base}/chat/completions; most servers want {base}/v1 as the base URL"
        );
        problems.warning(params.at(key), &path, message);
    }
    let forgotten = api_key.is_none() && provider.needs_key() && !params.has("api_key");
    if forgotten && target.identity.is_none() && !params.has("azure_ad_token") {
        let variable = provider.key_variables().first().unwrap_or(&"");
        let message = format!("absent, and `{variable}` is not set: the provider will answer 401");
        problems.warning(params.start(), &params.path_of("api_key"), message);
    }
}

/// Whether a text is a URL that could be a base URL, for settings that only pass one on.
pub(super) fn check_url(params: &Area<'_>, key: &str, problems: &mut Problems) {
    let Some(text) = params.text(key) else {
        return;
    };
    let (url, _) = text.split_once(['?', '#']).unwrap_or((text, ""));
    let parsed: Result<BaseUrl, BadUrl> = BaseUrl::parse(url);
    if let Err(why) = parsed {
        problems.error(params.at(key), &params.path_of(key), why.to_string());
    }
}

#[cfg(test)]
mod tests;
