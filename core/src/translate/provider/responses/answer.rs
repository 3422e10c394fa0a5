//! Responses and their streams read as pieces.

use crate::meter::usage::inclusive;
use crate::translate::emit::Emit;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::prompt::Proof;
use crate::translate::take;
use crate::translate::text::Text;
use crate::wire::json::{JsonError, Kind, Reader as JsonReader, Value, whole};
use crate::wire::upstream_error::Complaint;

/// Between two parts of a summary.
const GAP: &str = "\n\n";

/// Reads one answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    begun: bool,
    /// Output indexes of calls, in the order they came, and whether arguments were told.
    calls: Vec<(u64, bool)>,
    /// A part of the running summary has been told.
    summarised: bool,
    refused: bool,
}

/// Members of an event that matter.
#[derive(Default)]
struct Members<'d> {
    kind: &'d [u8],
    index: u64,
    delta: Option<Value<'d>>,
    inner: Option<Value<'d>>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        // Some proxies add it.
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let mut event = Members::default();
        let mut reader = JsonReader::new(data);
        reader.members(|reader, name| {
            let value = reader.value()?;
            match name {
                b"type" => event.kind = value.inner().unwrap_or_default(),
                b"output_index" => event.index = value.count().unwrap_or(0),
                b"delta" => event.delta = Some(value),
                b"item" | b"response" | b"annotation" => event.inner = Some(value),
                _ => {}
            }
            Ok(())
        })?;
        reader.end()?;
        let text = event.delta.and_then(Text::of);
        match (event.kind, text, event.inner) {
            (b"response.output_text.delta", Some(text), _) => sink.take(0, Piece::Text(text)),
            (b"response.refusal.delta", Some(text), _) => {
                self.refused = true;
                sink.take(0, Piece::Refusal(text));
            }
            (b"response.reasoning_summary_text.delta", Some(text), _)
            | (b"response.reasoning_text.delta", Some(text), _) => {
                self.summarised = true;
                sink.take(0, Piece::Thinking(text));
            }
            (b"response.reasoning_summary_part.added", ..) if self.summarised => {
                sink.take(0, Piece::Thinking(Text::plain(GAP)));
            }
            (b"response.function_call_arguments.delta", Some(json), _)
            | (b"response.custom_tool_call_input.delta", Some(json), _) => {
                self.arguments(event.index, json, sink);
            }
            (b"response.output_text.annotation.added", _, Some(annotation)) => {
                annotated(annotation, sink);
            }
            (b"response.output_item.added", _, Some(item)) => {
                self.added(event.index, item, sink);
            }
            (b"response.output_item.done", _, Some(item)) => {
                self.done(event.index, item, sink);
            }
            (b"response.created" | b"response.in_progress", _, Some(response)) => {
                self.begin(response, sink);
            }
            (b"response.completed" | b"response.incomplete", _, Some(response)) => {
                self.begin(response, sink);
                self.end(response, sink);
            }
            (b"response.failed", _, Some(response)) => {
                sink.take(0, Piece::Error(&Complaint::read(response.raw, 200)));
            }
            (b"error", ..) => sink.take(0, Piece::Error(&Complaint::read(data, 200))),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, response: Value<'_>, sink: &mut dyn Sink) {
        if self.begun {
            return;
        }
        self.begun = true;
        let text = |name: &[u8]| response.field(name).and_then(Text::of);
        let (id, model) = (text(b"id"), text(b"model"));
        sink.take(0, Piece::Start { id, model });
    }

    fn added(&mut self, index: u64, item: Value<'_>, sink: &mut dyn Sink) {
        match take::kind_of(item) {
            b"function_call" | b"custom_tool_call" => {
                let text = |name: &[u8]| item.field(name).and_then(Text::of);
                let call = self.calls.len() as u32;
                self.calls.push((index, false));
                let piece = Piece::CallStart {
                    call,
                    id: text(b"call_id").unwrap_or(Text::plain("")),
                    name: text(b"name").unwrap_or(Text::plain("")),
                    signature: None,
                };
                sink.take(0, piece);
            }
            b"reasoning" => self.summarised = false,
            _ => {}
        }
    }

    fn arguments(&mut self, index: u64, json: Text<'_>, sink: &mut dyn Sink) {
        let known = self.calls.iter().position(|(known, _)| *known == index);
        if let (Some(at), false) = (known, json.is_empty()) {
            self.calls[at].1 = true;
            let call = at as u32;
            sink.take(0, Piece::CallArguments { call, json });
        }
    }

    fn done(&mut self, index: u64, item: Value<'_>, sink: &mut dyn Sink) {
        match take::kind_of(item) {
            b"reasoning" => {
                self.summarised = false;
                proven(item, sink);
            }
            b"message" => sink.take(0, Piece::BlockEnd),
            b"function_call" | b"custom_tool_call" => {
                let known = self.calls.iter().position(|(known, _)| *known == index);
                let Some(at) = known else {
                    // A server that tells calls whole.
                    self.added(index, item, sink);
                    return self.done(index, item, sink);
                };
                let call = at as u32;
                if !self.calls[at].1 {
                    let written = item.field(b"arguments").or_else(|| item.field(b"input"));
                    if let Some(json) = written.and_then(Text::of) {
                        self.arguments(index, json, sink);
                    }
                }
                sink.take(0, Piece::CallEnd { call });
            }
            _ => {}
        }
    }

    fn end(&mut self, response: Value<'_>, sink: &mut dyn Sink) {
        if let Some(tier) = response.field(b"service_tier").and_then(Text::of) {
            sink.take(0, Piece::Tier(tier));
        }
        let usage = take::member(response, "usage");
        if let Some(usage) = usage.filter(|usage| usage.kind == Kind::Object) {
            sink.take(0, Piece::Usage(&inclusive(usage)));
        }
        let why = take::member(response, "incomplete_details");
        let why = why.and_then(|why| why.field(b"reason")).and_then(Text::of);
        let reason = match &why {
            Some(why) if why.is("content_filter") => Finish::Filter,
            Some(_) => Finish::Length,
            None if self.refused => Finish::Filter,
            None if !self.calls.is_empty() => Finish::Tools,
            None => Finish::Stop,
        };
        let status = response.field(b"status").and_then(Text::of);
        let piece = Piece::Finish {
            reason,
            native: why.or(status).unwrap_or(Text::plain("")),
            sequence: None,
            details: None,
        };
        sink.take(0, piece);
        sink.take(0, Piece::End);
    }

    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let response = whole(body)?;
        let is_error = take::member(response, "error").is_some();
        let failed = response.field(b"status").and_then(Value::inner) == Some(b"failed");
        if is_error || failed {
            sink.take(0, Piece::Error(&Complaint::read(body, 200)));
            return Ok(());
        }
        self.begin(response, sink);
        let output = response.field(b"output").into_iter().flat_map(Value::items);
        for (index, item) in output.enumerate() {
            match take::kind_of(item) {
                b"message" => self.message(item, sink),
                b"reasoning" => summary(item, sink),
                _ => {}
            }
            self.done(index as u64, item, sink);
        }
        self.end(response, sink);
        Ok(())
    }

    fn message(&mut self, item: Value<'_>, sink: &mut dyn Sink) {
        let content = item.field(b"content").into_iter().flat_map(Value::items);
        for part in content {
            let text = |name: &[u8]| part.field(name).and_then(Text::of);
            if let Some(text) = text(b"refusal") {
                self.refused = true;
                sink.take(0, Piece::Refusal(text));
            } else if let Some(text) = text(b"text") {
                sink.take(0, Piece::Text(text));
            }
            let annotations = take::member(part, "annotations");
            for annotation in annotations.into_iter().flat_map(Value::items) {
                annotated(annotation, sink);
            }
            let logprobs = take::member(part, "logprobs");
            if let Some(list) = logprobs.filter(|list| list.items().next().is_some()) {
                sink.take(0, Piece::Logprobs(list));
            }
        }
    }
}

/// What a reasoning item shows.
fn summary(item: Value<'_>, sink: &mut dyn Sink) {
    let mut first = true;
    for list in [item.field(b"summary"), item.field(b"content")] {
        for part in list.into_iter().flat_map(Value::items) {
            if let Some(text) = part.field(b"text").and_then(Text::of) {
                if !first {
                    sink.take(0, Piece::Thinking(Text::plain(GAP)));
                }
                first = false;
                sink.take(0, Piece::Thinking(text));
            }
        }
    }
}

/// What lets OpenAI accept a reasoning item back.
fn proven(item: Value<'_>, sink: &mut dyn Sink) {
    let text = |name: &[u8]| item.field(name).and_then(Text::of);
    let piece = match (text(b"id"), text(b"encrypted_content")) {
        (Some(id), Some(encrypted)) => Piece::Proof(Proof::OpenAi { id, encrypted }),
        _ => Piece::BlockEnd,
    };
    sink.take(0, piece);
}

/// An annotation in chat's form: its members nested under its type.
fn annotated(annotation: Value<'_>, sink: &mut dyn Sink) {
    let Ok(kind) = std::str::from_utf8(take::kind_of(annotation)) else {
        return;
    };
    let mut nested = Vec::new();
    let mut emit = Emit::new(&mut nested);
    emit.open().name("type").string(kind).name(kind).open();
    for (name, value) in take::members(annotation).filter(|(name, _)| *name != "type") {
        emit.name(name).raw(value.raw);
    }
    emit.close().close();
    if let Ok(value) = whole(&nested) {
        sink.take(0, Piece::Annotation(value));
    }
}
