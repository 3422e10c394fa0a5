//! Chat completions and their streams read as pieces.

use crate::meter::usage::inclusive;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::text::Text;
use crate::wire::json::{JsonError, Kind, Reader as JsonReader, Value};
use crate::wire::upstream_error::Complaint;

/// Reads one answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    begun: bool,
    ended: bool,
    finished: bool,
    /// Calls of each choice under the provider's numbers, in the order they came.
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    choice: u32,
    index: u64,
    /// Told as a piece: its name is known.
    told: bool,
    id: Option<Text<'static>>,
    /// Arguments that came before the name.
    early: String,
    ended: bool,
}

/// Members of a choice that matter.
#[derive(Default)]
struct Choice<'d> {
    index: u32,
    delta: Option<Value<'d>>,
    finish: Option<Value<'d>>,
    logprobs: Option<Value<'d>>,
}

/// Members of a delta or message that matter.
#[derive(Default)]
struct Delta<'d> {
    thinking: Option<Text<'d>>,
    content: Option<Value<'d>>,
    refusal: Option<Text<'d>>,
    annotations: Option<Value<'d>>,
    calls: Option<Value<'d>>,
    function: Option<Value<'d>>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        if data.trim_ascii() == b"[DONE]" {
            self.end(sink);
            return Ok(());
        }
        self.chunk(data, sink)
    }

    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        self.chunk(body, sink)?;
        self.end(sink);
        Ok(())
    }

    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) {
        // Some servers close without `[DONE]`.
        if self.finished {
            self.end(sink);
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        if !self.ended {
            self.ended = true;
            sink.take(0, Piece::End);
        }
    }

    fn chunk(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let (mut id, mut model, mut usage, mut tier, mut print) = (None, None, None, None, None);
        let (mut choices, mut failed) = (None, false);
        let mut reader = JsonReader::new(data);
        reader.members(|reader, name| {
            let value = reader.value()?;
            match name {
                b"id" => id = Some(value),
                b"model" => model = Some(value),
                b"choices" => choices = Some(value),
                b"usage" => usage = Some(value),
                b"service_tier" => tier = Text::of(value),
                b"system_fingerprint" => print = Text::of(value),
                b"error" => failed = value.kind != Kind::Null,
                b"object" => failed |= value.inner() == Some(b"error"),
                _ => {}
            }
            Ok(())
        })?;
        reader.end()?;
        if failed {
            sink.take(0, Piece::Error(&Complaint::read(data, 200)));
            return Ok(());
        }
        let choices = choices.into_iter().flat_map(Value::items);
        let mut choices = choices.peekable();
        // Azure's first chunk has neither a choice nor an id.
        if !self.begun && choices.peek().is_some() {
            self.begun = true;
            let text = |value: Option<Value<'_>>| value.and_then(Text::of).map(Text::into_owned);
            sink.take(
                0,
                Piece::Start {
                    id: text(id),
                    model: text(model),
                },
            );
            if let Some(tier) = tier {
                sink.take(0, Piece::Tier(tier));
            }
            if let Some(print) = print {
                sink.take(0, Piece::Fingerprint(print));
            }
        }
        for choice in choices {
            self.choice(choice, sink);
        }
        if let Some(usage) = usage.filter(|usage| usage.kind == Kind::Object) {
            sink.take(0, Piece::Usage(&inclusive(usage)));
        }
        Ok(())
    }

    fn choice(&mut self, value: Value<'_>, sink: &mut dyn Sink) {
        let mut choice = Choice::default();
        for (name, value) in value.fields() {
            match name {
                b"index" => choice.index = value.count().unwrap_or(0) as u32,
                b"delta" | b"message" => choice.delta = Some(value),
                b"finish_reason" => choice.finish = Some(value),
                b"logprobs" => choice.logprobs = Some(value),
                _ => {}
            }
        }
        if let Some(delta) = choice.delta {
            self.delta(choice.index, delta, sink);
        }
        let logprobs = choice.logprobs.and_then(|value| value.field(b"content"));
        if let Some(logprobs) = logprobs.filter(|value| value.kind == Kind::Array) {
            sink.take(choice.index, Piece::Logprobs(logprobs));
        }
        if let Some(native) = choice.finish.and_then(Text::of) {
            self.stop(choice.index, native, sink);
        }
    }

    fn delta(&mut self, choice: u32, delta: Value<'_>, sink: &mut dyn Sink) {
        let mut found = Delta::default();
        for (name, value) in delta.fields() {
            match name {
                b"content" => found.content = Some(value),
                b"reasoning_content" | b"reasoning" => {
                    // Some servers send one text under both names.
                    let text = Text::of(value).filter(|text| !text.is_empty());
                    found.thinking = found.thinking.or(text);
                }
                b"refusal" => found.refusal = Text::of(value).filter(|text| !text.is_empty()),
                b"tool_calls" => found.calls = Some(value),
                b"function_call" if value.kind == Kind::Object => found.function = Some(value),
                b"annotations" => found.annotations = Some(value),
                _ => {}
            }
        }
        // Thoughts come before the text that they led to, wherever their member stands.
        if let Some(text) = found.thinking {
            sink.take(choice, Piece::Thinking(text));
        }
        if let Some(content) = found.content {
            self.content(choice, content, sink);
        }
        if let Some(text) = found.refusal {
            sink.take(choice, Piece::Refusal(text));
        }
        for annotation in found.annotations.into_iter().flat_map(Value::items) {
            sink.take(choice, Piece::Annotation(annotation));
        }
        let calls = found.calls.into_iter().flat_map(Value::items);
        for (at, call) in calls.enumerate() {
            self.call(choice, at as u64, call, sink);
        }
        if let Some(function) = found.function {
            self.function(choice, 0, None, function, "arguments", sink);
        }
    }

    /// A string; some servers send a list of parts.
    fn content(&mut self, choice: u32, value: Value<'_>, sink: &mut dyn Sink) {
        if let Some(text) = Text::of(value) {
            if !text.is_empty() {
                sink.take(choice, Piece::Text(text));
            }
            return;
        }
        for part in value.items() {
            if let Some(text) = part.field(b"text").and_then(Text::of) {
                sink.take(choice, Piece::Text(text));
            }
        }
    }

    fn call(&mut self, choice: u32, at: u64, value: Value<'_>, sink: &mut dyn Sink) {
        let (mut index, mut id, mut function) = (None, None, None);
        let mut member = "arguments";
        for (name, value) in value.fields() {
            match name {
                b"index" => index = value.count(),
                b"id" => id = Text::of(value).filter(|id| !id.is_empty()),
                b"function" if value.kind == Kind::Object => function = Some(value),
                b"custom" if value.kind == Kind::Object => {
                    function = Some(value);
                    member = "input";
                }
                _ => {}
            }
        }
        if let Some(function) = function {
            let index = index.unwrap_or(at);
            self.function(choice, index, id, function, member, sink);
        }
    }

    fn function(
        &mut self,
        choice: u32,
        index: u64,
        id: Option<Text<'_>>,
        function: Value<'_>,
        member: &str,
        sink: &mut dyn Sink,
    ) {
        let text = |name: &[u8]| function.field(name).and_then(Text::of);
        let name = text(b"name").filter(|name| !name.is_empty());
        let at = self.call_at(choice, index, id.as_ref(), name.is_some());
        let call = &mut self.calls[at];
        if call.id.is_none() {
            call.id = id.map(Text::into_owned);
        }
        let number = at as u32;
        if let (false, Some(name)) = (call.told, name) {
            call.told = true;
            let piece = Piece::CallStart {
                call: number,
                id: call.id.clone().unwrap_or(Text::plain("")),
                name,
                signature: None,
            };
            sink.take(choice, piece);
            if !call.early.is_empty() {
                let json = Text::plain(std::mem::take(&mut call.early));
                sink.take(choice, Piece::CallArguments { call: number, json });
            }
        }
        let written = match function.field(member.as_bytes()) {
            // Some servers write the object itself.
            Some(value) if value.kind == Kind::Object => {
                Some(Text::plain(String::from_utf8_lossy(value.raw)))
            }
            value => value.and_then(Text::of),
        };
        let Some(json) = written.filter(|json| !json.is_empty()) else {
            return;
        };
        if call.told {
            sink.take(choice, Piece::CallArguments { call: number, json });
        } else {
            call.early.push_str(&json.clear());
        }
    }

    /// Place of a call. A server that numbers all calls alike begins a new one with a new id.
    fn call_at(&mut self, choice: u32, index: u64, id: Option<&Text<'_>>, named: bool) -> usize {
        let known = self
            .calls
            .iter()
            .rposition(|call| call.choice == choice && call.index == index && !call.ended);
        if let Some(at) = known {
            let call = &self.calls[at];
            let other = |id: &Text<'_>| call.id.as_ref().is_some_and(|known| !same(known, id));
            if !(named && call.told && id.is_some_and(other)) {
                return at;
            }
        }
        self.calls.push(Call {
            choice,
            index,
            told: false,
            id: None,
            early: String::new(),
            ended: false,
        });
        self.calls.len() - 1
    }

    fn stop(&mut self, choice: u32, native: Text<'_>, sink: &mut dyn Sink) {
        let mut called = false;
        for (at, call) in self.calls.iter_mut().enumerate() {
            if call.choice == choice && !call.ended {
                call.ended = true;
                called |= call.told;
                if call.told {
                    sink.take(choice, Piece::CallEnd { call: at as u32 });
                }
            }
        }
        self.finished = true;
        let word = native.clear();
        let reason = match &*word {
            "length" => Finish::Length,
            "content_filter" => Finish::Filter,
            "tool_calls" | "function_call" => Finish::Tools,
            // Calls were made, whatever the word says.
            _ if called => Finish::Tools,
            _ => Finish::Stop,
        };
        drop(word);
        let (sequence, details) = (None, None);
        let piece = Piece::Finish {
            reason,
            native,
            sequence,
            details,
        };
        sink.take(choice, piece);
    }
}

fn same(one: &Text<'_>, other: &Text<'_>) -> bool {
    one.clear() == other.clear()
}
