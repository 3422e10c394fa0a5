//! Anthropic's answers and streams read as pieces.

use crate::meter::usage::AnthropicUsage;
use crate::translate::client::chat::body::append;
use crate::translate::emit::Emit;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::prompt::Proof;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::{JsonError, Kind, Reader as JsonReader, Value, whole};
use crate::wire::upstream_error::Complaint;

/// Reads one answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    usage: AnthropicUsage,
    open: Open,
    calls: u32,
}

/// The running block of a stream; they never interleave.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thinking,
    Call(u32),
    /// A block that only this dialect knows: its start, the JSON of its `input` and the text of
    /// its `content` so far, the text as between quotes.
    Other {
        block: Vec<u8>,
        input: String,
        content: Vec<u8>,
    },
}

/// Members of an event that matter.
#[derive(Default)]
struct Members<'d> {
    kind: &'d [u8],
    inner: Option<Value<'d>>,
    usage: Option<Value<'d>>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let mut event = Members::default();
        let mut reader = JsonReader::new(data);
        reader.members(|reader, name| {
            let value = reader.value()?;
            match name {
                b"type" => event.kind = value.inner().unwrap_or_default(),
                b"delta" | b"content_block" | b"message" => event.inner = Some(value),
                b"usage" => event.usage = Some(value),
                _ => {}
            }
            Ok(())
        })?;
        reader.end()?;
        match (event.kind, event.inner) {
            (b"content_block_delta", Some(delta)) => self.delta(delta, sink),
            (b"content_block_start", Some(block)) => self.start(block, sink),
            (b"content_block_stop", _) => self.stop(sink),
            (b"message_start", Some(message)) => {
                self.begin(message, sink);
                self.count(message.field(b"usage"), sink);
            }
            (b"message_delta", delta) => {
                self.count(event.usage, sink);
                if let Some(delta) = delta {
                    finish(delta, sink);
                }
            }
            (b"message_stop", _) => {
                self.stop(sink);
                sink.take(0, Piece::End);
            }
            (b"error", _) => sink.take(0, Piece::Error(&Complaint::read(data, 200))),
            // `ping`, and events that do not exist yet.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, message: Value<'_>, sink: &mut dyn Sink) {
        let text = |name: &[u8]| message.field(name).and_then(Text::of);
        let (id, model) = (text(b"id"), text(b"model"));
        sink.take(0, Piece::Start { id, model });
    }

    fn count(&mut self, usage: Option<Value<'_>>, sink: &mut dyn Sink) {
        if let Some(usage) = usage.filter(|usage| usage.kind == Kind::Object) {
            self.usage.merge(usage);
            sink.take(0, Piece::Usage(&self.usage.usage()));
        }
    }

    fn start(&mut self, block: Value<'_>, sink: &mut dyn Sink) {
        self.stop(sink);
        let text = |name: &[u8]| block.field(name).and_then(Text::of);
        let or_empty = |text: Option<Text<'_>>| text.map_or(Text::plain(""), Text::into_owned);
        match take::kind_of(block) {
            b"text" => {
                self.open = Open::Text;
                if let Some(text) = text(b"text").filter(|text| !text.is_empty()) {
                    sink.take(0, Piece::Text(text));
                }
            }
            b"thinking" => {
                self.open = Open::Thinking;
                if let Some(text) = text(b"thinking").filter(|text| !text.is_empty()) {
                    sink.take(0, Piece::Thinking(text));
                }
            }
            b"redacted_thinking" => {
                let data = text(b"data").unwrap_or(Text::plain(""));
                sink.take(0, Piece::Proof(Proof::Redacted(data)));
            }
            b"tool_use" => {
                let call = self.calls;
                self.calls += 1;
                self.open = Open::Call(call);
                let (id, name) = (or_empty(text(b"id")), or_empty(text(b"name")));
                let signature = None;
                sink.take(
                    0,
                    Piece::CallStart {
                        call,
                        id,
                        name,
                        signature,
                    },
                );
                // A placeholder while arguments are streamed; all of it where they are not.
                let input = block.field(b"input");
                let input = input.filter(|input| input.fields().next().is_some());
                if let Some(input) = input {
                    let json = Text::plain(String::from_utf8_lossy(input.raw));
                    sink.take(0, Piece::CallArguments { call, json });
                }
            }
            _ => {
                self.open = Open::Other {
                    block: block.raw.to_vec(),
                    input: String::new(),
                    content: Vec::new(),
                };
            }
        }
    }

    fn delta(&mut self, delta: Value<'_>, sink: &mut dyn Sink) {
        let (mut kind, mut value) = (&b""[..], None);
        for (name, member) in delta.fields() {
            match name {
                b"type" => kind = member.inner().unwrap_or_default(),
                b"text" | b"thinking" | b"partial_json" => value = Some(member),
                b"signature" | b"citation" | b"content" => value = Some(member),
                _ => {}
            }
        }
        let Some(value) = value else {
            return;
        };
        if kind == b"citations_delta" {
            sink.take(0, Piece::Citation(value));
            return;
        }
        let Some(text) = Text::of(value) else {
            return;
        };
        match (kind, &mut self.open) {
            (b"text_delta", _) => sink.take(0, Piece::Text(text)),
            (b"thinking_delta", _) => sink.take(0, Piece::Thinking(text)),
            (b"signature_delta", _) => {
                sink.take(0, Piece::Proof(Proof::Anthropic(text)));
                self.open = Open::Nothing;
            }
            (b"input_json_delta", Open::Call(call)) if !text.is_empty() => {
                let (call, json) = (*call, text);
                sink.take(0, Piece::CallArguments { call, json });
            }
            (b"input_json_delta", Open::Other { input, .. }) => input.push_str(&text.clear()),
            (b"compaction_delta", Open::Other { content, .. }) => append(content, &text),
            _ => {}
        }
    }

    fn stop(&mut self, sink: &mut dyn Sink) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Text | Open::Thinking => sink.take(0, Piece::BlockEnd),
            Open::Call(call) => sink.take(0, Piece::CallEnd { call }),
            Open::Other {
                block,
                input,
                content,
            } => {
                let block = with_pieces(&block, &input, &content);
                if let Ok(block) = whole(&block) {
                    sink.take(0, Piece::Block(block));
                }
            }
        }
    }

    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let message = whole(body)?;
        if take::kind_of(message) == b"error" || message.field(b"error").is_some() {
            sink.take(0, Piece::Error(&Complaint::read(body, 200)));
            return Ok(());
        }
        self.begin(message, sink);
        for block in message.field(b"content").into_iter().flat_map(Value::items) {
            self.start(block, sink);
            let citations = take::member(block, "citations");
            for citation in citations.into_iter().flat_map(Value::items) {
                sink.take(0, Piece::Citation(citation));
            }
            let signature = block.field(b"signature").and_then(Text::of);
            if let Some(signature) = signature.filter(|text| !text.is_empty()) {
                sink.take(0, Piece::Proof(Proof::Anthropic(signature)));
                self.open = Open::Nothing;
            }
            self.stop(sink);
        }
        self.count(message.field(b"usage"), sink);
        finish(message, sink);
        sink.take(0, Piece::End);
        Ok(())
    }
}

/// A block with the `input` and the `content` that came in pieces.
fn with_pieces(block: &[u8], input: &str, content: &[u8]) -> Vec<u8> {
    let value = whole(block).ok();
    let came = !input.is_empty() || !content.is_empty();
    let Some(value) = value.filter(|_| came) else {
        return block.to_vec();
    };
    let mut out = Vec::with_capacity(block.len() + input.len() + content.len());
    let mut emit = Emit::new(&mut out);
    emit.open();
    for (name, value) in value.fields() {
        emit.name(&String::from_utf8_lossy(name));
        match name {
            b"input" if !input.is_empty() => emit.raw(input.as_bytes()),
            b"content" if !content.is_empty() => emit.text(&Text::Escaped(content.into())),
            _ => emit.raw(value.raw),
        };
    }
    emit.close();
    out
}

/// Tells the end of a message, if `stop_reason` is there.
fn finish(delta: Value<'_>, sink: &mut dyn Sink) {
    let Some(native) = delta.field(b"stop_reason").and_then(Text::of) else {
        return;
    };
    let word = native.clear();
    let reason = match &*word {
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" | "compaction" => Finish::Length,
        "model_context_window_exceeded" => Finish::Context,
        "tool_use" => Finish::Tools,
        "refusal" => Finish::Filter,
        "pause_turn" => Finish::Pause,
        _ => Finish::Stop,
    };
    drop(word);
    let piece = Piece::Finish {
        reason,
        native,
        sequence: delta.field(b"stop_sequence").and_then(Text::of),
        details: take::member(delta, "stop_details"),
    };
    sink.take(0, piece);
}
