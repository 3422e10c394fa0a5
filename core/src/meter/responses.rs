//! OpenAI Responses: stream events and whole responses.

use crate::meter::{Meter, keep_first, keep_last, usage};
use crate::wire::json::{Kind, Members, Value};

impl Meter {
    /// Reads the data of an event or a body.
    pub(super) fn responses(&mut self, data: &[u8]) {
        let (mut kind, mut response, mut delta, mut item) = (None, None, None, None);
        let (mut is_body, mut failed) = (false, false);
        let mut sequence = None;
        for member in Members::new(data) {
            let Some((name, value)) = self.readable(member) else {
                break;
            };
            match name {
                b"type" => kind = value.inner(),
                b"sequence_number" => sequence = value.count(),
                b"response" => response = Some(value),
                b"delta" => delta = Some(value),
                b"item" => item = Some(value),
                b"object" => is_body = value.inner() == Some(b"response"),
                b"error" => failed = value.kind != Kind::Null,
                _ => {}
            }
        }
        self.sequence = sequence.or(self.sequence);
        if let Some(response) = response {
            self.response(response);
        } else if is_body {
            // `data` has just been read as an object.
            let body = Value {
                raw: data,
                kind: Kind::Object,
            };
            self.response(body);
            self.output_content(body);
        } else if failed {
            self.complain(data);
        }
        match kind.unwrap_or_default() {
            b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"response.cancelled" => self.facts.terminal = true,
            b"error" => self.complain(data),
            b"response.output_item.added" => self.item_added(item),
            b"response.output_item.done" => {
                self.web_searches += u32::from(item_type(item) == b"web_search_call");
            }
            kind if kind.ends_with(b".delta") => self.response_delta(kind, delta),
            _ => {}
        }
    }

    /// A response object: the snapshot in an event, or the body.
    fn response(&mut self, response: Value<'_>) {
        for (name, value) in response.fields() {
            match name {
                b"id" => keep_first(&mut self.facts.response_id, value),
                b"model" => keep_first(&mut self.facts.model, value),
                b"created_at" => self.created_at = value.count(),
                b"status" => keep_last(&mut self.facts.finish_reason, value),
                // `auto` in the first snapshots, the tier used in the last one.
                b"service_tier" => self.tier = usage::tier(value).or(self.tier),
                b"error" if value.kind != Kind::Null => self.complain(value.raw),
                b"usage" if value.kind == Kind::Object => {
                    self.set_usage(value);
                    self.facts.usage_final = self.usage.is_some();
                }
                b"output" => {
                    let searches = value.items().filter(is_web_search).count() as u32;
                    self.web_searches = self.web_searches.max(searches);
                }
                _ => {}
            }
        }
    }

    fn item_added(&mut self, item: Option<Value<'_>>) {
        let kind = item_type(item);
        if !matches!(kind, b"" | b"message" | b"reasoning") {
            self.facts.content_seen = true;
            if let Some(name) = item.and_then(|item| item.field(b"name")) {
                self.facts.content.tools.add(name);
            }
        }
    }

    fn response_delta(&mut self, kind: &[u8], delta: Option<Value<'_>>) {
        let Some(delta) = delta else {
            return;
        };
        let content = &mut self.facts.content;
        let seen = match kind {
            b"response.output_text.delta"
            | b"response.refusal.delta"
            | b"response.audio.transcript.delta" => content.text.add(delta),
            // Base64 of audio: content, but not text.
            b"response.audio.delta" => true,
            kind if kind.starts_with(b"response.reasoning") => content.reasoning.add(delta),
            _ => content.tools.add(delta),
        };
        self.facts.content_seen |= seen;
    }

    /// Content of a whole response, for when it carries no usage.
    fn output_content(&mut self, body: Value<'_>) {
        let output = body.field(b"output");
        for item in output.into_iter().flat_map(Value::items) {
            let content = &mut self.facts.content;
            let is_reasoning = item_type(Some(item)) == b"reasoning";
            let mut seen = false;
            for (name, value) in item.fields() {
                seen |= match name {
                    b"content" | b"summary" if is_reasoning => content.reasoning.add(value),
                    b"content" => content.text.add(value),
                    b"arguments" | b"input" | b"name" => content.tools.add(value),
                    _ => false,
                };
            }
            self.facts.content_seen |= seen;
        }
    }
}

fn item_type(item: Option<Value<'_>>) -> &[u8] {
    let kind = item.and_then(|item| item.field(b"type"));
    kind.and_then(Value::inner).unwrap_or_default()
}

fn is_web_search(item: &Value<'_>) -> bool {
    item_type(Some(*item)) == b"web_search_call"
}
