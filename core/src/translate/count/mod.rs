//! Counts of tokens: a request told as the question that a provider counts by, its number told in
//! the caller's words, and an estimate for where nobody counts.

mod estimate;

use std::borrow::Cow;

use crate::endpoint::Endpoint;
use crate::translate::context::Context;
use crate::translate::dialect::{ClientDialect, Pair, Platform, ProviderDialect};
use crate::translate::emit::Emit;
use crate::translate::loss::{Loss, Policy, Refusal};
use crate::wire::json::{self, Kind, Value};

/// How a provider counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Anthropic's `messages/count_tokens`, and what the clouds have of it.
    Messages,
    /// OpenAI's `responses/input_tokens`.
    Responses,
    /// Bedrock's `count-tokens` of a conversation.
    Converse,
    /// Google's `:countTokens`.
    Gemini,
}

/// Members that Anthropic counts; the others are refused there.
const OF_MESSAGES: &[&str] = &[
    "cache_control",
    "context_management",
    "mcp_servers",
    "messages",
    "output_config",
    "output_format",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];
/// Members that OpenAI counts.
const OF_RESPONSES: &[&str] = &[
    "conversation",
    "input",
    "instructions",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];
/// Members of a conversation that Bedrock counts.
const OF_CONVERSE: &[&str] = &[
    "additionalModelRequestFields",
    "messages",
    "system",
    "toolConfig",
];
/// Members that Vertex AI counts; AI Studio takes a whole request.
const OF_VERTEX: &[&str] = &["contents", "generationConfig", "systemInstruction", "tools"];

impl Counter {
    /// The dialect that it counts.
    pub fn dialect(self) -> ProviderDialect {
        match self {
            Self::Messages => ProviderDialect::Messages,
            Self::Responses => ProviderDialect::Responses,
            Self::Converse => ProviderDialect::Converse,
            Self::Gemini => ProviderDialect::Gemini,
        }
    }

    /// The number in an answer; `None` where there is none.
    pub fn read(self, answer: &[u8]) -> Option<u64> {
        let name = match self {
            Self::Messages | Self::Responses => "input_tokens",
            Self::Converse => "inputTokens",
            Self::Gemini => "totalTokens",
        };
        json::whole(answer).ok()?.field(name.as_bytes())?.count()
    }

    /// The question around a request in its dialect.
    fn question(self, body: &[u8], context: &Context<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(body.len() + 64);
        let mut emit = Emit::new(&mut bytes);
        match self {
            Self::Messages => {
                emit.open().name("model").string(context.model);
                members(body, OF_MESSAGES, &mut emit);
                emit.close();
            }
            Self::Responses => {
                emit.open().name("model").string(context.model);
                members(body, OF_RESPONSES, &mut emit);
                emit.close();
            }
            Self::Converse => {
                emit.open().name("input").open().name("converse").open();
                members(body, OF_CONVERSE, &mut emit);
                emit.close().close().close();
            }
            Self::Gemini if context.platform == Platform::AiStudio => {
                let model = format!("models/{}", context.model);
                emit.open().name("generateContentRequest").open();
                emit.name("model").string(&model);
                each(body, |name, value| {
                    emit.name(name).raw(value.raw);
                });
                emit.close().close();
            }
            Self::Gemini => {
                emit.open();
                members(body, OF_VERTEX, &mut emit);
                emit.close();
            }
        }
        bytes
    }
}

fn members(body: &[u8], kept: &[&str], emit: &mut Emit<'_>) {
    each(body, |name, value| {
        if kept.contains(&name) {
            emit.name(name).raw(value.raw);
        }
    });
}

/// Members of a body that our own writers made.
fn each(body: &[u8], mut take: impl FnMut(&str, Value<'_>)) {
    for (name, value) in json::whole(body).iter().flat_map(|body| body.fields()) {
        if let Ok(name) = std::str::from_utf8(name) {
            take(name, value);
        }
    }
}

/// Who asks for a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountClient {
    /// A caller of Anthropic's `messages/count_tokens`.
    Messages,
    /// A caller of OpenAI's `responses/input_tokens`.
    Responses,
    /// A caller of LiteLLM's `utils/token_counter`.
    TokenCounter,
}

/// A question for a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct CountRequest {
    /// Its body.
    pub body: Vec<u8>,
    /// Headers that the dialect needs, in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// What is not counted, in the caller's words.
    pub losses: Vec<Loss>,
}

/// A number, and who counted.
#[derive(Clone, Copy, Debug)]
pub struct Count<'c> {
    /// Input tokens.
    pub tokens: u64,
    /// The model that the caller named.
    pub requested: &'c str,
    /// The model that was asked, as its provider calls it.
    pub used: &'c str,
    /// The provider, and its own words; `None` for an estimate.
    pub native: Option<(&'c str, &'c [u8])>,
}

impl CountClient {
    /// Who asks at an endpoint.
    pub fn of(endpoint: Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::CountTokens => Some(Self::Messages),
            Endpoint::InputTokens => Some(Self::Responses),
            Endpoint::TokenCounter => Some(Self::TokenCounter),
            _ => None,
        }
    }

    fn dialect(self) -> ClientDialect {
        match self {
            Self::Messages => ClientDialect::Messages,
            Self::Responses => ClientDialect::Responses,
            Self::TokenCounter => ClientDialect::Chat,
        }
    }

    /// Tells a request as a provider's question. A count refuses nothing for being left out: what
    /// is not counted is in the losses.
    pub fn ask(
        self,
        counter: Counter,
        body: &[u8],
        context: &Context<'_>,
    ) -> Result<CountRequest, Refusal> {
        let policy = Policy {
            strict: false,
            drop_params: true,
            ..context.policy.clone()
        };
        let context = Context {
            policy: &policy,
            ..*context
        };
        let body = self.plain(body)?;
        let Some(pair) = Pair::new(self.dialect(), counter.dialect()) else {
            return Ok(CountRequest {
                body: counter.question(&body, &context),
                headers: Vec::new(),
                losses: Vec::new(),
            });
        };
        let told = super::request(pair, &body, &context)?;
        Ok(CountRequest {
            body: counter.question(&told.body, &context),
            headers: told.headers,
            losses: told.losses,
        })
    }

    /// Input tokens of a request, estimated. Long work: not for a thread that serves requests.
    pub fn estimate(self, body: &[u8]) -> Result<u64, Refusal> {
        estimate::estimate_input(self.dialect(), &self.plain(body)?)
    }

    /// The body in its dialect: `token_counter` also takes one text, or Google's contents.
    fn plain(self, body: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
        if self != Self::TokenCounter {
            return Ok(Cow::Borrowed(body));
        }
        let wrong = || Refusal::new("request_body", "expected a JSON object");
        let asked = json::whole(body).map_err(|_| wrong())?;
        let given = |name: &str| {
            let found = asked.field(name.as_bytes());
            found.filter(|value| value.kind != Kind::Null)
        };
        if given("messages").is_some() {
            return Ok(Cow::Borrowed(body));
        }
        let mut bytes = Vec::with_capacity(body.len() + 64);
        let mut emit = Emit::new(&mut bytes);
        emit.open();
        if let Some(model) = given("model") {
            emit.name("model").raw(model.raw);
        }
        emit.name("messages").open_list();
        match (given("prompt"), given("contents")) {
            (Some(prompt), _) => texts(prompt, &mut emit)?,
            (None, Some(contents)) => turns(contents, &mut emit)?,
            (None, None) => {
                let message = "one of 'messages', 'prompt' and 'contents' is required";
                return Err(Refusal::new("messages", message));
            }
        }
        emit.close_list().close();
        Ok(Cow::Owned(bytes))
    }

    /// The number in the caller's words.
    pub fn answer(self, count: Count<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        let mut emit = Emit::new(&mut bytes);
        emit.open();
        match self {
            Self::Messages => {}
            Self::Responses => {
                emit.name("object").word("response.input_tokens");
            }
            Self::TokenCounter => {
                counter_words(count, &mut emit);
                return bytes;
            }
        }
        emit.name("input_tokens").count(count.tokens).close();
        bytes
    }
}

fn counter_words(count: Count<'_>, emit: &mut Emit<'_>) {
    emit.name("total_tokens").count(count.tokens);
    emit.name("request_model").string(count.requested);
    emit.name("model_used").string(count.used);
    emit.name("tokenizer_type");
    match count.native {
        Some((provider, _)) => emit.string(&format!("{provider}_api")),
        None => emit.word("estimate"),
    };
    emit.name("original_response");
    match count.native {
        Some((_, words)) => emit.raw(words.trim_ascii()),
        None => emit.null(),
    };
    emit.name("error").flag(false);
    emit.name("error_message").null();
    emit.name("status_code").null().close();
}

/// A text or a list of texts as the caller's turns.
fn texts(prompt: Value<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    let mut turn = |text: Value<'_>| match text.kind {
        Kind::String(_) => {
            emit.open().name("role").word("user");
            emit.name("content").raw(text.raw).close();
            Ok(())
        }
        _ => Err(Refusal::wrong("prompt", "a text or a list of texts")),
    };
    match prompt.kind {
        Kind::Array => prompt.items().try_for_each(turn),
        _ => turn(prompt),
    }
}

/// Google's contents as turns of chat: their texts, which is all that a count of them asks for.
fn turns(contents: Value<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    const WHAT: &str = "a list of contents with parts of text";
    let wrong = || Refusal::wrong("contents", WHAT);
    if contents.kind != Kind::Array {
        return Err(wrong());
    }
    for content in contents.items() {
        let parts = content.field(b"parts").ok_or_else(wrong)?;
        let role = content.field(b"role").and_then(Value::text);
        let role = match role.as_deref() {
            Some("model") => "assistant",
            _ => "user",
        };
        emit.open().name("role").word(role);
        emit.name("content").open_list();
        for part in parts.items() {
            let text = part.field(b"text").ok_or_else(wrong)?;
            emit.open().name("type").word("text");
            emit.name("text").raw(text.raw).close();
        }
        emit.close_list().close();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
