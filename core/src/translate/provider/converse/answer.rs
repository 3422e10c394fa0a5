//! Answers and streams of Bedrock Converse.

use super::citation::anthropic;
use crate::meter::usage::converse;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::prompt::Proof;
use crate::translate::text::Text;
use crate::usage::Usage;
use crate::wire::json::{JsonError, Kind, Value, whole};

/// Reads one answer of Converse.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Blocks that have begun and not ended, by `contentBlockIndex`.
    open: Vec<(u64, Block)>,
    calls: u32,
    /// Tokens of thoughts, told before the rest of the consumption.
    reasoning: u64,
    finished: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    /// Thoughts whose proof came: that ended the block.
    Proven,
    Call(u32),
    /// Something that has no form in any other dialect.
    Unknown,
}

impl Reader {
    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let answer = whole(body)?;
        let invoked = answer
            .field(b"trace")
            .and_then(|trace| trace.field(b"promptRouter")?.field(b"invokedModelId"));
        sink.take(
            0,
            Piece::Start {
                id: None,
                model: invoked.and_then(Text::of),
            },
        );
        let message = answer
            .field(b"output")
            .and_then(|out| out.field(b"message"));
        let content = message.and_then(|message| message.field(b"content"));
        for block in content.into_iter().flat_map(Value::items) {
            self.block(block, sink);
        }
        self.stop(answer, sink);
        self.metadata(answer, sink);
        self.end(sink);
        Ok(())
    }

    /// A whole block.
    fn block(&mut self, block: Value<'_>, sink: &mut dyn Sink) {
        let Some((name, value)) = block.fields().next() else {
            return;
        };
        match name {
            b"text" => {
                if let Some(text) = Text::of(value) {
                    sink.take(0, Piece::Text(text));
                    sink.take(0, Piece::BlockEnd);
                }
            }
            b"reasoningContent" => {
                let inner = value.field(b"reasoningText").unwrap_or(value);
                let mut running = Block::Thinking;
                thoughts(inner, &mut running, sink);
                if running == Block::Thinking {
                    sink.take(0, Piece::BlockEnd);
                }
            }
            b"toolUse" => {
                let call = self.call(value, sink);
                let input = value.field(b"input").map(|input| input.raw);
                if let Some(json) = input.and_then(|raw| std::str::from_utf8(raw).ok()) {
                    let json = Text::plain(json);
                    sink.take(0, Piece::CallArguments { call, json });
                }
                sink.take(0, Piece::CallEnd { call });
            }
            b"citationsContent" => cited(value, sink),
            b"image" => image(value, sink),
            _ => {}
        }
    }

    fn call(&mut self, value: Value<'_>, sink: &mut dyn Sink) -> u32 {
        let call = self.calls;
        self.calls += 1;
        let text = |name: &[u8]| value.field(name).and_then(Text::of);
        sink.take(
            0,
            Piece::CallStart {
                call,
                id: text(b"toolUseId").unwrap_or(Text::plain("")),
                name: text(b"name").unwrap_or(Text::plain("")),
                signature: None,
            },
        );
        call
    }

    /// One event; `name` is its `:event-type`.
    pub(crate) fn event(
        &mut self,
        name: &[u8],
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), JsonError> {
        let event = whole(data)?;
        match name {
            b"messageStart" => sink.take(
                0,
                Piece::Start {
                    id: None,
                    model: None,
                },
            ),
            b"contentBlockStart" => self.start(event, sink),
            b"contentBlockDelta" => self.delta(event, sink),
            b"contentBlockStop" => self.block_stop(event, sink),
            b"messageStop" => self.stop(event, sink),
            b"metadata" => {
                self.metadata(event, sink);
                self.end(sink);
            }
            // A new type of event says nothing that could be told.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, event: Value<'_>, sink: &mut dyn Sink) {
        let index = index_of(event);
        let start = event.field(b"start");
        let tool = start.and_then(|start| start.field(b"toolUse"));
        let block = match tool {
            Some(tool) => Block::Call(self.call(tool, sink)),
            None => Block::Unknown,
        };
        self.open.push((index, block));
    }

    fn delta(&mut self, event: Value<'_>, sink: &mut dyn Sink) {
        // Both in one pass: there is one such event for every few words.
        let (mut delta, mut index) = (None, 0);
        for (name, value) in event.fields() {
            match name {
                b"delta" => delta = value.fields().next(),
                b"contentBlockIndex" => index = value.count().unwrap_or(0),
                _ => {}
            }
        }
        let Some((name, value)) = delta else {
            return;
        };
        // Texts and thoughts begin without saying so.
        let kind = match name {
            b"text" | b"citation" => Block::Text,
            b"reasoningContent" => Block::Thinking,
            _ => Block::Unknown,
        };
        if !self.open.iter().any(|(known, _)| *known == index) {
            self.open.push((index, kind));
        }
        let Some((_, block)) = self.open.iter_mut().find(|(known, _)| *known == index) else {
            return;
        };
        match (name, *block) {
            (b"text", _) => {
                if let Some(text) = Text::of(value) {
                    sink.take(0, Piece::Text(text));
                }
            }
            (b"reasoningContent", _) => thoughts(value, block, sink),
            (b"toolUse", Block::Call(call)) => {
                if let Some(json) = value.field(b"input").and_then(Text::of) {
                    sink.take(0, Piece::CallArguments { call, json });
                }
            }
            (b"citation", _) => citation(value, sink),
            (b"image", _) => image(value, sink),
            _ => {}
        }
    }

    fn block_stop(&mut self, event: Value<'_>, sink: &mut dyn Sink) {
        let index = index_of(event);
        let Some(at) = self.open.iter().position(|(known, _)| *known == index) else {
            return;
        };
        match self.open.remove(at).1 {
            Block::Text | Block::Thinking => sink.take(0, Piece::BlockEnd),
            Block::Call(call) => sink.take(0, Piece::CallEnd { call }),
            Block::Proven | Block::Unknown => {}
        }
    }

    fn stop(&mut self, event: Value<'_>, sink: &mut dyn Sink) {
        let more = event.field(b"additionalModelResponseFields");
        let details = more.and_then(|more| more.field(b"usage")?.field(b"output_tokens_details"));
        let thinking = details.and_then(|details| {
            let count = details.field(b"thinking_tokens");
            count
                .or_else(|| details.field(b"reasoning_tokens"))?
                .count()
        });
        self.reasoning = thinking.unwrap_or(0);
        let Some(native) = event.field(b"stopReason").and_then(Text::of) else {
            return;
        };
        let sequence = more.and_then(|more| more.field(b"stop_sequence"));
        self.finished = true;
        sink.take(
            0,
            Piece::Finish {
                reason: self.reason(&native.clear()),
                native,
                sequence: sequence.and_then(Text::of),
                details: None,
            },
        );
    }

    fn reason(&self, word: &str) -> Finish {
        match word {
            "tool_use" => Finish::Tools,
            "max_tokens" => Finish::Length,
            "model_context_window_exceeded" => Finish::Context,
            "stop_sequence" => Finish::StopSequence,
            "guardrail_intervened" | "content_filtered" => Finish::Filter,
            _ => Finish::Stop,
        }
    }

    fn metadata(&mut self, event: Value<'_>, sink: &mut dyn Sink) {
        if let Some(usage) = event.field(b"usage") {
            let usage = Usage {
                reasoning: self.reasoning,
                ..converse(usage)
            };
            sink.take(0, Piece::Usage(&usage));
        }
        let tier = event
            .field(b"serviceTier")
            .and_then(|tier| tier.field(b"type"));
        if let Some(tier) = tier.and_then(Text::of) {
            sink.take(0, Piece::Tier(tier));
        }
    }

    /// The stream is over: without `metadata` the answer is whole where it said why it stopped.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) {
        if self.finished {
            self.end(sink);
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        if self.finished && !self.ended {
            self.ended = true;
            sink.take(0, Piece::End);
        }
    }
}

fn index_of(event: Value<'_>) -> u64 {
    let index = event.field(b"contentBlockIndex").and_then(Value::count);
    index.unwrap_or(0)
}

/// A piece of thoughts, or what proves them.
fn thoughts(value: Value<'_>, block: &mut Block, sink: &mut dyn Sink) {
    for (name, value) in value.fields() {
        let Some(text) = Text::of(value) else {
            continue;
        };
        if name == b"text" {
            sink.take(0, Piece::Thinking(text));
        }
    }
    // The proof ends the block, wherever it stands among the members.
    let text = |name: &[u8]| value.field(name).and_then(Text::of);
    let proof = text(b"signature").map(Proof::Anthropic);
    let proof = proof.or_else(|| text(b"redactedContent").map(Proof::Redacted));
    if let Some(proof) = proof {
        sink.take(0, Piece::Proof(proof));
        *block = Block::Proven;
    }
}

/// Text with its citations.
fn cited(value: Value<'_>, sink: &mut dyn Sink) {
    let texts = value.field(b"content").into_iter().flat_map(Value::items);
    for text in texts.filter_map(|item| item.field(b"text").and_then(Text::of)) {
        sink.take(0, Piece::Text(text));
    }
    let citations = value.field(b"citations");
    for item in citations.into_iter().flat_map(Value::items) {
        citation(item, sink);
    }
    sink.take(0, Piece::BlockEnd);
}

fn citation(value: Value<'_>, sink: &mut dyn Sink) {
    let raw = anthropic(value);
    let kind = Kind::Object;
    sink.take(0, Piece::Citation(Value { raw: &raw, kind }));
}

fn image(value: Value<'_>, sink: &mut dyn Sink) {
    let format = value.field(b"format").and_then(Text::of);
    let data = value
        .field(b"source")
        .and_then(|source| source.field(b"bytes"));
    if let (Some(format), Some(data)) = (format, data.and_then(Text::of)) {
        let media = Text::plain(format!("image/{}", format.clear()));
        sink.take(0, Piece::Image { media, data });
    }
}
