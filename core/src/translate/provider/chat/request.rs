//! Prompts as chat completions requests.

use crate::translate::capability::Flag;
use crate::translate::client::weight_of;
use crate::translate::context::{Context, Memo, Operation, Request};
use crate::translate::dialect::Platform;
use crate::translate::emit::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Prompt, Reasoning, Thinking};
use crate::translate::provider::Written;
use crate::translate::provider::chat::{messages, tools};
use crate::translate::provider::messages::effort_of;
use crate::translate::provider::weight_of_param;
use crate::translate::restore::fitting_name;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// OpenAI takes no more stop sequences than these.
const STOPS_MAX: usize = 4;

/// Longest `user` that OpenAI takes, in bytes.
const USER_BYTES_MAX: usize = 64;

/// What the parts of a request share while it is written.
pub(crate) struct Draft<'d, 'c, 'p> {
    pub(crate) context: &'d Context<'c>,
    pub(crate) losses: &'d mut Losses<'p>,
    pub(crate) memo: Memo,
}

impl Draft<'_, '_, '_> {
    /// OpenAI or Azure, whose servers refuse what they do not know.
    pub(crate) fn is_openai(&self) -> bool {
        matches!(self.context.platform, Platform::OpenAi | Platform::Azure)
    }

    /// The name of a tool as it is sent.
    pub(crate) fn tool_name<'n>(&mut self, name: &Text<'n>) -> Text<'n> {
        let clear = name.clear();
        match fitting_name(&clear, &self.memo.names) {
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
    };
    let stream = prompt.stream;
    let mut body = Vec::with_capacity(1024);
    let mut emit = Emit::new(&mut body);
    emit.open().name("model").string(context.model);
    if stream {
        emit.name("stream").flag(true);
        // Usage is the gateway's own need: spend is counted by it.
        emit.name("stream_options").open();
        emit.name("include_usage").flag(true).close();
    }
    members(&mut emit, prompt, &mut draft)?;
    emit.close();
    Ok(Request {
        body,
        more: Vec::new(),
        operation: Operation::ChatCompletions,
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
    messages::write(emit, turns, draft)?;
    if let Some(given) = max_tokens {
        bound(emit, &given, draft);
    }
    tools::write(emit, tools, tool_choice, parallel_tools, draft);
    if let Some(given) = stop {
        stops(emit, &given, draft);
    }
    if let Some(given) = reasoning {
        let name = given.name();
        if let Some(word) = effort(given, draft) {
            if draft.context.capabilities.cannot(Flag::Reasoning) {
                // Claude Code asks every model to think.
                draft
                    .losses
                    .drop(Weight::Hint, name, "the model does not reason");
            } else {
                emit.name("reasoning_effort").text(&word);
            }
        }
    }
    if let Some(given) = format {
        self::format(emit, given, draft);
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
    if count < given.value {
        let why = "more than the model can write";
        draft.losses.change(Weight::Hint, given.name(), why);
    }
    let name = match draft.is_openai() {
        true => "max_completion_tokens",
        false => "max_tokens",
    };
    emit.name(name).count(count);
}

fn stops(emit: &mut Emit<'_>, given: &Given<'_, Vec<Text<'_>>>, draft: &mut Draft<'_, '_, '_>) {
    let mut kept = given.value.as_slice();
    if draft.is_openai() && kept.len() > STOPS_MAX {
        let why = "no more than four stop sequences";
        draft.losses.change(Weight::Parameter, given.name(), why);
        kept = &kept[..STOPS_MAX];
    }
    if !kept.is_empty() {
        emit.name("stop").open_list();
        for text in kept {
            emit.text(text);
        }
        emit.close_list();
    }
}

/// The word for `reasoning_effort`, also of Responses; `None`: the provider's default.
pub(crate) fn effort<'a>(
    given: Given<'a, Reasoning<'a>>,
    draft: &mut Draft<'_, '_, '_>,
) -> Option<Text<'a>> {
    let name = given.name();
    let Reasoning {
        mode,
        effort,
        summary: _,
    } = given.value;
    let capabilities = draft.context.capabilities;
    let word = match (mode, effort) {
        (Thinking::Off, _) => Text::plain("none"),
        (_, Some(effort)) => effort,
        (Thinking::Budget(budget), None) => {
            let why = "a budget becomes an effort";
            draft.losses.change(Weight::Hint, name.clone(), why);
            Text::plain(effort_of(budget))
        }
        (Thinking::Adaptive | Thinking::Unsaid, None) => return None,
    };
    let clear = word.clear();
    if !capabilities.refuses_effort(&clear) {
        drop(clear);
        return Some(word);
    }
    let nearest = match &*clear {
        "none" | "minimal" => ["minimal", "low"],
        _ => ["xhigh", "high"],
    };
    let mut nearest = nearest.into_iter();
    let nearest = nearest.find(|word| **word != *clear && !capabilities.refuses_effort(word));
    let why = "the model has no such effort: the nearest one";
    draft.losses.change(Weight::Hint, name, why);
    nearest.map(Text::plain)
}

fn format(emit: &mut Emit<'_>, given: Given<'_, Format<'_>>, draft: &mut Draft<'_, '_, '_>) {
    let field = given.name();
    match given.value {
        Format::Text => {}
        Format::JsonObject => {
            emit.name("response_format").open();
            emit.name("type").string("json_object").close();
        }
        Format::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            emit.name("response_format").open();
            emit.name("type").string("json_schema");
            emit.name("json_schema").open();
            json_schema(emit, name, description, schema, strict);
            emit.close().close();
        }
        Format::Foreign(_) => {
            let why = "no such shape";
            draft.losses.drop(Weight::Parameter, field, why);
        }
    }
}

/// Members of a named schema, of chat and of Responses.
pub(crate) fn json_schema(
    emit: &mut Emit<'_>,
    name: Option<Text<'_>>,
    description: Option<Text<'_>>,
    schema: Value<'_>,
    strict: Option<bool>,
) {
    let name = name.unwrap_or_else(|| Text::plain("answer"));
    emit.name("name").text(&name);
    if let Some(description) = description {
        emit.name("description").text(&description);
    }
    emit.name("schema").raw(schema.raw);
    if let Some(strict) = strict {
        emit.name("strict").flag(strict);
    }
}

/// Chat's member for a parameter.
fn place(param: Param) -> Option<&'static str> {
    Some(match param {
        Param::Temperature => "temperature",
        Param::TopP => "top_p",
        Param::N => "n",
        Param::Seed => "seed",
        Param::PresencePenalty => "presence_penalty",
        Param::FrequencyPenalty => "frequency_penalty",
        Param::LogitBias => "logit_bias",
        Param::Logprobs => "logprobs",
        Param::TopLogprobs => "top_logprobs",
        Param::Modalities => "modalities",
        Param::Audio => "audio",
        Param::Prediction => "prediction",
        Param::Store => "store",
        Param::Verbosity => "verbosity",
        Param::PromptCacheKey => "prompt_cache_key",
        Param::PromptCacheRetention => "prompt_cache_retention",
        Param::SafetyIdentifier => "safety_identifier",
        Param::ServiceTier => "service_tier",
        Param::Metadata => "metadata",
        Param::WebSearchOptions => "web_search_options",
        Param::TopK | Param::MinP | Param::User => return None,
        Param::CacheControl | Param::Truncation | Param::MaxToolCalls => return None,
    })
}

fn param(
    emit: &mut Emit<'_>,
    param: Param,
    given: Given<'_, Value<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let openai = draft.is_openai();
    match param {
        Param::TopK | Param::MinP if !openai => {
            emit.name(match param {
                Param::TopK => "top_k",
                _ => "min_p",
            });
            emit.raw(given.value.raw);
        }
        Param::User => {
            let fits = given.value.raw.len() <= USER_BYTES_MAX + 2;
            if fits || !openai {
                emit.name("user").raw(given.value.raw);
            } else {
                user_digest(emit, &given, draft);
            }
        }
        // OpenAI's account features, which servers with its dialect refuse.
        Param::Store
        | Param::PromptCacheKey
        | Param::PromptCacheRetention
        | Param::SafetyIdentifier
        | Param::Metadata
        | Param::ServiceTier
            if !openai =>
        {
            let weight = weight_of_param(param, given.value);
            draft.losses.drop(weight, given.name(), "no such parameter");
        }
        // Goes with `store` alone.
        Param::Metadata => {
            let why = "metadata is kept with stored answers alone";
            draft.losses.drop(Weight::Hint, given.name(), why);
        }
        Param::Temperature | Param::TopP if draft.context.capabilities.cannot(Flag::Sampling) => {
            let why = "the model takes no sampling parameters";
            draft.losses.drop(Weight::Parameter, given.name(), why);
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

/// A name too long for OpenAI: the same caller gets the same digest.
pub(crate) fn user_digest(
    emit: &mut Emit<'_>,
    given: &Given<'_, Value<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(given.value.raw);
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    emit.name("user").string(&hex.collect::<String>());
    let why = "longer than 64 bytes: its digest";
    draft.losses.change(Weight::Hint, given.name(), why);
}
