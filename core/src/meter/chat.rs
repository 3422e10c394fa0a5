//! Chat and text completions: chunks and whole bodies have one shape.

use crate::meter::{Amount, Meter, Seen, keep_first, keep_last, usage};
use crate::wire::json::{JsonError, Kind, Reader, Value};

/// What the top level of a chunk says.
#[derive(Default)]
struct Chunk {
    /// `choices` is an empty list.
    no_choices: bool,
    has_usage: bool,
    failed: bool,
}

impl Meter {
    /// Reads a chunk or a body in one pass.
    pub(super) fn chat(&mut self, data: &[u8]) -> Seen {
        let mut chunk = Chunk::default();
        let mut reader = Reader::new(data);
        let read = reader.members(|reader, name| self.chat_member(reader, name, &mut chunk));
        let is_whole = read == Ok(true) && reader.end().is_ok();
        if !is_whole {
            self.facts.malformed += 1;
        }
        if chunk.failed {
            self.complain(data);
        }
        if is_whole && chunk.has_usage && chunk.no_choices && !chunk.failed {
            Seen::UsageChunk
        } else {
            Seen::Other
        }
    }

    fn chat_member(
        &mut self,
        reader: &mut Reader<'_>,
        name: &[u8],
        chunk: &mut Chunk,
    ) -> Result<(), JsonError> {
        if name == b"choices" {
            let mut any = false;
            let is_list = reader.items(|reader| {
                any = true;
                self.choice(reader)
            })?;
            chunk.no_choices = is_list && !any;
            return Ok(());
        }
        let value = reader.value()?;
        match name {
            b"usage" if value.kind == Kind::Object => {
                self.set_usage(value);
                self.facts.usage_final = self.usage.is_some();
                chunk.has_usage = true;
            }
            b"error" => chunk.failed = value.kind != Kind::Null,
            b"object" => chunk.failed |= value.inner() == Some(b"error"),
            b"id" => keep_first(&mut self.facts.response_id, value),
            b"model" => keep_first(&mut self.facts.model, value),
            b"service_tier" => self.tier = usage::tier(value).or(self.tier),
            _ => {}
        }
        Ok(())
    }

    fn choice(&mut self, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        let (mut index, mut finished) = (0, false);
        reader.members(|reader, name| {
            if matches!(name, b"delta" | b"message") {
                return self.delta(reader);
            }
            let value = reader.value()?;
            match name {
                b"index" => index = value.count().unwrap_or(0),
                b"text" => {
                    let some = self.facts.content.text.add(value);
                    self.facts.content_seen |= some;
                }
                b"finish_reason" if value.kind != Kind::Null => {
                    keep_last(&mut self.facts.finish_reason, value);
                    finished = true;
                }
                _ => {}
            }
            Ok(())
        })?;
        let bit = 1_u64 << index.min(63);
        self.begun |= bit;
        if finished {
            self.finished |= bit;
        }
        Ok(())
    }

    fn delta(&mut self, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        let content = &mut self.facts.content;
        let (mut seen, mut reasoned) = (false, false);
        reader.members(|reader, name| {
            let value = reader.value()?;
            match name {
                b"content" | b"refusal" => seen |= content.text.add(value),
                // Some servers send one text under both names.
                b"reasoning_content" | b"reasoning" if !reasoned => {
                    reasoned = content.reasoning.add(value);
                }
                b"tool_calls" => {
                    for call in value.items() {
                        seen = true;
                        if let Some(function) = call.field(b"function") {
                            tool_call(&mut content.tools, function);
                        }
                    }
                }
                b"function_call" if value.kind == Kind::Object => {
                    seen = true;
                    tool_call(&mut content.tools, value);
                }
                b"audio" if value.kind == Kind::Object => {
                    seen = true;
                    if let Some(transcript) = value.field(b"transcript") {
                        content.text.add(transcript);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        self.facts.content_seen |= seen || reasoned;
        Ok(())
    }
}

fn tool_call(tools: &mut Amount, function: Value<'_>) {
    for (name, value) in function.fields() {
        if matches!(name, b"name" | b"arguments") {
            tools.add(value);
        }
    }
}
