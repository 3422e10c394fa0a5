//! Input items of a Responses request read as turns.

use std::borrow::Cow;

use crate::translate::client::chat::source_of_url;
use crate::translate::client::responses::flat_name;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Arguments, Part, PartKind, Proof, Role, Source, Turn};
use crate::translate::proof;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value};

/// Text or a list of items. Neighbours of the model's become one turn: thoughts, text and calls
/// of one answer are items of their own here.
pub(super) fn read<'a>(
    input: Value<'a>,
    turns: &mut Vec<Turn<'a>>,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    if let Some(text) = Text::of(input) {
        let citations = None;
        let kind = PartKind::Text { text, citations };
        let parts = vec![Part::new("input", kind)];
        let role = Role::User;
        turns.push(Turn { role, parts });
        return Ok(());
    }
    if input.kind != Kind::Array {
        return Err(Refusal::wrong("input", "a string or a list"));
    }
    for each in input.items() {
        let Some(turn) = item(take::object(each, "input[]")?, losses)? else {
            continue;
        };
        match turns.last_mut() {
            Some(last) if last.role == turn.role && turn.role != Role::System => {
                last.parts.extend(turn.parts);
            }
            _ => turns.push(turn),
        }
    }
    Ok(())
}

fn item<'a>(value: Value<'a>, losses: &mut Losses<'_>) -> Result<Option<Turn<'a>>, Refusal> {
    let one = |role, field, kind| Turn {
        role,
        parts: vec![Part::new(field, kind)],
    };
    let turn = match take::kind_of(value) {
        b"message" | b"" => message(value)?,
        b"function_call" => {
            let field = "input[].function_call";
            one(Role::Assistant, field, call(value, field)?)
        }
        b"custom_tool_call" => {
            let field = "input[].custom_tool_call";
            one(Role::Assistant, field, call(value, field)?)
        }
        b"function_call_output" | b"custom_tool_call_output" => {
            let field = "input[].function_call_output";
            one(Role::User, field, output(value, field)?)
        }
        b"reasoning" => {
            let field = "input[].reasoning";
            one(Role::Assistant, field, thoughts(value, field)?)
        }
        b"item_reference" => {
            let why = "the deployment has no store of items: send the item itself";
            let field = "input[].item_reference";
            return Err(Refusal::new(field, format!("'{field}': {why}")));
        }
        kind => {
            let kind = String::from_utf8_lossy(kind);
            // What a provider's own tools did is history.
            let weight = match kind.ends_with("_call") || kind.ends_with("_output") {
                true => Weight::Hint,
                false => Weight::Meaning,
            };
            let why = "an item of OpenAI's own tools";
            losses.drop(weight, format!("input[].{kind}"), why);
            return Ok(None);
        }
    };
    Ok(Some(turn))
}

fn message(value: Value<'_>) -> Result<Turn<'_>, Refusal> {
    let role = take::needed(value, "role", "input[].role")?;
    let role = match &*role.clear() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            let message = format!("'input[].role' has an unknown value: '{other}'");
            return Err(Refusal::new("input[].role", message));
        }
    };
    let content = take::member(value, "content").ok_or_else(|| {
        let field = "input[].content";
        Refusal::new(field, format!("Missing required parameter: '{field}'."))
    })?;
    let parts = self::content(content, "input[].content")?;
    Ok(Turn { role, parts })
}

fn content<'a>(value: Value<'a>, field: &'static str) -> Result<Vec<Part<'a>>, Refusal> {
    if let Some(text) = Text::of(value) {
        let citations = None;
        return Ok(vec![Part::new(field, PartKind::Text { text, citations })]);
    }
    take::list(value, field)?;
    value.items().map(part).collect()
}

fn part(value: Value<'_>) -> Result<Part<'_>, Refusal> {
    let value = take::object(value, "input[].content[]")?;
    let (field, kind) = match take::kind_of(value) {
        b"input_text" | b"output_text" | b"text" | b"summary_text" => {
            let field = "input[].content[].text";
            let text = take::needed(value, "text", field)?;
            let citations = None;
            (field, PartKind::Text { text, citations })
        }
        b"refusal" => {
            let field = "input[].content[].refusal";
            (
                field,
                PartKind::Refusal(take::needed(value, "refusal", field)?),
            )
        }
        b"input_image" => {
            let field = "input[].content[].input_image";
            let detail = take::text_member(value, "detail", field)?;
            let source = match take::text_member(value, "file_id", field)? {
                Some(id) => Source::File(id),
                None => source_of_url(take::needed(value, "image_url", field)?),
            };
            (field, PartKind::Image { source, detail })
        }
        b"input_file" => ("input[].content[].input_file", file(value)?),
        b"input_audio" => {
            let field = "input[].content[].input_audio";
            let inner = take::member(value, "input_audio").unwrap_or(value);
            let kind = PartKind::Audio {
                data: take::needed(inner, "data", field)?,
                format: take::needed(inner, "format", field)?,
            };
            (field, kind)
        }
        kind => {
            let kind = Text::Escaped(kind.into());
            let raw = value;
            ("input[].content[]", PartKind::Foreign { kind, raw })
        }
    };
    Ok(Part::new(field, kind))
}

fn file(value: Value<'_>) -> Result<PartKind<'_>, Refusal> {
    let field = "input[].content[].input_file";
    let text = |name: &str| take::text_member(value, name, field);
    let source = if let Some(id) = text("file_id")? {
        Source::File(id)
    } else if let Some(url) = text("file_url")? {
        Source::Url(url)
    } else {
        source_of_url(take::needed(value, "file_data", field)?)
    };
    Ok(PartKind::Document {
        source,
        title: text("filename")?,
        context: None,
        citations: None,
    })
}

fn call<'a>(value: Value<'a>, field: &'static str) -> Result<PartKind<'a>, Refusal> {
    let id = take::needed(value, "call_id", "input[].call_id")?;
    let (id, signature) = proof::split_id(id);
    let space = take::text_member(value, "namespace", field)?;
    let name = take::needed(value, "name", "input[].name")?;
    let arguments = match take::text_member(value, "input", field)? {
        Some(text) => Arguments::Free(text),
        None => Arguments::Written(take::needed(value, "arguments", "input[].arguments")?),
    };
    Ok(PartKind::Call {
        id,
        name: flat_name(space.as_ref(), name),
        arguments,
        signature,
    })
}

fn output<'a>(value: Value<'a>, field: &'static str) -> Result<PartKind<'a>, Refusal> {
    let id = take::needed(value, "call_id", "input[].call_id")?;
    let output = take::member(value, "output").ok_or_else(|| {
        let field = "input[].output";
        Refusal::new(field, format!("Missing required parameter: '{field}'."))
    })?;
    let parts = content(output, field)?;
    Ok(PartKind::Result {
        id: proof::split_id(id).0,
        parts,
        is_error: false,
    })
}

fn thoughts<'a>(value: Value<'a>, field: &'static str) -> Result<PartKind<'a>, Refusal> {
    let mut text = Vec::new();
    let lists = [
        take::member(value, "summary"),
        take::member(value, "content"),
    ];
    for part in lists.into_iter().flatten().flat_map(Value::items) {
        if let Some(Text::Escaped(inner)) = part.field(b"text").and_then(Text::of) {
            if !text.is_empty() {
                text.extend_from_slice(b"\\n\\n");
            }
            text.extend_from_slice(&inner);
        }
    }
    let id = take::text_member(value, "id", field)?;
    let encrypted = take::text_member(value, "encrypted_content", field)?;
    let proof = match encrypted {
        Some(text) => proof::of_encrypted(id.unwrap_or_else(|| Text::plain("")), text),
        None => Proof::None,
    };
    let text = Text::Escaped(Cow::Owned(text));
    Ok(PartKind::Thinking { text, proof })
}
