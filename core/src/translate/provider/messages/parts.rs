//! Pieces of turns as Anthropic's content blocks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::translate::dialect::Platform;
use crate::translate::emit::Emit;
use crate::translate::loss::{Refusal, Weight};
use crate::translate::prompt::{Part, PartKind, Proof, Source};
use crate::translate::provider::messages::request::{Draft, object_of};
use crate::translate::text::Text;

/// Writes one block.
pub(super) fn write(
    emit: &mut Emit<'_>,
    part: &Part<'_>,
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    if let PartKind::Thinking { text, proof } = &part.kind {
        thought(emit, text, proof);
        return Ok(());
    }
    if let PartKind::Foreign { kind, raw } = &part.kind {
        return foreign(emit, part, kind, raw.raw, draft);
    }
    emit.open();
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal(text) => {
            emit.name("type").string("text").name("text").text(text);
        }
        PartKind::Image { source, detail } => {
            emit.name("type").string("image");
            resolution(detail.as_ref(), part.field, draft);
            self::source(emit, source, part.field, draft)?;
        }
        PartKind::Document {
            source,
            title,
            context,
            citations,
        } => {
            emit.name("type").string("document");
            self::source(emit, source, part.field, draft)?;
            labels(emit, title.as_ref(), context.as_ref());
            if let Some(citations) = citations {
                emit.name("citations").raw(citations.raw);
            }
        }
        PartKind::Call {
            id,
            name,
            arguments,
            ..
        } => {
            let object = object_of(arguments, "messages[].tool_calls[].function.arguments")?;
            emit.name("type").string("tool_use");
            emit.name("id").text(&fitting_id(id));
            emit.name("name").text(&draft.tool_name(name));
            emit.name("input").raw(&object);
        }
        PartKind::Result {
            id,
            parts,
            is_error,
        } => {
            emit.name("type").string("tool_result");
            emit.name("tool_use_id").text(&fitting_id(id));
            result(emit, parts, *is_error, draft)?;
        }
        PartKind::Audio { .. } => {
            let why = "no place for sound";
            draft.losses.drop(Weight::Meaning, part.field, why);
        }
        PartKind::Thinking { .. } | PartKind::Foreign { .. } => {}
    }
    if let Some(cache) = part.cache {
        emit.name("cache_control").raw(cache.raw);
    }
    emit.close();
    Ok(())
}

fn resolution(detail: Option<&Text<'_>>, field: &'static str, draft: &mut Draft<'_, '_, '_>) {
    if detail.is_some_and(|detail| !detail.is("auto")) {
        let why = "no choice of an image's resolution";
        draft.losses.drop(Weight::Hint, field, why);
    }
}

fn labels(emit: &mut Emit<'_>, title: Option<&Text<'_>>, context: Option<&Text<'_>>) {
    if let Some(title) = title.filter(|title| !title.is_empty()) {
        emit.name("title").text(title);
    }
    if let Some(context) = context {
        emit.name("context").text(context);
    }
}

fn thought(emit: &mut Emit<'_>, text: &Text<'_>, proof: &Proof<'_>) {
    match proof {
        Proof::Redacted(data) => {
            emit.open().name("type").string("redacted_thinking");
            emit.name("data").text(data).close();
        }
        Proof::Anthropic(signature) => {
            emit.open().name("type").string("thinking");
            emit.name("thinking").text(text);
            emit.name("signature").text(signature).close();
        }
        // Left out before: Anthropic does not accept them.
        Proof::None | Proof::OpenAi { .. } | Proof::Gemini(_) => {}
    }
}

fn foreign(
    emit: &mut Emit<'_>,
    part: &Part<'_>,
    kind: &Text<'_>,
    raw: &[u8],
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    // Anthropic's own blocks, which LiteLLM's callers send in chat requests too.
    let own = [
        "document",
        "image",
        "search_result",
        "tool_result",
        "thinking",
    ];
    if own.iter().any(|own| kind.is(own)) {
        emit.raw(raw);
        return Ok(());
    }
    let field = format!("{}.{}", part.field, kind.clear());
    let why = "no such kind of content";
    draft.losses.drop(Weight::Meaning, field, why);
    Ok(())
}

fn result(
    emit: &mut Emit<'_>,
    parts: &[Part<'_>],
    is_error: bool,
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    if is_error {
        emit.name("is_error").flag(true);
    }
    if let [part] = parts
        && let (PartKind::Text { text, .. }, None) = (&part.kind, part.cache)
    {
        emit.name("content").text(text);
        return Ok(());
    }
    let is_empty = |part: &&Part<'_>| match &part.kind {
        PartKind::Text { text, .. } => !text.is_empty(),
        _ => true,
    };
    emit.name("content").open_list();
    for part in parts.iter().filter(is_empty) {
        write(emit, part, draft)?;
    }
    emit.close_list();
    Ok(())
}

fn source(
    emit: &mut Emit<'_>,
    source: &Source<'_>,
    field: &'static str,
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    emit.name("source").open();
    match source {
        Source::Base64 { media, data } if media.clear().starts_with("text/") => {
            emit.name("type").string("text");
            emit.name("media_type").string("text/plain");
            emit.name("data").string(&text_of(data, field)?);
        }
        Source::Base64 { media, data } => {
            emit.name("type").string("base64");
            emit.name("media_type").text(media);
            emit.name("data").text(data);
        }
        Source::Url(url) => {
            // These clouds do not fetch, and the gateway was told not to.
            let platform = draft.context.platform;
            if matches!(platform, Platform::BedrockInvoke | Platform::Vertex) {
                let why = "the platform does not fetch URLs: send the bytes in a data: URL";
                draft.losses.drop(Weight::Meaning, field, why);
            }
            emit.name("type").string("url").name("url").text(url);
        }
        Source::File(id) => {
            draft.beta("files-api-2025-04-14");
            emit.name("type").string("file").name("file_id").text(id);
        }
        Source::Text(text) => {
            emit.name("type").string("text");
            emit.name("media_type").string("text/plain");
            emit.name("data").text(text);
        }
    }
    emit.close();
    Ok(())
}

fn text_of(data: &Text<'_>, field: &str) -> Result<String, Refusal> {
    let bytes = STANDARD.decode(data.clear().as_bytes());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Refusal::wrong(field, "base64 of UTF-8 text, as its type says"))
}

/// An id of the form that Anthropic accepts; the same for a call and its result.
fn fitting_id<'t>(id: &Text<'t>) -> Text<'t> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let clear = id.clear();
    if !clear.is_empty() && clear.as_bytes().iter().all(fits) {
        return id.clone();
    }
    let fitting = clear
        .chars()
        .map(|sign| match sign.is_ascii() && fits(&(sign as u8)) {
            true => sign,
            false => '_',
        });
    let fitting: String = fitting.collect();
    Text::plain(match fitting.is_empty() {
        true => "_".to_owned(),
        false => fitting,
    })
}
