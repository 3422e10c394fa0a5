//! The output of a batch: JSON lines that come in pieces of any size.

use crate::endpoint::Endpoint;
use crate::meter::{Answer, Meter};
use crate::usage::{ServiceTier, Usage};
use crate::wire::json::{self, Value};

/// Longest line that is read. Answers with images are the longest; OpenAI takes files of 200 MB.
pub const LINE_BYTES_MAX: usize = 32 << 20;

/// Cuts pieces into lines and holds one line at most.
#[derive(Debug)]
pub struct Lines {
    begun: Vec<u8>,
    max: usize,
    /// The line that began is too long: the rest of it is passed over.
    passing: bool,
}

/// A line of an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// There was one that is longer than may be held.
    TooLong,
}

impl Lines {
    /// Lines of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            begun: Vec::new(),
            max,
            passing: false,
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.begun.len()
    }

    /// Takes the next piece and gives each line that ends in it.
    pub fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(Cut<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (rest, next) = (&piece[..end], &piece[end + 1..]);
            match self.begun.is_empty() && !self.passing && rest.len() <= self.max {
                true => each(Cut::Whole(rest)),
                false => {
                    self.hold(rest);
                    self.end(&mut each);
                }
            }
            piece = next;
        }
        self.hold(piece);
    }

    /// The file has ended: gives the last line, if it had no end.
    pub fn end(&mut self, mut each: impl FnMut(Cut<'_>)) {
        let line = std::mem::take(&mut self.begun);
        match std::mem::take(&mut self.passing) {
            true => each(Cut::TooLong),
            false => each(Cut::Whole(&line)),
        }
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.passing || self.begun.len() + piece.len() > self.max {
            self.passing = true;
            self.begun = Vec::new();
            return;
        }
        self.begun.extend_from_slice(piece);
    }
}

/// What one line used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An answer.
    Used {
        /// The provider's name of the model; empty where it says none.
        model: String,
        /// What it used, at the batch tier.
        usage: Usage,
        /// The provider said nothing: counted from the content.
        estimated: bool,
    },
    /// A request that failed, or an empty line: it costs nothing.
    Free,
    /// What cannot be read: nobody knows what it cost.
    Unreadable,
}

impl Line {
    /// Reads a line whose request was one for `endpoint`.
    pub fn read(line: &[u8], endpoint: Endpoint) -> Self {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Self::Free;
        }
        let Ok(object) = json::whole(line) else {
            return Self::Unreadable;
        };
        let Some(response) = object.field(b"response").filter(is_object) else {
            return match object.field(b"error").filter(is_object) {
                Some(_) => Self::Free,
                None => Self::Unreadable,
            };
        };
        let status = response.field(b"status_code").and_then(Value::count);
        if status.is_some_and(|status| !(200..300).contains(&status)) {
            return Self::Free;
        }
        let Some(body) = response.field(b"body").filter(is_object) else {
            return Self::Unreadable;
        };
        of_body(body.raw, endpoint)
    }
}

impl Line {
    /// Reads a line of the results of a Message Batch of Anthropic's.
    pub fn read_message(line: &[u8]) -> Self {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Self::Free;
        }
        let result = json::whole(line)
            .ok()
            .and_then(|line| line.field(b"result"));
        let Some(result) = result.filter(is_object) else {
            return Self::Unreadable;
        };
        let kind = result.field(b"type").and_then(Value::text);
        match kind.as_deref() {
            Some("errored" | "canceled" | "expired") => Self::Free,
            Some("succeeded") => match result.field(b"message").filter(is_object) {
                Some(message) => of_body(message.raw, Endpoint::Messages),
                None => Self::Unreadable,
            },
            _ => Self::Unreadable,
        }
    }
}

fn is_object(value: &Value<'_>) -> bool {
    value.kind == json::Kind::Object
}

fn of_body(body: &[u8], endpoint: Endpoint) -> Line {
    let mut meter = Meter::for_endpoint(endpoint);
    match meter.body(body) {
        Answer::Error => return Line::Free,
        Answer::Empty | Answer::NotJson | Answer::Broken => return Line::Unreadable,
        Answer::Good => {}
    }
    let reported = meter.usage();
    let estimated = reported.is_none();
    let mut usage = reported.unwrap_or_else(|| Usage {
        completion: meter.facts().content.tokens(),
        ..Usage::default()
    });
    usage.tier = ServiceTier::Batch;
    Line::Used {
        model: meter.into_facts().model.unwrap_or_default(),
        usage,
        estimated,
    }
}
