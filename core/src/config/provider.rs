//! Providers: who serves a deployment, where by default, with which credential and dialect.
//!
//! Names, default URLs and variables are public facts of LiteLLM's provider list.

use std::borrow::Cow;

use super::compatible::{self, Compatible};
use crate::endpoint::Dialect;

/// The company or server behind a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// OpenAI itself.
    OpenAi,
    /// Azure OpenAI.
    Azure,
    /// Azure AI Foundry: Claude in Anthropic's dialect, other models in OpenAI's.
    AzureAi,
    /// Anthropic itself.
    Anthropic,
    /// vLLM.
    HostedVllm,
    /// A provider or server that speaks OpenAI's dialect.
    OpenAiCompatible(&'static Compatible),
    /// Cohere.
    Cohere,
    /// AWS Bedrock.
    Bedrock,
    /// Google Vertex AI.
    VertexAi,
    /// Google AI Studio.
    Gemini,
    /// Another provider that LiteLLM knows and this version does not serve, by LiteLLM's name.
    Unserved(&'static str),
    /// No provider: `mock/...` with a canned answer.
    Mock,
}

impl Provider {
    /// The provider of LiteLLM's name for it (`openai`, `azure_ai`, `groq`, ...).
    pub fn from_label(label: &str) -> Option<Self> {
        let provider = match label {
            "openai" | "text-completion-openai" => Self::OpenAi,
            "azure" | "azure_text" => Self::Azure,
            "azure_ai" => Self::AzureAi,
            "anthropic" | "anthropic_text" => Self::Anthropic,
            "hosted_vllm" | "vllm" => Self::HostedVllm,
            "cohere" | "cohere_chat" => Self::Cohere,
            "bedrock" | "bedrock_converse" | "bedrock_mantle" => Self::Bedrock,
            "vertex_ai" | "vertex_ai_beta" => Self::VertexAi,
            "gemini" => Self::Gemini,
            "mock" => Self::Mock,
            _ => {
                let compatible = || compatible::find(label).map(Self::OpenAiCompatible);
                let unserved = || UNSERVED.iter().find(|name| **name == label);
                return compatible().or_else(|| unserved().map(|name| Self::Unserved(name)));
            }
        };
        Some(provider)
    }

    /// The provider of a `litellm_params.model` and the provider's own name of the model.
    ///
    /// `custom` is `custom_llm_provider`. The error says what to write instead.
    pub fn of_model<'a>(model: &'a str, custom: Option<&str>) -> Result<(Self, &'a str), String> {
        if let Some(label) = custom {
            let provider = Self::from_label(label).ok_or_else(|| unknown(label, model))?;
            let stripped = model
                .strip_prefix(label)
                .and_then(|rest| rest.strip_prefix('/'));
            return Ok((provider, provider.own_name(stripped.unwrap_or(model))));
        }
        if let Some((label, rest)) = model.split_once('/') {
            let known = Self::from_label(label).filter(|_| !rest.is_empty());
            let provider = known.ok_or_else(|| unknown(label, model))?;
            return Ok((provider, provider.own_name(rest)));
        }
        let provider = of_bare_name(model).ok_or_else(|| {
            format!(
                "cannot tell the provider of `{model}`; write `provider/{model}`, for an \
                 OpenAI-compatible server `openai/{model}` with `api_base`"
            )
        })?;
        Ok((provider, model))
    }

    /// LiteLLM marks how a model is called in its name; the provider does not want to see that.
    fn own_name(self, name: &str) -> &str {
        let marks: &[&str] = match self {
            Self::OpenAi => &["responses/", "chat/"],
            Self::Azure => &["responses/", "o_series/", "gpt5_series/"],
            _ => &[],
        };
        let unmarked = marks.iter().find_map(|mark| name.strip_prefix(mark));
        unmarked.filter(|rest| !rest.is_empty()).unwrap_or(name)
    }

    /// LiteLLM's `custom_llm_provider`, also a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::AzureAi => "azure_ai",
            Self::Anthropic => "anthropic",
            Self::HostedVllm => "hosted_vllm",
            Self::OpenAiCompatible(compatible) => compatible.label,
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
            Self::VertexAi => "vertex_ai",
            Self::Gemini => "gemini",
            Self::Unserved(label) => label,
            Self::Mock => "mock",
        }
    }

    /// Start of LiteLLM's error texts: `OpenAIException`, `AzureException`, ...
    pub fn exception(self) -> Cow<'static, str> {
        match self {
            Self::OpenAi => "OpenAIException".into(),
            Self::VertexAi => "VertexAIException".into(),
            _ => {
                let (first, rest) = self.label().split_at(1);
                format!("{}{rest}Exception", first.to_ascii_uppercase()).into()
            }
        }
    }

    /// Whether requests in this dialect pass to the provider as they are. `model` is the
    /// provider's name of the model.
    pub fn serves(self, dialect: Dialect, model: &str) -> bool {
        let openai = dialect == Dialect::OpenAi;
        match self {
            Self::HostedVllm | Self::Mock => true,
            Self::OpenAi | Self::Azure | Self::OpenAiCompatible(_) => openai,
            Self::Anthropic => !openai,
            Self::AzureAi => openai != is_claude(model),
            Self::Cohere | Self::Bedrock | Self::VertexAi | Self::Gemini => false,
            Self::Unserved(_) => false,
        }
    }

    /// Whether this version sends requests to it at all.
    pub fn is_served(self) -> bool {
        !matches!(self, Self::Unserved(_))
    }

    /// Every provider that this version sends requests to.
    pub fn served() -> impl Iterator<Item = Self> {
        let own = [
            Self::OpenAi,
            Self::Azure,
            Self::AzureAi,
            Self::Anthropic,
            Self::Bedrock,
            Self::VertexAi,
            Self::Gemini,
            Self::Cohere,
            Self::HostedVllm,
        ];
        own.into_iter()
            .chain(compatible::every().map(Self::OpenAiCompatible))
    }

    /// Where it is when `api_base` is absent. `None`: `api_base` is required, or it has none.
    pub fn default_base(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::OpenAiCompatible(compatible) => compatible.base,
            _ => None,
        }
    }

    /// Variables that hold its credential when `api_key` is absent.
    pub fn key_variables(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["OPENAI_API_KEY"],
            Self::Azure => &["AZURE_API_KEY", "AZURE_OPENAI_API_KEY"],
            Self::AzureAi => &["AZURE_AI_API_KEY"],
            Self::Anthropic => &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
            Self::HostedVllm => &["HOSTED_VLLM_API_KEY"],
            Self::OpenAiCompatible(compatible) => compatible.key_variables,
            Self::Cohere => &["COHERE_API_KEY", "CO_API_KEY"],
            Self::Gemini => &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
            Self::Bedrock | Self::VertexAi | Self::Unserved(_) | Self::Mock => &[],
        }
    }

    /// Variables that hold its base URL when `api_base` is absent.
    pub(super) fn base_variables(self) -> Vec<String> {
        let fixed: &[&str] = match self {
            Self::OpenAi => &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
            Self::Azure => &["AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT"],
            Self::AzureAi => &["AZURE_AI_API_BASE"],
            Self::Anthropic => &["ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"],
            Self::HostedVllm => &["HOSTED_VLLM_API_BASE"],
            Self::OpenAiCompatible(compatible) => {
                return vec![format!(
                    "{}_API_BASE",
                    compatible.label.to_ascii_uppercase()
                )];
            }
            _ => &[],
        };
        fixed.iter().map(ToString::to_string).collect()
    }

    /// Whether requests without a credential are bound to fail.
    pub(super) fn needs_key(self) -> bool {
        match self {
            Self::OpenAi | Self::Azure | Self::AzureAi | Self::Anthropic => true,
            Self::Gemini | Self::Cohere => true,
            Self::OpenAiCompatible(compatible) => !compatible.key_variables.is_empty(),
            _ => false,
        }
    }
}

/// Whether a provider's model name is one of Anthropic's models.
pub(super) fn is_claude(model: &str) -> bool {
    model.to_ascii_lowercase().contains("claude")
}

fn unknown(label: &str, model: &str) -> String {
    let rest = model.split_once('/').map_or(model, |(_, rest)| rest);
    format!(
        "unknown provider `{label}`; for an OpenAI-compatible server write `openai/{rest}` with \
         `api_base`"
    )
}

/// The provider of a model name without a provider, by the family it belongs to.
fn of_bare_name(model: &str) -> Option<Provider> {
    const OPENAI: &[&str] = &[
        "gpt-",
        "gpt4",
        "chatgpt-",
        "chat-latest",
        "o1",
        "o3",
        "o4",
        "text-embedding-",
        "whisper-",
        "tts-",
        "dall-e",
        "omni-moderation",
        "text-moderation",
        "davinci",
        "babbage",
        "codex-",
        "computer-use",
        "sora-",
        "ft:gpt-",
        "ft:davinci",
        "ft:babbage",
    ];
    const BEDROCK: &[&str] = &[
        "anthropic.",
        "amazon.",
        "meta.",
        "cohere.",
        "mistral.",
        "ai21.",
        "us.",
        "eu.",
        "apac.",
        "global.",
        "arn:aws",
    ];
    let starts = |families: &[&str]| families.iter().any(|family| model.starts_with(family));
    match model {
        "*" => Some(Provider::OpenAi),
        _ if starts(OPENAI) => Some(Provider::OpenAi),
        _ if starts(&["claude"]) => Some(Provider::Anthropic),
        _ if starts(&["gemini-"]) => Some(Provider::VertexAi),
        _ if starts(&["command", "embed-", "rerank-", "c4ai-"]) => Some(Provider::Cohere),
        _ if starts(BEDROCK) => Some(Provider::Bedrock),
        _ => None,
    }
}

/// LiteLLM providers with an API of their own that this version does not speak.
const UNSERVED: &[&str] = &[
    "aiml",
    "aleph_alpha",
    "amazon_nova",
    "assemblyai",
    "aws_polly",
    "bytez",
    "cloudflare",
    "clarifai",
    "databricks",
    "deepgram",
    "elevenlabs",
    "fal_ai",
    "gigachat",
    "github_copilot",
    "gradient_ai",
    "heroku",
    "infinity",
    "jina_ai",
    "maritalk",
    "nlp_cloud",
    "oci",
    "oobabooga",
    "palm",
    "petals",
    "predibase",
    "recraft",
    "replicate",
    "runwayml",
    "sagemaker",
    "sagemaker_chat",
    "sap",
    "snowflake",
    "stability",
    "topaz",
    "triton",
    "voyage",
    "watsonx",
    "watsonx_text",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_of_a_model_is_the_one_litellm_infers() {
        let of = |model| Provider::of_model(model, None).map(|(p, name)| (p.label(), name));
        assert_eq!(of("openai/gpt-4o"), Ok(("openai", "gpt-4o")));
        assert_eq!(of("gpt-4o"), Ok(("openai", "gpt-4o")));
        assert_eq!(
            of("claude-sonnet-4-5"),
            Ok(("anthropic", "claude-sonnet-4-5"))
        );
        assert_eq!(of("azure/responses/my-gpt"), Ok(("azure", "my-gpt")));
        assert_eq!(
            of("hosted_vllm/meta-llama/L-3"),
            Ok(("hosted_vllm", "meta-llama/L-3"))
        );
        assert_eq!(
            of("openrouter/anthropic/claude"),
            Ok(("openrouter", "anthropic/claude"))
        );
        assert_eq!(of("anthropic/*"), Ok(("anthropic", "*")));
        assert_eq!(of("groq/llama-3.3-70b"), Ok(("groq", "llama-3.3-70b")));
        assert_eq!(
            of("us.anthropic.claude-x-v1:0"),
            Ok(("bedrock", "us.anthropic.claude-x-v1:0"))
        );
        assert!(of("opnai/gpt-4o").unwrap_err().contains("openai/gpt-4o"));
        assert!(of("my-model").unwrap_err().contains("openai/my-model"));
        assert!(of("openai/").is_err());
        let custom = Provider::of_model("meta/llama", Some("hosted_vllm"));
        assert_eq!(custom, Ok((Provider::HostedVllm, "meta/llama")));
    }

    #[test]
    fn foundry_speaks_anthropic_for_claude_alone_and_vllm_speaks_both() {
        let serves = |provider: Provider, dialect| {
            (
                provider.serves(dialect, "claude-opus-5"),
                provider.serves(dialect, "gpt-5"),
            )
        };
        assert_eq!(serves(Provider::AzureAi, Dialect::Anthropic), (true, false));
        assert_eq!(serves(Provider::AzureAi, Dialect::OpenAi), (false, true));
        assert_eq!(
            serves(Provider::HostedVllm, Dialect::Anthropic),
            (true, true)
        );
        assert_eq!(serves(Provider::Anthropic, Dialect::OpenAi), (false, false));
        assert_eq!(serves(Provider::Bedrock, Dialect::OpenAi), (false, false));
    }

    #[test]
    fn error_texts_name_the_provider_as_litellm_does() {
        assert_eq!(Provider::OpenAi.exception(), "OpenAIException");
        assert_eq!(Provider::Azure.exception(), "AzureException");
        assert_eq!(Provider::HostedVllm.exception(), "Hosted_vllmException");
    }
}
