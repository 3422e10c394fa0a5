//! Anthropic's content blocks read as pieces of turns.

use std::borrow::Cow;

use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Arguments, Part, PartKind, Proof, Source};
use crate::translate::proof;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value};

/// Text or a list of blocks.
pub(super) fn content<'a>(
    content: Value<'a>,
    field: &'static str,
    parts: &mut Vec<Part<'a>>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    if let Some(text) = Text::of(content) {
        let citations = None;
        parts.push(Part::new(field, PartKind::Text { text, citations }));
        return Ok(());
    }
    if content.kind != Kind::Array {
        return Err(Refusal::wrong(field, "a string or a list"));
    }
    for each in content.items() {
        parts.push(block(take::object(each, field)?, losses)?);
    }
    Ok(())
}

fn block<'a>(value: Value<'a>, losses: &mut Losses<'_>) -> Result<Part<'a>, Refusal> {
    let (field, kind) = match take::kind_of(value) {
        b"text" => {
            let field = "messages[].content[].text";
            let text = take::needed(value, "text", field)?;
            let citations = take::member(value, "citations");
            (field, PartKind::Text { text, citations })
        }
        b"image" => {
            let field = "messages[].content[].image";
            let source = source(value, field)?;
            let detail = None;
            (field, PartKind::Image { source, detail })
        }
        b"document" => {
            let field = "messages[].content[].document";
            let kind = PartKind::Document {
                source: source(value, field)?,
                title: take::text_member(value, "title", field)?,
                context: take::text_member(value, "context", field)?,
                citations: take::member(value, "citations"),
            };
            (field, kind)
        }
        b"search_result" => ("messages[].content[].search_result", search_result(value)?),
        b"thinking" => {
            let field = "messages[].content[].thinking";
            let text = take::text_member(value, "thinking", field)?;
            let signature = take::text_member(value, "signature", field)?;
            let kind = PartKind::Thinking {
                text: text.unwrap_or_else(|| Text::plain("")),
                proof: signature.map_or(Proof::None, proof::of_signature),
            };
            (field, kind)
        }
        b"redacted_thinking" => {
            let field = "messages[].content[].redacted_thinking";
            let kind = PartKind::Thinking {
                text: Text::plain(""),
                proof: Proof::Redacted(take::needed(value, "data", field)?),
            };
            (field, kind)
        }
        b"tool_use" => ("messages[].content[].tool_use", call(value)?),
        b"tool_result" => ("messages[].content[].tool_result", result(value, losses)?),
        kind => {
            let kind = Text::Escaped(kind.into());
            let raw = value;
            ("messages[].content[]", PartKind::Foreign { kind, raw })
        }
    };
    let mut part = Part::new(field, kind);
    part.cache = take::member(value, "cache_control");
    Ok(part)
}

fn call(value: Value<'_>) -> Result<PartKind<'_>, Refusal> {
    let field = "messages[].content[].tool_use";
    let id = take::needed(value, "id", "messages[].content[].tool_use.id")?;
    let (id, signature) = proof::split_id(id);
    let arguments = match take::member(value, "input") {
        None => Cow::Borrowed(&b"{}"[..]),
        Some(input) => Cow::Borrowed(take::object(input, field)?.raw),
    };
    Ok(PartKind::Call {
        id,
        name: take::needed(value, "name", "messages[].content[].tool_use.name")?,
        arguments: Arguments::Object(arguments),
        signature,
    })
}

fn result<'a>(value: Value<'a>, losses: &mut Losses<'_>) -> Result<PartKind<'a>, Refusal> {
    let field = "messages[].content[].tool_result";
    let id = take::needed(value, "tool_use_id", "messages[].content[].tool_use_id")?;
    let mut parts = Vec::new();
    if let Some(inner) = take::member(value, "content") {
        content(inner, field, &mut parts, losses)?;
    }
    let failed = take::member(value, "is_error");
    Ok(PartKind::Result {
        id: proof::split_id(id).0,
        parts,
        is_error: failed.is_some_and(|failed| failed.raw == b"true"),
    })
}

/// What a search found is a document with a text and an address.
fn search_result(value: Value<'_>) -> Result<PartKind<'_>, Refusal> {
    let field = "messages[].content[].search_result";
    let mut text = Vec::new();
    let content = take::member(value, "content");
    for block in content.into_iter().flat_map(Value::items) {
        let Some(Text::Escaped(inner)) = block.field(b"text").and_then(Text::of) else {
            continue;
        };
        if !text.is_empty() {
            text.extend_from_slice(b"\\n");
        }
        text.extend_from_slice(&inner);
    }
    Ok(PartKind::Document {
        source: Source::Text(Text::Escaped(Cow::Owned(text))),
        title: take::text_member(value, "title", field)?,
        context: take::text_member(value, "source", field)?,
        citations: take::member(value, "citations"),
    })
}

fn source<'a>(value: Value<'a>, field: &str) -> Result<Source<'a>, Refusal> {
    let inner = take::member(value, "source");
    let inner = inner.ok_or_else(|| Refusal::wrong(format!("{field}.source"), "an object"))?;
    Ok(match take::kind_of(inner) {
        b"base64" => Source::Base64 {
            media: take::needed(inner, "media_type", field)?,
            data: take::needed(inner, "data", field)?,
        },
        b"url" => Source::Url(take::needed(inner, "url", field)?),
        b"file" => Source::File(take::needed(inner, "file_id", field)?),
        b"text" => Source::Text(take::needed(inner, "data", field)?),
        b"content" => Source::Text(joined(inner)),
        kind => {
            let kind = String::from_utf8_lossy(kind).into_owned();
            let field = format!("{field}.source.type");
            let message = format!("'{field}' has an unknown value: '{kind}'");
            return Err(Refusal::new(field, message));
        }
    })
}

/// The texts of a document given as blocks.
fn joined(source: Value<'_>) -> Text<'_> {
    let content = take::member(source, "content");
    if let Some(text) = content.and_then(Text::of) {
        return text;
    }
    let mut joined = Vec::new();
    for block in content.into_iter().flat_map(Value::items) {
        if let Some(Text::Escaped(inner)) = block.field(b"text").and_then(Text::of) {
            if !joined.is_empty() {
                joined.extend_from_slice(b"\\n");
            }
            joined.extend_from_slice(&inner);
        }
    }
    Text::Escaped(Cow::Owned(joined))
}

/// Why a block of Anthropic's own tools cannot be told elsewhere.
pub(crate) const HOSTED: &str = "a block of Anthropic's own tools";

/// How much is lost with a block that only Anthropic's dialect knows: what its own tools did is
/// history, anything else is part of what is asked.
pub(crate) fn weight_of_block(kind: &str) -> Weight {
    let history = kind == "server_tool_use"
        || kind == "compaction"
        || kind == "mcp_tool_use"
        || kind.ends_with("_tool_result");
    match history {
        true => Weight::Hint,
        false => Weight::Meaning,
    }
}
