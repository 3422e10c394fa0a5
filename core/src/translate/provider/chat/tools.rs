//! Tools and the choice among them, as chat has them.

use crate::translate::emit::Emit;
use crate::translate::loss::Weight;
use crate::translate::prompt::{Given, Tool, ToolChoice, ToolKind};
use crate::translate::provider::chat::request::Draft;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Members of a schema that only tell its reader which draft it is of: some servers' grammars
/// refuse them.
const LABELS: [&[u8]; 3] = [b"$schema", b"$id", b"$comment"];

/// Schema of a function that stands in for a free-text tool.
pub(crate) const FREE_TEXT: &[u8] =
    br#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;

pub(super) fn write(
    emit: &mut Emit<'_>,
    tools: Vec<Tool<'_>>,
    choice: Option<Given<'_, ToolChoice<'_>>>,
    parallel: Option<Given<'_, bool>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let (mut list, mut search) = (Vec::new(), None);
    for tool in &tools {
        self::tool(&mut Emit::new(&mut list), tool, &mut search, draft);
    }
    if let Some(raw) = search {
        web_search(emit, raw, draft);
    }
    if list.is_empty() {
        unused(choice, parallel, draft);
        return;
    }
    emit.name("tools").raw(b"[").raw_tail(&list);
    if let Some(given) = choice {
        write_choice(emit, given, draft);
    }
    if let Some(given) = parallel {
        emit.name("parallel_tool_calls").flag(given.value);
    }
}

/// Without tools there is nothing to choose: servers refuse the choice.
fn unused(
    choice: Option<Given<'_, ToolChoice<'_>>>,
    parallel: Option<Given<'_, bool>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let why = "there are no tools to choose from";
    if let Some(given) = choice {
        let weight = match given.value {
            ToolChoice::Auto | ToolChoice::None => Weight::Hint,
            _ => Weight::Parameter,
        };
        draft.losses.drop(weight, given.name(), why);
    }
    if let Some(given) = parallel {
        draft.losses.drop(Weight::Hint, given.name(), why);
    }
}

fn tool<'a>(
    emit: &mut Emit<'_>,
    tool: &Tool<'a>,
    search: &mut Option<Value<'a>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    if tool.cache.is_some() {
        cache_loss(tool.field, draft);
    }
    match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
            rest,
        } => {
            let name = draft.tool_name(name);
            emit.open().name("type").string("function");
            emit.name("function").open().name("name").text(&name);
            if let Some(text) = description {
                emit.name("description").text(text);
            }
            if let Some(schema) = schema {
                emit.name("parameters");
                unlabelled(emit, *schema);
            }
            if let Some(strict) = strict {
                emit.name("strict").flag(*strict);
            }
            emit.close().close();
            for given in rest {
                let why = "no such member of a tool";
                draft.losses.drop(Weight::Hint, given.name(), why);
            }
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            custom(emit, tool.field, name, description.as_ref(), *format, draft);
        }
        ToolKind::WebSearch { raw } if draft.is_openai() => *search = Some(*raw),
        ToolKind::WebSearch { .. } => {
            let field = format!("{}.web_search", tool.field);
            let why = "the server does not search the web";
            draft.losses.drop(Weight::Parameter, field, why);
        }
        ToolKind::Foreign { kind, .. } => {
            let field = format!("{}.{}", tool.field, kind.clear());
            draft.losses.drop(Weight::Parameter, field, "no such tool");
        }
    }
}

fn custom(
    emit: &mut Emit<'_>,
    field: &'static str,
    name: &Text<'_>,
    description: Option<&Text<'_>>,
    format: Option<Value<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let openai = draft.is_openai();
    let name = draft.tool_name(name);
    emit.open().name("type");
    emit.string(if openai { "custom" } else { "function" });
    emit.name(if openai { "custom" } else { "function" });
    emit.open().name("name").text(&name);
    if let Some(text) = description {
        emit.name("description").text(text);
    }
    if openai {
        if let Some(format) = format {
            emit.name("format").raw(format.raw);
        }
    } else {
        emit.name("parameters").raw(FREE_TEXT);
        let why = "a free-text tool became a function with the argument `input`";
        draft.losses.change(Weight::Hint, field, why);
        if format.is_some() {
            let why = "no grammar for arguments";
            let field = format!("{field}.format");
            draft.losses.drop(Weight::Hint, field, why);
        }
        draft.memo.custom_wrapped = true;
    }
    draft.memo.custom_tools.push(name.clear().into_owned());
    emit.close().close();
}

/// A schema without its labels.
pub(crate) fn unlabelled(emit: &mut Emit<'_>, schema: Value<'_>) {
    let is_label = |name: &[u8]| LABELS.contains(&name);
    if !schema.fields().any(|(name, _)| is_label(name)) {
        emit.raw(schema.raw);
        return;
    }
    emit.open();
    for (name, value) in schema.fields().filter(|(name, _)| !is_label(name)) {
        emit.name(&String::from_utf8_lossy(name)).raw(value.raw);
    }
    emit.close();
}

fn web_search(emit: &mut Emit<'_>, raw: Value<'_>, draft: &mut Draft<'_, '_, '_>) {
    emit.name("web_search_options").open();
    if let Some(place) = take::member(raw, "user_location") {
        emit.name("user_location").open();
        emit.name("type").string("approximate");
        emit.name("approximate").open();
        for (name, value) in take::members(place).filter(|(name, _)| *name != "type") {
            emit.name(name).raw(value.raw);
        }
        emit.close().close();
    }
    if let Some(size) = take::member(raw, "search_context_size") {
        emit.name("search_context_size").raw(size.raw);
    }
    emit.close();
    let settings = ["max_uses", "allowed_domains", "blocked_domains", "filters"];
    for name in settings
        .into_iter()
        .filter(|name| take::member(raw, name).is_some())
    {
        let why = "no such setting of the search";
        let field = format!("tools[].{name}");
        draft.losses.drop(Weight::Parameter, field, why);
    }
}

fn write_choice(
    emit: &mut Emit<'_>,
    given: Given<'_, ToolChoice<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let field = given.name();
    match given.value {
        ToolChoice::Auto => {
            emit.name("tool_choice").string("auto");
        }
        ToolChoice::None => {
            emit.name("tool_choice").string("none");
        }
        ToolChoice::Required => {
            emit.name("tool_choice").string("required");
        }
        ToolChoice::Tool(name) => {
            let name = draft.tool_name(&name);
            emit.name("tool_choice").open();
            emit.name("type").string("function");
            emit.name("function").open();
            emit.name("name").text(&name).close().close();
        }
        ToolChoice::Allowed(names, required) => {
            emit.name("tool_choice").open();
            emit.name("type").string("allowed_tools");
            emit.name("allowed_tools").open().name("mode");
            emit.string(if required { "required" } else { "auto" });
            emit.name("tools").open_list();
            for name in names {
                emit.open().name("type").string("function");
                emit.name("function").open();
                emit.name("name").text(&draft.tool_name(&name));
                emit.close().close();
            }
            emit.close_list().close().close();
        }
        ToolChoice::Foreign(_) => {
            let why = "no such choice of a tool";
            draft.losses.drop(Weight::Meaning, field, why);
        }
    }
}

/// Caching is the provider's own affair here.
pub(crate) fn cache_loss(field: &'static str, draft: &mut Draft<'_, '_, '_>) {
    // Where it stood: on a tool, or on a piece of a turn.
    let field = match field.starts_with("tools") {
        true => "tools[].cache_control",
        false => "messages[].content[].cache_control",
    };
    let why = "the provider caches by itself";
    draft.losses.drop(Weight::Hint, field, why);
}
