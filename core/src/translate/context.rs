//! What a translation is told beside the body.

use crate::translate::capability::Capabilities;
use crate::translate::dialect::Platform;
use crate::translate::loss::{Loss, Policy};

/// Everything about a request that is not in its body.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The model as the provider calls it.
    pub model: &'c str,
    /// The provider in LiteLLM's word for it, for the text of a refusal.
    pub provider: &'c str,
    /// Whose rules apply.
    pub platform: Platform,
    /// What the model can do.
    pub capabilities: &'c Capabilities,
    /// When a loss refuses the request.
    pub policy: &'c Policy,
    /// The caller's `anthropic-beta` header, if it sent one.
    pub betas: Option<&'c str>,
    /// The caller's `anthropic-version` header, if it sent one.
    pub anthropic_version: Option<&'c str>,
}

/// What is asked of the provider: with the model and the deployment's base it makes the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `chat/completions`.
    ChatCompletions,
    /// `responses`.
    Responses,
    /// `messages`, Vertex `rawPredict`, Bedrock `invoke`.
    Messages,
    /// `messages` with `stream`, Vertex `streamRawPredict`, Bedrock
    /// `invoke-with-response-stream`.
    MessagesStream,
    /// `converse`.
    Converse,
    /// `converse-stream`.
    ConverseStream,
    /// `:generateContent`.
    GenerateContent,
    /// `:streamGenerateContent?alt=sse`.
    StreamGenerateContent,
    /// Gemini's `:countTokens`.
    CountTokens,
    /// Cohere `v2/chat`.
    CohereChat,
    /// Cohere `v2/embed`.
    CohereEmbed,
    /// Bedrock `invoke` of an embedding model.
    InvokeEmbed,
    /// `:batchEmbedContents`.
    BatchEmbedContents,
    /// Vertex `:predict`.
    Predict,
    /// Cohere `v2/rerank`.
    CohereRerank,
    /// `rerank` of the Bedrock agent runtime.
    BedrockRerank,
    /// `v1/rerank` of vLLM.
    VllmRerank,
}

/// A request in the provider's dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its body.
    pub body: Vec<u8>,
    /// Further bodies of the same operation whose answers are joined: Titan embeds one text at
    /// a time.
    pub more: Vec<Vec<u8>>,
    /// What is asked.
    pub operation: Operation,
    /// Headers that the dialect needs, in lower case: `anthropic-version`, `anthropic-beta`.
    pub headers: Vec<(&'static str, String)>,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// What was dropped or changed, in the caller's words.
    pub losses: Vec<Loss>,
    /// What the translation of the answer must know.
    pub memo: Memo,
}

/// What the answer's translation must remember of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// Tool names that had to be changed: (sent, the caller's own).
    pub names: Vec<(String, String)>,
    /// Name of the tool that stands in for structured output: its arguments are the text.
    pub format_tool: Option<String>,
    /// Tools that are free-text (`custom`) to the caller.
    pub custom_tools: Vec<String>,
    /// To the provider they are functions with one string argument `input`.
    pub custom_wrapped: bool,
    /// The caller asked for the usage chunk of a chat stream.
    pub usage_chunk: bool,
    /// Members of a Responses request that its answer repeats, as JSON without the braces.
    pub echo: String,
    /// Embeddings are wanted as base64.
    pub base64: bool,
    /// Documents that a rerank's answer repeats, in their order; empty when it repeats none.
    pub documents: Vec<String>,
    /// How many documents a rerank was asked about.
    pub document_count: u64,
}

impl Memo {
    /// The caller's name of a tool.
    pub fn own_name<'n>(&'n self, sent: &'n str) -> &'n str {
        let known = self.names.iter().find(|(name, _)| name == sent);
        known.map_or(sent, |(_, own)| own)
    }
}

/// What an answer needs that neither the provider's bytes nor the request tell.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The name of the model that the caller is told; empty: the provider's own.
    pub model: String,
    /// Dice for ids that the provider does not give.
    pub seed: u128,
    /// Now, in seconds since 1970, for `created`.
    pub created_s: u64,
    /// The gateway's id of the request, for Anthropic's error envelope.
    pub request_id: String,
    /// From the request.
    pub memo: Memo,
}

impl Reply {
    /// An id that is made up: `chatcmpl-`, `msg_`, `resp_`, ... and 32 hex digits. `number`
    /// tells ids of one answer apart.
    pub fn id(&self, prefix: &str, number: u64) -> String {
        let spread = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        format!("{prefix}{:032x}", self.seed ^ spread)
    }
}
