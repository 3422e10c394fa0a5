//! Tools as Converse's `toolConfig`, and the tool that stands in for structured output.

use super::content::Writer;
use super::family::Family;
use crate::translate::Emit;
use crate::translate::capability::{Capabilities, Flag};
use crate::translate::loss::{Refusal, Weight};
use crate::translate::prompt::{Given, Tool, ToolChoice, ToolKind};
use crate::translate::provider::schema;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Name of the tool that stands in for structured output: LiteLLM's.
pub(super) const FORMAT_TOOL: &str = "json_tool_call";

/// What the answer of a model is forced to be where it has no output format.
pub(super) struct FormatTool<'f, 'a> {
    pub(super) description: Option<&'f Text<'a>>,
    pub(super) schema: Value<'a>,
    /// Nothing else may be answered.
    pub(super) forced: bool,
}

/// What was decided on tools.
pub(super) struct Choice<'c, 'a> {
    /// Tools to declare.
    pub(super) tools: Vec<&'c Tool<'a>>,
    /// What to choose.
    pub(super) choice: Option<&'c Given<'a, ToolChoice<'a>>>,
    /// See [`FormatTool`].
    pub(super) format: Option<FormatTool<'c, 'a>>,
    /// Forced choices become `auto`: the model thinks.
    pub(super) thinks: bool,
    /// Free-text tools that were declared as functions.
    pub(super) custom: Vec<String>,
}

impl<'c, 'a> Choice<'c, 'a> {
    /// Which tools are declared: none where none may be called.
    pub(super) fn new(
        tools: &'c [Tool<'a>],
        choice: Option<&'c Given<'a, ToolChoice<'a>>>,
    ) -> Self {
        let declared = match choice.map(|given| &given.value) {
            Some(ToolChoice::None) => Vec::new(),
            Some(ToolChoice::Allowed(names, _)) => {
                let allowed = |tool: &&Tool<'_>| {
                    let name = name_of(&tool.kind);
                    names
                        .iter()
                        .any(|allowed| name.is_some_and(|name| name.is(&allowed.clear())))
                };
                tools.iter().filter(allowed).collect()
            }
            _ => tools.iter().collect(),
        };
        Self {
            tools: declared,
            choice,
            format: None,
            thinks: false,
            custom: Vec::new(),
        }
    }

    /// Whether there is a `toolConfig`.
    pub(super) fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.format.is_none()
    }

    /// The value of `toolConfig`.
    pub(super) fn write(
        &mut self,
        writer: &mut Writer<'_, '_>,
        capabilities: &Capabilities,
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        emit.open().name("tools").open_list();
        for tool in std::mem::take(&mut self.tools) {
            self.tool(tool, writer, capabilities, emit)?;
        }
        if let Some(format) = &self.format {
            emit.open().name("toolSpec").open();
            emit.name("name").string(FORMAT_TOOL);
            if let Some(text) = format.description.filter(|text| !text.is_empty()) {
                emit.name("description").text(text);
            }
            let schema = Some(format.schema);
            write_schema(schema, writer, "response_format.json_schema.schema", emit);
            emit.close().close();
        }
        emit.close_list();
        self.write_choice(writer, capabilities, emit);
        emit.close();
        Ok(())
    }

    fn tool(
        &mut self,
        tool: &Tool<'_>,
        writer: &mut Writer<'_, '_>,
        capabilities: &Capabilities,
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        match &tool.kind {
            ToolKind::Function {
                name,
                description,
                schema,
                strict,
                rest,
            } => {
                spec(name, description.as_ref(), writer, emit);
                write_schema(*schema, writer, tool.field, emit);
                if *strict == Some(true) {
                    if capabilities.can(Flag::BedrockNativeFormat) {
                        emit.name("strict").flag(true);
                    } else {
                        let why = "the model does not check arguments against the schema";
                        writer
                            .losses
                            .drop(Weight::Hint, "tools[].function.strict", why);
                    }
                }
                for given in rest {
                    let why = "Converse has no such member of a tool";
                    writer.losses.drop(Weight::Hint, given.name(), why);
                }
                emit.close().close();
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                spec(name, description.as_ref(), writer, emit);
                emit.name("inputSchema").open().name("json");
                emit.raw(schema::FREE_TEXT).close().close().close();
                self.custom.push(name.clear().into_owned());
                let why = "free text is told as a function with one string, its grammar is not";
                if format.is_some() {
                    writer.losses.change(Weight::Hint, tool.field, why);
                }
            }
            ToolKind::WebSearch { .. } if writer.family == Family::Nova => {
                emit.open().name("systemTool").open();
                emit.name("name").string("nova_grounding").close().close();
            }
            ToolKind::WebSearch { .. } => {
                let why = "Converse runs no search for this model";
                writer.losses.drop(Weight::Parameter, tool.field, why);
            }
            ToolKind::Foreign { kind, .. } => {
                let message = format!(
                    "'{}' of type '{}' is run by its own provider and not by Bedrock Converse",
                    tool.field,
                    kind.clear()
                );
                return Err(Refusal::new(tool.field, message));
            }
        }
        writer.cache_point(tool.cache, emit);
        Ok(())
    }

    fn write_choice(
        &self,
        writer: &mut Writer<'_, '_>,
        capabilities: &Capabilities,
        emit: &mut Emit<'_>,
    ) {
        if self.format.as_ref().is_some_and(|format| format.forced) && !self.thinks {
            emit.name("toolChoice").open().name("tool").open();
            emit.name("name").string(FORMAT_TOOL).close().close();
            return;
        }
        let Some(given) = self.choice else {
            return;
        };
        let forced = match &given.value {
            ToolChoice::Required | ToolChoice::Tool(_) | ToolChoice::Allowed(_, true) => true,
            ToolChoice::Auto | ToolChoice::None | ToolChoice::Allowed(_, false) => false,
            ToolChoice::Foreign(_) => {
                let why = "Converse knows auto, any and one tool";
                writer.losses.drop(Weight::Meaning, given.name(), why);
                return;
            }
        };
        if matches!(given.value, ToolChoice::None) {
            return;
        }
        if forced && (self.thinks || capabilities.cannot(Flag::ForcedTools)) {
            let why = "the model takes no forced tool here: it chooses by itself";
            writer.losses.change(Weight::Parameter, given.name(), why);
            emit.name("toolChoice").open().name("auto").open();
            emit.close().close();
            return;
        }
        emit.name("toolChoice").open();
        match &given.value {
            ToolChoice::Tool(name) => {
                let name = writer.names.sent(name);
                emit.name("tool").open().name("name").text(&name).close();
            }
            _ if forced => {
                emit.name("any").open().close();
            }
            _ => {
                emit.name("auto").open().close();
            }
        }
        emit.close();
    }
}

/// Opens a `toolSpec`, up to its schema.
fn spec(
    name: &Text<'_>,
    description: Option<&Text<'_>>,
    writer: &mut Writer<'_, '_>,
    emit: &mut Emit<'_>,
) {
    emit.open().name("toolSpec").open();
    emit.name("name").text(&writer.names.sent(name));
    if let Some(text) = description.filter(|text| !text.is_empty()) {
        emit.name("description").text(text);
    }
}

fn write_schema(
    schema: Option<Value<'_>>,
    writer: &mut Writer<'_, '_>,
    field: &'static str,
    emit: &mut Emit<'_>,
) {
    emit.name("inputSchema").open().name("json");
    match schema {
        None => {
            emit.raw(schema::NO_ARGUMENTS);
        }
        Some(schema) if writer.family == Family::Nova => {
            let (clean, changed) = schema::cleaned(schema, schema::Rules::Nova);
            if changed {
                let why = "keywords of the schema that the model refuses are left out";
                writer.losses.change(Weight::Hint, field, why);
            }
            emit.raw(&clean);
        }
        Some(schema) => {
            emit.raw(schema.raw);
        }
    }
    emit.close();
}

/// Name of a tool that has one.
pub(in crate::translate::provider) fn name_of<'t, 'a>(
    kind: &'t ToolKind<'a>,
) -> Option<&'t Text<'a>> {
    match kind {
        ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => Some(name),
        ToolKind::WebSearch { .. } | ToolKind::Foreign { .. } => None,
    }
}
