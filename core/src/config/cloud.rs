//! Doors of the clouds: where a model of AWS, Google or Cohere is, and what is asked of it there.

use std::collections::HashMap;

use super::base_url::BaseUrl;
use super::problem::Problems;
use super::provider::{Provider, is_claude};
use super::section::Area;
use super::{environ, percent};
use crate::identity::dns_suffix;
use crate::price::foundation;
use crate::translate::{Counter, Operation};

/// Where Bedrock is when nobody says: LiteLLM's default.
const AWS_REGION: &str = "us-west-2";
/// Where Vertex is when nobody says: LiteLLM's default.
const VERTEX_LOCATION: &str = "us-central1";
/// Project that is learned from the credentials when the first token comes.
const LEARNED: &str = "";

/// A door whose paths name more than an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Bedrock's runtime, or its agent runtime for reranking.
    Bedrock {
        /// AWS's name of the region.
        region: String,
        /// How the model's name asks to be called.
        style: BedrockStyle,
    },
    /// `bedrock-mantle`: the plain dialects of OpenAI and Anthropic.
    Mantle {
        /// AWS's name of the region.
        region: String,
    },
    /// Vertex AI.
    Vertex {
        /// Project; empty where the credentials say it.
        project: String,
        /// Region, multi-region or `global`.
        location: String,
    },
    /// Google AI Studio.
    AiStudio,
    /// Cohere.
    Cohere,
}

impl Publisher {
    /// Whose a model is, by its name on Vertex.
    pub fn of(model: &str) -> Self {
        let name = model.to_ascii_lowercase();
        let is_googles = ["gemini", "text-embedding", "text-multilingual", "gemma"]
            .iter()
            .any(|family| name.starts_with(family));
        match () {
            () if is_claude(model) => Self::Anthropic,
            () if is_googles || !name.contains('/') => Self::Google,
            () => Self::OpenApi,
        }
    }
}

/// Which of Bedrock's dialects a model's name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BedrockStyle {
    /// Each caller's own where there is one (`invoke` for messages), else Converse.
    Usual,
    /// `bedrock/converse/...`: always Converse.
    Converse,
    /// `bedrock/invoke/...`: Claude's own body.
    Invoke,
}

/// Whose models a Vertex deployment serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// Google's.
    Google,
    /// Anthropic's.
    Anthropic,
    /// Others, behind Vertex's door in OpenAI's dialect.
    OpenApi,
}

impl Cloud {
    /// AWS's name of what is signed for.
    pub fn aws(&self) -> Option<(&str, &'static str)> {
        match self {
            Self::Bedrock { region, .. } => Some((region, "bedrock")),
            Self::Mantle { region } => Some((region, "bedrock-mantle")),
            Self::Vertex { .. } | Self::AiStudio | Self::Cohere => None,
        }
    }

    /// Where it is priced: Google's location.
    pub fn location(&self) -> Option<&str> {
        match self {
            Self::Vertex { location, .. } => Some(location),
            _ => None,
        }
    }

    /// Path and query of an operation on a model. `learned` is the project of the credentials.
    pub fn path(&self, operation: Operation, model: &str, learned: Option<&str>) -> String {
        match self {
            Self::Bedrock { .. } => bedrock_path(operation, model),
            Self::Mantle { .. } => match operation {
                Operation::Messages | Operation::MessagesStream => "/anthropic/v1/messages".into(),
                Operation::Responses => "/v1/responses".into(),
                _ => "/v1/chat/completions".into(),
            },
            Self::Vertex {
                project, location, ..
            } => {
                let project = match project.as_str() {
                    LEARNED => learned,
                    named => Some(named),
                };
                let place = project.map_or_else(String::new, |project| {
                    format!("/projects/{}/locations/{location}", segment(project))
                });
                vertex_path(operation, model, &place)
            }
            Self::AiStudio => format!("/v1beta/models/{}{}", segment(model), verb(operation)),
            Self::Cohere => match operation {
                Operation::CohereEmbed => "/v2/embed".into(),
                Operation::CohereRerank => "/v2/rerank".into(),
                _ => "/v2/chat".into(),
            },
        }
    }

    /// Path of the provider's own count of tokens; `None` where there is none.
    pub fn count_path(
        &self,
        counter: Counter,
        model: &str,
        learned: Option<&str>,
    ) -> Option<String> {
        match self {
            // Profiles are not counted for, only the model behind them.
            Self::Bedrock { .. } => Some(format!(
                "/model/{}/count-tokens",
                escaped(foundation(model))
            )),
            Self::Mantle { .. } => Some("/anthropic/v1/messages/count_tokens".to_owned()),
            Self::Vertex { .. } if counter == Counter::Messages => {
                Some(self.path(Operation::Messages, "count-tokens", learned))
            }
            Self::Vertex { .. } | Self::AiStudio => {
                Some(self.path(Operation::CountTokens, model, learned))
            }
            Self::Cohere => None,
        }
    }
}

fn bedrock_path(operation: Operation, model: &str) -> String {
    let action = match operation {
        Operation::ChatCompletions => return "/openai/v1/chat/completions".to_owned(),
        Operation::Responses => return "/openai/v1/responses".to_owned(),
        Operation::BedrockRerank => return "/rerank".to_owned(),
        Operation::ConverseStream => "converse-stream",
        Operation::MessagesStream => "invoke-with-response-stream",
        Operation::Messages | Operation::InvokeEmbed | Operation::CohereEmbed => "invoke",
        _ => "converse",
    };
    format!("/model/{}/{action}", escaped(model))
}

/// `place` is empty for a key of the express mode, which has no project.
fn vertex_path(operation: Operation, model: &str, place: &str) -> String {
    let publisher = match operation {
        Operation::ChatCompletions => {
            return format!("/v1{place}/endpoints/openapi/chat/completions");
        }
        Operation::Messages | Operation::MessagesStream => "anthropic",
        _ => "google",
    };
    let (model, verb) = (segment(model), verb(operation));
    format!("/v1{place}/publishers/{publisher}/models/{model}{verb}")
}

/// Google's verbs.
fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Messages => ":rawPredict",
        Operation::MessagesStream => ":streamRawPredict",
        Operation::StreamGenerateContent => ":streamGenerateContent?alt=sse",
        Operation::BatchEmbedContents => ":batchEmbedContents",
        Operation::Predict => ":predict",
        Operation::CountTokens => ":countTokens",
        _ => ":generateContent",
    }
}

/// As AWS wants ids: nothing but letters, digits and `-._~` stays.
fn escaped(text: &str) -> String {
    percent::encoded(text, b"-._~")
}

/// As Google wants names: `@` and `:` stay.
fn segment(text: &str) -> String {
    percent::encoded(text, b"-._~@")
}

/// The door of a deployment. `model` loses what only says how it is called.
pub(super) fn resolve(
    params: &Area<'_>,
    provider: Provider,
    model: &mut String,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Cloud> {
    match provider {
        Provider::Bedrock => Some(bedrock(params, model, env, problems)),
        Provider::VertexAi => Some(vertex(params, model, env)),
        Provider::Gemini => Some(Cloud::AiStudio),
        Provider::Cohere => Some(Cloud::Cohere),
        _ => None,
    }
}

fn bedrock(
    params: &Area<'_>,
    model: &mut String,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Cloud {
    let named = params.text("model").unwrap_or_default();
    let is_mantle = named.starts_with("bedrock_mantle/")
        || params.text("custom_llm_provider") == Some("bedrock_mantle")
        || model.starts_with("mantle/");
    let is_converse = named.starts_with("bedrock_converse/");
    let mut style = match is_converse {
        true => BedrockStyle::Converse,
        false => BedrockStyle::Usual,
    };
    for (mark, meant) in [
        ("converse/", BedrockStyle::Converse),
        ("invoke/", BedrockStyle::Invoke),
        ("mantle/", BedrockStyle::Usual),
        ("openai/", BedrockStyle::Usual),
    ] {
        if let Some(rest) = model.strip_prefix(mark) {
            style = meant;
            *model = rest.to_owned();
        }
    }
    let region = region(params, model, env, problems);
    match is_mantle {
        true => Cloud::Mantle { region },
        false => Cloud::Bedrock { region, style },
    }
}

/// `aws_region_name`, a region in the model's name, an ARN's, AWS's variables.
fn region(
    params: &Area<'_>,
    model: &mut String,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> String {
    let in_name = model.split_once('/').filter(|(first, _)| is_region(first));
    let in_name = in_name.map(|(first, rest)| (first.to_owned(), rest.to_owned()));
    if let Some((_, rest)) = &in_name {
        rest.clone_into(model);
    }
    let of_arn = model
        .strip_prefix("arn:")
        .and_then(|arn| arn.split(':').nth(2))
        .filter(|region| is_region(region));
    let own = params.text("aws_region_name");
    if let (Some(own), Some(of_arn)) = (own, of_arn)
        && own != of_arn
    {
        let message = format!("`{own}`, but the model's ARN belongs to `{of_arn}`");
        problems.error(
            params.at("aws_region_name"),
            &params.path_of("aws_region_name"),
            message,
        );
    }
    let of_environment = environ::first(
        env,
        &["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"],
    );
    let in_name = in_name.map(|(region, _)| region);
    let found = own.map(str::to_owned).or(in_name);
    let found = found.or_else(|| of_arn.map(str::to_owned));
    let found = found.or_else(|| of_environment.map(str::to_owned));
    found.unwrap_or_else(|| {
        let message = format!("absent, and `AWS_REGION` is not set: `{AWS_REGION}` is used");
        let path = params.path_of("aws_region_name");
        problems.warning(params.start(), &path, message);
        AWS_REGION.to_owned()
    })
}

/// `eu-west-1`, `us-gov-east-1`: letters, letters, digits.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts.split_last() {
        Some((last, first)) => first.len() >= 2 && first.iter().all(letters) && digits(last),
        None => false,
    }
}

fn vertex(params: &Area<'_>, model: &mut String, env: &HashMap<String, String>) -> Cloud {
    let either = |keys: [&str; 2], names: &[&str]| {
        let own = keys.iter().find_map(|key| params.text(key));
        own.or_else(|| environ::first(env, names))
            .map(str::to_owned)
    };
    let project = either(
        ["vertex_project", "vertex_ai_project"],
        &["VERTEXAI_PROJECT", "VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT"],
    );
    let location = either(
        ["vertex_location", "vertex_ai_location"],
        &[
            "VERTEXAI_LOCATION",
            "VERTEX_LOCATION",
            "GOOGLE_CLOUD_LOCATION",
        ],
    );
    if let Some(rest) = model.strip_prefix("gemini/") {
        *model = rest.to_owned();
    }
    Cloud::Vertex {
        project: project.unwrap_or_else(|| LEARNED.to_owned()),
        location: location.unwrap_or_else(|| VERTEX_LOCATION.to_owned()),
    }
}

/// Settings and variables that move a door.
pub(super) fn base_keys(provider: Provider) -> (&'static [&'static str], &'static [&'static str]) {
    match provider {
        Provider::Bedrock => (
            &["aws_bedrock_runtime_endpoint", "api_base", "base_url"],
            &[
                "AWS_BEDROCK_RUNTIME_ENDPOINT",
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
            ],
        ),
        Provider::VertexAi => (&["api_base", "base_url"], &["VERTEXAI_API_BASE"]),
        Provider::Gemini => (&["api_base", "base_url"], &["GEMINI_API_BASE"]),
        _ => (
            &["api_base", "base_url"],
            &["COHERE_API_BASE", "CO_API_URL"],
        ),
    }
}

/// Where a door is by itself.
pub(super) fn usual_base(cloud: &Cloud, model: &str) -> String {
    match cloud {
        Cloud::Bedrock { region, .. } => {
            let ranks = model.contains("rerank");
            let host = if ranks {
                "bedrock-agent-runtime"
            } else {
                "bedrock-runtime"
            };
            format!("https://{host}.{region}.{}", dns_suffix(region))
        }
        Cloud::Mantle { region } => format!("https://bedrock-mantle.{region}.api.aws"),
        Cloud::Vertex { location, .. } => match location.as_str() {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com"),
            region => format!("https://{region}-aiplatform.googleapis.com"),
        },
        Cloud::AiStudio => "https://generativelanguage.googleapis.com".to_owned(),
        Cloud::Cohere => "https://api.cohere.com".to_owned(),
    }
}

/// Takes off what people write behind a base and the paths bring again.
pub(super) fn tidy(base: &mut BaseUrl, cloud: &Cloud) {
    let tails: &[&str] = match cloud {
        Cloud::Bedrock { .. } => &[],
        Cloud::Mantle { .. } => &["/messages", "/chat/completions", "/v1", "/anthropic"],
        Cloud::Vertex { .. } => &["/v1", "/v1beta1"],
        Cloud::AiStudio => &["/models", "/v1beta", "/v1"],
        Cloud::Cohere => &["/chat", "/embed", "/rerank", "/v2", "/v1"],
    };
    tails.iter().for_each(|tail| {
        base.cut(tail);
    });
}
