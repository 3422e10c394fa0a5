//! Answers and streams of Gemini: every event of a stream is a whole answer with a part of it.

use super::partial::Arguments;
use super::{ground, usage};
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::prompt::Proof;
use crate::translate::text::Text;
use crate::usage::Usage;
use crate::wire::json::{JsonError, Kind, Value, whole};
use crate::wire::upstream_error::Complaint;

/// Reads one answer of Gemini.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    finished: bool,
    choices: Vec<Choice>,
    usage: Usage,
    searches: u32,
}

/// One candidate.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    running: Running,
    calls: u32,
    /// A call whose arguments come piece by piece.
    open_call: Option<(u32, Arguments)>,
    /// Text so far.
    said: String,
    finished: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Running {
    #[default]
    Nothing,
    Text,
    Thinking,
}

/// Members of an answer. Found in one pass: a look by name reads all that stands before it.
#[derive(Clone, Copy, Default)]
struct Answer<'a> {
    error: Option<Value<'a>>,
    id: Option<Value<'a>>,
    model: Option<Value<'a>>,
    candidates: Option<Value<'a>>,
    usage: Option<Value<'a>>,
    feedback: Option<Value<'a>>,
}

impl<'a> Answer<'a> {
    fn of(object: Value<'a>) -> Self {
        let mut found = Self::default();
        for (name, value) in object.fields() {
            let place = match name {
                b"error" => &mut found.error,
                b"responseId" => &mut found.id,
                b"modelVersion" => &mut found.model,
                b"candidates" => &mut found.candidates,
                b"usageMetadata" => &mut found.usage,
                b"promptFeedback" => &mut found.feedback,
                _ => continue,
            };
            *place = place.or(Some(value));
        }
        found
    }
}

/// Members of a candidate.
#[derive(Clone, Copy, Default)]
struct Candidate<'a> {
    index: Option<Value<'a>>,
    content: Option<Value<'a>>,
    logprobs: Option<Value<'a>>,
    grounding: Option<Value<'a>>,
    reason: Option<Value<'a>>,
    why: Option<Value<'a>>,
}

impl<'a> Candidate<'a> {
    fn of(object: Value<'a>) -> Self {
        let mut found = Self::default();
        for (name, value) in object.fields() {
            let place = match name {
                b"index" => &mut found.index,
                b"content" => &mut found.content,
                b"logprobsResult" => &mut found.logprobs,
                b"groundingMetadata" => &mut found.grounding,
                b"finishReason" => &mut found.reason,
                b"finishMessage" => &mut found.why,
                _ => continue,
            };
            *place = place.or(Some(value));
        }
        found
    }
}

impl Reader {
    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        self.event(body, sink)?;
        self.finish(sink);
        Ok(())
    }

    /// One event, or a whole body; an array of them is read item by item.
    pub(crate) fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let answer = whole(data)?;
        if answer.kind == Kind::Array {
            answer.items().for_each(|item| self.answer(item, sink));
        } else {
            self.answer(answer, sink);
        }
        Ok(())
    }

    fn answer(&mut self, answer: Value<'_>, sink: &mut dyn Sink) {
        let answer = Answer::of(answer);
        if let Some(error) = answer.error {
            sink.take(0, Piece::Error(&complaint(error)));
            return;
        }
        if !self.started {
            self.started = true;
            let id = answer.id.and_then(Text::of);
            let model = answer.model.and_then(Text::of);
            sink.take(0, Piece::Start { id, model });
        }
        for candidate in answer.candidates.into_iter().flat_map(Value::items) {
            self.candidate(Candidate::of(candidate), sink);
        }
        if let Some(found) = answer.usage {
            self.usage = usage::usage(found);
            self.usage.units.web_searches = self.searches;
            if self.usage.total() > 0 {
                sink.take(0, Piece::Usage(&self.usage));
            }
        }
        let feedback = answer.feedback;
        let reason = feedback.and_then(|feedback| feedback.field(b"blockReason"));
        if let (Some(native), false) = (reason.and_then(Text::of), self.finished) {
            let why = feedback.and_then(|feedback| feedback.field(b"blockReasonMessage"));
            if let Some(why) = why.and_then(Text::of) {
                sink.take(0, Piece::Refusal(why));
            }
            self.finished = true;
            finish(0, Finish::Filter, native, sink);
        }
    }

    fn candidate(&mut self, candidate: Candidate<'_>, sink: &mut dyn Sink) {
        let index = candidate.index.and_then(Value::count);
        let index = u32::try_from(index.unwrap_or(0)).unwrap_or(u32::MAX);
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None => {
                self.choices.push(Choice {
                    index,
                    ..Choice::default()
                });
                self.choices.len() - 1
            }
        };
        let Some(choice) = self.choices.get_mut(at) else {
            return;
        };
        let parts = candidate
            .content
            .and_then(|content| content.field(b"parts"));
        for part in parts.into_iter().flat_map(Value::items) {
            choice.part(part, sink);
        }
        if let Some(result) = candidate.logprobs {
            ground::logprobs(index, result, sink);
        }
        if let Some(found) = candidate.grounding {
            ground::annotations(index, found, &choice.said, sink);
            self.searches = self.searches.max(ground::searches(found));
        }
        let reason = candidate.reason.and_then(Text::of);
        if let (Some(native), false) = (reason, choice.finished) {
            choice.finished = true;
            self.finished = true;
            let why = candidate.why.and_then(Text::of);
            choice.stop(native, why, sink);
        }
    }

    /// Gemini's streams end without a word: the answer is whole where it said why it stopped.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) {
        if self.finished {
            sink.take(0, Piece::End);
        }
    }
}

impl Choice {
    fn part(&mut self, part: Value<'_>, sink: &mut dyn Sink) {
        let (mut signature, mut thought) = (None, None);
        for (name, value) in part.fields() {
            match name {
                b"thoughtSignature" => signature = signature.or(Some(value)),
                b"thought" => thought = thought.or(Some(value)),
                _ => {}
            }
        }
        let signature = signature.and_then(Text::of);
        let is_thought = thought.is_some_and(|thought| thought.raw == b"true");
        for (name, value) in part.fields() {
            match name {
                b"text" => self.text(value, is_thought, sink),
                b"functionCall" => {
                    self.call(value, signature.clone(), sink);
                    return;
                }
                b"inlineData" if !is_thought => self.image(value, sink),
                b"executableCode" => self.code(value.field(b"code"), sink),
                b"codeExecutionResult" => self.code(value.field(b"output"), sink),
                _ => {}
            }
        }
        if let Some(signature) = signature {
            if self.running != Running::Thinking {
                self.end_block(sink);
            }
            self.running = Running::Nothing;
            sink.take(self.index, Piece::Proof(Proof::Gemini(signature)));
        }
    }

    fn text(&mut self, value: Value<'_>, is_thought: bool, sink: &mut dyn Sink) {
        let Some(text) = Text::of(value).filter(|text| !text.is_empty()) else {
            return;
        };
        let wanted = match is_thought {
            true => Running::Thinking,
            false => Running::Text,
        };
        if self.running != wanted {
            self.end_block(sink);
            self.running = wanted;
        }
        if is_thought {
            sink.take(self.index, Piece::Thinking(text));
        } else {
            self.said.push_str(&text.clear());
            sink.take(self.index, Piece::Text(text));
        }
    }

    /// Code that Gemini ran, and what it printed, as text between fences.
    fn code(&mut self, value: Option<Value<'_>>, sink: &mut dyn Sink) {
        let Some(text) = value.and_then(Text::of) else {
            return;
        };
        if self.running != Running::Text {
            self.end_block(sink);
            self.running = Running::Text;
        }
        let fenced = format!("\n```\n{}\n```\n", text.clear().trim_end());
        self.said.push_str(&fenced);
        sink.take(self.index, Piece::Text(Text::plain(fenced)));
    }

    fn image(&mut self, value: Value<'_>, sink: &mut dyn Sink) {
        let text = |name: &[u8]| value.field(name).and_then(Text::of);
        if let (Some(media), Some(data)) = (text(b"mimeType"), text(b"data")) {
            self.end_block(sink);
            sink.take(self.index, Piece::Image { media, data });
        }
    }

    fn call(&mut self, value: Value<'_>, signature: Option<Text<'_>>, sink: &mut dyn Sink) {
        self.end_block(sink);
        let name = value.field(b"name").and_then(Text::of);
        if let Some(name) = name {
            self.end_call(sink);
            let call = self.calls;
            self.calls += 1;
            let id = value.field(b"id").and_then(Text::of);
            sink.take(
                self.index,
                Piece::CallStart {
                    call,
                    id: id.unwrap_or(Text::plain("")),
                    name,
                    signature,
                },
            );
            self.open_call = Some((call, Arguments::default()));
        }
        let Some((call, arguments)) = &mut self.open_call else {
            return;
        };
        let pieces = value.field(b"partialArgs");
        for piece in pieces.into_iter().flat_map(Value::items) {
            arguments.add(piece);
        }
        let more = value
            .field(b"willContinue")
            .is_some_and(|more| more.raw == b"true");
        let whole = value.field(b"args").map(|args| args.raw);
        if let Some(json) = whole.and_then(|raw| std::str::from_utf8(raw).ok()) {
            let call = *call;
            self.open_call = None;
            let json = Text::plain(json);
            sink.take(self.index, Piece::CallArguments { call, json });
            sink.take(self.index, Piece::CallEnd { call });
        } else if !more {
            self.end_call(sink);
        }
    }

    /// Ends a call whose arguments came piece by piece.
    fn end_call(&mut self, sink: &mut dyn Sink) {
        if let Some((call, mut arguments)) = self.open_call.take() {
            let json = Text::plain(arguments.take());
            sink.take(self.index, Piece::CallArguments { call, json });
            sink.take(self.index, Piece::CallEnd { call });
        }
    }

    fn end_block(&mut self, sink: &mut dyn Sink) {
        if self.running != Running::Nothing {
            self.running = Running::Nothing;
            sink.take(self.index, Piece::BlockEnd);
        }
    }

    fn stop(&mut self, native: Text<'_>, why: Option<Text<'_>>, sink: &mut dyn Sink) {
        self.end_call(sink);
        self.end_block(sink);
        let reason = match &*native.clear() {
            "STOP" | "FINISH_REASON_UNSPECIFIED" if self.calls > 0 => Finish::Tools,
            "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
            "SAFETY" | "RECITATION" | "LANGUAGE" | "OTHER" | "BLOCKLIST" | "PROHIBITED_CONTENT"
            | "SPII" | "NO_IMAGE" | "ESCALATION" | "MODEL_ARMOR" => Finish::Filter,
            other if other.starts_with("IMAGE_") => Finish::Filter,
            _ => Finish::Stop,
        };
        if let (Finish::Filter, Some(why)) = (reason, why) {
            sink.take(self.index, Piece::Refusal(why));
        }
        finish(self.index, reason, native, sink);
    }
}

fn finish(choice: u32, reason: Finish, native: Text<'_>, sink: &mut dyn Sink) {
    sink.take(
        choice,
        Piece::Finish {
            reason,
            native,
            sequence: None,
            details: None,
        },
    );
}

fn complaint(error: Value<'_>) -> Complaint {
    match serde_json::from_slice(error.raw) {
        Ok(serde_json::Value::Object(object)) => Complaint::from_object(&object),
        _ => Complaint::read(error.raw, 500),
    }
}
