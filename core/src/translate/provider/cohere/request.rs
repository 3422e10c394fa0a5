//! Prompts as requests of Cohere's v2 chat.

use super::content::{TOOL_NAMES, Writer};
use crate::translate::Emit;
use crate::translate::context::{Context, Memo, Operation};
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{
    Format, Given, Param, Prompt, Reasoning, Thinking, Tool, ToolChoice, ToolKind,
};
use crate::translate::provider::converse::tools::name_of;
use crate::translate::provider::messages::budget_of;
use crate::translate::provider::names::ToolNames;
use crate::translate::provider::schema;
use crate::translate::provider::turns::{Talk, no_betas, rest_weight};
use crate::translate::provider::{Written, weight_of_param, written};
use crate::wire::json::Value;

/// Members of Cohere that a caller may give under their own names.
const OWN: [&str; 5] = [
    "documents",
    "citation_options",
    "safety_mode",
    "strict_tools",
    "raw_prompting",
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
    let talk = Talk::new(turns, losses);
    let mut names = ToolNames::new(TOOL_NAMES);
    let mut body = Vec::with_capacity(1024);
    let mut emit = Emit::new(&mut body);
    emit.open().name("model").string(context.model);
    emit.name("stream").flag(stream).name("messages");
    let mut writer = Writer {
        names: &mut names,
        losses,
    };
    writer.messages(&talk.system, &talk.turns, &mut emit)?;
    let choice = tool_choice.as_ref();
    let custom_tools = write_tools(&tools, choice, &mut names, losses, &mut emit)?;
    if let Some(given) = parallel_tools.filter(|given| !given.value) {
        let why = "Cohere cannot be told to call one tool at a time";
        losses.drop(Weight::Hint, given.name(), why);
    }
    if let Some(given) = max_tokens {
        emit.name("max_tokens").count(given.value);
    }
    if let Some(stop) = stop.filter(|stop| !stop.value.is_empty()) {
        emit.name("stop_sequences").open_list();
        for text in &stop.value {
            emit.text(text);
        }
        emit.close_list();
    }
    write_format(format.as_ref(), !tools.is_empty(), losses, &mut emit);
    write_thinking(reasoning.as_ref(), losses, &mut emit)?;
    for (param, given) in &params {
        write_param(*param, given, losses, &mut emit);
    }
    own_members(&rest, context, losses, &mut emit);
    emit.close();
    no_betas(context, losses);
    let operation = Operation::CohereChat;
    let memo = Memo {
        names: names.changed,
        custom_tools,
        custom_wrapped: true,
        usage_chunk,
        echo,
        ..Memo::default()
    };
    Ok(written(body, operation, Vec::new(), stream, memo))
}

/// Writes `tools` and `tool_choice`. Cohere has no word for one tool or some of them: only these
/// are declared then.
fn write_tools(
    tools: &[Tool<'_>],
    choice: Option<&Given<'_, ToolChoice<'_>>>,
    names: &mut ToolNames,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) -> Result<Vec<String>, Refusal> {
    let mut custom = Vec::new();
    let mut word = None;
    let allowed = |tool: &&Tool<'_>| {
        let Some(name) = name_of(&tool.kind) else {
            return true;
        };
        match choice.map(|given| &given.value) {
            Some(ToolChoice::Tool(only)) => name.clear() == only.clear(),
            Some(ToolChoice::Allowed(list, _)) => {
                list.iter().any(|one| one.clear() == name.clear())
            }
            _ => true,
        }
    };
    if let Some(given) = choice {
        match &given.value {
            ToolChoice::Auto => {}
            ToolChoice::None => word = Some("NONE"),
            ToolChoice::Required => word = Some("REQUIRED"),
            ToolChoice::Tool(_) | ToolChoice::Allowed(..) => {
                let why = "told as a list of these tools alone";
                losses.change(Weight::Hint, given.name(), why);
                let forced = !matches!(given.value, ToolChoice::Allowed(_, false));
                word = forced.then_some("REQUIRED");
            }
            ToolChoice::Foreign(_) => {
                let why = "Cohere knows none, required and the model's own choice";
                losses.drop(Weight::Meaning, given.name(), why);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut list = Emit::new(&mut bytes);
    let mut strict_tools = false;
    for tool in tools.iter().filter(allowed) {
        strict_tools |= write_tool(tool, &mut custom, names, losses, &mut list)?;
    }
    if bytes.is_empty() {
        return Ok(custom);
    }
    emit.name("tools").open_list().raw(&bytes).close_list();
    if strict_tools {
        emit.name("strict_tools").flag(true);
    }
    if let Some(word) = word {
        emit.name("tool_choice").string(word);
    }
    Ok(custom)
}

/// One tool; true when its arguments must fit the schema.
fn write_tool(
    tool: &Tool<'_>,
    custom: &mut Vec<String>,
    names: &mut ToolNames,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) -> Result<bool, Refusal> {
    if tool.cache.is_some() {
        let why = "Cohere caches by itself";
        losses.drop(Weight::Hint, "cache_control", why);
    }
    let (name, description) = match &tool.kind {
        ToolKind::Function {
            name, description, ..
        }
        | ToolKind::Custom {
            name, description, ..
        } => (name, description),
        ToolKind::WebSearch { .. } => {
            let why = "Cohere runs no search";
            losses.drop(Weight::Parameter, tool.field, why);
            return Ok(false);
        }
        ToolKind::Foreign { kind, .. } => {
            let message = format!(
                "'{}' of type '{}' is run by its own provider and not by Cohere",
                tool.field,
                kind.clear()
            );
            return Err(Refusal::new(tool.field, message));
        }
    };
    emit.open().name("type").string("function");
    emit.name("function").open();
    emit.name("name").text(&names.sent(name));
    if let Some(text) = description.as_ref().filter(|text| !text.is_empty()) {
        emit.name("description").text(text);
    }
    emit.name("parameters");
    let mut must_fit = false;
    match &tool.kind {
        ToolKind::Function {
            schema,
            strict,
            rest,
            ..
        } => {
            let clean = schema.map(|schema| schema::cleaned(schema, schema::Rules::Cohere).0);
            emit.raw(clean.as_deref().unwrap_or(schema::NO_ARGUMENTS));
            must_fit = *strict == Some(true);
            for given in rest {
                let why = "Cohere has no such member of a tool";
                losses.drop(Weight::Hint, given.name(), why);
            }
        }
        _ => {
            custom.push(name.clear().into_owned());
            emit.raw(schema::FREE_TEXT);
            let why = "free text is told as a function with one string, its grammar is not";
            losses.change(Weight::Hint, tool.field, why);
        }
    }
    emit.close().close();
    Ok(must_fit)
}

fn write_format(
    format: Option<&Given<'_, Format<'_>>>,
    has_tools: bool,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let Some(given) = format else {
        return;
    };
    let schema = match &given.value {
        Format::Text => return,
        Format::JsonObject => None,
        Format::JsonSchema { schema, .. } => Some(schema),
        Format::Foreign(_) => {
            losses.drop(Weight::Meaning, given.name(), "a format of another dialect");
            return;
        }
    };
    if has_tools {
        let why = "Cohere takes no output format beside tools";
        losses.drop(Weight::Parameter, given.name(), why);
        return;
    }
    emit.name("response_format").open();
    emit.name("type").string("json_object");
    if let Some(schema) = schema {
        let (clean, _) = schema::cleaned(*schema, schema::Rules::Cohere);
        emit.name("json_schema").raw(&clean);
    }
    emit.close();
}

fn write_thinking(
    reasoning: Option<&Given<'_, Reasoning<'_>>>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    let Some(given) = reasoning else {
        return Ok(());
    };
    let word = given.value.effort.as_ref().map(|word| word.clear());
    let budget = match (given.value.mode, word.as_deref()) {
        (Thinking::Off, _) | (Thinking::Unsaid, Some("none")) => {
            emit.name("thinking").open();
            emit.name("type").string("disabled").close();
            return Ok(());
        }
        (Thinking::Unsaid, None) => return Ok(()),
        (Thinking::Budget(tokens), _) => Some(tokens),
        (Thinking::Adaptive, None) => None,
        (_, Some(word)) => {
            let Some(tokens) = budget_of(word) else {
                let field = given.field.clone().into_owned();
                let message = format!("Unmapped reasoning effort: '{field}' is '{word}'");
                return Err(Refusal { field, message });
            };
            let why = "told as a budget of tokens";
            losses.change(Weight::Hint, given.name(), why);
            Some(tokens)
        }
    };
    emit.name("thinking").open();
    emit.name("type").string("enabled");
    if let Some(tokens) = budget {
        emit.name("token_budget").count(tokens);
    }
    emit.close();
    Ok(())
}

fn write_param(
    param: Param,
    given: &Given<'_, Value<'_>>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let name = match param {
        Param::Temperature => "temperature",
        Param::TopP => "p",
        Param::TopK => "k",
        Param::Seed => "seed",
        Param::PresencePenalty => "presence_penalty",
        Param::FrequencyPenalty => "frequency_penalty",
        Param::Logprobs => "logprobs",
        other => {
            let why = "Cohere has no such parameter";
            losses.drop(weight_of_param(other, given.value), given.name(), why);
            return;
        }
    };
    emit.name(name).raw(given.value.raw);
}

/// Fields of no other meaning: Cohere's own members pass, the rest is accounted for.
fn own_members(
    rest: &[Given<'_, Value<'_>>],
    context: &Context<'_>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let allowed = &context.policy.allowed_openai_params;
    for given in rest {
        let is_allowed = allowed.iter().any(|name| *name == given.field);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if OWN.contains(&&*given.field) || is_allowed && given.field.bytes().all(plain) {
            emit.name(&given.field).raw(given.value.raw);
        } else {
            let why = "Cohere has no such field";
            losses.drop(rest_weight(&given.field), given.name(), why);
        }
    }
}
