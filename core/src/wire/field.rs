//! Request fields that the gateway looks at, and those that never reach a provider.

/// A top-level member of a request body that some rule of the gateway reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Field {
    /// Name of the model.
    Model,
    /// Whether the answer is streamed.
    Stream,
    /// Options of a stream; holds `include_usage`.
    StreamOptions,
    /// Output bound of Messages, Completions and old chat clients.
    MaxTokens,
    /// Output bound of chat.
    MaxCompletionTokens,
    /// Output bound of Responses.
    MaxOutputTokens,
    /// The caller's own customer.
    User,
    /// OpenAI's successor of `user`.
    SafetyIdentifier,
    /// Free facts: LiteLLM's on OpenAI routes, the provider's own elsewhere.
    Metadata,
    /// LiteLLM's free facts on the other routes.
    LitellmMetadata,
    /// Conversation of chat and Messages.
    Messages,
    /// Input of Responses, Embeddings, Moderations and speech.
    Input,
    /// Input of Completions and image generation.
    Prompt,
    /// System text of Responses.
    Instructions,
    /// System text of Messages.
    System,
    /// Tool definitions.
    Tools,
    /// Number of answers.
    N,
    /// Number of answers made, of which `n` are returned.
    BestOf,
    /// Price tier asked for.
    ServiceTier,
    /// Anthropic's `fast` mode.
    Speed,
    /// Anthropic's region choice.
    InferenceGeo,
    /// Spend tags.
    Tags,
    /// Deadline of the request, seconds.
    Timeout,
    /// Deadline of the first byte of a stream, seconds.
    StreamTimeout,
    /// Attempts beyond the first.
    NumRetries,
    /// The same, in the SDK's spelling.
    MaxRetries,
    /// Models to try when the first one fails.
    Fallbacks,
    /// The same, for a prompt that is too long.
    ContextWindowFallbacks,
    /// The same, for a refused prompt.
    ContentPolicyFallbacks,
    /// Turns every fallback off.
    DisableFallbacks,
    /// An answer to give without a provider.
    MockResponse,
    /// Forces the fallback path.
    MockTestingFallbacks,
    /// Response-cache controls.
    Cache,
    /// Scheduler priority.
    Priority,
    /// Responses: the answer this one continues.
    PreviousResponseId,
    /// Responses: run detached from the connection.
    Background,
    /// Batches: the file of requests.
    InputFileId,
    /// Rerank: texts to rank.
    Documents,
    /// Rerank: what to rank them by.
    Query,
    /// Shape of the answer; audio and image endpoints price by it.
    ResponseFormat,
    /// Image size.
    Size,
    /// Image quality.
    Quality,
}

impl Field {
    /// Number of fields.
    pub const COUNT: usize = Self::Quality as usize + 1;

    /// The field with this name on the wire.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"user" => Self::User,
            b"safety_identifier" => Self::SafetyIdentifier,
            b"metadata" => Self::Metadata,
            b"litellm_metadata" => Self::LitellmMetadata,
            b"messages" => Self::Messages,
            b"input" => Self::Input,
            b"prompt" => Self::Prompt,
            b"instructions" => Self::Instructions,
            b"system" => Self::System,
            b"tools" => Self::Tools,
            b"n" => Self::N,
            b"best_of" => Self::BestOf,
            b"service_tier" => Self::ServiceTier,
            b"speed" => Self::Speed,
            b"inference_geo" => Self::InferenceGeo,
            b"tags" => Self::Tags,
            b"timeout" => Self::Timeout,
            b"stream_timeout" => Self::StreamTimeout,
            b"num_retries" => Self::NumRetries,
            b"max_retries" => Self::MaxRetries,
            b"fallbacks" => Self::Fallbacks,
            b"context_window_fallbacks" => Self::ContextWindowFallbacks,
            b"content_policy_fallbacks" => Self::ContentPolicyFallbacks,
            b"disable_fallbacks" => Self::DisableFallbacks,
            b"mock_response" => Self::MockResponse,
            b"mock_testing_fallbacks" => Self::MockTestingFallbacks,
            b"cache" => Self::Cache,
            b"priority" => Self::Priority,
            b"previous_response_id" => Self::PreviousResponseId,
            b"background" => Self::Background,
            b"input_file_id" => Self::InputFileId,
            b"documents" => Self::Documents,
            b"query" => Self::Query,
            b"response_format" => Self::ResponseFormat,
            b"size" => Self::Size,
            b"quality" => Self::Quality,
            _ => return None,
        })
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::User => "user",
            Self::SafetyIdentifier => "safety_identifier",
            Self::Metadata => "metadata",
            Self::LitellmMetadata => "litellm_metadata",
            Self::Messages => "messages",
            Self::Input => "input",
            Self::Prompt => "prompt",
            Self::Instructions => "instructions",
            Self::System => "system",
            Self::Tools => "tools",
            Self::N => "n",
            Self::BestOf => "best_of",
            Self::ServiceTier => "service_tier",
            Self::Speed => "speed",
            Self::InferenceGeo => "inference_geo",
            Self::Tags => "tags",
            Self::Timeout => "timeout",
            Self::StreamTimeout => "stream_timeout",
            Self::NumRetries => "num_retries",
            Self::MaxRetries => "max_retries",
            Self::Fallbacks => "fallbacks",
            Self::ContextWindowFallbacks => "context_window_fallbacks",
            Self::ContentPolicyFallbacks => "content_policy_fallbacks",
            Self::DisableFallbacks => "disable_fallbacks",
            Self::MockResponse => "mock_response",
            Self::MockTestingFallbacks => "mock_testing_fallbacks",
            Self::Cache => "cache",
            Self::Priority => "priority",
            Self::PreviousResponseId => "previous_response_id",
            Self::Background => "background",
            Self::InputFileId => "input_file_id",
            Self::Documents => "documents",
            Self::Query => "query",
            Self::ResponseFormat => "response_format",
            Self::Size => "size",
            Self::Quality => "quality",
        }
    }
}

/// Members that steer the gateway and mean nothing (or an error) to a provider. `metadata` and
/// `user` are not among them: they are the provider's own on some routes.
pub const GATEWAY_ONLY: [&str; 39] = [
    "cache",
    "callbacks",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "disable_fallbacks",
    "failure_callback",
    "fallbacks",
    "fastest_response",
    "guardrails",
    "litellm_call_id",
    "litellm_disabled_callbacks",
    "litellm_logging_obj",
    "litellm_metadata",
    "litellm_session_id",
    "litellm_trace_id",
    "logger_fn",
    "max_retries",
    "mock_delay",
    "mock_response",
    "mock_testing_content_policy_fallbacks",
    "mock_testing_context_fallbacks",
    "mock_testing_fallbacks",
    "mock_testing_rate_limit_error",
    "mock_timeout",
    "mock_tool_calls",
    "no-log",
    "num_retries",
    "policies",
    "priority",
    "prompt_id",
    "prompt_variables",
    "proxy_server_request",
    "secret_fields",
    "service_callback",
    "standard_logging_object",
    "stream_timeout",
    "success_callback",
    "tags",
    "timeout",
];
