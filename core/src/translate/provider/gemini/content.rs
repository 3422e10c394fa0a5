//! Turns as Gemini's contents.

use crate::translate::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Part, PartKind, Proof, Role, Source, Turn};
use crate::translate::provider::names::{NameRule, ToolNames};
use crate::translate::provider::turns::{foreign_weight, object};
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Names of functions.
pub(super) const TOOL_NAMES: NameRule = NameRule {
    signs: "_.:-",
    any_first: false,
    chars_max: 64,
};

/// Google's word for "there is no signature to check": base64 of
/// `skip_thought_signature_validator`.
const NO_SIGNATURE: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// Endings of names and their media types, for files that came as an address.
const ENDINGS: [(&str, &str); 17] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("mp3", "audio/mp3"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
];

/// Writes contents.
pub(super) struct Writer<'w, 'p> {
    pub(super) names: &'w mut ToolNames,
    pub(super) losses: &'w mut Losses<'p>,
    /// The model refuses calls of the running turn that come back without their signature.
    pub(super) checks_signatures: bool,
}

/// A call of the turn before: results are told in the order of the calls.
struct Called<'t, 'a> {
    id: &'t Text<'a>,
    name: &'t Text<'a>,
}

impl Writer<'_, '_> {
    /// The value of `contents`.
    pub(super) fn contents(
        &mut self,
        turns: &[Turn<'_>],
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        // Signatures are checked from the last turn on in which the user said something.
        let spoken = turns.iter().rposition(|turn| {
            turn.role == Role::User
                && turn
                    .parts
                    .iter()
                    .any(|part| !matches!(part.kind, PartKind::Result { .. }))
        });
        let mut called = Vec::new();
        emit.open_list();
        for (at, turn) in turns.iter().enumerate() {
            if turn.role == Role::Assistant {
                let running = spoken.is_none_or(|spoken| at > spoken);
                called = calls_of(turn);
                self.model_turn(turn, running, emit)?;
            } else {
                self.user_turn(turn, &called, emit)?;
            }
        }
        emit.close_list();
        Ok(())
    }

    fn model_turn(
        &mut self,
        turn: &Turn<'_>,
        running: bool,
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        let mut parts = Emit::new(&mut bytes);
        let mut first_call = true;
        for part in &turn.parts {
            match &part.kind {
                PartKind::Call {
                    name,
                    arguments,
                    signature,
                    ..
                } => {
                    parts.open().name("functionCall").open();
                    parts.name("name").text(&self.names.sent(name));
                    parts.name("args").raw(&object(arguments)?).close();
                    if let Some(signature) = signature {
                        parts.name("thoughtSignature").text(signature);
                    } else if first_call && running && self.checks_signatures {
                        parts.name("thoughtSignature").string(NO_SIGNATURE);
                    }
                    parts.close();
                    first_call = false;
                }
                PartKind::Thinking { proof, .. } => self.thinking(proof, &mut parts),
                _ => self.part(part, &mut parts)?,
            }
        }
        if !bytes.is_empty() {
            content("model", &bytes, emit);
        }
        Ok(())
    }

    /// Thoughts themselves are not told again; what proves them is.
    fn thinking(&mut self, proof: &Proof<'_>, emit: &mut Emit<'_>) {
        if let Proof::Gemini(signature) = proof {
            emit.open().name("text").string("");
            emit.name("thoughtSignature").text(signature).close();
            return;
        }
        let why = "thoughts of another provider's model";
        self.losses.drop(Weight::Hint, "messages[].thinking", why);
    }

    fn user_turn(
        &mut self,
        turn: &Turn<'_>,
        called: &[Called<'_, '_>],
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        let mut results: Vec<&Part<'_>> = Vec::new();
        let mut said: Vec<&Part<'_>> = Vec::new();
        for part in &turn.parts {
            match part.kind {
                PartKind::Result { .. } => results.push(part),
                _ => said.push(part),
            }
        }
        let place = |part: &&Part<'_>| match &part.kind {
            PartKind::Result { id, .. } => called
                .iter()
                .position(|call| call.id == id)
                .unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        results.sort_by_key(place);
        let mut media = Vec::new();
        let mut bytes = Vec::new();
        let mut parts = Emit::new(&mut bytes);
        for part in results {
            if let PartKind::Result {
                id,
                parts: content,
                is_error,
            } = &part.kind
            {
                let name = called.iter().find(|call| call.id == id);
                let name = name.map_or(id, |call| call.name);
                self.result(name, content, *is_error, &mut media, &mut parts);
            }
        }
        // Answers of functions stand alone: Gemini counts them against the calls.
        if !bytes.is_empty() {
            content("user", &bytes, emit);
        }
        let mut bytes = Vec::new();
        let mut parts = Emit::new(&mut bytes);
        for part in media.into_iter().chain(said) {
            self.part(part, &mut parts)?;
        }
        if !bytes.is_empty() {
            content("user", &bytes, emit);
        }
        Ok(())
    }

    fn result<'t, 'a>(
        &mut self,
        name: &Text<'_>,
        content: &'t [Part<'a>],
        is_error: bool,
        media: &mut Vec<&'t Part<'a>>,
        emit: &mut Emit<'_>,
    ) {
        let mut texts = Vec::new();
        for part in content {
            match &part.kind {
                PartKind::Text { text, .. } => texts.push(text.borrowed()),
                _ => {
                    let why = "images and documents of a tool follow its answer as the user's";
                    self.losses
                        .change(Weight::Hint, "messages[].content[]", why);
                    media.push(part);
                }
            }
        }
        emit.open().name("functionResponse").open();
        emit.name("name").text(&self.names.sent(name));
        emit.name("response").open();
        emit.name(if is_error { "error" } else { "output" });
        emit.joined(&texts).close().close().close();
    }

    /// Everything but calls, results and thoughts.
    fn part(&mut self, part: &Part<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        if part.cache.is_some() {
            let why = "Gemini caches by itself";
            self.losses.drop(Weight::Hint, "cache_control", why);
        }
        match &part.kind {
            PartKind::Text { text, citations } => {
                emit.open().name("text").text(text).close();
                if citations.is_some() {
                    let why = "citations of earlier answers are not told again";
                    let field = "messages[].content[].citations";
                    self.losses.drop(Weight::Hint, field, why);
                }
            }
            PartKind::Refusal(text) => {
                emit.open().name("text").text(text).close();
                self.losses
                    .change(Weight::Hint, "messages[].refusal", "told as text");
            }
            PartKind::Image { source, .. } => bytes_of(source, "image/jpeg", part.field, emit)?,
            PartKind::Document {
                source,
                title,
                context,
                citations,
            } => {
                for text in [title, context].into_iter().flatten() {
                    emit.open().name("text").text(text).close();
                }
                if citations.is_some_and(is_enabled) {
                    let why = "Gemini does not cite documents";
                    let field = "messages[].content[].citations";
                    self.losses.drop(Weight::Parameter, field, why);
                }
                bytes_of(source, "application/pdf", part.field, emit)?;
            }
            PartKind::Audio { data, format } => {
                emit.open().name("inlineData").open();
                let media = format!("audio/{}", format.clear());
                emit.name("mimeType").string(&media);
                emit.name("data").text(data).close().close();
            }
            PartKind::Foreign { kind, raw } => self.foreign(part.field, kind, *raw, emit),
            PartKind::Thinking { .. } | PartKind::Call { .. } | PartKind::Result { .. } => {
                let why = "a piece of a model's turn in a user's";
                self.losses.drop(Weight::Meaning, part.field, why);
            }
        }
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
            let why = "a search result is told as text";
            self.losses.change(Weight::Hint, field, why);
            emit.open().name("text").joined(&texts).close();
            return;
        }
        let why = "a block that Gemini does not have";
        self.losses.drop(foreign_weight(kind), field, why);
    }
}

fn is_enabled(settings: Value<'_>) -> bool {
    settings
        .field(b"enabled")
        .is_some_and(|enabled| enabled.raw == b"true")
}

fn content(role: &str, parts: &[u8], emit: &mut Emit<'_>) {
    emit.open().name("role").string(role);
    emit.name("parts").open_list().raw(parts).close_list();
    emit.close();
}

fn calls_of<'t, 'a>(turn: &'t Turn<'a>) -> Vec<Called<'t, 'a>> {
    let calls = turn.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Call { id, name, .. } => Some(Called { id, name }),
        _ => None,
    });
    calls.collect()
}

fn bytes_of(
    source: &Source<'_>,
    fallback: &str,
    field: &'static str,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    emit.open();
    match source {
        Source::Base64 { media, data } => {
            emit.name("inlineData").open().name("mimeType");
            match media.is("image/jpg") {
                true => emit.string("image/jpeg"),
                false => emit.text(media),
            };
            emit.name("data").text(data).close();
        }
        Source::Text(text) => {
            emit.name("text").text(text);
        }
        Source::Url(url) => file(url, fallback, emit),
        Source::File(id) => {
            let clear = id.clear();
            if !clear.starts_with("https://") && !clear.starts_with("gs://") {
                let message = format!(
                    "'{field}' names a file of another provider: Gemini takes the address of one"
                );
                return Err(Refusal::new(field, message));
            }
            file(id, fallback, emit);
        }
    }
    emit.close();
    Ok(())
}

fn file(url: &Text<'_>, fallback: &str, emit: &mut Emit<'_>) {
    let clear = url.clear();
    let path = clear.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('.').next().unwrap_or_default();
    let known = ENDINGS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(ending));
    emit.name("fileData").open();
    emit.name("mimeType")
        .string(known.map_or(fallback, |(_, media)| *media));
    emit.name("fileUri").text(url).close();
}
