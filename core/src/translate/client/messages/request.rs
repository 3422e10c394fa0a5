//! Anthropic messages requests read as prompts.

use crate::translate::client::chat::request::thinking;
use crate::translate::client::messages::blocks;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Part, PartKind, Prompt, Reasoning, Role};
use crate::translate::prompt::{Tool, ToolChoice, ToolKind, Turn};
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::field::GATEWAY_ONLY;
use crate::wire::json::Value;

/// Begins a system block that Claude Code bills by. It differs in every session: other providers
/// could never reuse their cache of what follows.
const BILLING: &[u8] = b"x-anthropic-billing-header:";

pub(crate) fn read<'a>(body: &'a [u8], losses: &mut Losses<'_>) -> Result<Prompt<'a>, Refusal> {
    let mut prompt = Prompt::default();
    let (mut messages, mut system) = (None, None);
    take::top(body, |name, value| {
        match name {
            "messages" => messages = Some(value),
            "system" => system = Some(value),
            _ => member(&mut prompt, name, value, losses)?,
        }
        Ok(())
    })?;
    if let Some(system) = system {
        let mut parts = Vec::new();
        blocks::content(system, "system", &mut parts, losses)?;
        parts.retain(|part| !is_billing(part));
        let role = Role::System;
        prompt.turns.push(Turn { role, parts });
    }
    let messages = messages
        .ok_or_else(|| Refusal::new("messages", "Missing required parameter: 'messages'."))?;
    take::list(messages, "messages")?;
    for each in messages.items() {
        prompt.turns.push(turn(each, losses)?);
    }
    Ok(prompt)
}

fn is_billing(part: &Part<'_>) -> bool {
    match &part.kind {
        PartKind::Text {
            text: Text::Escaped(inner),
            ..
        } => inner.starts_with(BILLING),
        _ => false,
    }
}

fn turn<'a>(message: Value<'a>, losses: &mut Losses<'_>) -> Result<Turn<'a>, Refusal> {
    let message = take::object(message, "messages[]")?;
    let role = take::needed(message, "role", "messages[].role")?;
    let role = match &*role.clear() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let message = format!("'messages[].role' has an unknown value: '{other}'");
            return Err(Refusal::new("messages[].role", message));
        }
    };
    let content = take::member(message, "content").ok_or_else(|| {
        let field = "messages[].content";
        Refusal::new(field, format!("Missing required parameter: '{field}'."))
    })?;
    let mut parts = Vec::new();
    blocks::content(content, "messages[].content", &mut parts, losses)?;
    Ok(Turn { role, parts })
}

fn member<'a>(
    prompt: &mut Prompt<'a>,
    name: &'a str,
    value: Value<'a>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    let param = match name {
        "temperature" => Some(Param::Temperature),
        "top_p" => Some(Param::TopP),
        "top_k" => Some(Param::TopK),
        "cache_control" => Some(Param::CacheControl),
        _ => None,
    };
    if let Some(param) = param {
        prompt.params.push((param, Given::new(name, value)));
        return Ok(());
    }
    match name {
        "model" => {}
        "stream" => prompt.stream = take::flag(value, name)?,
        "max_tokens" => {
            prompt.max_tokens = Some(Given::new(name, take::count(value, name)?));
        }
        "stop_sequences" => {
            take::list(value, name)?;
            let texts = value.items().map(Text::of).collect::<Option<Vec<_>>>();
            let texts = texts.ok_or_else(|| Refusal::wrong(name, "a list of strings"))?;
            prompt.stop = Some(Given::new(name, texts));
        }
        "thinking" => reasoning(prompt, name).mode = thinking(value)?,
        "output_config" => output_config(prompt, value, losses)?,
        "output_format" => prompt.format = Some(Given::new(name, format(value, name)?)),
        "metadata" => metadata(prompt, value, losses)?,
        "service_tier" => tier(prompt, value),
        "tools" => {
            take::list(value, name)?;
            for each in value.items() {
                prompt.tools.push(tool(each)?);
            }
        }
        "tool_choice" => choice(prompt, value)?,
        _ if GATEWAY_ONLY.contains(&name) => {}
        _ => prompt.rest.push(Given::new(name, value)),
    }
    Ok(())
}

fn reasoning<'p, 'a>(prompt: &'p mut Prompt<'a>, name: &'a str) -> &'p mut Reasoning<'a> {
    let new = || Given::new(name, Reasoning::default());
    &mut prompt.reasoning.get_or_insert_with(new).value
}

fn output_config<'a>(
    prompt: &mut Prompt<'a>,
    value: Value<'a>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    for (name, value) in take::members(take::object(value, "output_config")?) {
        match name {
            "effort" => {
                let effort = take::text(value, "output_config.effort")?;
                reasoning(prompt, "output_config.effort").effort = Some(effort);
            }
            "format" => {
                let field = "output_config.format";
                prompt.format = Some(Given::new(field, format(value, field)?));
            }
            _ => losses.drop(
                Weight::Parameter,
                format!("output_config.{name}"),
                "no such parameter",
            ),
        }
    }
    Ok(())
}

fn format<'a>(value: Value<'a>, field: &str) -> Result<Format<'a>, Refusal> {
    match take::kind_of(take::object(value, field)?) {
        b"json_schema" => {
            let schema = take::member(value, "schema")
                .ok_or_else(|| Refusal::wrong(format!("{field}.schema"), "an object"))?;
            Ok(Format::JsonSchema {
                name: None,
                description: None,
                schema: take::object(schema, field)?,
                strict: Some(true),
            })
        }
        _ => Ok(Format::Foreign(value)),
    }
}

fn metadata<'a>(
    prompt: &mut Prompt<'a>,
    value: Value<'a>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    for (name, value) in take::members(take::object(value, "metadata")?) {
        match name {
            "user_id" => {
                let given = Given::new("metadata.user_id", value);
                prompt.params.push((Param::User, given));
            }
            _ => losses.drop(
                Weight::Hint,
                format!("metadata.{name}"),
                "no such member in Anthropic's dialect",
            ),
        }
    }
    Ok(())
}

/// In OpenAI's words.
fn tier<'a>(prompt: &mut Prompt<'a>, value: Value<'a>) {
    let raw: &'a [u8] = match value.inner() {
        Some(b"standard_only") => b"\"default\"",
        _ => value.raw,
    };
    let kind = value.kind;
    let given = Given::new("service_tier", Value { raw, kind });
    prompt.params.push((Param::ServiceTier, given));
}

fn tool(value: Value<'_>) -> Result<Tool<'_>, Refusal> {
    let value = take::object(value, "tools[]")?;
    let kind = take::kind_of(value);
    if !matches!(kind, b"" | b"custom") {
        let raw = value;
        let kind = Text::Escaped(kind.into());
        let kind = match kind.clear().starts_with("web_search") {
            true => ToolKind::WebSearch { raw },
            false => ToolKind::Foreign { kind, raw },
        };
        return Ok(Tool {
            kind,
            cache: None,
            field: "tools[]",
        });
    }
    let mut rest = Vec::new();
    let (mut description, mut schema, mut strict) = (None, None, None);
    for (name, member) in take::members(value) {
        match name {
            "name" | "type" | "cache_control" => {}
            "description" => description = Some(take::text(member, "tools[].description")?),
            "input_schema" => schema = Some(take::object(member, "tools[].input_schema")?),
            "strict" => strict = Some(take::flag(member, "tools[].strict")?),
            _ => rest.push(Given::new(format!("tools[].{name}"), member)),
        }
    }
    Ok(Tool {
        kind: ToolKind::Function {
            name: take::needed(value, "name", "tools[].name")?,
            description,
            schema,
            strict,
            rest,
        },
        cache: take::member(value, "cache_control"),
        field: "tools[]",
    })
}

fn choice<'a>(prompt: &mut Prompt<'a>, value: Value<'a>) -> Result<(), Refusal> {
    let value = take::object(value, "tool_choice")?;
    let choice = match take::kind_of(value) {
        b"auto" => ToolChoice::Auto,
        b"any" => ToolChoice::Required,
        b"none" => ToolChoice::None,
        b"tool" => ToolChoice::Tool(take::needed(value, "name", "tool_choice.name")?),
        _ => ToolChoice::Foreign(value),
    };
    prompt.tool_choice = Some(Given::new("tool_choice", choice));
    let field = "tool_choice.disable_parallel_tool_use";
    if let Some(single) = take::member(value, "disable_parallel_tool_use") {
        let single = take::flag(single, field)?;
        prompt.parallel_tools = Some(Given::new(field, !single));
    }
    Ok(())
}
