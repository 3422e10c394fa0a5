//! The dialects on both sides of a translation, and what an upstream request is called.

use crate::endpoint::Endpoint;

/// What the caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientDialect {
    /// OpenAI chat completions.
    Chat,
    /// Anthropic messages.
    Messages,
    /// OpenAI responses.
    Responses,
    /// OpenAI embeddings.
    Embeddings,
    /// Cohere's rerank, as LiteLLM serves it.
    Rerank,
}

impl ClientDialect {
    /// Every client dialect.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Messages,
        Self::Responses,
        Self::Embeddings,
        Self::Rerank,
    ];

    /// The dialect of an endpoint's requests; `None` where nothing is translated.
    pub fn of(endpoint: Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::ChatCompletions => Some(Self::Chat),
            Endpoint::Messages => Some(Self::Messages),
            Endpoint::Responses => Some(Self::Responses),
            Endpoint::Embeddings => Some(Self::Embeddings),
            Endpoint::Rerank => Some(Self::Rerank),
            _ => None,
        }
    }

    /// The endpoint that speaks it.
    pub fn endpoint(self) -> Endpoint {
        match self {
            Self::Chat => Endpoint::ChatCompletions,
            Self::Messages => Endpoint::Messages,
            Self::Responses => Endpoint::Responses,
            Self::Embeddings => Endpoint::Embeddings,
            Self::Rerank => Endpoint::Rerank,
        }
    }

    /// Its name in documents and errors.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }
}

/// What the provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderDialect {
    /// OpenAI chat completions: OpenAI, Azure, vLLM and everything compatible.
    Chat,
    /// Anthropic messages: Anthropic, Foundry, Vertex `rawPredict`, Bedrock `invoke` and mantle.
    Messages,
    /// OpenAI responses.
    Responses,
    /// Bedrock Converse.
    Converse,
    /// Gemini `generateContent`, on AI Studio and Vertex.
    Gemini,
    /// Cohere v2 chat.
    Cohere,
    /// Cohere v2 embed; on Bedrock the same body without `model`.
    CohereEmbed,
    /// Amazon Titan embeddings: one text for each invocation.
    TitanEmbed,
    /// AI Studio `batchEmbedContents`.
    GeminiEmbed,
    /// Vertex `predict` of an embedding model.
    VertexEmbed,
    /// Cohere v2 rerank.
    CohereRerank,
    /// Bedrock agent runtime's rerank.
    BedrockRerank,
    /// vLLM's and Jina's rerank.
    VllmRerank,
}

impl ProviderDialect {
    /// Every provider dialect.
    pub const ALL: [Self; 13] = [
        Self::Chat,
        Self::Messages,
        Self::Responses,
        Self::Converse,
        Self::Gemini,
        Self::Cohere,
        Self::CohereEmbed,
        Self::TitanEmbed,
        Self::GeminiEmbed,
        Self::VertexEmbed,
        Self::CohereRerank,
        Self::BedrockRerank,
        Self::VllmRerank,
    ];

    /// Its name in documents and errors.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Converse => "converse",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::CohereEmbed => "cohere_embed",
            Self::TitanEmbed => "titan_embed",
            Self::GeminiEmbed => "gemini_embed",
            Self::VertexEmbed => "vertex_embed",
            Self::CohereRerank => "cohere_rerank",
            Self::BedrockRerank => "bedrock_rerank",
            Self::VllmRerank => "vllm_rerank",
        }
    }

    /// Whether it generates text: the dialects that [`ClientDialect::Chat`], `Messages` and
    /// `Responses` can be translated to.
    pub fn generates(self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::Messages
                | Self::Responses
                | Self::Converse
                | Self::Gemini
                | Self::Cohere
        )
    }
}

/// Whose rules apply to a provider dialect that several of them speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// OpenAI itself.
    OpenAi,
    /// Azure OpenAI.
    Azure,
    /// vLLM and other servers with OpenAI's dialect.
    Compatible,
    /// Anthropic itself, and Claude Platform on AWS.
    Anthropic,
    /// Claude on Azure AI Foundry.
    Foundry,
    /// Claude through Bedrock `invoke`.
    BedrockInvoke,
    /// Bedrock Converse.
    BedrockConverse,
    /// `bedrock-mantle`.
    Mantle,
    /// Vertex AI.
    Vertex,
    /// Google AI Studio.
    AiStudio,
    /// Cohere.
    Cohere,
}

/// A direction of translation that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The caller's dialect.
    pub client: ClientDialect,
    /// The provider's.
    pub provider: ProviderDialect,
}

impl Pair {
    /// The pair, if requests of this client can be told to this provider. `None` also where both
    /// speak the same: those requests pass as they are.
    pub fn new(client: ClientDialect, provider: ProviderDialect) -> Option<Self> {
        use ClientDialect as C;
        use ProviderDialect as P;
        let exists = match client {
            C::Chat => provider.generates() && provider != P::Chat,
            C::Messages => provider.generates() && provider != P::Messages,
            C::Responses => provider.generates() && provider != P::Responses,
            C::Embeddings => matches!(
                provider,
                P::CohereEmbed | P::TitanEmbed | P::GeminiEmbed | P::VertexEmbed
            ),
            C::Rerank => matches!(provider, P::CohereRerank | P::BedrockRerank | P::VllmRerank),
        };
        exists.then_some(Self { client, provider })
    }
}
