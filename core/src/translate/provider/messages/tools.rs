//! Tools, the choice among them and the shape of the text, as Anthropic has them.

use std::collections::BTreeSet;

use crate::translate::capability::Flag;
use crate::translate::dialect::Platform;
use crate::translate::emit::Emit;
use crate::translate::loss::{Refusal, Weight};
use crate::translate::prompt::{Format, Given, PartKind, Tool, ToolChoice, ToolKind, Turn};
use crate::translate::provider::messages::request::Draft;
use crate::translate::schema;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Name of the tool that stands in for structured output, LiteLLM's.
const FORMAT_TOOL: &str = "json_tool_call";

/// Schema of a function that has none, or takes nothing.
const NO_ARGUMENTS: &[u8] = br#"{"type":"object","properties":{}}"#;

/// Schema of a function that stands in for a free-text tool.
const FREE_TEXT: &[u8] =
    br#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;

/// Everything of a prompt that ends up in `tools`, `tool_choice` and `output_config`.
pub(super) struct Set<'a> {
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Option<Given<'a, ToolChoice<'a>>>,
    pub(super) parallel: Option<Given<'a, bool>>,
    pub(super) format: Option<Given<'a, Format<'a>>>,
    /// With a thinking budget no tool can be forced.
    pub(super) thinks: bool,
    pub(super) search: Option<Given<'a, Value<'a>>>,
}

/// What the set asks of the rest of the request.
#[derive(Default)]
pub(super) struct Shaped {
    /// A system text.
    pub(super) instruction: Option<&'static str>,
}

impl<'a> Set<'a> {
    pub(super) fn write(
        mut self,
        emit: &mut Emit<'_>,
        turns: &[Turn<'_>],
        effort: Option<String>,
        draft: &mut Draft<'_, '_, '_>,
    ) -> Result<Shaped, Refusal> {
        let mut shaped = Shaped::default();
        let format = self.format.take();
        let native = draft.context.capabilities.can(Flag::NativeFormat)
            && draft.context.platform != Platform::BedrockInvoke;
        let mut stand_in = None;
        let mut schema_out = None;
        match format.as_ref().map(|given| &given.value) {
            Some(Format::JsonObject) => {
                let why = "no JSON mode: an instruction asks for it";
                let name = format.as_ref().map(Given::name).unwrap_or_default();
                draft.losses.change(Weight::Hint, name, why);
                shaped.instruction =
                    Some("Respond with a single valid JSON object and nothing else.");
            }
            Some(Format::JsonSchema { schema, .. }) if native => schema_out = Some(*schema),
            Some(Format::JsonSchema {
                schema,
                description,
                ..
            }) => {
                stand_in = Some((*schema, description.clone()));
            }
            Some(Format::Foreign(_)) => {
                let name = format.as_ref().map(Given::name).unwrap_or_default();
                draft.losses.drop(Weight::Parameter, name, "no such shape");
            }
            Some(Format::Text) | None => {}
        }
        output_config(emit, schema_out, effort, &format, draft);
        self.keep_allowed();
        self.write_tools(emit, turns, stand_in, draft)?;
        Ok(shaped)
    }

    /// `allowed_tools`: only these are told.
    fn keep_allowed(&mut self) {
        let Some(given) = &mut self.choice else {
            return;
        };
        let ToolChoice::Allowed(names, required) = &given.value else {
            return;
        };
        let allowed: BTreeSet<_> = names.iter().map(|name| name.clear().into_owned()).collect();
        self.tools.retain(|tool| match &tool.kind {
            ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => {
                allowed.contains(&*name.clear())
            }
            _ => false,
        });
        given.value = match required {
            true => ToolChoice::Required,
            false => ToolChoice::Auto,
        };
    }

    fn write_tools(
        self,
        emit: &mut Emit<'_>,
        turns: &[Turn<'_>],
        stand_in: Option<(Value<'a>, Option<Text<'a>>)>,
        draft: &mut Draft<'_, '_, '_>,
    ) -> Result<(), Refusal> {
        let mut list = Vec::new();
        let mut inner = Emit::new(&mut list);
        for each in &self.tools {
            tool(&mut inner, each, draft);
        }
        if let Some(search) = &self.search {
            web_search(&mut inner, search.value, &search.field, draft);
        }
        let has_own = !list.is_empty();
        let mut inner = Emit::new(&mut list);
        let has_stand_in = stand_in.is_some();
        if let Some((schema, description)) = stand_in {
            draft.memo.format_tool = Some(FORMAT_TOOL.to_owned());
            inner.open().name("name").string(FORMAT_TOOL);
            if let Some(text) = description {
                inner.name("description").text(&text);
            }
            inner.name("input_schema");
            object_schema(&mut inner, schema);
            inner.close();
        }
        let mut forbids = false;
        if list.is_empty() {
            forbids = remembered(&mut Emit::new(&mut list), turns, draft);
        }
        if list.is_empty() {
            return Ok(());
        }
        emit.name("tools").raw(b"[").raw_tail(&list);
        self.write_choice(emit, has_own, has_stand_in, forbids, draft);
        Ok(())
    }

    fn write_choice(
        &self,
        emit: &mut Emit<'_>,
        has_own: bool,
        has_stand_in: bool,
        forbids: bool,
        draft: &mut Draft<'_, '_, '_>,
    ) {
        let can_force = !self.thinks && !draft.context.capabilities.cannot(Flag::ForcedTools);
        let mut name = None;
        let kind = match self.choice.as_ref().map(|given| &given.value) {
            _ if forbids => Some("none"),
            Some(ToolChoice::None) if has_stand_in => forced(can_force, &mut name),
            Some(ToolChoice::None) => Some("none"),
            Some(ToolChoice::Auto) | None if has_stand_in && !has_own => {
                forced(can_force, &mut name)
            }
            // One of the tools or the stand-in for the answer.
            Some(ToolChoice::Auto) | None if has_stand_in && can_force => Some("any"),
            Some(ToolChoice::Auto) => Some("auto"),
            Some(ToolChoice::Required | ToolChoice::Tool(_)) if !can_force => {
                let why = "the model cannot be made to call a tool: it may";
                let field = self.choice.as_ref().map(Given::name).unwrap_or_default();
                draft.losses.change(Weight::Parameter, field, why);
                Some("auto")
            }
            Some(ToolChoice::Required) => Some("any"),
            Some(ToolChoice::Tool(tool)) => {
                name = Some(draft.tool_name(tool).into_owned());
                Some("tool")
            }
            Some(ToolChoice::Foreign(_) | ToolChoice::Allowed(..)) => {
                let field = self.choice.as_ref().map(Given::name).unwrap_or_default();
                draft
                    .losses
                    .drop(Weight::Meaning, field, "no such choice of a tool");
                None
            }
            None => None,
        };
        let single = self.parallel.as_ref().is_some_and(|given| !given.value);
        let kind = kind.or(single.then_some("auto"));
        let Some(kind) = kind else {
            return;
        };
        emit.name("tool_choice").open().name("type").string(kind);
        if let Some(name) = &name {
            emit.name("name").text(name);
        }
        if single && kind != "none" {
            emit.name("disable_parallel_tool_use").flag(true);
        }
        emit.close();
    }
}

fn forced(can_force: bool, name: &mut Option<Text<'static>>) -> Option<&'static str> {
    if !can_force {
        return Some("auto");
    }
    *name = Some(Text::plain(FORMAT_TOOL));
    Some("tool")
}

fn output_config(
    emit: &mut Emit<'_>,
    schema: Option<Value<'_>>,
    effort: Option<String>,
    format: &Option<Given<'_, Format<'_>>>,
    draft: &mut Draft<'_, '_, '_>,
) {
    if schema.is_none() && effort.is_none() {
        return;
    }
    emit.name("output_config").open();
    if let Some(effort) = effort {
        emit.name("effort").string(&effort);
    }
    if let Some(value) = schema {
        draft.beta("structured-outputs-2025-11-13");
        emit.name("format")
            .open()
            .name("type")
            .string("json_schema");
        let mut strict = Vec::new();
        if schema::for_anthropic(value, &mut strict) {
            let why = "keywords that Anthropic's schemas do not have were left out";
            let field = match format {
                Some(given) => format!("{}.schema", given.field),
                None => "schema".to_owned(),
            };
            draft.losses.change(Weight::Hint, field, why);
        }
        emit.name("schema").raw(&strict).close();
    }
    emit.close();
}

fn tool(emit: &mut Emit<'_>, tool: &Tool<'_>, draft: &mut Draft<'_, '_, '_>) {
    match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
            rest,
        } => {
            emit.open().name("name").text(&draft.tool_name(name));
            if let Some(text) = description {
                emit.name("description").text(text);
            }
            emit.name("input_schema");
            match schema {
                Some(schema) => object_schema(emit, *schema),
                None => {
                    emit.raw(NO_ARGUMENTS);
                }
            }
            function_losses(tool.field, *strict, rest, draft);
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            let name = draft.tool_name(name);
            emit.open().name("name").text(&name);
            if let Some(text) = description {
                emit.name("description").text(text);
            }
            emit.name("input_schema").raw(FREE_TEXT);
            draft.memo.custom_tools.push(name.clear().into_owned());
            draft.memo.custom_wrapped = true;
            let why = "a free-text tool became a function with the argument `input`";
            draft.losses.change(Weight::Hint, tool.field, why);
            if format.is_some() {
                let why = "no grammar for arguments";
                draft
                    .losses
                    .drop(Weight::Hint, format!("{}.format", tool.field), why);
            }
        }
        ToolKind::WebSearch { raw } => {
            web_search(emit, *raw, tool.field, draft);
            return;
        }
        ToolKind::Foreign { kind, raw } => {
            if is_dated(&kind.clear()) {
                emit.raw(raw.raw);
            } else {
                let field = format!("{}.{}", tool.field, kind.clear());
                draft.losses.drop(Weight::Parameter, field, "no such tool");
            }
            return;
        }
    }
    if let Some(cache) = tool.cache {
        emit.name("cache_control").raw(cache.raw);
    }
    emit.close();
}

/// What of a function has no place here.
fn function_losses(
    field: &str,
    strict: Option<bool>,
    rest: &[Given<'_, Value<'_>>],
    draft: &mut Draft<'_, '_, '_>,
) {
    if strict == Some(true) {
        let why = "arguments are not held to the schema";
        let field = format!("{field}.strict");
        draft.losses.drop(Weight::Hint, field, why);
    }
    for given in rest {
        let why = "no such member of a tool";
        draft.losses.drop(Weight::Hint, given.name(), why);
    }
}

/// Anthropic's own tools carry the date of their version: `computer_20250124`.
fn is_dated(kind: &str) -> bool {
    let date = kind.rsplit('_').next().unwrap_or_default();
    date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())
}

fn web_search(emit: &mut Emit<'_>, raw: Value<'_>, field: &str, draft: &mut Draft<'_, '_, '_>) {
    let platform = draft.context.platform;
    if is_dated(&String::from_utf8_lossy(take::kind_of(raw))) {
        emit.raw(raw.raw);
        return;
    }
    if matches!(platform, Platform::BedrockInvoke) {
        let why = "the platform does not search the web";
        draft.losses.drop(Weight::Parameter, field.to_owned(), why);
        return;
    }
    emit.open().name("type").string("web_search_20250305");
    emit.name("name").string("web_search");
    let place = take::member(raw, "user_location");
    if let Some(place) = place {
        // Chat nests the place in `approximate`, the others do not.
        let inner = take::member(place, "approximate").unwrap_or(place);
        emit.name("user_location").open();
        emit.name("type").string("approximate");
        for (name, value) in take::members(inner) {
            if matches!(name, "city" | "region" | "country" | "timezone") {
                emit.name(name).raw(value.raw);
            }
        }
        emit.close();
    }
    let filters = take::member(raw, "filters");
    if let Some(domains) = filters.and_then(|filters| take::member(filters, "allowed_domains")) {
        emit.name("allowed_domains").raw(domains.raw);
    }
    if take::member(raw, "search_context_size").is_some() {
        let field = format!("{field}.search_context_size");
        draft
            .losses
            .drop(Weight::Hint, field, "no such setting of the search");
    }
    emit.close();
}

/// A schema of arguments must be of an object, and say so.
fn object_schema(emit: &mut Emit<'_>, schema: Value<'_>) {
    if take::member(schema, "type").is_some() {
        emit.raw(schema.raw);
        return;
    }
    emit.open().name("type").string("object");
    let mut has_properties = false;
    for (name, value) in schema.fields() {
        has_properties |= name == b"properties";
        emit.name(&String::from_utf8_lossy(name)).raw(value.raw);
    }
    if !has_properties {
        emit.name("properties").open().close();
    }
    emit.close();
}

/// Tools that earlier turns called, for a request that tells none: Anthropic refuses calls of
/// unknown tools. They must not be called again.
fn remembered(emit: &mut Emit<'_>, turns: &[Turn<'_>], draft: &mut Draft<'_, '_, '_>) -> bool {
    let mut names = BTreeSet::new();
    for part in turns.iter().flat_map(|turn| &turn.parts) {
        if let PartKind::Call { name, .. } = &part.kind {
            names.insert(draft.tool_name(name).clear().into_owned());
        }
    }
    for name in &names {
        emit.open().name("name").string(name);
        emit.name("input_schema").raw(NO_ARGUMENTS).close();
    }
    if !names.is_empty() {
        let why = "earlier calls need their tools to be told: they were, and are not to be called";
        draft.losses.change(Weight::Hint, "tools", why);
    }
    !names.is_empty()
}
