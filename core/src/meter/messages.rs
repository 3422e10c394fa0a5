//! Anthropic Messages: stream events and whole messages.

use crate::meter::{FILES_MAX, Meter, NAME_BYTES_MAX, keep_first, keep_last};
use crate::wire::json::{Kind, Members, Value};

impl Meter {
    /// Reads the data of an event or a body.
    pub(super) fn messages(&mut self, data: &[u8]) {
        let (mut kind, mut inner, mut usage) = (None, None, None);
        let (mut content, mut failed) = (None, false);
        for member in Members::new(data) {
            let Some((name, value)) = self.readable(member) else {
                break;
            };
            match name {
                b"type" => kind = value.inner(),
                b"message" | b"delta" | b"content_block" => inner = Some(value),
                b"usage" => usage = Some(value),
                b"content" => content = Some(value),
                b"error" => failed = value.kind != Kind::Null,
                _ => {}
            }
        }
        match (kind, inner) {
            (Some(b"message_start"), Some(message)) => self.message(message),
            (Some(b"content_block_start"), Some(block)) => self.block(block),
            (Some(b"content_block_delta"), Some(delta)) => self.block_delta(delta),
            (Some(b"message_delta"), delta) => {
                if let Some(reason) = delta.and_then(|delta| delta.field(b"stop_reason")) {
                    self.stop(reason);
                }
                if let Some(usage) = usage {
                    self.set_usage(usage);
                    self.facts.usage_final = self.usage.is_some();
                }
            }
            (Some(b"message_stop"), _) => self.facts.terminal = true,
            (Some(b"error"), _) => self.complain(data),
            (Some(b"message"), None) => {
                // A whole message: `data` has just been read as an object.
                self.message(Value {
                    raw: data,
                    kind: Kind::Object,
                });
                for block in content.into_iter().flat_map(Value::items) {
                    self.block(block);
                }
                self.facts.usage_final = self.usage.is_some();
            }
            // A server in front of the provider that speaks another dialect.
            (None, None) if failed => self.complain(data),
            _ => {}
        }
    }

    fn message(&mut self, message: Value<'_>) {
        for (name, value) in message.fields() {
            match name {
                b"id" => keep_first(&mut self.facts.response_id, value),
                b"model" => keep_first(&mut self.facts.model, value),
                b"stop_reason" => self.stop(value),
                b"usage" => self.set_usage(value),
                _ => {}
            }
        }
    }

    fn stop(&mut self, reason: Value<'_>) {
        if reason.kind != Kind::Null {
            keep_last(&mut self.facts.finish_reason, reason);
            // One choice; a server that sends no `message_stop` has ended properly here.
            self.begun |= 1;
            self.finished |= 1;
        }
    }

    /// A block of a whole message, or the start of one in a stream.
    fn block(&mut self, block: Value<'_>) {
        self.begun |= 1;
        let content = &mut self.facts.content;
        let (mut seen, mut is_call) = (false, false);
        let (mut is_result, mut returned) = (false, None);
        for (name, value) in block.fields() {
            match name {
                b"type" => {
                    let kind = value.inner().unwrap_or_default();
                    is_call = kind.ends_with(b"tool_use");
                    is_result = kind.ends_with(b"code_execution_tool_result");
                    let is_open =
                        matches!(kind, b"text" | b"thinking" | b"compaction" | b"fallback");
                    seen |= !is_open;
                }
                b"text" => seen |= content.text.add(value),
                b"thinking" => seen |= content.reasoning.add(value),
                b"content" => returned = Some(value),
                b"name" if is_call => {
                    content.tools.add(value);
                }
                // `{}` at the start of a stream is a placeholder.
                b"input" if is_call && value.raw != b"{}" => {
                    content.tools.add(value);
                }
                _ => {}
            }
        }
        self.facts.content_seen |= seen;
        if let Some(returned) = returned.filter(|_| is_result) {
            self.note_files(returned);
        }
    }

    /// Files that code has written, as the result of its run names them.
    fn note_files(&mut self, result: Value<'_>) {
        let written = result.field(b"content").into_iter().flat_map(Value::items);
        let ids = written.filter_map(|one| one.field(b"file_id")?.text());
        let fits = |id: &str| !id.is_empty() && id.len() <= NAME_BYTES_MAX;
        let room = FILES_MAX.saturating_sub(self.facts.files.len());
        let ids = ids.filter(|id| fits(id)).take(room);
        self.facts.files.extend(ids.map(|id| id.into_owned()));
    }

    fn block_delta(&mut self, delta: Value<'_>) {
        let content = &mut self.facts.content;
        for (name, value) in delta.fields() {
            match name {
                b"text" | b"content" => content.text.add(value),
                b"thinking" => content.reasoning.add(value),
                b"partial_json" => content.tools.add(value),
                _ => false,
            };
        }
        // A delta of any kind, signatures and citations included, is content on its way.
        self.begun |= 1;
        self.facts.content_seen = true;
    }
}
