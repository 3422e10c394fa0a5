//! What a client may ask for: endpoints and the dialect each of them speaks.

use serde::{Deserialize, Serialize};

/// The API shape of a request, its answer and its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `/v1/chat/completions`, `/v1/responses`, ... and LiteLLM's own management errors.
    OpenAi,
    /// `/v1/messages` and its relatives.
    Anthropic,
}

/// An inference or model-listing operation, whatever path named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// POST chat/completions.
    ChatCompletions,
    /// POST completions.
    Completions,
    /// POST embeddings.
    Embeddings,
    /// POST responses.
    Responses,
    /// GET, DELETE responses/{id}, POST responses/{id}/cancel, GET input_items.
    ResponsesItem,
    /// POST responses/compact.
    ResponsesTool,
    /// POST responses/input_tokens.
    InputTokens,
    /// POST messages.
    Messages,
    /// POST messages/count_tokens.
    CountTokens,
    /// POST utils/token_counter: LiteLLM's own count.
    TokenCounter,
    /// POST moderations.
    Moderations,
    /// POST images/generations (JSON).
    ImagesGenerations,
    /// POST images/edits and images/variations (multipart).
    ImagesEdits,
    /// POST audio/speech.
    AudioSpeech,
    /// POST audio/transcriptions and audio/translations (multipart).
    AudioTranscriptions,
    /// POST rerank.
    Rerank,
    /// files and files/{id}[/content].
    Files,
    /// batches and batches/{id}[/cancel].
    Batches,
    /// messages/batches and messages/batches/{id}[/cancel|/results].
    MessageBatches,
    /// The same paths as [`Self::Files`], in Anthropic's dialect.
    AnthropicFiles,
}

impl Endpoint {
    /// Every endpoint, for tests that walk them all.
    pub const ALL: [Self; 20] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::ResponsesItem,
        Self::ResponsesTool,
        Self::InputTokens,
        Self::Messages,
        Self::CountTokens,
        Self::TokenCounter,
        Self::Moderations,
        Self::ImagesGenerations,
        Self::ImagesEdits,
        Self::AudioSpeech,
        Self::AudioTranscriptions,
        Self::Rerank,
        Self::Files,
        Self::Batches,
        Self::MessageBatches,
        Self::AnthropicFiles,
    ];

    /// Dialect of its requests, answers and errors.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens | Self::MessageBatches | Self::AnthropicFiles => {
                Dialect::Anthropic
            }
            _ => Dialect::OpenAi,
        }
    }

    /// Whether the answer is a number of tokens: free, and nothing of a deployment's speed.
    pub fn counts(self) -> bool {
        matches!(
            self,
            Self::CountTokens | Self::InputTokens | Self::TokenCounter
        )
    }

    /// Whether batches of requests are made there, that run at the provider.
    pub fn has_batches(self) -> bool {
        matches!(self, Self::Batches | Self::MessageBatches)
    }

    /// Whether files are kept there.
    pub fn has_files(self) -> bool {
        matches!(self, Self::Files | Self::AnthropicFiles)
    }

    /// The endpoint as its client speaks: both dialects have files under the same paths, and
    /// Anthropic's clients name a version or a beta of its API.
    pub fn spoken(self, names_anthropic: bool) -> Self {
        match self {
            Self::Files if names_anthropic => Self::AnthropicFiles,
            other => other,
        }
    }

    /// LiteLLM's `call_type`, also our metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "acompletion",
            Self::Completions => "atext_completion",
            Self::Embeddings => "aembedding",
            Self::Responses => "aresponses",
            Self::ResponsesItem => "aget_responses",
            Self::ResponsesTool => "acompact_responses",
            Self::Messages => "anthropic_messages",
            Self::CountTokens => "acount_tokens",
            Self::InputTokens => "aresponses_input_tokens",
            Self::TokenCounter => "atoken_counter",
            Self::Moderations => "amoderation",
            Self::ImagesGenerations => "aimage_generation",
            Self::ImagesEdits => "aimage_edit",
            Self::AudioSpeech => "aspeech",
            Self::AudioTranscriptions => "atranscription",
            Self::Rerank => "arerank",
            Self::Files => "afile",
            Self::Batches => "abatch",
            Self::MessageBatches => "amessage_batch",
            Self::AnthropicFiles => "aanthropic_file",
        }
    }

    /// The endpoint of a label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.label() == label)
    }
}
