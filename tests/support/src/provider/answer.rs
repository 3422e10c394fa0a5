//! From a request and its script to a whole answer: status, headers, body in pieces, usage.

use std::io::Write as _;

use super::ask::{Ask, Family, Operation, Route, ToolCall};
use super::body::Body;
use super::script::{Kind, Script, ToolMode, UsageMode};
use super::{chat, errors, messages, other, responses};

/// Tokens that an answer claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All prompt tokens, cached ones included.
    pub prompt: u64,
    /// All completion tokens, thinking included.
    pub completion: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: u64,
    /// Completion tokens that were thinking.
    pub reasoning: u64,
}

/// A response before it is put on a wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Headers but for framing.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Body,
    /// Whether the body is a stream of events (chunked unless the script says otherwise).
    pub(crate) stream: bool,
    /// What the answer claims to have used; zero for errors.
    pub(crate) usage: Usage,
}

/// What the fake model says to one request: the same for every dialect.
pub(crate) struct Turn<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) script: &'a Script,
    /// Makes ids unique.
    pub(crate) seq: u64,
    /// The model named in the answer, as JSON.
    pub(crate) model: String,
    /// Tokens of visible text.
    pub(crate) text: u32,
    /// Tokens of thinking.
    pub(crate) reasoning: u32,
    /// Tool calls, made instead of text.
    pub(crate) calls: Vec<ToolCall>,
    /// Whether `max_tokens` ended the text.
    pub(crate) cut_short: bool,
    pub(crate) usage: Usage,
}

const WORDS: [&str; 8] = [
    " the", " quick", " brown", " fox", " jumps", " over", " a", " dog",
];
/// Characters of a tool's arguments in one stream event, which counts as one token.
const FRAGMENT: usize = 6;

/// The `index`th token of every text.
pub(crate) fn word(index: u32) -> &'static str {
    WORDS[index as usize % WORDS.len()]
}

/// A tool's arguments as a stream carries them: ASCII pieces of one token each.
pub(crate) fn fragments(arguments: &str) -> impl Iterator<Item = String> + '_ {
    let bytes = arguments.as_bytes().chunks(FRAGMENT);
    bytes.map(|piece| String::from_utf8_lossy(piece).into_owned())
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'a> Turn<'a> {
    fn new(ask: &'a Ask, script: &'a Script, seq: u64) -> Self {
        let calls = match (&ask.call, script.tool) {
            (Some(call), ToolMode::Auto) => vec![call.clone()],
            (Some(call), ToolMode::Parallel) => vec![call.clone(), call.clone()],
            _ => Vec::new(),
        };
        let thinking_default = if ask.thinking { 3 } else { 0 };
        let reasoning = script.reasoning.max(thinking_default);
        let limit = ask.max_tokens.unwrap_or(u32::MAX);
        let spoken: usize = calls
            .iter()
            .map(|call| fragments(&call.arguments).count())
            .sum();
        let (text, cut_short) = match calls.is_empty() {
            true => {
                let room = limit.saturating_sub(reasoning);
                (script.tokens.min(room), script.tokens > room)
            }
            false => (0, false),
        };
        let usage = Usage {
            prompt: script.prompt.unwrap_or(ask.prompt_bytes.div_ceil(4) as u64),
            completion: u64::from(text) + u64::from(reasoning) + spoken as u64,
            cached: script.cached,
            cache_write: script.cache_write,
            reasoning: u64::from(reasoning),
        };
        Self {
            ask,
            script,
            seq,
            model: quoted(script.says_model.as_deref().unwrap_or(&ask.model)),
            text,
            reasoning,
            calls,
            cut_short,
            usage,
        }
    }

    /// The visible text in one piece.
    pub(crate) fn whole_text(&self) -> String {
        (0..self.text).map(word).collect::<String>() + &self.padding()
    }

    /// Thinking in one piece.
    pub(crate) fn whole_reasoning(&self) -> String {
        (0..self.reasoning).map(word).collect()
    }

    /// Padding that makes an event huge.
    pub(crate) fn padding(&self) -> String {
        "x".repeat(self.script.pad)
    }

    /// Usage as reported; `None` leaves it out.
    pub(crate) fn reported(&self, asked: bool) -> Option<Usage> {
        match self.script.usage {
            UsageMode::Asked => asked.then_some(self.usage),
            UsageMode::Never => None,
            UsageMode::Always => Some(self.usage),
            UsageMode::Zero => asked.then_some(Usage::default()),
        }
    }

    fn streams(&self) -> bool {
        match self.script.kind {
            Kind::Json => false,
            Kind::Sse => true,
            Kind::AsAsked | Kind::Empty => self.ask.stream,
        }
    }
}

/// Everything that decides an answer.
pub(crate) struct Question<'a> {
    pub(crate) route: &'a Route,
    pub(crate) method: &'a str,
    pub(crate) ask: &'a Ask,
    pub(crate) script: &'a Script,
    pub(crate) seq: u64,
    pub(crate) body: &'a [u8],
    /// Bytes of the fixture that the script replays.
    pub(crate) replay: Option<Vec<u8>>,
}

impl Question<'_> {
    /// The answer, faults of content included.
    pub(crate) fn answer(self) -> Answer {
        let mut answer = self.plain();
        let script = self.script;
        let error_event = errors::event(self.route);
        if !script.cuts.is_empty() || script.every > 0 {
            answer.body.cut(script);
        }
        answer.body.spoil(script, &error_event);
        if script.gzip {
            gzip(&mut answer);
        }
        self.headers(&mut answer);
        answer
    }

    fn plain(&self) -> Answer {
        let script = self.script;
        if let Some(status) = script
            .error
            .or((script.status >= 400).then_some(script.status))
        {
            let body = match &script.body {
                Some(verbatim) => verbatim.clone().into_bytes(),
                None => errors::body(self.route.family, status, self.seq),
            };
            return Answer::of(script.status, Body::whole(body, 0));
        }
        if script.kind == Kind::Empty {
            let mut answer = Answer::of(script.status, Body::default());
            answer.stream = self.ask.stream;
            return answer;
        }
        let verbatim = script.body.as_ref().map(|text| text.clone().into_bytes());
        if let Some(bytes) = self.replay.clone().or(verbatim) {
            let mut answer = Answer::of(script.status, Body::whole(bytes, 0));
            answer.stream = self.ask.stream;
            return answer;
        }
        self.spoken()
    }

    fn spoken(&self) -> Answer {
        let turn = Turn::new(self.ask, self.script, self.seq);
        let stream = turn.streams();
        let body = match (self.route.operation, stream) {
            (Operation::Chat, false) => chat::json(&turn),
            (Operation::Chat, true) => chat::stream(&turn),
            (Operation::Completions, false) => chat::legacy_json(&turn),
            (Operation::Completions, true) => chat::legacy_stream(&turn),
            (Operation::Responses, false) => responses::json(&turn),
            (Operation::Responses, true) => responses::stream(&turn),
            (Operation::Messages, false) => messages::json(&turn),
            (Operation::Messages, true) => messages::stream(&turn),
            _ => return other::answer(self, &turn),
        };
        let mut answer = Answer::of(self.script.status, body);
        answer.stream = stream;
        answer.usage = turn.usage;
        answer
    }

    fn headers(&self, answer: &mut Answer) {
        let script = self.script;
        let content_type = match &script.content_type {
            Some(verbatim) => verbatim.clone(),
            None if answer.stream => "text/event-stream; charset=utf-8".to_owned(),
            None => "application/json".to_owned(),
        };
        let has = |name: &str, headers: &[(String, String)]| {
            headers
                .iter()
                .any(|(held, _)| held.eq_ignore_ascii_case(name))
        };
        let mut add = |name: &str, value: String| answer.headers.push((name.to_owned(), value));
        add(
            request_id_header(self.route.family),
            format!("req_fake{}", self.seq),
        );
        if let Some(after) = &script.retry_after {
            add("retry-after", after.clone());
        }
        if let Some(after) = script.retry_after_ms {
            add("retry-after-ms", after.to_string());
        }
        answer.headers.extend(script.headers.iter().cloned());
        if !has("content-type", &answer.headers) {
            answer
                .headers
                .push(("content-type".to_owned(), content_type));
        }
    }
}

impl Answer {
    /// An answer without headers, usage or stream.
    pub(crate) fn of(status: u16, body: Body) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
            stream: false,
            usage: Usage::default(),
        }
    }
}

fn request_id_header(family: Family) -> &'static str {
    match family {
        Family::OpenAi => "x-request-id",
        Family::Azure => "apim-request-id",
        Family::Anthropic => "request-id",
    }
}

/// Compresses piece by piece, so that each piece can be read as it arrives.
fn gzip(answer: &mut Answer) {
    let plain = std::mem::take(&mut answer.body);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for index in 0..plain.pieces.len() {
        // Writing into memory cannot fail.
        let _ = encoder
            .write_all(plain.piece(index))
            .and_then(|()| encoder.flush());
        let (end, tokens) = (encoder.get_ref().len(), plain.pieces[index].tokens);
        answer.body.pieces.push(super::body::Piece { end, tokens });
    }
    answer.body.bytes = encoder.finish().unwrap_or_default();
    if let Some(last) = answer.body.pieces.last_mut() {
        last.end = answer.body.bytes.len();
    }
    answer
        .headers
        .push(("content-encoding".to_owned(), "gzip".to_owned()));
}
