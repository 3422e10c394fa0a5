//! Turns as input items of Responses.

use crate::translate::client::messages::blocks::{HOSTED, weight_of_block};
use crate::translate::emit::Emit;
use crate::translate::loss::{Refusal, Weight};
use crate::translate::prompt::{Arguments, Part, PartKind, Proof, Role, Source, Turn};
use crate::translate::provider::chat::request::Draft;
use crate::translate::provider::chat::tools::cache_loss;
use crate::translate::text::Text;

/// Before the text of a tool that failed: an output has no mark for it.
const FAILED: &str = "Error: ";

pub(super) fn write(
    emit: &mut Emit<'_>,
    turns: Vec<Turn<'_>>,
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    emit.name("input").open_list();
    // Calls with free text, whose results have another name.
    let mut free = Vec::new();
    for turn in &turns {
        for part in &turn.parts {
            if part.cache.is_some() {
                cache_loss(part.field, draft);
            }
        }
        match turn.role {
            Role::System => message(emit, "system", &turn.parts, draft),
            Role::User => {
                for part in &turn.parts {
                    if let PartKind::Result {
                        id,
                        parts,
                        is_error,
                    } = &part.kind
                    {
                        let custom = free.contains(&id.clear().into_owned());
                        result(emit, id, parts, *is_error, custom, draft);
                    }
                }
                message(emit, "user", &turn.parts, draft);
            }
            Role::Assistant => assistant(emit, &turn.parts, &mut free, draft),
        }
    }
    emit.close_list();
    Ok(())
}

/// The pieces of a turn that are content, as one message.
fn message(emit: &mut Emit<'_>, role: &str, parts: &[Part<'_>], draft: &mut Draft<'_, '_, '_>) {
    let mut content = Vec::new();
    for part in parts {
        self::content(&mut Emit::new(&mut content), part, draft);
    }
    if content.is_empty() {
        return;
    }
    emit.open().name("type").string("message");
    emit.name("role").string(role);
    emit.name("content").raw(b"[").raw_tail(&content).close();
}

fn content(emit: &mut Emit<'_>, part: &Part<'_>, draft: &mut Draft<'_, '_, '_>) {
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal(text) => {
            if !text.is_empty() {
                emit.open().name("type").string("input_text");
                emit.name("text").text(text).close();
            }
        }
        PartKind::Image { source, detail } => {
            emit.open().name("type").string("input_image");
            match source {
                Source::File(id) => emit.name("file_id").text(id),
                source => url(emit.name("image_url"), source),
            };
            if let Some(detail) = detail {
                emit.name("detail").text(detail);
            }
            emit.close();
        }
        PartKind::Document {
            source,
            title,
            context,
            citations,
        } => {
            if context.is_some() || citations.is_some() {
                let why = "a file has no context and no citations";
                let field = format!("{}.citations", part.field);
                draft.losses.drop(Weight::Hint, field, why);
            }
            document(emit, source, title.as_ref());
        }
        PartKind::Audio { .. } => {
            let why = "no place for sound";
            draft.losses.drop(Weight::Meaning, part.field, why);
        }
        PartKind::Foreign { kind, .. } => {
            let kind = kind.clear();
            let field = format!("{}.{kind}", part.field);
            draft.losses.drop(weight_of_block(&kind), field, HOSTED);
        }
        // Items of their own.
        PartKind::Result { .. } | PartKind::Call { .. } | PartKind::Thinking { .. } => {}
    }
}

/// A URL, or bytes as one.
fn url<'e, 'o>(emit: &'e mut Emit<'o>, source: &Source<'_>) -> &'e mut Emit<'o> {
    match source {
        Source::Base64 { media, data } => {
            let (scheme, coding) = (Text::plain("data:"), Text::plain(";base64,"));
            emit.joined([&scheme, media, &coding, data])
        }
        Source::Url(text) | Source::Text(text) | Source::File(text) => emit.text(text),
    }
}

fn document(emit: &mut Emit<'_>, source: &Source<'_>, title: Option<&Text<'_>>) {
    if let Source::Text(text) = source {
        emit.open().name("type").string("input_text").name("text");
        let gap = Text::plain("\n\n");
        match title {
            Some(title) => emit.joined([title, &gap, text]),
            None => emit.text(text),
        };
        emit.close();
        return;
    }
    emit.open().name("type").string("input_file");
    match source {
        Source::File(id) => {
            emit.name("file_id").text(id);
        }
        Source::Url(address) => {
            emit.name("file_url").text(address);
        }
        source => {
            let unnamed = Text::plain("document.pdf");
            emit.name("filename").text(title.unwrap_or(&unnamed));
            url(emit.name("file_data"), source);
        }
    }
    emit.close();
}

fn result(
    emit: &mut Emit<'_>,
    id: &Text<'_>,
    parts: &[Part<'_>],
    is_error: bool,
    custom: bool,
    draft: &mut Draft<'_, '_, '_>,
) {
    emit.open().name("type").string(match custom {
        true => "custom_tool_call_output",
        false => "function_call_output",
    });
    emit.name("call_id").text(id).name("output");
    if is_error {
        let why = "no mark for a failed tool: `Error: ` before its text";
        let field = "messages[].content[].tool_result.is_error";
        draft.losses.change(Weight::Hint, field, why);
    }
    if parts.iter().any(|part| part.cache.is_some()) {
        cache_loss("messages[]", draft);
    }
    match parts {
        [] => {
            emit.string(if is_error { FAILED } else { "" });
        }
        [part] => match &part.kind {
            PartKind::Text { text, .. } if is_error => {
                emit.joined([&Text::plain(FAILED), text]);
            }
            PartKind::Text { text, .. } => {
                emit.text(text);
            }
            _ => list(emit, parts, is_error, draft),
        },
        parts => list(emit, parts, is_error, draft),
    }
    emit.close();
}

fn list(emit: &mut Emit<'_>, parts: &[Part<'_>], is_error: bool, draft: &mut Draft<'_, '_, '_>) {
    emit.open_list();
    if is_error {
        emit.open().name("type").string("input_text");
        emit.name("text").string(FAILED).close();
    }
    for part in parts {
        content(emit, part, draft);
    }
    emit.close_list();
}

fn assistant(
    emit: &mut Emit<'_>,
    parts: &[Part<'_>],
    free: &mut Vec<String>,
    draft: &mut Draft<'_, '_, '_>,
) {
    for part in parts {
        match &part.kind {
            PartKind::Text { text, .. } if text.is_empty() => {}
            PartKind::Text { text, .. } => {
                said(emit, "output_text", "text", text);
            }
            PartKind::Refusal(text) => said(emit, "refusal", "refusal", text),
            PartKind::Thinking { text, proof } => thought(emit, part, text, proof, draft),
            PartKind::Call {
                id,
                name,
                arguments,
                ..
            } => {
                if matches!(arguments, Arguments::Free(_)) {
                    free.push(id.clear().into_owned());
                }
                let name = draft.tool_name(name);
                call(emit, id, &name, arguments);
            }
            PartKind::Foreign { kind, .. } => {
                let kind = kind.clear();
                let field = format!("{}.{kind}", part.field);
                draft.losses.drop(weight_of_block(&kind), field, HOSTED);
            }
            _ => {
                let why = "an answer's images and files are not sent back";
                draft.losses.drop(Weight::Hint, part.field, why);
            }
        }
    }
}

fn said(emit: &mut Emit<'_>, kind: &str, member: &str, text: &Text<'_>) {
    emit.open().name("type").string("message");
    emit.name("role").string("assistant");
    emit.name("content").open_list().open();
    emit.name("type").string(kind).name(member).text(text);
    emit.close().close_list().close();
}

fn thought(
    emit: &mut Emit<'_>,
    part: &Part<'_>,
    text: &Text<'_>,
    proof: &Proof<'_>,
    draft: &mut Draft<'_, '_, '_>,
) {
    let Proof::OpenAi { id, encrypted } = proof else {
        let why = "thoughts of another provider are not accepted back";
        draft.losses.drop(Weight::Hint, part.field, why);
        return;
    };
    emit.open().name("type").string("reasoning");
    emit.name("id").text(id).name("summary").open_list();
    if !text.is_empty() {
        emit.open().name("type").string("summary_text");
        emit.name("text").text(text).close();
    }
    emit.close_list();
    emit.name("encrypted_content").text(encrypted).close();
}

fn call(emit: &mut Emit<'_>, id: &Text<'_>, name: &Text<'_>, arguments: &Arguments<'_>) {
    let free = matches!(arguments, Arguments::Free(_));
    emit.open().name("type").string(match free {
        true => "custom_tool_call",
        false => "function_call",
    });
    emit.name("call_id").text(id).name("name").text(name);
    match arguments {
        Arguments::Free(text) => emit.name("input").text(text),
        Arguments::Written(text) if text.is_empty() => emit.name("arguments").string("{}"),
        Arguments::Written(text) => emit.name("arguments").text(text),
        Arguments::Object(raw) => {
            let written = String::from_utf8_lossy(raw);
            emit.name("arguments").string(&written)
        }
    };
    emit.close();
}
