//! How a request of an endpoint reaches a deployment: as it is, through a cloud's door, or told
//! in another dialect.

use super::cloud::{BedrockStyle, Cloud, Publisher};
use super::deployment::Deployment;
use super::provider::{Provider, is_claude};
use crate::endpoint::{Dialect, Endpoint};
use crate::translate::{ClientDialect, Counter, Pair, Platform, ProviderDialect};

/// Host of OpenAI itself, in every region: who has Responses for sure.
const OPENAI_HOST: &str = "api.openai.com";

/// How a request reaches a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The provider has the endpoint: the body passes, with the provider's name of the model.
    Pass,
    /// A cloud has the dialect behind a door of its own: the body passes with a few fields moved.
    Door(ProviderDialect),
    /// It is told in the provider's dialect.
    Told(Pair),
    /// Tokens are counted by the provider, by a question of its own.
    Counted(Counter),
    /// Nobody counts tokens for this model: they are estimated.
    Estimated,
}

impl Deployment {
    /// The way of a request; `model` is the provider's name of the model. `None`: it is not
    /// served.
    pub fn way(&self, endpoint: Endpoint, model: &str) -> Option<Way> {
        let is_real = self.mock_response.is_none();
        match endpoint {
            // Servers that speak messages besides have no batches of them, nor files.
            Endpoint::MessageBatches => {
                let has_them = is_real && self.provider == Provider::Anthropic;
                return has_them.then_some(Way::Pass);
            }
            Endpoint::AnthropicFiles => {
                let has_them = is_real && self.has_anthropic_files(model);
                return has_them.then_some(Way::Pass);
            }
            _ => {}
        }
        if self.mock_response.is_some() || self.provider == Provider::Mock {
            return Some(Way::Pass);
        }
        let cloud = self.target.as_ref().and_then(|one| one.cloud.as_ref());
        let known = self.base_model.as_deref().unwrap_or(model);
        if endpoint.counts() {
            return self.counting(endpoint, model, known);
        }
        match cloud {
            None => self.plain(endpoint, model),
            Some(Cloud::Bedrock { style, .. }) => bedrock(endpoint, *style, known),
            Some(Cloud::Mantle { .. }) => mantle(endpoint, known),
            Some(Cloud::Vertex { .. }) => vertex(endpoint, model),
            Some(Cloud::AiStudio) => told(
                endpoint,
                ProviderDialect::Gemini,
                Some(ProviderDialect::GeminiEmbed),
                None,
            ),
            Some(Cloud::Cohere) => told(
                endpoint,
                ProviderDialect::Cohere,
                Some(ProviderDialect::CohereEmbed),
                Some(ProviderDialect::CohereRerank),
            ),
        }
    }

    /// Whether Anthropic's Files API is there.
    fn has_anthropic_files(&self, model: &str) -> bool {
        let foundry = self.provider == Provider::AzureAi && is_claude(model);
        self.provider == Provider::Anthropic || foundry
    }

    /// Whether it keeps files that are made through the gateway, in either dialect.
    pub fn keeps_files(&self, model: &str) -> bool {
        [Endpoint::Files, Endpoint::AnthropicFiles]
            .into_iter()
            .any(|endpoint| self.way(endpoint, model).is_some())
    }

    /// Whose rules apply to bodies in this dialect.
    pub fn platform(&self, dialect: ProviderDialect) -> Platform {
        let cloud = self.target.as_ref().and_then(|one| one.cloud.as_ref());
        let is_messages = dialect == ProviderDialect::Messages;
        match cloud {
            Some(Cloud::Bedrock { .. }) if is_messages => Platform::BedrockInvoke,
            Some(Cloud::Bedrock { .. }) => Platform::BedrockConverse,
            Some(Cloud::Mantle { .. }) => Platform::Mantle,
            Some(Cloud::Vertex { .. }) => Platform::Vertex,
            Some(Cloud::AiStudio) => Platform::AiStudio,
            Some(Cloud::Cohere) => Platform::Cohere,
            None => match self.provider {
                Provider::OpenAi => Platform::OpenAi,
                Provider::Azure => Platform::Azure,
                Provider::AzureAi if is_messages => Platform::Foundry,
                Provider::Anthropic => Platform::Anthropic,
                _ => Platform::Compatible,
            },
        }
    }

    /// Who counts tokens. `known` is the model behind a name that says nothing.
    fn counting(&self, endpoint: Endpoint, model: &str, known: &str) -> Option<Way> {
        let cloud = self.target.as_ref().and_then(|one| one.cloud.as_ref());
        let counter = match cloud {
            None => {
                let own = matches!(endpoint, Endpoint::CountTokens | Endpoint::InputTokens);
                if own && self.provider.serves(endpoint.dialect(), model) {
                    return Some(Way::Pass);
                }
                if !self.provider.is_served() {
                    return None;
                }
                self.counter(model)
            }
            Some(Cloud::Bedrock { .. }) => match bedrock_counts(known) {
                true if endpoint == Endpoint::CountTokens && is_claude(known) => {
                    Some(Counter::Messages)
                }
                true => Some(Counter::Converse),
                false => None,
            },
            Some(Cloud::Mantle { .. }) => is_claude(known).then_some(Counter::Messages),
            Some(Cloud::Vertex { .. }) => match Publisher::of(model) {
                Publisher::Anthropic => Some(Counter::Messages),
                Publisher::Google => Some(Counter::Gemini),
                Publisher::OpenApi => None,
            },
            Some(Cloud::AiStudio) => Some(Counter::Gemini),
            Some(Cloud::Cohere) => None,
        };
        Some(counter.map_or(Way::Estimated, Way::Counted))
    }

    /// How a provider without doors of its own counts.
    fn counter(&self, model: &str) -> Option<Counter> {
        let messages = self.provider.serves(Dialect::Anthropic, model);
        match () {
            () if messages => Some(Counter::Messages),
            () if self.has_responses() || self.only_responses => Some(Counter::Responses),
            () => None,
        }
    }

    /// Whether it has OpenAI's Responses for sure.
    fn has_responses(&self) -> bool {
        match self.provider {
            Provider::Azure => true,
            Provider::OpenAi => {
                let host = self.target.as_ref().map(|target| target.base.host.as_str());
                host.is_some_and(|host| host.ends_with(OPENAI_HOST))
            }
            _ => false,
        }
    }

    fn plain(&self, endpoint: Endpoint, model: &str) -> Option<Way> {
        let chat = matches!(endpoint, Endpoint::ChatCompletions);
        let passes = self.provider.serves(endpoint.dialect(), model);
        if passes && !(self.only_responses && chat) {
            return Some(Way::Pass);
        }
        if !self.provider.is_served() {
            return None;
        }
        let claude = self.provider == Provider::Anthropic
            || self.provider == Provider::AzureAi && is_claude(model);
        let dialect = match () {
            () if claude => ProviderDialect::Messages,
            () if self.has_responses() || self.only_responses => ProviderDialect::Responses,
            () => ProviderDialect::Chat,
        };
        told(endpoint, dialect, None, None)
    }
}

/// A translation to one of a provider's dialects: for text, embeddings, reranking.
fn told(
    endpoint: Endpoint,
    text: ProviderDialect,
    embeds: Option<ProviderDialect>,
    ranks: Option<ProviderDialect>,
) -> Option<Way> {
    let dialect = match endpoint {
        Endpoint::Embeddings => embeds?,
        Endpoint::Rerank => ranks?,
        _ => text,
    };
    let client = ClientDialect::of(endpoint)?;
    Pair::new(client, dialect).map(Way::Told)
}

/// Models that make no text have nothing to be counted.
fn bedrock_counts(model: &str) -> bool {
    !["embed", "rerank"].iter().any(|kind| model.contains(kind))
}

fn bedrock(endpoint: Endpoint, style: BedrockStyle, model: &str) -> Option<Way> {
    let claude = is_claude(model);
    let embeds = match () {
        () if model.contains("cohere.embed") => Some(ProviderDialect::CohereEmbed),
        () if model.contains("titan-embed") => Some(ProviderDialect::TitanEmbed),
        () => None,
    };
    let text = match style {
        BedrockStyle::Invoke if claude => ProviderDialect::Messages,
        _ => ProviderDialect::Converse,
    };
    match endpoint {
        Endpoint::Messages if claude && style != BedrockStyle::Converse => {
            Some(Way::Door(ProviderDialect::Messages))
        }
        Endpoint::ChatCompletions
            if model.starts_with("openai.") && style == BedrockStyle::Usual =>
        {
            Some(Way::Door(ProviderDialect::Chat))
        }
        _ => told(endpoint, text, embeds, Some(ProviderDialect::BedrockRerank)),
    }
}

fn mantle(endpoint: Endpoint, model: &str) -> Option<Way> {
    match (endpoint, is_claude(model)) {
        (Endpoint::Messages, true) => Some(Way::Door(ProviderDialect::Messages)),
        (Endpoint::ChatCompletions, false) => Some(Way::Door(ProviderDialect::Chat)),
        (Endpoint::Responses, false) => Some(Way::Door(ProviderDialect::Responses)),
        (_, true) => told(endpoint, ProviderDialect::Messages, None, None),
        (_, false) => told(endpoint, ProviderDialect::Chat, None, None),
    }
}

fn vertex(endpoint: Endpoint, model: &str) -> Option<Way> {
    match (Publisher::of(model), endpoint) {
        (Publisher::Anthropic, Endpoint::Messages) => Some(Way::Door(ProviderDialect::Messages)),
        (Publisher::Anthropic, _) => told(endpoint, ProviderDialect::Messages, None, None),
        (Publisher::OpenApi, Endpoint::ChatCompletions) => Some(Way::Door(ProviderDialect::Chat)),
        (Publisher::OpenApi, _) => told(endpoint, ProviderDialect::Chat, None, None),
        (Publisher::Google, _) => told(
            endpoint,
            ProviderDialect::Gemini,
            Some(ProviderDialect::VertexEmbed),
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;
    use crate::config;

    fn way(params: &str, endpoint: Endpoint) -> Option<String> {
        let text = format!(
            "model_list: [{{model_name: m, litellm_params: {{model: {params}, api_key: k, \
             api_base: 'https://api.openai.com/v1'}}}}]\n"
        );
        let mut read = |_: &Path| Ok(text.clone());
        let loaded = config::load_with(
            &mut read,
            Path::new("c.yaml"),
            &HashMap::new(),
            config::MasterKey::Generated,
        );
        let config = loaded.config.expect("a configuration");
        let deployment = &config.models[0];
        let way = deployment.way(endpoint, &deployment.model)?;
        Some(match way {
            Way::Pass => "pass".to_owned(),
            Way::Door(dialect) => format!("door {}", dialect.label()),
            Way::Told(pair) => format!("told {}", pair.provider.label()),
            Way::Counted(counter) => format!("counted {}", counter.dialect().label()),
            Way::Estimated => "estimated".to_owned(),
        })
    }

    #[test]
    fn litellms_names_of_models_say_which_dialect_is_spoken() {
        use Endpoint::{ChatCompletions as Chat, CountTokens as Count, Messages, Responses};
        for (model, endpoint, expected) in [
            ("openai/gpt-4o", Chat, "pass"),
            ("openai/gpt-4o", Messages, "told responses"),
            ("openai/gpt-4o", Count, "counted responses"),
            ("openai/responses/gpt-5-pro", Chat, "told responses"),
            ("openai/responses/gpt-5-pro", Responses, "pass"),
            ("azure/my-gpt", Messages, "told responses"),
            ("groq/llama", Messages, "told chat"),
            ("hosted_vllm/qwen", Messages, "pass"),
            ("anthropic/claude-x", Messages, "pass"),
            ("anthropic/claude-x", Chat, "told messages"),
            ("anthropic/claude-x", Responses, "told messages"),
            ("azure_ai/claude-x", Chat, "told messages"),
            ("azure_ai/claude-x", Messages, "pass"),
            (
                "bedrock/us.anthropic.claude-x-v1:0",
                Messages,
                "door messages",
            ),
            ("bedrock/us.anthropic.claude-x-v1:0", Chat, "told converse"),
            (
                "bedrock/us.anthropic.claude-x-v1:0",
                Count,
                "counted messages",
            ),
            (
                "bedrock/converse/us.anthropic.claude-x-v1:0",
                Messages,
                "told converse",
            ),
            (
                "bedrock/invoke/us.anthropic.claude-x-v1:0",
                Chat,
                "told messages",
            ),
            ("bedrock/openai.gpt-oss-120b-1:0", Chat, "door chat"),
            ("bedrock/amazon.nova-lite-v1:0", Messages, "told converse"),
            (
                "bedrock_mantle/openai.gpt-oss-120b",
                Responses,
                "door responses",
            ),
            (
                "bedrock_mantle/anthropic.claude-x",
                Messages,
                "door messages",
            ),
            ("vertex_ai/claude-x@20250101", Messages, "door messages"),
            ("vertex_ai/claude-x@20250101", Chat, "told messages"),
            ("vertex_ai/gemini-2.5-pro", Chat, "told gemini"),
            ("vertex_ai/meta/llama-4", Chat, "door chat"),
            ("gemini/gemini-2.5-pro", Messages, "told gemini"),
            ("cohere_chat/command-a", Chat, "told cohere"),
            ("cohere/command-a", Messages, "told cohere"),
        ] {
            let found = way(model, endpoint);
            assert_eq!(found.as_deref(), Some(expected), "{model} {endpoint:?}");
        }
    }

    #[test]
    fn tokens_are_counted_wherever_the_provider_has_a_count() {
        use Endpoint::{CountTokens as Count, InputTokens as Input, TokenCounter as Counter};
        for (model, endpoint, expected) in [
            ("openai/gpt-4o", Input, "pass"),
            ("openai/gpt-4o", Counter, "counted responses"),
            ("azure/my-gpt", Count, "counted responses"),
            ("azure/my-gpt", Input, "pass"),
            ("anthropic/claude-x", Count, "pass"),
            ("anthropic/claude-x", Input, "counted messages"),
            ("azure_ai/claude-x", Counter, "counted messages"),
            ("hosted_vllm/qwen", Count, "pass"),
            ("groq/llama", Count, "estimated"),
            (
                "bedrock/us.anthropic.claude-x-v1:0",
                Counter,
                "counted converse",
            ),
            ("bedrock/amazon.nova-lite-v1:0", Count, "counted converse"),
            ("bedrock/cohere.embed-english-v3", Counter, "estimated"),
            (
                "bedrock_mantle/anthropic.claude-x",
                Count,
                "counted messages",
            ),
            ("bedrock_mantle/openai.gpt-oss-120b", Count, "estimated"),
            ("vertex_ai/claude-x@20250101", Input, "counted messages"),
            ("vertex_ai/gemini-2.5-pro", Count, "counted gemini"),
            ("vertex_ai/meta/llama-4", Count, "estimated"),
            ("gemini/gemini-2.5-pro", Counter, "counted gemini"),
            ("cohere/command-a", Count, "estimated"),
        ] {
            let found = way(model, endpoint);
            assert_eq!(found.as_deref(), Some(expected), "{model} {endpoint:?}");
        }
    }

    #[test]
    fn embeddings_and_reranking_have_dialects_of_their_own() {
        use Endpoint::{Embeddings, Rerank};
        for (model, endpoint, expected) in [
            (
                "bedrock/amazon.titan-embed-text-v2:0",
                Embeddings,
                Some("told titan_embed"),
            ),
            (
                "bedrock/cohere.embed-english-v3",
                Embeddings,
                Some("told cohere_embed"),
            ),
            ("bedrock/amazon.nova-lite-v1:0", Embeddings, None),
            (
                "vertex_ai/text-embedding-005",
                Embeddings,
                Some("told vertex_embed"),
            ),
            (
                "gemini/gemini-embedding-001",
                Embeddings,
                Some("told gemini_embed"),
            ),
            ("cohere/embed-v4.0", Embeddings, Some("told cohere_embed")),
            ("cohere/rerank-v3.5", Rerank, Some("told cohere_rerank")),
            (
                "bedrock/amazon.rerank-v1:0",
                Rerank,
                Some("told bedrock_rerank"),
            ),
            ("hosted_vllm/bge", Rerank, Some("pass")),
            ("anthropic/claude-x", Embeddings, None),
            ("bedrock/us.anthropic.claude-x-v1:0", Endpoint::Files, None),
            ("anthropic/claude-x", Endpoint::AnthropicFiles, Some("pass")),
            ("azure_ai/claude-x", Endpoint::AnthropicFiles, Some("pass")),
            ("hosted_vllm/qwen", Endpoint::AnthropicFiles, None),
            ("openai/gpt-4o", Endpoint::AnthropicFiles, None),
            ("anthropic/claude-x", Endpoint::Files, None),
        ] {
            assert_eq!(
                way(model, endpoint).as_deref(),
                expected,
                "{model} {endpoint:?}"
            );
        }
    }
}
