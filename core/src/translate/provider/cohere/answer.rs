//! Answers and streams of Cohere's v2 chat.

use crate::translate::Emit;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::text::Text;
use crate::usage::Usage;
use crate::wire::json::{JsonError, Kind, Reader as Json, Value, whole};
use crate::wire::upstream_error::Complaint;

/// Reads one answer of Cohere.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    calls: u32,
    /// Calls of a stream: (Cohere's `index`, number here).
    open: Vec<(u64, u32)>,
    /// Thoughts run, or the plan of tool calls, which is told as thoughts.
    thinks: bool,
}

/// What an event says. It is read in one pass: a look by name reads all that stands before it.
#[derive(Default)]
struct Told<'a> {
    kind: Option<Value<'a>>,
    id: Option<Value<'a>>,
    index: u64,
    plan: Option<Value<'a>>,
    text: Option<Value<'a>>,
    thinking: Option<Value<'a>>,
    calls: Option<Value<'a>>,
    citations: Option<Value<'a>>,
}

impl<'a> Told<'a> {
    fn read(data: &'a [u8]) -> Result<Self, JsonError> {
        let mut told = Self::default();
        let mut json = Json::new(data);
        json.members(|json, name| match name {
            b"type" => put(json, &mut told.kind),
            b"id" => put(json, &mut told.id),
            b"index" => {
                told.index = json.value()?.count().unwrap_or(0);
                Ok(())
            }
            b"delta" => inside(json, |json, name| match name {
                b"message" => inside(json, |json, name| told.message(json, name)),
                _ => json.value().map(drop),
            }),
            _ => json.value().map(drop),
        })?;
        json.end().map(|()| told)
    }

    fn message(&mut self, json: &mut Json<'a>, name: &[u8]) -> Result<(), JsonError> {
        match name {
            b"tool_plan" => put(json, &mut self.plan),
            b"tool_calls" => put(json, &mut self.calls),
            b"citations" => put(json, &mut self.citations),
            b"content" => inside(json, |json, name| match name {
                b"text" => put(json, &mut self.text),
                b"thinking" => put(json, &mut self.thinking),
                _ => json.value().map(drop),
            }),
            _ => json.value().map(drop),
        }
    }
}

/// Reads the members of an object; another value means nothing here.
fn inside<'a>(
    json: &mut Json<'a>,
    each: impl FnMut(&mut Json<'a>, &'a [u8]) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    json.members(each).map(drop)
}

/// Takes the next value; the first of a name counts.
fn put<'a>(json: &mut Json<'a>, place: &mut Option<Value<'a>>) -> Result<(), JsonError> {
    let value = json.value()?;
    *place = place.or(Some(value));
    Ok(())
}

impl Reader {
    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let answer = whole(body)?;
        let id = answer.field(b"id").and_then(Text::of);
        sink.take(0, Piece::Start { id, model: None });
        if let Some(message) = answer.field(b"message") {
            self.message(message, sink);
        }
        if let Some(list) = answer
            .field(b"logprobs")
            .filter(|list| list.kind == Kind::Array)
        {
            logprobs(list, sink);
        }
        end(answer, sink);
        Ok(())
    }

    fn message(&mut self, message: Value<'_>, sink: &mut dyn Sink) {
        let plan = message.field(b"tool_plan").and_then(Text::of);
        if let Some(plan) = plan.filter(|plan| !plan.is_empty()) {
            sink.take(0, Piece::Thinking(plan));
            sink.take(0, Piece::BlockEnd);
        }
        for block in list(message, b"content") {
            let text = |name: &[u8]| block.field(name).and_then(Text::of);
            if let Some(thoughts) = text(b"thinking") {
                sink.take(0, Piece::Thinking(thoughts));
                sink.take(0, Piece::BlockEnd);
            } else if let Some(text) = text(b"text") {
                sink.take(0, Piece::Text(text));
            }
        }
        for found in list(message, b"citations") {
            citation(found, sink);
        }
        sink.take(0, Piece::BlockEnd);
        for found in list(message, b"tool_calls") {
            let call = self.call(found, sink);
            arguments(found, call, sink);
            sink.take(0, Piece::CallEnd { call });
        }
    }

    fn call(&mut self, found: Value<'_>, sink: &mut dyn Sink) -> u32 {
        let call = self.calls;
        self.calls += 1;
        let name = found
            .field(b"function")
            .and_then(|function| function.field(b"name"));
        let empty = || Text::plain("");
        sink.take(
            0,
            Piece::CallStart {
                call,
                id: found.field(b"id").and_then(Text::of).unwrap_or_else(empty),
                name: name.and_then(Text::of).unwrap_or_else(empty),
                signature: None,
            },
        );
        call
    }

    /// One event.
    pub(crate) fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let told = Told::read(data)?;
        let index = told.index;
        match told.kind.and_then(Value::inner) {
            Some(b"message-start") => {
                let id = told.id.and_then(Text::of);
                sink.take(0, Piece::Start { id, model: None });
            }
            Some(b"tool-plan-delta") => {
                if let Some(plan) = told.plan.and_then(Text::of) {
                    self.thinks = true;
                    sink.take(0, Piece::Thinking(plan));
                }
            }
            Some(b"content-start" | b"content-delta") => self.content(&told, sink),
            Some(b"content-end") => {
                self.thinks = false;
                sink.take(0, Piece::BlockEnd);
            }
            Some(b"tool-call-start") => {
                self.end_thoughts(sink);
                if let Some(found) = told.calls {
                    let call = self.call(found, sink);
                    self.open.push((index, call));
                    arguments(found, call, sink);
                }
            }
            Some(b"tool-call-delta") => {
                let call = self.open.iter().find(|(known, _)| *known == index);
                if let (Some((_, call)), Some(found)) = (call, told.calls) {
                    arguments(found, *call, sink);
                }
            }
            Some(b"tool-call-end") => {
                let at = self.open.iter().position(|(known, _)| *known == index);
                if let Some(at) = at {
                    let call = self.open.remove(at).1;
                    sink.take(0, Piece::CallEnd { call });
                }
            }
            Some(b"citation-start") => {
                if let Some(found) = told.citations {
                    citation(found, sink);
                }
            }
            Some(b"message-end") => {
                self.end_thoughts(sink);
                if let Some(delta) = whole(data)?.field(b"delta") {
                    end(delta, sink);
                }
            }
            // Cohere's errors have a message and no type.
            None => error(whole(data)?, data, sink),
            Some(_) => {}
        }
        Ok(())
    }

    fn content<'a>(&mut self, told: &Told<'a>, sink: &mut dyn Sink) {
        let full =
            |value: Option<Value<'a>>| value.and_then(Text::of).filter(|text| !text.is_empty());
        if let Some(thoughts) = full(told.thinking) {
            self.thinks = true;
            sink.take(0, Piece::Thinking(thoughts));
        } else if let Some(text) = full(told.text) {
            self.end_thoughts(sink);
            sink.take(0, Piece::Text(text));
        }
    }

    fn end_thoughts(&mut self, sink: &mut dyn Sink) {
        if self.thinks {
            self.thinks = false;
            sink.take(0, Piece::BlockEnd);
        }
    }

    /// `message-end` is the end: nothing to tell.
    pub(crate) fn finish(&mut self, _: &mut dyn Sink) {}
}

fn list<'v>(value: Value<'v>, name: &[u8]) -> impl Iterator<Item = Value<'v>> {
    value.field(name).into_iter().flat_map(Value::items)
}

/// Arguments of a call, whole or a piece; Cohere writes `null` where there are none.
fn arguments(found: Value<'_>, call: u32, sink: &mut dyn Sink) {
    let json = found
        .field(b"function")
        .and_then(|function| function.field(b"arguments"));
    let json = json.and_then(Text::of);
    if let Some(json) = json.filter(|json| !json.is_empty() && !json.is("null")) {
        sink.take(0, Piece::CallArguments { call, json });
    }
}

/// One citation: the documents and tool answers that a piece of text rests on.
fn citation(found: Value<'_>, sink: &mut dyn Sink) {
    for source in list(found, b"sources") {
        let document = source.field(b"document");
        let title = document.and_then(|document| document.field(b"title"));
        let id = source.field(b"id");
        let text = document.and_then(|document| document.field(b"text"));
        let mut raw = Vec::new();
        let mut emit = Emit::new(&mut raw);
        emit.open().name("type").string("char_location");
        let members = [
            ("cited_text", text),
            ("document_title", title),
            ("file_id", id),
            ("start_char_index", found.field(b"start")),
            ("end_char_index", found.field(b"end")),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                emit.name(name).raw(value.raw);
            }
        }
        emit.name("document_index").count(0).close();
        let kind = Kind::Object;
        sink.take(0, Piece::Citation(Value { raw: &raw, kind }));
    }
}

/// Why the answer ended and what it consumed; both stand side by side in bodies and streams.
fn end(value: Value<'_>, sink: &mut dyn Sink) {
    if let Some(found) = value.field(b"usage") {
        sink.take(0, Piece::Usage(&usage(found)));
    }
    if let Some(native) = value.field(b"finish_reason").and_then(Text::of) {
        let reason = match &*native.clear() {
            "STOP_SEQUENCE" => Finish::StopSequence,
            "MAX_TOKENS" => Finish::Length,
            "TOOL_CALL" => Finish::Tools,
            "ERROR_TOXIC" => Finish::Filter,
            "ERROR_LIMIT" => Finish::Context,
            _ => Finish::Stop,
        };
        let failed = matches!(&*native.clear(), "ERROR" | "TIMEOUT");
        if let (true, Some(why)) = (failed, value.field(b"error").and_then(Value::text)) {
            let complaint = Complaint {
                message: why.into_owned(),
                kind: Some(native.clear().into_owned()),
                ..Complaint::default()
            };
            sink.take(0, Piece::Error(&complaint));
            return;
        }
        sink.take(
            0,
            Piece::Finish {
                reason,
                native,
                sequence: None,
                details: None,
            },
        );
        sink.take(0, Piece::End);
    }
}

/// Cohere counts twice: `tokens` with its own preamble, which LiteLLM bills, and `billed_units`.
/// `cached_tokens` are among `tokens`.
fn usage(found: Value<'_>) -> Usage {
    let count = |object: &[u8], name: &[u8]| {
        let object = found.field(object)?;
        object.field(name).and_then(Value::count)
    };
    let input = count(b"tokens", b"input_tokens");
    let output = count(b"tokens", b"output_tokens");
    let cached = found.field(b"cached_tokens").and_then(Value::count);
    let prompt = input.or_else(|| count(b"billed_units", b"input_tokens"));
    let prompt = prompt.unwrap_or(0);
    Usage {
        prompt,
        cache_read: cached.unwrap_or(0).min(prompt),
        completion: output
            .or_else(|| count(b"billed_units", b"output_tokens"))
            .unwrap_or(0),
        ..Usage::default()
    }
}

fn error(event: Value<'_>, data: &[u8], sink: &mut dyn Sink) {
    let has = |name: &[u8]| event.field(name).is_some();
    if has(b"message") || has(b"error") {
        sink.take(0, Piece::Error(&Complaint::read(data, 200)));
    }
}

/// Cohere's log probabilities: a list of `{text, logprobs}`, told piece by piece of the text.
fn logprobs(found: Value<'_>, sink: &mut dyn Sink) {
    let mut raw = Vec::new();
    let mut emit = Emit::new(&mut raw);
    emit.open_list();
    for item in found.items() {
        let text = item.field(b"text").and_then(Text::of);
        let text = text.unwrap_or(Text::plain(""));
        let first = list(item, b"logprobs").next();
        let first = first.filter(|value| value.kind == Kind::Number);
        emit.open().name("token").text(&text);
        emit.name("logprob")
            .raw(first.map_or(b"0.0".as_slice(), |value| value.raw));
        emit.name("bytes").null();
        emit.name("top_logprobs").open_list().close_list().close();
    }
    emit.close_list();
    let kind = Kind::Array;
    sink.take(0, Piece::Logprobs(Value { raw: &raw, kind }));
}
