//! Tools as Gemini's function declarations.

use crate::translate::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Given, Tool, ToolChoice, ToolKind};
use crate::translate::provider::names::ToolNames;
use crate::translate::provider::schema;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Writes `tools` and `toolConfig`; returns the free-text tools that were declared as functions.
pub(super) fn write(
    tools: &[Tool<'_>],
    choice: Option<&Given<'_, ToolChoice<'_>>>,
    search: Option<&Given<'_, Value<'_>>>,
    names: &mut ToolNames,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) -> Result<Vec<String>, Refusal> {
    let mut custom = Vec::new();
    let mut bytes = Vec::new();
    let mut functions = Emit::new(&mut bytes);
    let mut searches = search.is_some();
    for tool in tools {
        if tool.cache.is_some() {
            let why = "Gemini caches by itself";
            losses.drop(Weight::Hint, "cache_control", why);
        }
        match &tool.kind {
            ToolKind::WebSearch { .. } => searches = true,
            ToolKind::Foreign { kind, .. } => {
                let message = format!(
                    "'{}' of type '{}' is run by its own provider and not by Gemini",
                    tool.field,
                    kind.clear()
                );
                return Err(Refusal::new(tool.field, message));
            }
            ToolKind::Custom { name, format, .. } => {
                custom.push(name.clear().into_owned());
                if format.is_some() {
                    let why = "free text is told as a function with one string, its grammar is not";
                    losses.change(Weight::Hint, tool.field, why);
                }
                function(tool, names, losses, &mut functions);
            }
            ToolKind::Function { .. } => function(tool, names, losses, &mut functions),
        }
    }
    let has_functions = !bytes.is_empty();
    if searches && has_functions {
        let why = "Gemini does not search beside functions";
        losses.drop(Weight::Parameter, "tools[].web_search", why);
        searches = false;
    }
    if !has_functions && !searches {
        return Ok(custom);
    }
    emit.name("tools").open_list().open();
    if has_functions {
        emit.name("functionDeclarations").open_list();
        emit.raw(&bytes).close_list();
    }
    if searches {
        emit.name("googleSearch").open().close();
    }
    emit.close().close_list();
    if let (Some(choice), true) = (choice, has_functions) {
        write_choice(choice, names, losses, emit);
    }
    Ok(custom)
}

fn function(tool: &Tool<'_>, names: &mut ToolNames, losses: &mut Losses<'_>, emit: &mut Emit<'_>) {
    let (name, description) = match &tool.kind {
        ToolKind::Function {
            name, description, ..
        }
        | ToolKind::Custom {
            name, description, ..
        } => (name, description),
        ToolKind::WebSearch { .. } | ToolKind::Foreign { .. } => return,
    };
    emit.open().name("name").text(&names.sent(name));
    if let Some(text) = description.as_ref().filter(|text| !text.is_empty()) {
        emit.name("description").text(text);
    }
    match &tool.kind {
        ToolKind::Function {
            schema,
            strict,
            rest,
            ..
        } => {
            if let Some(schema) = schema.filter(|schema| !schema::is_empty_object(*schema)) {
                let (clean, changed) = schema::cleaned(schema, schema::Rules::Gemini);
                emit.name("parametersJsonSchema").raw(&clean);
                if changed {
                    let why = "keywords of the schema that Gemini does not know are left out";
                    losses.change(Weight::Hint, "tools[].function.parameters", why);
                }
            }
            if *strict == Some(true) {
                let why = "Gemini has no strict functions";
                losses.drop(Weight::Hint, "tools[].function.strict", why);
            }
            for given in rest {
                let why = "Gemini has no such member of a tool";
                losses.drop(Weight::Hint, given.name(), why);
            }
        }
        _ => {
            emit.name("parametersJsonSchema").raw(schema::FREE_TEXT);
        }
    }
    emit.close();
}

fn write_choice(
    given: &Given<'_, ToolChoice<'_>>,
    names: &mut ToolNames,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let one;
    let (mode, only): (&str, &[Text<'_>]) = match &given.value {
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::None => ("NONE", &[]),
        ToolChoice::Required => ("ANY", &[]),
        ToolChoice::Tool(name) => {
            one = [name.borrowed()];
            ("ANY", &one)
        }
        ToolChoice::Allowed(names, true) => ("ANY", names),
        // Names go with ANY and VALIDATED alone; the latter leaves the choice to the model.
        ToolChoice::Allowed(names, false) => ("VALIDATED", names),
        ToolChoice::Foreign(_) => {
            let why = "Gemini knows auto, none, any and names";
            losses.drop(Weight::Meaning, given.name(), why);
            return;
        }
    };
    emit.name("toolConfig").open();
    emit.name("functionCallingConfig").open();
    emit.name("mode").string(mode);
    if !only.is_empty() {
        emit.name("allowedFunctionNames").open_list();
        for name in only {
            emit.text(&names.sent(name));
        }
        emit.close_list();
    }
    emit.close().close();
}
