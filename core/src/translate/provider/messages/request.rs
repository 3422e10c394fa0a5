//! Prompts as Anthropic messages requests.

use std::borrow::Cow;

use crate::translate::betas;
use crate::translate::capability::Flag;
use crate::translate::client::weight_of;
use crate::translate::context::{Context, Memo, Operation, Request};
use crate::translate::dialect::Platform;
use crate::translate::emit::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Given, Param, Prompt};
use crate::translate::provider::Written;
use crate::translate::provider::messages::{conversation, thinking, tools};
use crate::translate::text::Text;
use crate::wire::json::Value;

/// The version whose rules these requests are written by: it takes sampling parameters.
const VERSION: &str = "2023-06-01";

/// Output bound of a model that the price map does not know.
const MAX_TOKENS_UNKNOWN: u64 = 4096;

/// Anthropic's own fields, which callers of other dialects may send under the same name.
const OWN_FIELDS: [&str; 5] = [
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
];

/// What the parts of a request share while it is written.
pub(super) struct Draft<'d, 'c, 'p> {
    pub(super) context: &'d Context<'c>,
    pub(super) losses: &'d mut Losses<'p>,
    pub(super) memo: Memo,
    pub(super) betas: Vec<String>,
}

impl Draft<'_, '_, '_> {
    /// Asks for a beta, where the platform knows it.
    pub(super) fn beta(&mut self, value: &str) {
        if let Some(value) = betas::beta(self.context.platform, value)
            && !self.betas.iter().any(|known| known == value)
        {
            self.betas.push(value.to_owned());
        }
    }

    /// The name of a tool as it is sent.
    pub(super) fn tool_name<'n>(&mut self, name: &Text<'n>) -> Text<'n> {
        let clear = name.clear();
        match crate::translate::restore::fitting_name(&clear, &self.memo.names) {
            None => name.clone(),
            Some(sent) => {
                let pair = (sent.clone(), clear.into_owned());
                if !self.memo.names.contains(&pair) {
                    self.memo.names.push(pair);
                }
                Text::plain(sent)
            }
        }
    }
}

pub(crate) fn write(prompt: Prompt<'_>, context: &Context<'_>, losses: &mut Losses<'_>) -> Written {
    let mut draft = Draft {
        context,
        losses,
        memo: Memo {
            usage_chunk: prompt.usage_chunk,
            echo: prompt.echo.clone(),
            ..Memo::default()
        },
        betas: Vec::new(),
    };
    let stream = prompt.stream;
    let mut body = Vec::with_capacity(1024);
    let mut emit = Emit::new(&mut body);
    emit.open();
    head(&mut emit, &mut draft, stream);
    write_members(&mut emit, prompt, &mut draft)?;
    let headers = tail(&mut emit, &mut draft);
    emit.close();
    Ok(Request {
        body,
        more: Vec::new(),
        operation: match stream {
            true => Operation::MessagesStream,
            false => Operation::Messages,
        },
        headers,
        stream,
        losses: Vec::new(),
        memo: draft.memo,
    })
}

/// Model and stream, where the platform does not take them from the path.
fn head(emit: &mut Emit<'_>, draft: &mut Draft<'_, '_, '_>, stream: bool) {
    let platform = draft.context.platform;
    let in_path = matches!(platform, Platform::BedrockInvoke | Platform::Vertex);
    if !in_path {
        emit.name("model").string(draft.context.model);
    }
    if stream && platform != Platform::BedrockInvoke {
        emit.name("stream").flag(true);
    }
}

/// Version and betas, in the body or as headers.
fn tail(emit: &mut Emit<'_>, draft: &mut Draft<'_, '_, '_>) -> Vec<(&'static str, String)> {
    if let Some(list) = draft.context.betas {
        let (taken, _) = betas::split(draft.context.platform, list);
        for value in taken {
            draft.beta(value);
        }
    }
    let list = draft.betas.join(",");
    let mut headers = Vec::new();
    match draft.context.platform {
        Platform::BedrockInvoke => {
            emit.name("anthropic_version").string("bedrock-2023-05-31");
            if !draft.betas.is_empty() {
                emit.name("anthropic_beta").open_list();
                for value in &draft.betas {
                    emit.string(value);
                }
                emit.close_list();
            }
            return headers;
        }
        Platform::Vertex => {
            emit.name("anthropic_version").string("vertex-2023-10-16");
        }
        _ => headers.push(("anthropic-version", VERSION.to_owned())),
    }
    if !list.is_empty() {
        headers.push(("anthropic-beta", list));
    }
    headers
}

fn write_members(
    emit: &mut Emit<'_>,
    prompt: Prompt<'_>,
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    // Every field by name: a new one must be thought of here.
    let Prompt {
        turns,
        tools,
        tool_choice,
        parallel_tools,
        max_tokens,
        stop,
        reasoning,
        format,
        params,
        rest,
        stream: _,
        usage_chunk: _,
        echo: _,
    } = prompt;
    let plan = thinking::plan(reasoning.as_ref(), &max_tokens, &turns, draft);
    let limit = draft.context.capabilities.max_output_tokens;
    let bound = match (&max_tokens, plan.budget) {
        (Some(given), _) => given.value.max(1),
        (None, Some(budget)) => limit.unwrap_or_else(|| budget.saturating_add(MAX_TOKENS_UNKNOWN)),
        (None, None) => limit.unwrap_or(MAX_TOKENS_UNKNOWN),
    };
    emit.name("max_tokens").count(bound);
    plan.write(emit);
    let set = tools::Set {
        tools,
        choice: tool_choice,
        parallel: parallel_tools,
        format,
        thinks: plan.budget.is_some(),
        search: params
            .iter()
            .find(|(param, _)| *param == Param::WebSearchOptions)
            .map(|(_, given)| given.clone()),
    };
    let effort = plan.effort.clone();
    let shaped = set.write(emit, &turns, effort, draft)?;
    conversation::write(emit, turns, plan.keeps_thoughts, shaped.instruction, draft)?;
    if let Some(given) = stop {
        stop_sequences(emit, given, draft);
    }
    for (param, given) in params {
        write_param(emit, param, given, plan.budget.is_some(), draft);
    }
    for given in rest {
        write_rest(emit, given, draft);
    }
    Ok(())
}

fn stop_sequences(
    emit: &mut Emit<'_>,
    given: Given<'_, Vec<Text<'_>>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let is_blank = |text: &Text<'_>| text.clear().trim().is_empty();
    if given.value.iter().any(is_blank) {
        let why = "a stop sequence must not be white space alone";
        draft.losses.change(Weight::Parameter, given.name(), why);
    }
    let kept: Vec<_> = given.value.iter().filter(|text| !is_blank(text)).collect();
    if !kept.is_empty() {
        emit.name("stop_sequences").open_list();
        for text in kept {
            emit.text(text);
        }
        emit.close_list();
    }
}

fn write_param(
    emit: &mut Emit<'_>,
    param: Param,
    given: Given<'_, Value<'_>>,
    has_budget: bool,
    draft: &mut Draft<'_, '_, '_>,
) {
    let capabilities = draft.context.capabilities;
    match param {
        Param::Temperature | Param::TopP | Param::TopK => {
            let name = match param {
                Param::Temperature => "temperature",
                Param::TopP => "top_p",
                _ => "top_k",
            };
            let is_one = given.value.number() == Some(1.0);
            if capabilities.cannot(Flag::Sampling) {
                let weight = neutral(is_one && param != Param::TopK);
                let why = "the model takes no sampling parameters";
                draft.losses.drop(weight, given.name(), why);
            } else if has_budget && param != Param::TopP {
                let weight = neutral(is_one && param == Param::Temperature);
                let why = "not together with a thinking budget";
                draft.losses.drop(weight, given.name(), why);
            } else if param == Param::Temperature && given.value.number() > Some(1.0) {
                let why = "the range ends at 1";
                draft.losses.change(Weight::Parameter, given.name(), why);
                emit.name(name).count(1);
            } else {
                emit.name(name).raw(given.value.raw);
            }
        }
        Param::User => write_user(emit, given, draft),
        Param::ServiceTier => match given.value.inner() {
            Some(b"auto") => {
                emit.name("service_tier").string("auto");
            }
            Some(b"default" | b"standard_only") => {
                emit.name("service_tier").string("standard_only");
            }
            _ => {
                let why = "no such tier";
                draft.losses.drop(Weight::Parameter, given.name(), why);
            }
        },
        Param::CacheControl => {
            emit.name("cache_control").raw(given.value.raw);
        }
        // Became a tool.
        Param::WebSearchOptions => {}
        _ => {
            let weight = weight_of_param(param, given.value);
            let why = "no such parameter";
            draft.losses.drop(weight, given.name(), why);
        }
    }
}

/// Anthropic forbids names and addresses of people here.
fn write_user(emit: &mut Emit<'_>, given: Given<'_, Value<'_>>, draft: &mut Draft<'_, '_, '_>) {
    let user = Text::of(given.value);
    let clear = user.as_ref().map(Text::clear).unwrap_or_default();
    let dials = |sign: char| sign.is_ascii_digit() || "+-() .".contains(sign);
    let is_phone = clear.len() >= 7 && clear.chars().all(dials);
    match &user {
        Some(text) if !clear.contains('@') && !is_phone => {
            emit.name("metadata").open();
            emit.name("user_id").text(text).close();
        }
        _ => {
            let why = "an address or telephone number is not allowed as an id";
            draft.losses.drop(Weight::Hint, given.name(), why);
        }
    }
}

fn write_rest(emit: &mut Emit<'_>, given: Given<'_, Value<'_>>, draft: &mut Draft<'_, '_, '_>) {
    let field = &*given.field;
    let allowed = &draft.losses.policy().allowed_openai_params;
    let needs = betas::needed_by(field);
    let taken = needs.is_none_or(|beta| betas::beta(draft.context.platform, beta).is_some());
    if allowed.iter().any(|name| name == field) || (OWN_FIELDS.contains(&field) && taken) {
        if let Some(beta) = needs {
            draft.beta(beta);
        }
        emit.name(field).raw(given.value.raw);
        return;
    }
    let why = "no such parameter";
    draft.losses.drop(weight_of(field), given.name(), why);
}

fn neutral(is_default: bool) -> Weight {
    match is_default {
        true => Weight::Hint,
        false => Weight::Parameter,
    }
}

/// How much is lost with a parameter that a provider has no place for: nothing that matters
/// when it has its default, or is a label.
pub(crate) fn weight_of_param(param: Param, value: Value<'_>) -> Weight {
    let number = value.number();
    let is_default = match param {
        Param::N | Param::TopP => number == Some(1.0),
        Param::PresencePenalty | Param::FrequencyPenalty | Param::TopLogprobs => {
            number == Some(0.0)
        }
        Param::Logprobs | Param::Store => value.raw == b"false",
        Param::LogitBias => crate::translate::restore::is_empty_object(value),
        Param::Modalities => {
            let mut items = value.items();
            items.all(|item| item.inner() == Some(b"text"))
        }
        Param::ServiceTier => matches!(value.inner(), Some(b"auto" | b"default")),
        Param::Verbosity => value.inner() == Some(b"medium"),
        Param::Metadata
        | Param::User
        | Param::PromptCacheKey
        | Param::PromptCacheRetention
        | Param::SafetyIdentifier
        | Param::CacheControl
        | Param::Prediction
        | Param::Truncation => true,
        Param::Temperature
        | Param::TopK
        | Param::MinP
        | Param::Seed
        | Param::Audio
        | Param::WebSearchOptions
        | Param::MaxToolCalls => false,
    };
    // Storing is a wish that nothing of the answer depends on.
    neutral(is_default || param == Param::Store)
}

/// A JSON object of a call's arguments; text that is none names the field.
pub(crate) fn object_of<'a>(
    arguments: &'a crate::translate::prompt::Arguments<'a>,
    field: &str,
) -> Result<Cow<'a, [u8]>, Refusal> {
    use crate::translate::prompt::Arguments;
    use crate::wire::json::{Kind, whole};
    match arguments {
        Arguments::Object(raw) => Ok(Cow::Borrowed(raw)),
        Arguments::Free(text) => {
            let mut object = Vec::new();
            let mut emit = Emit::new(&mut object);
            emit.open().name("input").text(text).close();
            Ok(Cow::Owned(object))
        }
        Arguments::Written(text) => {
            let clear = text.clear();
            if clear.trim().is_empty() {
                return Ok(Cow::Borrowed(b"{}"));
            }
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&clear);
            let is_object = whole(clear.as_bytes()).is_ok_and(|value| value.kind == Kind::Object);
            if parsed.is_err() || !is_object {
                return Err(Refusal::wrong(field, "a JSON object as text"));
            }
            Ok(Cow::Owned(clear.trim().as_bytes().to_vec()))
        }
    }
}
