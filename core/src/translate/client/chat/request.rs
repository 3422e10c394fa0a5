//! Chat completions requests read as prompts.

use crate::translate::client::chat::message;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Prompt, Reasoning, Thinking};
use crate::translate::prompt::{Tool, ToolChoice, ToolKind};
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::field::GATEWAY_ONLY;
use crate::wire::json::{Kind, Value};

/// Members that pass as they are where the provider has a place for them.
const PARAMS: &[(&str, Param)] = &[
    ("temperature", Param::Temperature),
    ("top_p", Param::TopP),
    ("top_k", Param::TopK),
    ("min_p", Param::MinP),
    ("n", Param::N),
    ("seed", Param::Seed),
    ("presence_penalty", Param::PresencePenalty),
    ("frequency_penalty", Param::FrequencyPenalty),
    ("logit_bias", Param::LogitBias),
    ("logprobs", Param::Logprobs),
    ("top_logprobs", Param::TopLogprobs),
    ("modalities", Param::Modalities),
    ("audio", Param::Audio),
    ("prediction", Param::Prediction),
    ("store", Param::Store),
    ("verbosity", Param::Verbosity),
    ("prompt_cache_key", Param::PromptCacheKey),
    ("prompt_cache_retention", Param::PromptCacheRetention),
    ("safety_identifier", Param::SafetyIdentifier),
    ("service_tier", Param::ServiceTier),
    ("metadata", Param::Metadata),
    ("user", Param::User),
    ("web_search_options", Param::WebSearchOptions),
    ("cache_control", Param::CacheControl),
];

pub(crate) fn read<'a>(body: &'a [u8], losses: &mut Losses<'_>) -> Result<Prompt<'a>, Refusal> {
    let mut prompt = Prompt::default();
    let mut messages = None;
    take::top(body, |name, value| {
        if name == "messages" {
            messages = Some(value);
            return Ok(());
        }
        member(&mut prompt, name, value)
    })?;
    let messages = messages
        .ok_or_else(|| Refusal::new("messages", "Missing required parameter: 'messages'."))?;
    take::list(messages, "messages")?;
    for each in messages.items() {
        message::read(each, &mut prompt.turns, losses)?;
    }
    Ok(prompt)
}

fn member<'a>(prompt: &mut Prompt<'a>, name: &'a str, value: Value<'a>) -> Result<(), Refusal> {
    if let Some((_, param)) = PARAMS.iter().find(|(known, _)| *known == name) {
        prompt.params.push((*param, Given::new(name, value)));
        return Ok(());
    }
    match name {
        "model" => {}
        "stream" => prompt.stream = take::flag(value, name)?,
        "stream_options" => {
            let asked = take::object(value, name)?.field(b"include_usage");
            prompt.usage_chunk = asked.is_some_and(|asked| asked.raw == b"true");
        }
        "max_completion_tokens" | "max_tokens" => {
            // The newer name wins, wherever it stands.
            let newer = name == "max_completion_tokens";
            if newer || prompt.max_tokens.is_none() {
                prompt.max_tokens = Some(Given::new(name, take::count(value, name)?));
            }
        }
        "stop" => prompt.stop = Some(Given::new(name, stops(value)?)),
        "reasoning_effort" => {
            let effort = Some(take::text(value, name)?);
            let known = prompt.reasoning.take();
            let mut given = known.unwrap_or_else(|| Given::new(name, Reasoning::default()));
            given.value.effort = effort;
            prompt.reasoning = Some(given);
        }
        "thinking" => {
            let known = prompt.reasoning.take();
            let mut given = known.unwrap_or_else(|| Given::new(name, Reasoning::default()));
            given.value.mode = thinking(value)?;
            prompt.reasoning = Some(given);
        }
        "response_format" => prompt.format = Some(Given::new(name, format(value)?)),
        "tools" => {
            take::list(value, name)?;
            for each in value.items() {
                prompt.tools.push(tool(each)?);
            }
        }
        "functions" => {
            take::list(value, name)?;
            for each in value.items() {
                prompt.tools.push(function(each, each, "functions[]")?);
            }
        }
        "tool_choice" | "function_call" => {
            prompt.tool_choice = Some(Given::new(name, choice(value)?));
        }
        "parallel_tool_calls" => {
            prompt.parallel_tools = Some(Given::new(name, take::flag(value, name)?));
        }
        _ if GATEWAY_ONLY.contains(&name) => {}
        _ => prompt.rest.push(Given::new(name, value)),
    }
    Ok(())
}

fn stops(value: Value<'_>) -> Result<Vec<Text<'_>>, Refusal> {
    if let Some(text) = Text::of(value) {
        return Ok(vec![text]);
    }
    take::list(value, "stop")?;
    let texts = value.items().map(Text::of).collect::<Option<Vec<_>>>();
    texts.ok_or_else(|| Refusal::wrong("stop", "a string or a list of strings"))
}

/// Anthropic's `thinking`, which LiteLLM's callers send in chat requests too.
pub(crate) fn thinking(value: Value<'_>) -> Result<Thinking, Refusal> {
    let value = take::object(value, "thinking")?;
    Ok(match take::kind_of(value) {
        b"disabled" => Thinking::Off,
        b"enabled" => {
            let budget = take::member(value, "budget_tokens");
            let budget = budget.ok_or_else(|| {
                let field = "thinking.budget_tokens";
                Refusal::new(field, format!("Missing required parameter: '{field}'."))
            })?;
            Thinking::Budget(take::count(budget, "thinking.budget_tokens")?)
        }
        b"" => return Err(Refusal::wrong("thinking.type", "a string")),
        // `adaptive`, `between_tools` and what comes after them: the model decides.
        _ => Thinking::Adaptive,
    })
}

fn format(value: Value<'_>) -> Result<Format<'_>, Refusal> {
    let value = take::object(value, "response_format")?;
    Ok(match take::kind_of(value) {
        b"text" => Format::Text,
        b"json_object" => Format::JsonObject,
        b"json_schema" => {
            let field = "response_format.json_schema";
            let schema = take::member(value, "json_schema");
            let schema = schema.ok_or_else(|| {
                Refusal::new(field, format!("Missing required parameter: '{field}'."))
            })?;
            json_schema(take::object(schema, field)?, field)?
        }
        _ => Format::Foreign(value),
    })
}

/// `{name, description, schema, strict}`, of chat and of Responses.
pub(crate) fn json_schema<'a>(value: Value<'a>, field: &str) -> Result<Format<'a>, Refusal> {
    let schema = take::member(value, "schema").ok_or_else(|| {
        let field = format!("{field}.schema");
        let message = format!("Missing required parameter: '{field}'.");
        Refusal::new(field, message)
    })?;
    let strict = take::member(value, "strict");
    Ok(Format::JsonSchema {
        name: take::text_member(value, "name", field)?,
        description: take::text_member(value, "description", field)?,
        schema: take::object(schema, &format!("{field}.schema"))?,
        strict: strict.map(|strict| take::flag(strict, field)).transpose()?,
    })
}

fn tool(value: Value<'_>) -> Result<Tool<'_>, Refusal> {
    let value = take::object(value, "tools[]")?;
    match (take::kind_of(value), take::member(value, "function")) {
        (b"function" | b"", Some(inner)) => function(value, inner, "tools[]"),
        (b"custom", _) => {
            let field = "tools[].custom";
            let custom = take::member(value, "custom");
            let custom = custom.ok_or_else(|| {
                Refusal::new(field, format!("Missing required parameter: '{field}'."))
            })?;
            let kind = ToolKind::Custom {
                name: take::needed(custom, "name", "tools[].custom.name")?,
                description: take::text_member(custom, "description", field)?,
                format: take::member(custom, "format"),
            };
            Ok(Tool {
                kind,
                cache: take::member(value, "cache_control"),
                field,
            })
        }
        (b"function", None) => Err(Refusal::new(
            "tools[].function",
            "Missing required parameter: 'tools[].function'.",
        )),
        (kind, _) => {
            let raw = value;
            let kind = Text::Escaped(kind.into());
            let is_search = kind.clear().starts_with("web_search");
            let kind = match is_search {
                true => ToolKind::WebSearch { raw },
                false => ToolKind::Foreign { kind, raw },
            };
            Ok(Tool {
                kind,
                cache: None,
                field: "tools[]",
            })
        }
    }
}

/// A function; `outer` holds LiteLLM's `cache_control`, if anything does.
fn function<'a>(
    outer: Value<'a>,
    value: Value<'a>,
    field: &'static str,
) -> Result<Tool<'a>, Refusal> {
    let strict = take::member(value, "strict");
    let schema = take::member(value, "parameters");
    let cache = take::member(outer, "cache_control");
    Ok(Tool {
        kind: ToolKind::Function {
            name: take::needed(value, "name", "tools[].function.name")?,
            description: take::text_member(value, "description", "tools[].function.description")?,
            schema: schema
                .map(|schema| take::object(schema, "tools[].function.parameters"))
                .transpose()?,
            strict: strict
                .map(|strict| take::flag(strict, "tools[].function.strict"))
                .transpose()?,
            rest: Vec::new(),
        },
        cache: cache.or_else(|| take::member(value, "cache_control")),
        field,
    })
}

fn choice(value: Value<'_>) -> Result<ToolChoice<'_>, Refusal> {
    match value.kind {
        Kind::String(_) => Ok(match value.inner().unwrap_or_default() {
            b"auto" => ToolChoice::Auto,
            b"none" => ToolChoice::None,
            b"required" | b"any" => ToolChoice::Required,
            _ => ToolChoice::Foreign(value),
        }),
        Kind::Object => object_choice(value),
        _ => Err(Refusal::wrong("tool_choice", "a string or an object")),
    }
}

fn object_choice(value: Value<'_>) -> Result<ToolChoice<'_>, Refusal> {
    match take::kind_of(value) {
        b"function" | b"custom" | b"" => {
            let inner = take::member(value, "function").or_else(|| take::member(value, "custom"));
            let field = "tool_choice.function.name";
            Ok(ToolChoice::Tool(take::needed(
                inner.unwrap_or(value),
                "name",
                field,
            )?))
        }
        b"allowed_tools" => {
            let inner = take::member(value, "allowed_tools").unwrap_or(value);
            let required = take::text_member(inner, "mode", "tool_choice.allowed_tools.mode")?;
            let tools = take::member(inner, "tools");
            let mut names = Vec::new();
            for each in tools.into_iter().flat_map(Value::items) {
                let function = take::member(each, "function").unwrap_or(each);
                names.push(take::needed(
                    function,
                    "name",
                    "tool_choice.allowed_tools.tools[]",
                )?);
            }
            let required = required.is_some_and(|mode| mode.is("required"));
            Ok(ToolChoice::Allowed(names, required))
        }
        _ => Ok(ToolChoice::Foreign(value)),
    }
}

/// How much is lost with a field that only the caller's own dialect knows.
pub(crate) fn weight_of(field: &str) -> Weight {
    const HINTS: [&str; 12] = [
        "client_metadata",
        "context_management",
        "diagnostics",
        "include",
        "inference_geo",
        "litellm_session_id",
        "prompt_cache_options",
        "provider_specific_fields",
        "safeguards",
        "speed",
        "stream_options",
        "user_location",
    ];
    match HINTS.contains(&field) {
        true => Weight::Hint,
        false => Weight::Parameter,
    }
}
