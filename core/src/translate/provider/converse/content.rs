//! Turns as Converse's messages: content blocks, documents, cache points.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::family::Family;
use crate::translate::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Part, PartKind, Proof, Role, Source, Turn};
use crate::translate::provider::names::{NameRule, ToolNames};
use crate::translate::provider::turns::{foreign_weight, object};
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Names of tools.
pub(super) const TOOL_NAMES: NameRule = NameRule {
    signs: "_-",
    any_first: true,
    chars_max: 64,
};

/// Ids of calls.
const CALL_IDS: NameRule = NameRule {
    signs: "_.:-",
    any_first: true,
    chars_max: 64,
};

/// Longest name of a document, in characters.
const DOCUMENT_NAME_CHARS_MAX: usize = 200;

/// Media types and Converse's words for them.
const IMAGES: [(&str, &str); 5] = [
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("image/jpg", "jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
];
const DOCUMENTS: [(&str, &str); 10] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    ("application/vnd.ms-excel", "xls"),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("application/json", "txt"),
];

/// Writes content; remembers what must be unique or the same in all turns.
pub(super) struct Writer<'w, 'p> {
    pub(super) family: Family,
    pub(super) names: &'w mut ToolNames,
    pub(super) losses: &'w mut Losses<'p>,
    /// The model is known to take no cache points.
    pub(super) no_cache: bool,
    pub(super) documents: HashSet<String>,
}

impl Writer<'_, '_> {
    /// The value of `messages`.
    pub(super) fn messages(
        &mut self,
        turns: &[Turn<'_>],
        end_cache: Option<Value<'_>>,
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        emit.open_list();
        for (at, turn) in turns.iter().enumerate() {
            let role = match turn.role {
                Role::Assistant => "assistant",
                Role::User | Role::System => "user",
            };
            emit.open().name("role").string(role);
            emit.name("content").open_list();
            self.parts(turn, emit)?;
            if let (true, Some(mark)) = (at + 1 == turns.len(), end_cache) {
                self.cache_point(Some(mark), emit);
            }
            emit.close_list().close();
        }
        emit.close_list();
        Ok(())
    }

    fn parts(&mut self, turn: &Turn<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        let mut document = None;
        let mut has_text = false;
        for part in &turn.parts {
            match &part.kind {
                PartKind::Text { .. } | PartKind::Refusal(_) => has_text = true,
                PartKind::Document { title, .. } => {
                    document = Some(title.as_ref().map(|title| title.clear().into_owned()));
                }
                _ => {}
            }
            self.part(part, turn.role, emit)?;
        }
        if let (Some(title), false) = (document, has_text) {
            // Converse refuses a document without a text beside it.
            let text = title.unwrap_or_else(|| "Document".to_owned());
            emit.open().name("text").string(&text).close();
        }
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>, role: Role, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        match &part.kind {
            PartKind::Text { text, citations } => {
                emit.open().name("text").text(text).close();
                if citations.is_some() {
                    self.losses.drop(
                        Weight::Hint,
                        "messages[].content[].citations",
                        "citations of earlier answers are not told again",
                    );
                }
            }
            PartKind::Refusal(text) => {
                emit.open().name("text").text(text).close();
                self.losses
                    .change(Weight::Hint, "messages[].refusal", "told as text");
            }
            PartKind::Thinking { text, proof } => self.thinking(text, proof, emit),
            PartKind::Call {
                id,
                name,
                arguments,
                ..
            } => {
                emit.open().name("toolUse").open().name("toolUseId");
                emit.text(&call_id(id));
                emit.name("name").text(&self.names.sent(name));
                emit.name("input").raw(&object(arguments)?).close().close();
            }
            PartKind::Result {
                id,
                parts,
                is_error,
            } => self.result(id, parts, *is_error, emit)?,
            PartKind::Foreign { kind, raw } => self.foreign(part.field, kind, *raw, emit),
            _ => self.media(part, role, emit)?,
        }
        self.cache_point(part.cache, emit);
        Ok(())
    }

    /// Images, documents and sound.
    fn media(&mut self, part: &Part<'_>, role: Role, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        match &part.kind {
            PartKind::Image { source, detail } => {
                if detail.as_ref().is_some_and(|detail| !detail.is("auto")) {
                    self.losses.drop(
                        Weight::Hint,
                        "messages[].content[].image_url.detail",
                        "Converse has no detail",
                    );
                }
                let format = format_of(source, &IMAGES, part.field)?;
                emit.open().name("image").open();
                emit.name("format").string(format);
                source_of(source, part.field, emit)?;
                emit.close().close();
            }
            PartKind::Document {
                source,
                title,
                context,
                citations,
            } => {
                if role == Role::Assistant {
                    self.losses.drop(
                        Weight::Meaning,
                        part.field,
                        "a model's turn takes no document",
                    );
                    return Ok(());
                }
                emit.open().name("document").open();
                let format = format_of(source, &DOCUMENTS, part.field)?;
                emit.name("format").string(format);
                let name = self.document_name(title.as_ref());
                emit.name("name").string(&name);
                source_of(source, part.field, emit)?;
                if let Some(context) = context {
                    emit.name("context").text(context);
                }
                if let Some(citations) = citations {
                    emit.name("citations").raw(citations.raw);
                }
                emit.close().close();
            }
            _ => self.losses.drop(
                Weight::Meaning,
                part.field,
                "Converse takes texts, images and documents",
            ),
        }
        Ok(())
    }

    fn thinking(&mut self, text: &Text<'_>, proof: &Proof<'_>, emit: &mut Emit<'_>) {
        let is_ours = matches!(self.family, Family::Claude | Family::Unknown);
        match proof {
            Proof::Anthropic(signature) if is_ours => {
                emit.open().name("reasoningContent").open();
                emit.name("reasoningText").open();
                emit.name("text").text(text);
                emit.name("signature").text(signature);
                emit.close().close().close();
            }
            Proof::Redacted(data) if is_ours => {
                emit.open().name("reasoningContent").open();
                emit.name("redactedContent").text(data);
                emit.close().close();
            }
            _ => self.losses.drop(
                Weight::Hint,
                "messages[].thinking",
                "thoughts of another provider's model",
            ),
        }
    }

    fn result(
        &mut self,
        id: &Text<'_>,
        parts: &[Part<'_>],
        is_error: bool,
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        emit.open().name("toolResult").open();
        emit.name("toolUseId").text(&call_id(id));
        emit.name("content").open_list();
        let mut written = 0;
        for part in parts {
            match &part.kind {
                PartKind::Text { text, .. } if text.clear().trim().is_empty() => continue,
                PartKind::Text { text, .. } => {
                    emit.open().name("text").text(text).close();
                }
                PartKind::Foreign { kind, raw } => self.foreign(part.field, kind, *raw, emit),
                _ => self.media(part, Role::User, emit)?,
            }
            written += 1;
        }
        if written == 0 {
            emit.open().name("json").open().close().close();
        }
        emit.close_list();
        if is_error {
            emit.name("status").string("error");
        }
        emit.close().close();
        Ok(())
    }

    fn foreign(
        &mut self,
        field: &'static str,
        kind: &Text<'_>,
        raw: Value<'_>,
        emit: &mut Emit<'_>,
    ) {
        if kind.is("search_result") {
            let content = raw.field(b"content").into_iter().flat_map(Value::items);
            let texts: Vec<_> = content
                .filter_map(|item| item.field(b"text").and_then(Text::of))
                .collect();
            self.losses
                .change(Weight::Hint, field, "a search result is told as text");
            emit.open().name("text").joined(&texts).close();
            return;
        }
        self.losses.drop(
            foreign_weight(kind),
            field,
            "a block that Converse does not have",
        );
    }

    /// A cache point after what carries a mark.
    pub(super) fn cache_point(&mut self, mark: Option<Value<'_>>, emit: &mut Emit<'_>) {
        let Some(mark) = mark else {
            return;
        };
        if self.no_cache {
            let why = "the model has no prompt cache";
            self.losses.drop(Weight::Hint, "cache_control", why);
            return;
        }
        if mark.field(b"scope").is_some() {
            let why = "Converse has no scope of a cache";
            self.losses.drop(Weight::Hint, "cache_control.scope", why);
        }
        emit.open().name("cachePoint").open();
        emit.name("type").string("default");
        if let Some(ttl) = mark.field(b"ttl").and_then(Text::of) {
            emit.name("ttl").text(&ttl);
        }
        emit.close().close();
    }

    /// A name that Converse takes and no other document of the request has.
    fn document_name(&mut self, title: Option<&Text<'_>>) -> String {
        let title = title.map(|title| title.clear().into_owned());
        let title = title.unwrap_or_else(|| "Document".to_owned());
        let fits = |sign: char| sign.is_ascii_alphanumeric() || " -()[]".contains(sign);
        let fitted = title
            .chars()
            .map(|sign| if fits(sign) { sign } else { ' ' });
        let words: String = fitted.collect();
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut name = words.join(" ");
        name.truncate(DOCUMENT_NAME_CHARS_MAX - 12);
        if name.is_empty() {
            name.push_str("Document");
        }
        if name != title {
            self.losses.change(
                Weight::Hint,
                "messages[].content[].file.filename",
                "Converse takes letters, digits, spaces, hyphens and brackets",
            );
        }
        let mut unique = name.clone();
        let mut number = 2;
        while !self.documents.insert(unique.clone()) {
            unique = format!("{name} ({number})");
            number += 1;
        }
        unique
    }
}

fn call_id<'t>(id: &'t Text<'_>) -> Text<'t> {
    let clear = id.clear();
    let fitted = CALL_IDS.fitted(&clear);
    match fitted == clear {
        true => id.borrowed(),
        false => Text::plain(fitted.into_owned()),
    }
}

fn format_of(
    source: &Source<'_>,
    formats: &[(&str, &'static str)],
    field: &'static str,
) -> Result<&'static str, Refusal> {
    let media = match source {
        Source::Base64 { media, .. } => media.clear(),
        Source::Text(_) => return Ok("txt"),
        Source::Url(url) => return by_ending(&url.clear(), formats, field),
        Source::File(_) => return Err(not_inline(field)),
    };
    let media = media.split(';').next().unwrap_or_default().trim();
    let found = formats
        .iter()
        .find(|(known, _)| media.eq_ignore_ascii_case(known));
    found.map(|(_, format)| *format).ok_or_else(|| {
        let message = format!("'{field}' has the type '{media}', which Converse does not take");
        Refusal::new(field, message)
    })
}

/// The format of an object in S3, by the ending of its name.
fn by_ending(
    url: &str,
    formats: &[(&str, &'static str)],
    field: &'static str,
) -> Result<&'static str, Refusal> {
    if !url.starts_with("s3://") {
        return Err(not_inline(field));
    }
    let ending = url.rsplit('.').next().unwrap_or_default();
    let ending = if ending == "jpg" { "jpeg" } else { ending };
    let found = formats.iter().find(|(_, format)| *format == ending);
    found
        .map(|(_, format)| *format)
        .ok_or_else(|| Refusal::new(field, format!("'{field}' has an ending of no known format")))
}

fn not_inline(field: &'static str) -> Refusal {
    let message = format!(
        "'{field}' must be a data: URL (base64) or s3://: Bedrock Converse loads nothing else"
    );
    Refusal::new(field, message)
}

fn source_of(source: &Source<'_>, field: &'static str, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    emit.name("source").open();
    match source {
        Source::Base64 { data, .. } => {
            emit.name("bytes").text(data);
        }
        Source::Text(text) => {
            let bytes = STANDARD.encode(text.clear().as_bytes());
            emit.name("bytes").string(&bytes);
        }
        Source::Url(url) => {
            emit.name("s3Location").open().name("uri").text(url).close();
        }
        Source::File(_) => return Err(not_inline(field)),
    }
    emit.close();
    Ok(())
}
