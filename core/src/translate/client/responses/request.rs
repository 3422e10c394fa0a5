//! Responses requests read as prompts.

use crate::translate::client::chat::request::json_schema;
use crate::translate::client::responses::{echo, items, tools};
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Part, PartKind, Prompt, Reasoning};
use crate::translate::prompt::{Role, Thinking, Turn};
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::field::GATEWAY_ONLY;
use crate::wire::json::Value;

/// Members that pass as they are where the provider has a place for them.
const PARAMS: &[(&str, Param)] = &[
    ("temperature", Param::Temperature),
    ("top_p", Param::TopP),
    ("top_k", Param::TopK),
    ("top_logprobs", Param::TopLogprobs),
    ("store", Param::Store),
    ("prompt_cache_key", Param::PromptCacheKey),
    ("prompt_cache_retention", Param::PromptCacheRetention),
    ("safety_identifier", Param::SafetyIdentifier),
    ("service_tier", Param::ServiceTier),
    ("metadata", Param::Metadata),
    ("user", Param::User),
    ("truncation", Param::Truncation),
    ("max_tool_calls", Param::MaxToolCalls),
];

/// Fields that need answers stored at the provider, which only its own Responses API has.
const STORED: [(&str, &str); 3] = [
    (
        "previous_response_id",
        "the deployment has no store of answers: send the whole conversation as 'input'",
    ),
    (
        "conversation",
        "the deployment has no store of conversations: send the whole conversation as 'input'",
    ),
    ("prompt", "the deployment has no store of prompts"),
];

pub(crate) fn read<'a>(body: &'a [u8], losses: &mut Losses<'_>) -> Result<Prompt<'a>, Refusal> {
    let mut prompt = Prompt {
        echo: echo::of(body),
        ..Prompt::default()
    };
    let (mut input, mut instructions) = (None, None);
    take::top(body, |name, value| {
        match name {
            "input" => input = Some(value),
            "instructions" => instructions = Some(take::text(value, name)?),
            _ => member(&mut prompt, name, value, losses)?,
        }
        Ok(())
    })?;
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        let citations = None;
        let kind = PartKind::Text { text, citations };
        prompt.turns.push(Turn {
            role: Role::System,
            parts: vec![Part::new("instructions", kind)],
        });
    }
    let input =
        input.ok_or_else(|| Refusal::new("input", "Missing required parameter: 'input'."))?;
    items::read(input, &mut prompt.turns, losses)?;
    Ok(prompt)
}

fn member<'a>(
    prompt: &mut Prompt<'a>,
    name: &'a str,
    value: Value<'a>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    if let Some((_, param)) = PARAMS.iter().find(|(known, _)| *known == name) {
        prompt.params.push((*param, Given::new(name, value)));
        return Ok(());
    }
    if let Some((field, why)) = STORED.iter().find(|(known, _)| *known == name) {
        return Err(Refusal::new(*field, format!("'{field}': {why}")));
    }
    match name {
        "model" => {}
        "stream" => prompt.stream = take::flag(value, name)?,
        // Obfuscation only; usage always comes.
        "stream_options" => {}
        "background" => {
            if take::flag(value, name)? {
                let why = "the deployment cannot answer in the background";
                return Err(Refusal::new(name, format!("'{name}': {why}")));
            }
        }
        "max_output_tokens" => {
            prompt.max_tokens = Some(Given::new(name, take::count(value, name)?));
        }
        "parallel_tool_calls" => {
            prompt.parallel_tools = Some(Given::new(name, take::flag(value, name)?));
        }
        "reasoning" => prompt.reasoning = reasoning(value, losses)?,
        "text" => text(prompt, value, losses)?,
        "include" => include(value, losses)?,
        "tools" => {
            take::list(value, name)?;
            for each in value.items() {
                tools::read(each, &mut prompt.tools)?;
            }
        }
        "tool_choice" => {
            prompt.tool_choice = Some(Given::new(name, tools::choice(value)?));
        }
        _ if GATEWAY_ONLY.contains(&name) => {}
        _ => prompt.rest.push(Given::new(name, value)),
    }
    Ok(())
}

fn reasoning<'a>(
    value: Value<'a>,
    losses: &mut Losses<'_>,
) -> Result<Option<Given<'a, Reasoning<'a>>>, Refusal> {
    let (mut effort, mut summary) = (None, None);
    for (name, value) in take::members(take::object(value, "reasoning")?) {
        match name {
            "effort" => effort = Some(take::text(value, "reasoning.effort")?),
            "summary" | "generate_summary" => {
                summary = Some(take::text(value, "reasoning.summary")?);
            }
            _ => losses.drop(
                Weight::Hint,
                format!("reasoning.{name}"),
                "no such parameter",
            ),
        }
    }
    let mode = Thinking::Unsaid;
    if effort.is_none() {
        // How to show thoughts, not whether to think.
        return Ok(None);
    }
    Ok(Some(Given::new(
        "reasoning",
        Reasoning {
            mode,
            effort,
            summary,
        },
    )))
}

fn text<'a>(
    prompt: &mut Prompt<'a>,
    value: Value<'a>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    for (name, value) in take::members(take::object(value, "text")?) {
        match name {
            "verbosity" => {
                let given = Given::new("text.verbosity", value);
                prompt.params.push((Param::Verbosity, given));
            }
            "format" => {
                let field = "text.format";
                let format = match take::kind_of(take::object(value, field)?) {
                    b"text" => Format::Text,
                    b"json_object" => Format::JsonObject,
                    b"json_schema" => json_schema(value, field)?,
                    _ => Format::Foreign(value),
                };
                prompt.format = Some(Given::new(field, format));
            }
            _ => losses.drop(
                Weight::Parameter,
                format!("text.{name}"),
                "no such parameter",
            ),
        }
    }
    Ok(())
}

/// Thoughts always come so that they can be sent back; the rest is of tools that run elsewhere.
fn include(value: Value<'_>, losses: &mut Losses<'_>) -> Result<(), Refusal> {
    take::list(value, "include")?;
    for each in value.items().filter_map(Text::of) {
        if !each.is("reasoning.encrypted_content") {
            let field = format!("include[].{}", each.clear());
            let why = "nothing of the kind comes from this provider";
            losses.drop(Weight::Hint, field, why);
        }
    }
    Ok(())
}
