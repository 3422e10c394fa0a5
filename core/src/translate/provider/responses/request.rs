//! Prompts as OpenAI Responses requests.

use crate::translate::capability::Flag;
use crate::translate::client::weight_of;
use crate::translate::context::{Context, Memo, Operation, Request};
use crate::translate::emit::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Prompt, Reasoning, Thinking};
use crate::translate::provider::Written;
use crate::translate::provider::chat::request::{Draft, effort, json_schema, user_digest};
use crate::translate::provider::responses::{items, tools};
use crate::translate::provider::weight_of_param;
use crate::wire::json::Value;

/// Smallest output bound that OpenAI takes here.
const MAX_TOKENS_MIN: u64 = 16;

/// Longest `user` that OpenAI takes, with its quotes.
const USER_BYTES_MAX: usize = 66;

pub(crate) fn write(prompt: Prompt<'_>, context: &Context<'_>, losses: &mut Losses<'_>) -> Written {
    let mut draft = Draft {
        context,
        losses,
        memo: Memo {
            usage_chunk: prompt.usage_chunk,
            echo: prompt.echo.clone(),
            ..Memo::default()
        },
    };
    let stream = prompt.stream;
    let mut body = Vec::with_capacity(1024);
    let mut emit = Emit::new(&mut body);
    emit.open().name("model").string(context.model);
    if stream {
        emit.name("stream").flag(true);
    }
    members(&mut emit, prompt, &mut draft)?;
    emit.close();
    Ok(Request {
        body,
        more: Vec::new(),
        operation: Operation::Responses,
        headers: Vec::new(),
        stream,
        losses: Vec::new(),
        memo: draft.memo,
    })
}

fn members(
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
    items::write(emit, turns, draft)?;
    if let Some(given) = max_tokens {
        bound(emit, &given, draft);
    }
    let search = params
        .iter()
        .find(|(param, _)| *param == Param::WebSearchOptions);
    let search = search.map(|(_, given)| given.value);
    tools::write(emit, tools, search, tool_choice, parallel_tools, draft);
    if let Some(given) = stop {
        let why = "no stop sequences";
        draft.losses.drop(Weight::Parameter, given.name(), why);
    }
    let reasons = match reasoning {
        Some(given) => self::reasoning(emit, given, draft),
        None => draft.context.capabilities.can(Flag::Reasoning),
    };
    shape(emit, format, &params, draft);
    includes(emit, reasons, &params);
    if !params.iter().any(|(param, _)| *param == Param::Store) {
        // Nothing is kept that the caller did not ask to keep.
        emit.name("store").flag(false);
    }
    for (param, given) in params {
        self::param(emit, param, given, draft);
    }
    for given in rest {
        let allowed = &draft.losses.policy().allowed_openai_params;
        if allowed.iter().any(|name| *name == given.field) {
            emit.name(&given.field).raw(given.value.raw);
        } else {
            let why = "no such parameter";
            draft
                .losses
                .drop(weight_of(&given.field), given.name(), why);
        }
    }
    Ok(())
}

fn bound(emit: &mut Emit<'_>, given: &Given<'_, u64>, draft: &mut Draft<'_, '_, '_>) {
    let limit = draft.context.capabilities.max_output_tokens;
    let count = limit.map_or(given.value, |limit| given.value.min(limit));
    let count = count.max(MAX_TOKENS_MIN);
    if count != given.value {
        let why = "out of the range of the model";
        draft.losses.change(Weight::Hint, given.name(), why);
    }
    emit.name("max_output_tokens").count(count);
}

/// Writes `reasoning`; true when the model thinks.
fn reasoning(
    emit: &mut Emit<'_>,
    given: Given<'_, Reasoning<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) -> bool {
    if draft.context.capabilities.cannot(Flag::Reasoning) {
        let why = "the model does not reason";
        draft.losses.drop(Weight::Hint, given.name(), why);
        return false;
    }
    let mode = given.value.mode;
    let summary = given.value.summary.clone();
    let word = effort(given, draft);
    emit.name("reasoning").open();
    if let Some(word) = &word {
        emit.name("effort").text(word);
    }
    // Who asks a model to think in Anthropic's words is shown what it thought.
    let shown = matches!(mode, Thinking::Budget(_) | Thinking::Adaptive);
    match summary {
        Some(summary) => {
            emit.name("summary").text(&summary);
        }
        None if shown => {
            emit.name("summary").string("auto");
        }
        None => {}
    }
    emit.close();
    mode != Thinking::Off
}

/// `text`: shape and verbosity.
fn shape(
    emit: &mut Emit<'_>,
    format: Option<Given<'_, Format<'_>>>,
    params: &[(Param, Given<'_, Value<'_>>)],
    draft: &mut Draft<'_, '_, '_>,
) {
    let verbosity = params.iter().find(|(param, _)| *param == Param::Verbosity);
    let is_plain = matches!(
        format.as_ref().map(|given| &given.value),
        None | Some(Format::Text)
    );
    if is_plain && verbosity.is_none() {
        return;
    }
    emit.name("text").open();
    if let Some((_, given)) = verbosity {
        emit.name("verbosity").raw(given.value.raw);
    }
    if let Some(given) = format {
        let field = given.name();
        match given.value {
            Format::Text => {}
            Format::JsonObject => {
                emit.name("format").open();
                emit.name("type").string("json_object").close();
            }
            Format::JsonSchema {
                name,
                description,
                schema,
                strict,
            } => {
                emit.name("format").open();
                emit.name("type").string("json_schema");
                json_schema(emit, name, description, schema, strict);
                emit.close();
            }
            Format::Foreign(_) => {
                let why = "no such shape";
                draft.losses.drop(Weight::Parameter, field, why);
            }
        }
    }
    emit.close();
}

/// What the answer shall hold beyond its text: thoughts that can be sent back, probabilities.
fn includes(emit: &mut Emit<'_>, reasons: bool, params: &[(Param, Given<'_, Value<'_>>)]) {
    let logprobs = params
        .iter()
        .any(|(param, given)| *param == Param::Logprobs && given.value.raw == b"true");
    if !reasons && !logprobs {
        return;
    }
    emit.name("include").open_list();
    if reasons {
        emit.string("reasoning.encrypted_content");
    }
    if logprobs {
        emit.string("message.output_text.logprobs");
    }
    emit.close_list();
}

/// Responses' member for a parameter.
fn place(param: Param) -> Option<&'static str> {
    Some(match param {
        Param::Temperature => "temperature",
        Param::TopP => "top_p",
        Param::TopLogprobs => "top_logprobs",
        Param::Store => "store",
        Param::PromptCacheKey => "prompt_cache_key",
        Param::PromptCacheRetention => "prompt_cache_retention",
        Param::SafetyIdentifier => "safety_identifier",
        Param::ServiceTier => "service_tier",
        Param::Metadata => "metadata",
        Param::Truncation => "truncation",
        Param::MaxToolCalls => "max_tool_calls",
        _ => return None,
    })
}

fn param(
    emit: &mut Emit<'_>,
    param: Param,
    given: Given<'_, Value<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let capabilities = draft.context.capabilities;
    match param {
        // Written with the tools, the shape of the text, the includes.
        Param::WebSearchOptions | Param::Verbosity | Param::Logprobs => {}
        Param::User => {
            if given.value.raw.len() <= USER_BYTES_MAX {
                emit.name("user").raw(given.value.raw);
            } else {
                user_digest(emit, &given, draft);
            }
        }
        Param::Temperature | Param::TopP if capabilities.cannot(Flag::Sampling) => {
            let why = "the model takes no sampling parameters";
            draft.losses.drop(Weight::Parameter, given.name(), why);
        }
        Param::Temperature | Param::TopP
            if capabilities.can(Flag::Reasoning) && given.value.number() == Some(1.0) =>
        {
            let why = "the default; models that reason refuse it";
            draft.losses.drop(Weight::Hint, given.name(), why);
        }
        _ => match place(param) {
            Some(name) => {
                emit.name(name).raw(given.value.raw);
            }
            None => {
                let weight = weight_of_param(param, given.value);
                draft.losses.drop(weight, given.name(), "no such parameter");
            }
        },
    }
}
