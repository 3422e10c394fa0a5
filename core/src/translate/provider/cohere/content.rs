//! Turns as Cohere's messages.

use crate::translate::Emit;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Part, PartKind, Proof, Role, Source, Turn};
use crate::translate::provider::names::{NameRule, ToolNames};
use crate::translate::provider::turns::{foreign_weight, object};
use crate::translate::text::Text;
use crate::wire::json::Value;

/// Names of tools.
pub(super) const TOOL_NAMES: NameRule = NameRule {
    signs: "_",
    any_first: false,
    chars_max: 64,
};

/// Writes messages.
pub(super) struct Writer<'w, 'p> {
    pub(super) names: &'w mut ToolNames,
    pub(super) losses: &'w mut Losses<'p>,
}

impl Writer<'_, '_> {
    /// The value of `messages`.
    pub(super) fn messages(
        &mut self,
        system: &[Part<'_>],
        turns: &[Turn<'_>],
        emit: &mut Emit<'_>,
    ) -> Result<(), Refusal> {
        emit.open_list();
        for part in system {
            emit.open().name("role").string("system");
            emit.name("content");
            match &part.kind {
                PartKind::Text { text, .. } => emit.text(text),
                _ => {
                    let why = "Cohere takes nothing but text as an instruction";
                    self.losses.drop(Weight::Meaning, part.field, why);
                    emit.string("")
                }
            };
            emit.close();
            self.cache(part);
        }
        for turn in turns {
            match turn.role {
                Role::Assistant => self.model_turn(turn, emit)?,
                Role::User | Role::System => self.user_turn(turn, emit)?,
            }
        }
        emit.close_list();
        Ok(())
    }

    fn cache(&mut self, part: &Part<'_>) {
        if part.cache.is_some() {
            let why = "Cohere caches by itself";
            self.losses.drop(Weight::Hint, "cache_control", why);
        }
    }

    /// Results are messages of their own; what the user said follows them.
    fn user_turn(&mut self, turn: &Turn<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        let mut media: Vec<&Part<'_>> = Vec::new();
        for part in &turn.parts {
            let PartKind::Result {
                id,
                parts,
                is_error,
            } = &part.kind
            else {
                continue;
            };
            self.cache(part);
            emit.open().name("role").string("tool");
            emit.name("tool_call_id").text(id);
            let mut texts = Vec::new();
            if *is_error {
                texts.push(Text::plain("Error: "));
                let why = "told in the text: Cohere has no mark for a tool that failed";
                self.losses
                    .change(Weight::Hint, "messages[].content[].is_error", why);
            }
            for inner in parts {
                match &inner.kind {
                    PartKind::Text { text, .. } => texts.push(text.borrowed()),
                    _ => {
                        let why = "images of a tool follow its answer as the user's";
                        self.losses
                            .change(Weight::Hint, "messages[].content[]", why);
                        media.push(inner);
                    }
                }
            }
            emit.name("content").joined(&texts).close();
        }
        let said = turn.parts.iter();
        let said = said.filter(|part| !matches!(part.kind, PartKind::Result { .. }));
        let mut bytes = Vec::new();
        let mut content = Emit::new(&mut bytes);
        for part in media.into_iter().chain(said) {
            self.part(part, &mut content)?;
        }
        if !bytes.is_empty() {
            emit.open().name("role").string("user");
            emit.name("content").open_list().raw(&bytes).close_list();
            emit.close();
        }
        Ok(())
    }

    fn model_turn(&mut self, turn: &Turn<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        let mut content = Emit::new(&mut bytes);
        let mut calls = Vec::new();
        let mut call_list = Emit::new(&mut calls);
        for part in &turn.parts {
            match &part.kind {
                PartKind::Call {
                    id,
                    name,
                    arguments,
                    ..
                } => {
                    call_list.open().name("id").text(id);
                    call_list.name("type").string("function");
                    call_list.name("function").open();
                    call_list.name("name").text(&self.names.sent(name));
                    let json = object(arguments)?;
                    call_list
                        .name("arguments")
                        .string(&String::from_utf8_lossy(&json));
                    call_list.close().close();
                    self.cache(part);
                }
                PartKind::Thinking { text, proof } => match proof {
                    // Cohere asks for no proof of what its models thought.
                    Proof::None if !text.is_empty() => {
                        content.open().name("type").string("thinking");
                        content.name("thinking").text(text).close();
                    }
                    _ => {
                        let why = "thoughts of another provider's model";
                        self.losses.drop(Weight::Hint, "messages[].thinking", why);
                    }
                },
                _ => self.part(part, &mut content)?,
            }
        }
        if bytes.is_empty() && calls.is_empty() {
            return Ok(());
        }
        emit.open().name("role").string("assistant");
        if !bytes.is_empty() {
            emit.name("content").open_list().raw(&bytes).close_list();
        }
        if !calls.is_empty() {
            emit.name("tool_calls").open_list().raw(&calls).close_list();
        }
        emit.close();
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        self.cache(part);
        match &part.kind {
            PartKind::Text { text, citations } => {
                text_part(text, emit);
                if citations.is_some() {
                    let why = "citations of earlier answers are not told again";
                    let field = "messages[].content[].citations";
                    self.losses.drop(Weight::Hint, field, why);
                }
            }
            PartKind::Refusal(text) => {
                text_part(text, emit);
                self.losses
                    .change(Weight::Hint, "messages[].refusal", "told as text");
            }
            PartKind::Image { source, detail } => image(source, detail.as_ref(), part, emit)?,
            PartKind::Document {
                source: Source::Text(text),
                title,
                context,
                citations,
            } => {
                for text in [title, context].into_iter().flatten() {
                    text_part(text, emit);
                }
                text_part(text, emit);
                if citations.is_some() {
                    let why = "a document is told as text";
                    let field = "messages[].content[].citations";
                    self.losses.drop(Weight::Hint, field, why);
                }
            }
            PartKind::Foreign { kind, raw } if kind.is("search_result") => {
                let content = raw.field(b"content").into_iter().flat_map(Value::items);
                let texts: Vec<_> = content
                    .filter_map(|item| item.field(b"text").and_then(Text::of))
                    .collect();
                let why = "a search result is told as text";
                self.losses.change(Weight::Hint, part.field, why);
                emit.open().name("type").string("text");
                emit.name("text").joined(&texts).close();
            }
            PartKind::Foreign { kind, .. } => {
                let why = "a block that Cohere does not have";
                self.losses.drop(foreign_weight(kind), part.field, why);
            }
            PartKind::Document { .. }
            | PartKind::Audio { .. }
            | PartKind::Thinking { .. }
            | PartKind::Call { .. }
            | PartKind::Result { .. } => {
                let why = "Cohere takes texts and images";
                self.losses.drop(Weight::Meaning, part.field, why);
            }
        }
        Ok(())
    }
}

fn text_part(text: &Text<'_>, emit: &mut Emit<'_>) {
    emit.open().name("type").string("text");
    emit.name("text").text(text).close();
}

fn image(
    source: &Source<'_>,
    detail: Option<&Text<'_>>,
    part: &Part<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    emit.open().name("type").string("image_url");
    emit.name("image_url").open().name("url");
    match source {
        Source::Base64 { media, data } => {
            let (start, middle) = (Text::plain("data:"), Text::plain(";base64,"));
            emit.joined([&start, media, &middle, data]);
        }
        Source::Url(url) => {
            emit.text(url);
        }
        Source::File(_) | Source::Text(_) => {
            let message = format!("'{}' must be a data: or https: URL", part.field);
            return Err(Refusal::new(part.field, message));
        }
    }
    if let Some(detail) = detail {
        emit.name("detail").text(detail);
    }
    emit.close().close();
    Ok(())
}
