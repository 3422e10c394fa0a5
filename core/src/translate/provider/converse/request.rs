//! Prompts as requests of Bedrock Converse.

use std::collections::HashSet;

use super::content::{TOOL_NAMES, Writer};
use super::family::Family;
use super::thinking::{Plan, Thought, plan};
use super::tools::{Choice, FORMAT_TOOL, FormatTool};
use crate::translate::Emit;
use crate::translate::capability::Flag;
use crate::translate::context::{Context, Memo, Operation};
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Part, PartKind, Prompt};
use crate::translate::provider::names::ToolNames;
use crate::translate::provider::turns::{Talk, note, rest_weight};
use crate::translate::provider::{Written, weight_of_param, written};
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value};

/// Told to models without a JSON mode.
const JSON_ONLY: &str = "Answer with one JSON object and nothing else.";

/// Members of Converse that a caller may give under their own names.
const OWN: [&str; 4] = [
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
    "promptVariables",
];

/// Betas of `anthropic-beta` that Converse takes in the body, by their beginnings.
const BETAS: [&str; 8] = [
    "context-1m-",
    "computer-use-",
    "thinking-binding-controls-",
    "thinking-display-updates-",
    "effort-",
    "structured-outputs-",
    "fine-grained-tool-streaming-",
    "output-128k-",
];

pub(crate) fn write(prompt: Prompt<'_>, context: &Context<'_>, losses: &mut Losses<'_>) -> Written {
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
        stream,
        usage_chunk,
        echo,
    } = prompt;
    let capabilities = context.capabilities;
    let family = Family::of(context.model, capabilities);
    let bound = max_tokens.as_ref().map(|given| given.value);
    let thought = plan(reasoning.as_ref(), family, capabilities, bound, losses)?;
    let mut talk = Talk::new(turns, losses);
    let mut choice = Choice::new(&tools, tool_choice.as_ref());
    choice.thinks = thought.is_on() && family == Family::Claude;
    let mut body = Vec::with_capacity(1024);
    let mut emit = Emit::new(&mut body);
    emit.open();
    write_format(
        format.as_ref(),
        &thought,
        &mut choice,
        &mut talk,
        context,
        losses,
        &mut emit,
    );
    if choice.is_empty() {
        talk.flatten_tools(losses);
    }
    talk.user_first(losses);
    let end_cache = params
        .iter()
        .find(|(param, _)| *param == Param::CacheControl);
    let end_cache = end_cache.map(|(_, given)| given.value);
    let memo = conversation(&talk, choice, family, end_cache, context, losses, &mut emit)?;
    let mut fields = Fields {
        params: &params,
        thought: &thought,
        family,
        context,
    };
    fields.inference(stop.as_ref(), losses, &mut emit);
    let serial = parallel_tools.as_ref().filter(|given| !given.value);
    fields.additional(serial, losses, &mut emit);
    fields.others(losses, &mut emit);
    own_members(&rest, context, losses, &mut emit);
    emit.close();
    let operation = match stream {
        true => Operation::ConverseStream,
        false => Operation::Converse,
    };
    let memo = Memo {
        usage_chunk,
        echo,
        ..memo
    };
    Ok(written(body, operation, Vec::new(), stream, memo))
}

/// Messages, instructions and tools; what the answer's translation must know of them.
fn conversation(
    talk: &Talk<'_>,
    mut choice: Choice<'_, '_>,
    family: Family,
    end_cache: Option<Value<'_>>,
    context: &Context<'_>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) -> Result<Memo, Refusal> {
    let capabilities = context.capabilities;
    let mut names = ToolNames::new(TOOL_NAMES);
    let mut writer = Writer {
        family,
        names: &mut names,
        losses,
        no_cache: capabilities.cannot(Flag::PromptCaching),
        documents: HashSet::new(),
    };
    emit.name("messages");
    writer.messages(&talk.turns, end_cache, emit)?;
    system(&talk.system, &mut writer, emit);
    let format_tool = choice.format.as_ref().map(|_| FORMAT_TOOL.to_owned());
    if !choice.is_empty() {
        emit.name("toolConfig");
        choice.write(&mut writer, capabilities, emit)?;
    }
    Ok(Memo {
        names: names.changed,
        format_tool,
        custom_tools: choice.custom,
        custom_wrapped: true,
        ..Memo::default()
    })
}

fn system(parts: &[Part<'_>], writer: &mut Writer<'_, '_>, emit: &mut Emit<'_>) {
    if parts.is_empty() {
        return;
    }
    emit.name("system").open_list();
    for part in parts {
        match &part.kind {
            PartKind::Text { text, .. } => {
                emit.open().name("text").text(text).close();
                writer.cache_point(part.cache, emit);
            }
            _ => writer.losses.drop(
                Weight::Meaning,
                part.field,
                "Converse takes nothing but text as an instruction",
            ),
        }
    }
    emit.close_list();
}

/// Structured output: Converse's own where the model has it, else a tool that is forced.
fn write_format<'c, 'a>(
    given: Option<&'c Given<'a, Format<'a>>>,
    thought: &Thought,
    choice: &mut Choice<'c, 'a>,
    talk: &mut Talk<'a>,
    context: &Context<'_>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let mut native = None;
    if let Some(given) = given {
        match &given.value {
            Format::Text => {}
            Format::JsonObject => {
                let why = "Converse has no JSON mode: the model is told in words";
                losses.change(Weight::Hint, given.name(), why);
                talk.system.push(note(JSON_ONLY));
            }
            Format::JsonSchema { .. } if is_native(context) => native = Some(&given.value),
            Format::JsonSchema {
                description,
                schema,
                ..
            } => {
                let why = "told as a tool whose arguments are the answer";
                losses.change(Weight::Hint, given.name(), why);
                choice.format = Some(FormatTool {
                    description: description.as_ref(),
                    schema: *schema,
                    forced: choice.tools.is_empty(),
                });
            }
            Format::Foreign(_) => {
                losses.drop(Weight::Meaning, given.name(), "a format of another dialect");
            }
        }
    }
    if native.is_none() && thought.effort.is_none() {
        return;
    }
    emit.name("outputConfig").open();
    if let Some(Format::JsonSchema {
        name,
        description,
        schema,
        ..
    }) = native
    {
        emit.name("textFormat")
            .open()
            .name("type")
            .string("json_schema");
        emit.name("structure").open().name("jsonSchema").open();
        // Converse wants the schema as a string.
        emit.name("schema")
            .string(&String::from_utf8_lossy(schema.raw));
        if let Some(name) = name {
            emit.name("name").text(name);
        }
        if let Some(text) = description {
            emit.name("description").text(text);
        }
        emit.close().close().close();
    }
    if let Some(effort) = &thought.effort {
        emit.name("effort").string(effort);
    }
    emit.close();
}

fn is_native(context: &Context<'_>) -> bool {
    let capabilities = context.capabilities;
    let on_bedrock = capabilities.get(Flag::BedrockNativeFormat);
    on_bedrock.unwrap_or_else(|| capabilities.can(Flag::NativeFormat))
}

/// Writes what is not conversation.
struct Fields<'f, 'a, 'c> {
    params: &'f [(Param, Given<'a, Value<'a>>)],
    thought: &'f Thought,
    family: Family,
    context: &'f Context<'c>,
}

impl<'a> Fields<'_, 'a, '_> {
    fn param(&self, param: Param) -> Option<&Given<'a, Value<'a>>> {
        let found = self.params.iter().find(|(known, _)| *known == param);
        found.map(|(_, given)| given)
    }

    /// A sampling parameter, unless the model refuses it.
    fn sampling(&self, param: Param, losses: &mut Losses<'_>) -> Option<Value<'a>> {
        let given = self.param(param)?;
        if self.context.capabilities.cannot(Flag::Sampling) {
            let why = "the model takes no sampling parameters";
            losses.drop(Weight::Parameter, given.name(), why);
            return None;
        }
        if self.thought.is_budgeted() && param != Param::TopP {
            let why = "a model that thinks within a budget does not take it";
            losses.drop(Weight::Parameter, given.name(), why);
            return None;
        }
        Some(given.value)
    }

    fn inference(
        &mut self,
        stop: Option<&Given<'_, Vec<Text<'_>>>>,
        losses: &mut Losses<'_>,
        emit: &mut Emit<'_>,
    ) {
        emit.name("inferenceConfig").open();
        if let Some(tokens) = self.thought.max_tokens {
            emit.name("maxTokens").count(tokens);
        }
        if let Some(value) = self.sampling(Param::Temperature, losses) {
            emit.name("temperature").raw(value.raw);
        }
        if let Some(value) = self.sampling(Param::TopP, losses) {
            emit.name("topP").raw(value.raw);
        }
        if let Some(stop) = stop {
            emit.name("stopSequences").open_list();
            for text in &stop.value {
                if text.clear().trim().is_empty() {
                    let why = "Converse takes no blank stop sequence";
                    losses.drop(Weight::Parameter, stop.name(), why);
                } else {
                    emit.text(text);
                }
            }
            emit.close_list();
        }
        emit.close();
    }

    /// `additionalModelRequestFields`, where there are any.
    fn additional(
        &mut self,
        serial: Option<&Given<'_, bool>>,
        losses: &mut Losses<'_>,
        emit: &mut Emit<'_>,
    ) {
        let mut bytes = Vec::new();
        let mut fields = Emit::new(&mut bytes);
        fields.open();
        self.write_thinking(&mut fields);
        if let Some(value) = self.sampling(Param::TopK, losses) {
            match self.family {
                Family::Nova => {
                    fields.name("inferenceConfig").open();
                    fields.name("topK").raw(value.raw).close();
                }
                _ => {
                    fields.name("top_k").raw(value.raw);
                }
            }
        }
        if let Some(given) = serial {
            if self.family == Family::Claude {
                fields.name("tool_choice").open();
                fields.name("disable_parallel_tool_use").flag(true).close();
            } else {
                let why = "the model cannot be told to call one tool at a time";
                losses.drop(Weight::Hint, given.name(), why);
            }
        }
        self.write_betas(losses, &mut fields);
        fields.close();
        if bytes.len() > 2 {
            emit.name("additionalModelRequestFields").raw(&bytes);
        }
        if self.family == Family::Claude {
            emit.name("additionalModelResponseFieldPaths").open_list();
            emit.string("/stop_sequence");
            emit.string("/usage/output_tokens_details").close_list();
        }
    }

    fn write_thinking(&self, fields: &mut Emit<'_>) {
        match &self.thought.plan {
            Plan::Nothing => {}
            Plan::Budget(tokens) => {
                fields.name("thinking").open();
                fields.name("type").string("enabled");
                fields.name("budget_tokens").count(*tokens).close();
            }
            Plan::Adaptive => {
                fields.name("thinking").open();
                fields.name("type").string("adaptive");
                fields.name("display").string("summarized").close();
            }
            Plan::Off => {
                fields.name("thinking").open();
                fields.name("type").string("disabled").close();
            }
            Plan::Nova(level) => {
                fields.name("reasoningConfig").open();
                fields.name("type").string("enabled");
                fields.name("maxReasoningEffort").string(level).close();
            }
            Plan::OpenAi(word) => {
                fields.name("reasoning_effort").string(word);
            }
        }
    }

    fn write_betas(&self, losses: &mut Losses<'_>, fields: &mut Emit<'_>) {
        let Some(betas) = self.context.betas else {
            return;
        };
        let betas = betas.split(',').map(str::trim);
        let known = |beta: &&str| BETAS.iter().any(|start| beta.starts_with(start));
        let (taken, left): (Vec<&str>, Vec<&str>) =
            betas.filter(|beta| !beta.is_empty()).partition(known);
        let (taken, left) = match self.family {
            Family::Claude => (taken, left),
            _ => (Vec::new(), [taken, left].concat()),
        };
        if !left.is_empty() {
            let why = "betas that Converse does not take";
            losses.drop(Weight::Hint, "anthropic-beta", why);
        }
        if !taken.is_empty() {
            fields.name("anthropic_beta").open_list();
            for beta in taken {
                fields.string(beta);
            }
            fields.close_list();
        }
    }

    /// Every other parameter: carried, or accounted for.
    fn others(&mut self, losses: &mut Losses<'_>, emit: &mut Emit<'_>) {
        for (param, given) in self.params {
            let weight = match param {
                Param::Temperature | Param::TopP | Param::TopK | Param::CacheControl => continue,
                Param::ServiceTier => {
                    let tier = Text::of(given.value);
                    if let Some(tier) = tier.filter(|tier| !tier.is("auto")) {
                        emit.name("serviceTier").open();
                        emit.name("type").text(&tier).close();
                    }
                    continue;
                }
                _ => weight_of_param(*param, given.value),
            };
            losses.drop(weight, given.name(), "Converse has no such parameter");
        }
    }
}

/// Fields of no other meaning: Converse's own members pass, the rest is accounted for.
fn own_members(
    rest: &[Given<'_, Value<'_>>],
    context: &Context<'_>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let allowed = &context.policy.allowed_openai_params;
    for given in rest {
        let own = OWN.iter().find(|own| **own == given.field);
        if let (Some(own), Kind::Object) = (own, given.value.kind) {
            emit.name(own).raw(given.value.raw);
        } else if allowed.iter().any(|name| *name == given.field) && is_word(&given.field) {
            emit.name(&given.field).raw(given.value.raw);
        } else {
            let why = "Converse has no such field";
            losses.drop(rest_weight(&given.field), given.name(), why);
        }
    }
}

fn is_word(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(fits)
}
