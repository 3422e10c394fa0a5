//! Tools and the choice among them, as Responses has them.

use crate::translate::emit::Emit;
use crate::translate::loss::Weight;
use crate::translate::prompt::{Given, Tool, ToolChoice, ToolKind};
use crate::translate::provider::chat::request::Draft;
use crate::translate::provider::chat::tools::{cache_loss, unlabelled};
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Schema of a function that takes nothing: here a schema must be told.
const NO_ARGUMENTS: &[u8] = br#"{"type":"object","properties":{}}"#;

pub(super) fn write(
    emit: &mut Emit<'_>,
    tools: Vec<Tool<'_>>,
    search: Option<Value<'_>>,
    choice: Option<Given<'_, ToolChoice<'_>>>,
    parallel: Option<Given<'_, bool>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let mut list = Vec::new();
    for tool in &tools {
        self::tool(&mut Emit::new(&mut list), tool, draft);
    }
    if let Some(raw) = search {
        web_search(&mut Emit::new(&mut list), raw, draft);
    }
    let why = "there are no tools to choose from";
    if list.is_empty() {
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
        return;
    }
    emit.name("tools").raw(b"[").raw_tail(&list);
    if let Some(given) = choice {
        write_choice(emit, given, &tools, draft);
    }
    if let Some(given) = parallel {
        emit.name("parallel_tool_calls").flag(given.value);
    }
}

fn tool(emit: &mut Emit<'_>, tool: &Tool<'_>, draft: &mut Draft<'_, '_, '_>) {
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
            emit.name("name").text(&name);
            if let Some(text) = description {
                emit.name("description").text(text);
            }
            emit.name("parameters");
            match schema {
                Some(schema) => unlabelled(emit, *schema),
                None => {
                    emit.raw(NO_ARGUMENTS);
                }
            }
            // Left out, it would be true here and false everywhere else.
            emit.name("strict").flag(strict.unwrap_or(false)).close();
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
            let name = draft.tool_name(name);
            emit.open().name("type").string("custom");
            emit.name("name").text(&name);
            if let Some(text) = description {
                emit.name("description").text(text);
            }
            if let Some(format) = format {
                emit.name("format");
                flat_format(emit, *format);
            }
            emit.close();
            draft.memo.custom_tools.push(name.clear().into_owned());
        }
        ToolKind::WebSearch { raw } => web_search(emit, *raw, draft),
        ToolKind::Foreign { kind, .. } => {
            let field = format!("{}.{}", tool.field, kind.clear());
            draft.losses.drop(Weight::Parameter, field, "no such tool");
        }
    }
}

/// Chat nests a grammar in `grammar`, Responses does not.
fn flat_format(emit: &mut Emit<'_>, format: Value<'_>) {
    let Some(grammar) = take::member(format, "grammar") else {
        emit.raw(format.raw);
        return;
    };
    emit.open().name("type").string("grammar");
    for (name, value) in take::members(grammar) {
        emit.name(name).raw(value.raw);
    }
    emit.close();
}

fn web_search(emit: &mut Emit<'_>, raw: Value<'_>, draft: &mut Draft<'_, '_, '_>) {
    emit.open().name("type").string("web_search");
    if let Some(place) = take::member(raw, "user_location") {
        let inner = take::member(place, "approximate").unwrap_or(place);
        emit.name("user_location").open();
        emit.name("type").string("approximate");
        for (name, value) in take::members(inner).filter(|(name, _)| *name != "type") {
            emit.name(name).raw(value.raw);
        }
        emit.close();
    }
    if let Some(size) = take::member(raw, "search_context_size") {
        emit.name("search_context_size").raw(size.raw);
    }
    if let Some(domains) = take::member(raw, "allowed_domains") {
        emit.name("filters").open();
        emit.name("allowed_domains").raw(domains.raw).close();
    }
    emit.close();
    for name in ["max_uses", "blocked_domains"] {
        if take::member(raw, name).is_some() {
            let field = format!("tools[].{name}");
            let why = "no such setting of the search";
            draft.losses.drop(Weight::Parameter, field, why);
        }
    }
}

fn write_choice(
    emit: &mut Emit<'_>,
    given: Given<'_, ToolChoice<'_>>,
    tools: &[Tool<'_>],
    draft: &mut Draft<'_, '_, '_>,
) {
    let field = given.name();
    let word = match &given.value {
        ToolChoice::Auto => "auto",
        ToolChoice::None => "none",
        ToolChoice::Required => "required",
        _ => "",
    };
    if !word.is_empty() {
        emit.name("tool_choice").string(word);
        return;
    }
    match given.value {
        ToolChoice::Tool(name) => {
            emit.name("tool_choice");
            chosen(emit, &name, tools, draft);
        }
        ToolChoice::Allowed(names, required) => {
            emit.name("tool_choice").open();
            emit.name("type").string("allowed_tools").name("mode");
            emit.string(if required { "required" } else { "auto" });
            emit.name("tools").open_list();
            for name in names {
                chosen(emit, &name, tools, draft);
            }
            emit.close_list().close();
        }
        _ => {
            let why = "no such choice of a tool";
            draft.losses.drop(Weight::Meaning, field, why);
        }
    }
}

fn chosen(emit: &mut Emit<'_>, name: &Text<'_>, tools: &[Tool<'_>], draft: &mut Draft<'_, '_, '_>) {
    let clear = name.clear();
    let is_custom = |tool: &Tool<'_>| match &tool.kind {
        ToolKind::Custom { name, .. } => name.is(&clear),
        _ => false,
    };
    let custom = tools.iter().any(is_custom);
    let name = draft.tool_name(name);
    emit.open().name("type");
    emit.string(if custom { "custom" } else { "function" });
    emit.name("name").text(&name).close();
}
