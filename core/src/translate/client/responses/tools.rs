//! Tools of a Responses request, and names of those in a namespace.

use crate::translate::loss::Refusal;
use crate::translate::prompt::{Tool, ToolChoice, ToolKind};
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value, whole};

/// Between a namespace and a name where there are no namespaces.
const JOINT: &str = "__";

/// A namespaced name for providers that have none.
pub(crate) fn flat_name<'a>(namespace: Option<&Text<'a>>, name: Text<'a>) -> Text<'a> {
    match namespace {
        None => name,
        Some(space) => Text::plain(format!("{}{JOINT}{}", space.clear(), name.clear())),
    }
}

/// Namespace and name of a flat name, if a tool of the request has it. `echo` holds the request's
/// tools.
pub(super) fn namespaced(echo: &str, flat: &str) -> Option<(String, String)> {
    // Most names have no joint: no look at the tools then.
    flat.contains(JOINT).then_some(())?;
    let object = format!("{{{echo}}}");
    let tools = whole(object.as_bytes()).ok()?.field(b"tools")?;
    for tool in tools.items() {
        if take::kind_of(tool) != b"namespace" {
            continue;
        }
        let space = tool.field(b"name")?.text()?;
        let Some(name) = flat
            .strip_prefix(&*space)
            .and_then(|rest| rest.strip_prefix(JOINT))
        else {
            continue;
        };
        let mut names = tool.field(b"tools")?.items();
        if names.any(|tool| named(tool, name)) {
            return Some((space.into_owned(), name.to_owned()));
        }
    }
    None
}

fn named(tool: Value<'_>, name: &str) -> bool {
    let own = tool.field(b"name").and_then(Value::text);
    own.is_some_and(|own| own == name)
}

pub(super) fn read<'a>(value: Value<'a>, tools: &mut Vec<Tool<'a>>) -> Result<(), Refusal> {
    let value = take::object(value, "tools[]")?;
    if take::kind_of(value) != b"namespace" {
        tools.push(tool(value, None)?);
        return Ok(());
    }
    let space = take::needed(value, "name", "tools[].name")?;
    let inner = take::member(value, "tools");
    for each in inner.into_iter().flat_map(Value::items) {
        tools.push(tool(each, Some(&space))?);
    }
    Ok(())
}

fn tool<'a>(value: Value<'a>, space: Option<&Text<'a>>) -> Result<Tool<'a>, Refusal> {
    let field = "tools[]";
    let text = |name: &str| take::text_member(value, name, "tools[].description");
    let strict = take::member(value, "strict");
    let name = |value| take::needed(value, "name", "tools[].name");
    let kind = match take::kind_of(value) {
        b"function" => ToolKind::Function {
            name: flat_name(space, name(value)?),
            description: text("description")?,
            schema: take::member(value, "parameters")
                .map(|schema| take::object(schema, "tools[].parameters"))
                .transpose()?,
            strict: strict
                .map(|strict| take::flag(strict, "tools[].strict"))
                .transpose()?,
            rest: Vec::new(),
        },
        b"custom" => ToolKind::Custom {
            name: flat_name(space, name(value)?),
            description: text("description")?,
            format: take::member(value, "format"),
        },
        kind if kind.starts_with(b"web_search") => ToolKind::WebSearch { raw: value },
        kind => ToolKind::Foreign {
            kind: Text::Escaped(kind.into()),
            raw: value,
        },
    };
    Ok(Tool {
        kind,
        cache: None,
        field,
    })
}

pub(super) fn choice(value: Value<'_>) -> Result<ToolChoice<'_>, Refusal> {
    if let Kind::String(_) = value.kind {
        return Ok(match value.inner().unwrap_or_default() {
            b"auto" => ToolChoice::Auto,
            b"none" => ToolChoice::None,
            b"required" => ToolChoice::Required,
            _ => ToolChoice::Foreign(value),
        });
    }
    let value = take::object(value, "tool_choice")?;
    let flat = |value: Value<'_>| -> Result<Text<'static>, Refusal> {
        let space = take::text_member(value, "namespace", "tool_choice.namespace")?;
        let name = take::needed(value, "name", "tool_choice.name")?;
        Ok(flat_name(space.as_ref(), name).into_owned())
    };
    match take::kind_of(value) {
        b"function" | b"custom" => Ok(ToolChoice::Tool(flat(value)?)),
        b"allowed_tools" => {
            let mode = take::text_member(value, "mode", "tool_choice.mode")?;
            let tools = take::member(value, "tools").into_iter();
            let names = tools.flat_map(Value::items).map(flat);
            let names = names.collect::<Result<Vec<_>, _>>()?;
            let required = mode.is_some_and(|mode| mode.is("required"));
            Ok(ToolChoice::Allowed(names, required))
        }
        _ => Ok(ToolChoice::Foreign(value)),
    }
}
