//! A request for generated text in no dialect: what a client's reader makes and a provider's
//! writer takes. It borrows from the body; JSON that nobody has to understand stays bytes.

use std::borrow::Cow;

use crate::translate::text::Text;
use crate::wire::json::Value;

/// Something the caller gave, with the name it gave it under: losses are told in its words.
#[derive(Clone, Debug)]
pub struct Given<'a, T> {
    /// The caller's name of the field.
    pub field: Cow<'a, str>,
    /// What it gave.
    pub value: T,
}

impl<'a, T> Given<'a, T> {
    /// A value under a name.
    pub fn new(field: impl Into<Cow<'a, str>>, value: T) -> Self {
        let field = field.into();
        Self { field, value }
    }

    /// The name without a borrow, for [`crate::translate::Losses`].
    pub fn name(&self) -> Cow<'static, str> {
        super::names::owned(&self.field)
    }
}

/// A parameter whose value is passed as it is wherever the provider has a member for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Param {
    /// `temperature`.
    Temperature,
    /// `top_p`.
    TopP,
    /// `top_k`.
    TopK,
    /// `min_p` of vLLM.
    MinP,
    /// `n`.
    N,
    /// `seed`.
    Seed,
    /// `presence_penalty`.
    PresencePenalty,
    /// `frequency_penalty`.
    FrequencyPenalty,
    /// `logit_bias`.
    LogitBias,
    /// `logprobs` of chat.
    Logprobs,
    /// `top_logprobs`.
    TopLogprobs,
    /// `modalities`.
    Modalities,
    /// `audio`: voice and format of spoken output.
    Audio,
    /// `prediction`.
    Prediction,
    /// `store`.
    Store,
    /// `verbosity`, `text.verbosity`.
    Verbosity,
    /// `prompt_cache_key`.
    PromptCacheKey,
    /// `prompt_cache_retention`.
    PromptCacheRetention,
    /// `safety_identifier`.
    SafetyIdentifier,
    /// `service_tier`, in OpenAI's words: `auto`, `default`, `flex`, `priority`.
    ServiceTier,
    /// OpenAI's `metadata`: an object of strings.
    Metadata,
    /// `user`, Anthropic's `metadata.user_id`.
    User,
    /// `web_search_options`.
    WebSearchOptions,
    /// Top-level `cache_control` of Anthropic.
    CacheControl,
    /// `truncation` of Responses.
    Truncation,
    /// `max_tool_calls` of Responses.
    MaxToolCalls,
}

/// A request for generated text.
#[derive(Clone, Debug, Default)]
pub struct Prompt<'a> {
    /// The conversation, system texts in their places.
    pub turns: Vec<Turn<'a>>,
    /// Tools that the model may call.
    pub tools: Vec<Tool<'a>>,
    /// Which of them it must or must not call.
    pub tool_choice: Option<Given<'a, ToolChoice<'a>>>,
    /// Whether it may call several at once.
    pub parallel_tools: Option<Given<'a, bool>>,
    /// Bound of the output, in tokens.
    pub max_tokens: Option<Given<'a, u64>>,
    /// Texts that end the answer.
    pub stop: Option<Given<'a, Vec<Text<'a>>>>,
    /// How much to think.
    pub reasoning: Option<Given<'a, Reasoning<'a>>>,
    /// Shape of the text.
    pub format: Option<Given<'a, Format<'a>>>,
    /// Parameters that pass as they are, each at most once.
    pub params: Vec<(Param, Given<'a, Value<'a>>)>,
    /// Fields that only the caller's own dialect knows.
    pub rest: Vec<Given<'a, Value<'a>>>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The caller wants the usage chunk of a chat stream.
    pub usage_chunk: bool,
    /// See [`crate::translate::Memo::echo`].
    pub echo: String,
}

impl<'a> Prompt<'a> {
    /// A parameter's value.
    pub fn param(&self, param: Param) -> Option<&Given<'a, Value<'a>>> {
        let found = self.params.iter().find(|(known, _)| *known == param);
        found.map(|(_, given)| given)
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions: `system` and `developer`.
    System,
    /// The user; tool results too, whatever the dialect calls their role.
    User,
    /// The model.
    Assistant,
}

/// One turn. Neighbours of one role have not been merged.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part<'a>>,
}

/// A piece of a turn.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What it is.
    pub kind: PartKind<'a>,
    /// Anthropic's `cache_control` on it, as JSON.
    pub cache: Option<Value<'a>>,
    /// Where it stands, in the caller's words: `messages[].content[].image_url`.
    pub field: &'static str,
}

impl<'a> Part<'a> {
    /// A piece without a cache mark.
    pub fn new(field: &'static str, kind: PartKind<'a>) -> Self {
        Self {
            kind,
            cache: None,
            field,
        }
    }
}

/// What a piece of a turn is.
#[derive(Clone, Debug)]
pub enum PartKind<'a> {
    /// Text.
    Text {
        /// It.
        text: Text<'a>,
        /// Anthropic's citations of it, as JSON.
        citations: Option<Value<'a>>,
    },
    /// The model's refusal.
    Refusal(Text<'a>),
    /// An image.
    Image {
        /// Where its bytes are.
        source: Source<'a>,
        /// OpenAI's `detail`.
        detail: Option<Text<'a>>,
    },
    /// A document.
    Document {
        /// Where its bytes or its text are.
        source: Source<'a>,
        /// File name or title.
        title: Option<Text<'a>>,
        /// Anthropic's `context`.
        context: Option<Text<'a>>,
        /// Anthropic's `citations` settings, as JSON.
        citations: Option<Value<'a>>,
    },
    /// Sound.
    Audio {
        /// Base64.
        data: Text<'a>,
        /// `wav`, `mp3`.
        format: Text<'a>,
    },
    /// What the model thought.
    Thinking {
        /// As far as it was shown.
        text: Text<'a>,
        /// What lets its provider accept it back.
        proof: Proof<'a>,
    },
    /// A call of a tool by the model.
    Call {
        /// Its id.
        id: Text<'a>,
        /// Name of the tool.
        name: Text<'a>,
        /// Its arguments.
        arguments: Arguments<'a>,
        /// What lets Gemini accept it back: `thoughtSignature`.
        signature: Option<Text<'a>>,
    },
    /// What a tool answered.
    Result {
        /// Id of the call.
        id: Text<'a>,
        /// Text, images, documents.
        parts: Vec<Part<'a>>,
        /// The tool failed.
        is_error: bool,
    },
    /// A block that only the caller's own dialect knows, as JSON.
    Foreign {
        /// Its `type`.
        kind: Text<'a>,
        /// All of it.
        raw: Value<'a>,
    },
}

/// Where bytes are.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// Here, as base64.
    Base64 {
        /// `image/png`, `application/pdf`.
        media: Text<'a>,
        /// The base64.
        data: Text<'a>,
    },
    /// Somewhere on the web.
    Url(Text<'a>),
    /// Stored with the provider.
    File(Text<'a>),
    /// Clear text of a document.
    Text(Text<'a>),
}

/// What lets a provider accept back what its model thought: bytes that must not change.
#[derive(Clone, Debug)]
pub enum Proof<'a> {
    /// Nothing: another provider's thoughts, or a provider that asks for none.
    None,
    /// Anthropic's signature, on whatever cloud.
    Anthropic(Text<'a>),
    /// Anthropic's thoughts that are not shown at all: its `data`.
    Redacted(Text<'a>),
    /// A reasoning item of OpenAI's Responses.
    OpenAi {
        /// Its id.
        id: Text<'a>,
        /// Its `encrypted_content`.
        encrypted: Text<'a>,
    },
    /// Gemini's `thoughtSignature` of a text or an empty part.
    Gemini(Text<'a>),
}

/// Arguments of a call.
#[derive(Clone, Debug)]
pub enum Arguments<'a> {
    /// A JSON object.
    Object(Cow<'a, [u8]>),
    /// JSON written as text.
    Written(Text<'a>),
    /// Free text of a `custom` tool.
    Free(Text<'a>),
}

/// A tool.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// What it is.
    pub kind: ToolKind<'a>,
    /// Anthropic's `cache_control` on it, as JSON.
    pub cache: Option<Value<'a>>,
    /// Where it stands, in the caller's words.
    pub field: &'static str,
}

/// What a tool is.
#[derive(Clone, Debug)]
pub enum ToolKind<'a> {
    /// One that the caller runs.
    Function {
        /// Its name.
        name: Text<'a>,
        /// What it does.
        description: Option<Text<'a>>,
        /// JSON schema of its arguments.
        schema: Option<Value<'a>>,
        /// Arguments must fit the schema.
        strict: Option<bool>,
        /// Members that only the caller's own dialect knows: `defer_loading`, ...
        rest: Vec<Given<'a, Value<'a>>>,
    },
    /// One with free text as its argument.
    Custom {
        /// Its name.
        name: Text<'a>,
        /// What it does.
        description: Option<Text<'a>>,
        /// Its `format`, as JSON.
        format: Option<Value<'a>>,
    },
    /// A search of the web that the provider runs.
    WebSearch {
        /// All of it, in the caller's dialect.
        raw: Value<'a>,
    },
    /// Another one that the provider runs, or that only the caller's dialect knows.
    Foreign {
        /// Its `type`.
        kind: Text<'a>,
        /// All of it, in the caller's dialect.
        raw: Value<'a>,
    },
}

/// Which tool to call.
#[derive(Clone, Debug)]
pub enum ToolChoice<'a> {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Tool(Text<'a>),
    /// Only these; true: at least one of them.
    Allowed(Vec<Text<'a>>, bool),
    /// Something that only the caller's dialect knows.
    Foreign(Value<'a>),
}

/// How much to think.
#[derive(Clone, Debug, Default)]
pub struct Reasoning<'a> {
    /// What was asked.
    pub mode: Thinking,
    /// OpenAI's and Anthropic's word: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`,
    /// `max`, or a new one.
    pub effort: Option<Text<'a>>,
    /// Whether a summary is shown: `auto`, `concise`, `detailed`; Anthropic's `display`.
    pub summary: Option<Text<'a>>,
}

/// Anthropic's `thinking.type`, where one was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// Not given.
    #[default]
    Unsaid,
    /// `disabled`.
    Off,
    /// `adaptive` and its successors.
    Adaptive,
    /// `enabled` with this many tokens.
    Budget(u64),
}

/// Shape of the text.
#[derive(Clone, Debug)]
pub enum Format<'a> {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// OpenAI's name of it.
        name: Option<Text<'a>>,
        /// What it is.
        description: Option<Text<'a>>,
        /// The schema.
        schema: Value<'a>,
        /// The text must fit.
        strict: Option<bool>,
    },
    /// Something that only the caller's dialect knows.
    Foreign(Value<'a>),
}
