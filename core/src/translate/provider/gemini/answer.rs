//! Answers and streams of Gemini: every event of a stream is a whole answer with a part of it.

use super::partial::Arguments;
use super::{ground, usage};
use crate::translate::emit::escape;
use crate::translate::event::{Finish, Piece, Sink};
use crate::translate::prompt::Proof;
use crate::translate::text::Text;
use crate::usage::Usage;
use crate::wire::json::{JsonError, Reader as Json, Value, whole};
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
    /// Text so far, as between the quotes of JSON.
    said: Vec<u8>,
    finished: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Running {
    #[default]
    Nothing,
    Text,
    Thinking,
}

/// What an answer says. All of it is read in one pass, before anything of it is told: an answer
/// that breaks off is not told in part.
#[derive(Default)]
struct Answer<'a> {
    error: Option<Value<'a>>,
    id: Option<Value<'a>>,
    model: Option<Value<'a>>,
    /// Most answers have one candidate, which costs no list.
    candidate: Option<Candidate<'a>>,
    more_candidates: Vec<Candidate<'a>>,
    usage: Option<Usage>,
    feedback: Option<Value<'a>>,
}

impl<'a> Answer<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, JsonError> {
        let mut found = Self::default();
        json.members(|json, name| {
            let place = match name {
                b"error" => &mut found.error,
                b"responseId" => &mut found.id,
                b"modelVersion" => &mut found.model,
                b"promptFeedback" => &mut found.feedback,
                b"candidates" => return found.candidates(json),
                b"usageMetadata" => {
                    found.usage = usage::read(json)?;
                    return Ok(());
                }
                _ => return json.value().map(drop),
            };
            let value = json.value()?;
            *place = place.or(Some(value));
            Ok(())
        })?;
        Ok(found)
    }

    fn candidates(&mut self, json: &mut Json<'a>) -> Result<(), JsonError> {
        json.items(|json| {
            let candidate = Candidate::read(json)?;
            match &self.candidate {
                None => self.candidate = Some(candidate),
                Some(_) => self.more_candidates.push(candidate),
            }
            Ok(())
        })
        .map(drop)
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
    fn read(json: &mut Json<'a>) -> Result<Self, JsonError> {
        let mut found = Self::default();
        json.members(|json, name| {
            let place = match name {
                b"index" => &mut found.index,
                b"content" => &mut found.content,
                b"logprobsResult" => &mut found.logprobs,
                b"groundingMetadata" => &mut found.grounding,
                b"finishReason" => &mut found.reason,
                b"finishMessage" => &mut found.why,
                _ => return json.value().map(drop),
            };
            let value = json.value()?;
            *place = place.or(Some(value));
            Ok(())
        })?;
        Ok(found)
    }
}

/// Members of a part.
#[derive(Clone, Copy, Default)]
struct Part<'a> {
    text: Option<Value<'a>>,
    thought: bool,
    signature: Option<Value<'a>>,
    call: Option<Value<'a>>,
    image: Option<Value<'a>>,
    code: Option<Value<'a>>,
    printed: Option<Value<'a>>,
}

impl<'a> Part<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, JsonError> {
        let mut found = Self::default();
        json.members(|json, name| {
            let place = match name {
                b"text" => &mut found.text,
                b"thoughtSignature" => &mut found.signature,
                b"functionCall" => &mut found.call,
                b"inlineData" => &mut found.image,
                b"executableCode" => &mut found.code,
                b"codeExecutionResult" => &mut found.printed,
                b"thought" => {
                    found.thought = json.value()?.raw == b"true";
                    return Ok(());
                }
                _ => return json.value().map(drop),
            };
            let value = json.value()?;
            *place = place.or(Some(value));
            Ok(())
        })?;
        Ok(found)
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
        if data.trim_ascii_start().first() != Some(&b'[') {
            let mut json = Json::new(data);
            let answer = Answer::read(&mut json)?;
            json.end()?;
            self.answer(answer, sink);
            return Ok(());
        }
        for item in whole(data)?.items() {
            self.answer(Answer::read(&mut Json::new(item.raw))?, sink);
        }
        Ok(())
    }

    fn answer(&mut self, answer: Answer<'_>, sink: &mut dyn Sink) {
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
        for candidate in answer.candidate.into_iter().chain(answer.more_candidates) {
            self.candidate(candidate, sink);
        }
        if let Some(found) = answer.usage {
            self.usage = found;
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
        if let Some(content) = candidate.content {
            choice.content(content, sink);
        }
        if let Some(result) = candidate.logprobs {
            ground::logprobs(index, result, sink);
        }
        if let Some(found) = candidate.grounding {
            let said = Text::Escaped((&choice.said).into());
            ground::annotations(index, found, &said.clear(), sink);
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
    /// Its parts are told as they are read. What is no JSON after all ends the content: brackets
    /// and strings of it were checked with the whole answer.
    fn content(&mut self, content: Value<'_>, sink: &mut dyn Sink) {
        let mut json = Json::new(content.raw);
        let _ = json.members(|json, name| match name {
            b"parts" => json
                .items(|json| {
                    self.part(Part::read(json)?, sink);
                    Ok(())
                })
                .map(drop),
            _ => json.value().map(drop),
        });
    }

    fn part(&mut self, part: Part<'_>, sink: &mut dyn Sink) {
        let signature = part.signature.and_then(Text::of);
        if let Some(text) = part.text {
            self.text(text, part.thought, sink);
        }
        if let Some(call) = part.call {
            self.call(call, signature, sink);
            return;
        }
        if let (Some(image), false) = (part.image, part.thought) {
            self.image(image, sink);
        }
        if let Some(code) = part.code {
            self.code(code.field(b"code"), sink);
        }
        if let Some(printed) = part.printed {
            self.code(printed.field(b"output"), sink);
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
            match &text {
                Text::Escaped(inner) => self.said.extend_from_slice(inner),
                Text::Plain(clear) => escape(clear, &mut self.said),
            }
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
        escape(&fenced, &mut self.said);
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
