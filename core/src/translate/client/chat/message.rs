//! Messages of a chat request read as turns.

use std::borrow::Cow;

use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Arguments, Part, PartKind, Proof, Role, Source, Turn};
use crate::translate::proof;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value};

pub(crate) fn read<'a>(
    message: Value<'a>,
    turns: &mut Vec<Turn<'a>>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    let message = take::object(message, "messages[]")?;
    let role = take::needed(message, "role", "messages[].role")?;
    let mut parts = Vec::new();
    let role = match &*role.clear() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => {
            thoughts(message, &mut parts)?;
            Role::Assistant
        }
        "tool" | "function" => {
            let result = result(message, losses)?;
            let role = Role::User;
            let parts = vec![result];
            turns.push(Turn { role, parts });
            return Ok(());
        }
        other => {
            let message = format!("'messages[].role' has an unknown value: '{other}'");
            return Err(Refusal::new("messages[].role", message));
        }
    };
    if let Some(content) = take::member(message, "content") {
        self::content(content, &mut parts, losses)?;
    }
    if role == Role::Assistant {
        said(message, &mut parts)?;
    }
    if let Some(cache) = take::member(message, "cache_control")
        && let Some(last) = parts.last_mut()
    {
        last.cache.get_or_insert(cache);
    }
    if take::member(message, "name").is_some() {
        losses.drop(
            Weight::Hint,
            "messages[].name",
            "no place for the name of a speaker",
        );
    }
    turns.push(Turn { role, parts });
    Ok(())
}

/// Thoughts of an earlier answer: with their proofs where they came with some.
fn thoughts<'a>(message: Value<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
    let field = "messages[].thinking_blocks";
    if let Some(blocks) = take::member(message, "thinking_blocks") {
        take::list(blocks, field)?;
        for block in blocks.items() {
            let kind = match take::kind_of(block) {
                b"redacted_thinking" => PartKind::Thinking {
                    text: Text::plain(""),
                    proof: Proof::Redacted(take::needed(block, "data", field)?),
                },
                _ => {
                    let text = take::text_member(block, "thinking", field)?;
                    let signature = take::text_member(block, "signature", field)?;
                    PartKind::Thinking {
                        text: text.unwrap_or_else(|| Text::plain("")),
                        proof: signature.map_or(Proof::None, proof::of_signature),
                    }
                }
            };
            parts.push(Part::new(field, kind));
        }
        return Ok(());
    }
    let field = "messages[].reasoning_content";
    let shown = take::text_member(message, "reasoning_content", field)?;
    if let Some(text) = shown.filter(|text| !text.is_empty()) {
        let proof = Proof::None;
        parts.push(Part::new(field, PartKind::Thinking { text, proof }));
    }
    Ok(())
}

/// Refusal and calls of an earlier answer.
fn said<'a>(message: Value<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
    let field = "messages[].refusal";
    let refusal = take::text_member(message, "refusal", field)?;
    if let Some(refusal) = refusal.filter(|text| !text.is_empty()) {
        parts.push(Part::new(field, PartKind::Refusal(refusal)));
    }
    if take::member(message, "audio").is_some() {
        let field = "messages[].audio";
        let why = "an earlier spoken answer is stored with its provider alone";
        return Err(Refusal::new(field, format!("'{field}': {why}")));
    }
    if let Some(calls) = take::member(message, "tool_calls") {
        take::list(calls, "messages[].tool_calls")?;
        for call in calls.items() {
            parts.push(self::call(call)?);
        }
    }
    if let Some(call) = take::member(message, "function_call") {
        let field = "messages[].function_call";
        let name = take::needed(call, "name", "messages[].function_call.name")?;
        let written = take::text_member(call, "arguments", field)?;
        let kind = PartKind::Call {
            // The old form has no ids: the name stands for one.
            id: name.clone(),
            name,
            arguments: Arguments::Written(written.unwrap_or_else(|| Text::plain(""))),
            signature: None,
        };
        parts.push(Part::new(field, kind));
    }
    Ok(())
}

fn call(call: Value<'_>) -> Result<Part<'_>, Refusal> {
    let field = "messages[].tool_calls[]";
    let id = take::needed(call, "id", "messages[].tool_calls[].id")?;
    let (id, signature) = proof::split_id(id);
    if let Some(custom) = take::member(call, "custom") {
        let kind = PartKind::Call {
            id,
            name: take::needed(custom, "name", "messages[].tool_calls[].custom.name")?,
            arguments: Arguments::Free(take::needed(
                custom,
                "input",
                "messages[].tool_calls[].custom.input",
            )?),
            signature,
        };
        return Ok(Part::new(field, kind));
    }
    let Some(function) = take::member(call, "function") else {
        let field = "messages[].tool_calls[].function";
        let message = format!("Missing required parameter: '{field}'.");
        return Err(Refusal::new(field, message));
    };
    let arguments = match take::member(function, "arguments") {
        // Some clients write the object itself.
        Some(value) if value.kind == Kind::Object => Arguments::Object(Cow::Borrowed(value.raw)),
        Some(value) => Arguments::Written(take::text(
            value,
            "messages[].tool_calls[].function.arguments",
        )?),
        None => Arguments::Written(Text::plain("")),
    };
    let kind = PartKind::Call {
        id,
        name: take::needed(function, "name", "messages[].tool_calls[].function.name")?,
        arguments,
        signature,
    };
    Ok(Part::new(field, kind))
}

fn result<'a>(message: Value<'a>, losses: &mut Losses<'_>) -> Result<Part<'a>, Refusal> {
    let id = match take::text_member(message, "tool_call_id", "messages[].tool_call_id")? {
        Some(id) => proof::split_id(id).0,
        None => take::needed(message, "name", "messages[].tool_call_id")?,
    };
    let mut parts = Vec::new();
    if let Some(content) = take::member(message, "content") {
        self::content(content, &mut parts, losses)?;
    }
    let kind = PartKind::Result {
        id,
        parts,
        is_error: false,
    };
    let mut part = Part::new("messages[].tool_call_id", kind);
    part.cache = take::member(message, "cache_control");
    Ok(part)
}

/// Text or a list of parts.
pub(crate) fn content<'a>(
    content: Value<'a>,
    parts: &mut Vec<Part<'a>>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    if let Some(text) = Text::of(content) {
        let citations = None;
        let kind = PartKind::Text { text, citations };
        parts.push(Part::new("messages[].content", kind));
        return Ok(());
    }
    if content.kind != Kind::Array {
        return Err(Refusal::wrong("messages[].content", "a string or a list"));
    }
    for each in content.items() {
        parts.push(part(each, losses)?);
    }
    Ok(())
}

fn part<'a>(value: Value<'a>, losses: &mut Losses<'_>) -> Result<Part<'a>, Refusal> {
    let value = take::object(value, "messages[].content[]")?;
    let (field, kind) = match take::kind_of(value) {
        b"text" | b"input_text" | b"output_text" => {
            let field = "messages[].content[].text";
            let text = take::needed(value, "text", field)?;
            let citations = None;
            (field, PartKind::Text { text, citations })
        }
        b"refusal" => {
            let field = "messages[].content[].refusal";
            (
                field,
                PartKind::Refusal(take::needed(value, "refusal", field)?),
            )
        }
        b"image_url" | b"input_image" => ("messages[].content[].image_url", image(value)?),
        b"input_audio" => {
            let field = "messages[].content[].input_audio";
            let audio = take::member(value, "input_audio");
            let audio = audio.ok_or_else(|| Refusal::wrong(field, "an object"))?;
            let kind = PartKind::Audio {
                data: take::needed(audio, "data", field)?,
                format: take::needed(audio, "format", field)?,
            };
            (field, kind)
        }
        b"file" => ("messages[].content[].file", file(value, losses)?),
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

fn image(value: Value<'_>) -> Result<PartKind<'_>, Refusal> {
    let field = "messages[].content[].image_url";
    let image = take::member(value, "image_url");
    let image = image.ok_or_else(|| Refusal::wrong(field, "an object"))?;
    let (url, detail) = match Text::of(image) {
        Some(url) => (url, take::text_member(value, "detail", field)?),
        None => (
            take::needed(image, "url", "messages[].content[].image_url.url")?,
            take::text_member(image, "detail", field)?,
        ),
    };
    let source = source_of_url(url);
    Ok(PartKind::Image { source, detail })
}

fn file<'a>(value: Value<'a>, losses: &mut Losses<'_>) -> Result<PartKind<'a>, Refusal> {
    let field = "messages[].content[].file";
    let file = take::member(value, "file");
    let file = take::object(
        file.ok_or_else(|| Refusal::wrong(field, "an object"))?,
        field,
    )?;
    let title = take::text_member(file, "filename", field)?;
    if take::member(file, "format").is_some() {
        losses.drop(
            Weight::Hint,
            "messages[].content[].file.format",
            "the data URL tells the type",
        );
    }
    let source = if let Some(id) = take::text_member(file, "file_id", field)? {
        // LiteLLM's callers put URLs here too.
        match id.clear().starts_with("https://") {
            true => Source::Url(id),
            false => Source::File(id),
        }
    } else {
        source_of_url(take::needed(file, "file_data", field)?)
    };
    Ok(PartKind::Document {
        source,
        title,
        context: None,
        citations: None,
    })
}

/// A `data:` URL as bytes, any other as a URL.
pub(crate) fn source_of_url(url: Text<'_>) -> Source<'_> {
    let Text::Escaped(Cow::Borrowed(inner)) = &url else {
        return Source::Url(url);
    };
    let Some(rest) = inner.strip_prefix(b"data:") else {
        return Source::Url(url);
    };
    let Some(comma) = memchr::memchr(b',', rest) else {
        return Source::Url(url);
    };
    let (head, data) = (&rest[..comma], &rest[comma + 1..]);
    let Some(media) = head.strip_suffix(b";base64") else {
        return Source::Url(url);
    };
    // Parameters of the type, such as a charset, are no part of it.
    let end = memchr::memchr(b';', media).unwrap_or(media.len());
    Source::Base64 {
        media: Text::Escaped(Cow::Borrowed(&media[..end])),
        data: Text::Escaped(Cow::Borrowed(data)),
    }
}
