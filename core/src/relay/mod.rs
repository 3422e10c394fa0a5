//! Chunks of a provider's stream in, slices to write to the client out, facts on the side.
//!
//! Bytes leave as they came, at once. Two things differ from a plain copy: the usage chunk that
//! only the gateway asked for is left out, and a stream that breaks gets an ending that no client
//! can take for a whole answer. `docs/STREAMING.md` has the rules.

mod alias;
mod ending;
mod invoke;
mod line;

pub use alias::Alias;
pub use ending::{abort_reply, keepalive_bytes};
pub use invoke::InvokeFrames;
pub use line::{Line, Unreadable};

use bytes::Bytes;
use memchr::memmem;

use crate::endpoint::{Dialect, Endpoint};
use crate::error::ErrorReply;
use crate::meter::{Facts, Meter, Seen};
use crate::wire::edit::UsageChunk;
use crate::wire::json;
use crate::wire::sse::{EVENT_BYTES_MAX, Event, EventScanner, SseError};

/// Most bytes of an undecided event that are held back. A usage chunk is far smaller.
pub const HELD_BYTES_MAX: usize = 16 * 1024;

/// How an answer is framed, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`, and AWS's frames.
    Events,
    /// `application/json` and relatives.
    Json,
    /// Audio, files, text, or nothing said.
    Other,
}

impl Framing {
    /// Reads a `Content-Type` value.
    pub fn of(content_type: Option<&str>) -> Self {
        let media = content_type.unwrap_or_default().split(';').next();
        let media = media.unwrap_or_default().trim();
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        let ends = |suffix: &str| {
            let start = media.len().checked_sub(suffix.len());
            let end = start.and_then(|start| media.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        if is("text/event-stream") || is("application/vnd.amazon.eventstream") {
            Self::Events
        } else if is("application/json") || ends("+json") {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// How an upstream stream that is over has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Whole: the dialect's terminal event, or a finish reason of every choice.
    Complete,
    /// The provider reported an error, which was passed on.
    ProviderError,
    /// Not a single event with data.
    Empty,
    /// Broke off: the client must get [`StreamRelay::abort`] or a reset, never a clean end.
    Cut,
}

/// What one chunk changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events with data that ended in it.
    pub events: u64,
    /// UTF-8 bytes of generated content.
    pub content_bytes: u64,
    /// It brought the first delta.
    pub first_content: bool,
    /// It brought the first error.
    pub error: bool,
}

/// Relays one stream of one attempt.
#[derive(Clone, Debug)]
pub struct StreamRelay {
    endpoint: Endpoint,
    scanner: EventScanner,
    meter: Meter,
    hides: bool,
    held: Held,
    /// The last event was left out, and so is the second half of its cut line end.
    dropped_last: bool,
    ended: Option<Ending>,
}

/// Whether the running event may leave before it is whole.
#[derive(Clone, Debug)]
enum Held {
    /// It leaves as it comes; so does one that has not begun.
    Nothing,
    /// It may be the usage chunk. Nothing of it has left.
    Event {
        /// All of it, while it came with one chunk; else the scanner has it.
        slice: Option<Bytes>,
    },
}

impl StreamRelay {
    /// A relay for a stream that answers this endpoint. `usage_chunk` says who asked for usage.
    pub fn new(endpoint: Endpoint, meter: Meter, usage_chunk: UsageChunk) -> Self {
        Self::with_limit(endpoint, meter, usage_chunk, EVENT_BYTES_MAX)
    }

    /// The same with a limit of bytes for one event.
    pub fn with_limit(
        endpoint: Endpoint,
        meter: Meter,
        usage_chunk: UsageChunk,
        event_bytes_max: usize,
    ) -> Self {
        let is_chat = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        Self {
            endpoint,
            scanner: EventScanner::new(event_bytes_max),
            meter,
            hides: is_chat && usage_chunk == UsageChunk::Injected,
            held: Held::Nothing,
            dropped_last: false,
            ended: None,
        }
    }

    /// Takes a chunk; appends what to write now to `out`, never an empty slice. After an error
    /// only [`Self::abort`] makes sense.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<Progress, SseError> {
        if chunk.is_empty() {
            return Ok(Progress::default());
        }
        let facts = self.meter.facts();
        let before = Progress {
            events: facts.events,
            content_bytes: facts.content.total().bytes,
            first_content: facts.content_seen,
            error: facts.error.is_some(),
        };
        if self.hides {
            self.push_hiding(chunk, out)?;
        } else {
            out.push(chunk.clone());
            let mut at = self.scanner.skip_line_feed(chunk);
            while let Some(end) = self.scanner.next_end(chunk, at)? {
                self.meter
                    .event(&Event::parse(self.scanner.event(chunk, at, end)));
                at = end;
            }
        }
        let facts = self.meter.facts();
        Ok(Progress {
            events: facts.events - before.events,
            content_bytes: facts.content.total().bytes - before.content_bytes,
            first_content: facts.content_seen && !before.first_content,
            error: facts.error.is_some() && !before.error,
        })
    }

    fn push_hiding(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), SseError> {
        let mut at = self.scanner.skip_line_feed(chunk);
        // Start of what has not been written or left out.
        let mut kept = if self.dropped_last { at } else { 0 };
        loop {
            let end = match self.scanner.next_end(chunk, at) {
                Ok(Some(end)) => end,
                Ok(None) => break,
                Err(error) => {
                    write(chunk, kept, at, out);
                    return Err(error);
                }
            };
            let raw = self.scanner.event(chunk, at, end);
            let seen = self.meter.event(&Event::parse(raw));
            let earlier = raw.len() - (end - at);
            let held = std::mem::replace(&mut self.held, Held::Nothing);
            let is_held = matches!(held, Held::Event { .. });
            // One that has partly left cannot be taken back.
            self.dropped_last = seen == Seen::UsageChunk && (is_held || earlier == 0);
            if self.dropped_last {
                write(chunk, kept, at, out);
                kept = end;
            } else {
                write_held(held, &raw[..earlier], out);
            }
            at = end;
        }
        if at < chunk.len() {
            self.dropped_last = false;
            if self.holds_rest(chunk, at, out, kept) {
                return Ok(());
            }
        }
        write(chunk, kept, chunk.len(), out);
        Ok(())
    }

    /// Decides about the event that `chunk[at..]` begins or continues. True: it is held back, and
    /// what came before it in the chunk has been written.
    fn holds_rest(&mut self, chunk: &Bytes, at: usize, out: &mut Vec<Bytes>, kept: usize) -> bool {
        let partial = self.scanner.partial();
        let earlier = partial.len() - (chunk.len() - at);
        let earlier_slice = match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Event { slice } => slice,
            Held::Nothing if earlier == 0 => None,
            // It is on its way already.
            Held::Nothing => return false,
        };
        if may_be_usage(partial) {
            write(chunk, kept, at, out);
            let slice = (earlier == 0).then(|| chunk.slice(at..));
            self.held = Held::Event { slice };
            return true;
        }
        match earlier_slice {
            Some(slice) => out.push(slice),
            None if earlier > 0 => out.push(Bytes::copy_from_slice(&partial[..earlier])),
            None => {}
        }
        false
    }

    /// The upstream's body is over, properly or by a reset: appends what was held back and says
    /// how the answer ended. Only after `Cut` and `Empty` is there something to [`Self::abort`].
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Ending {
        if let Some(ending) = self.ended {
            return ending;
        }
        let partial = self.scanner.partial();
        let event = Event::parse(partial);
        let whole = event
            .data
            .as_deref()
            .is_some_and(|data| data.trim_ascii() == b"[DONE]" || json::whole(data).is_ok());
        // A last event without its blank line counts when nothing of its data is missing.
        let seen = if whole {
            self.meter.event(&event)
        } else {
            Seen::Other
        };
        let broken = event.data.is_some() && !whole;
        let begun = self.scanner.mid_event();
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        let is_held = matches!(held, Held::Event { .. });
        // Half an event that the client has seen nothing of is no use to it.
        if is_held && (broken || seen == Seen::UsageChunk) {
            self.scanner.forget();
        } else {
            write_held(held, partial, out);
        }
        let facts = self.meter.facts();
        let ending = if facts.error.is_some() {
            Ending::ProviderError
        } else if self.meter.is_finished() {
            Ending::Complete
        } else if facts.events == 0 && !begun {
            Ending::Empty
        } else {
            Ending::Cut
        };
        self.ended = Some(ending);
        ending
    }

    /// What to write when the stream ends before its time: closes a half-written event, then the
    /// error in the dialect's own form, never a terminal marker. An event that was held back is
    /// given up. Nothing is ever written after it.
    pub fn abort(&mut self, error: &ErrorReply, request_id: &str) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        // Two line feeds close a half-written line, a finished one and a cut `\r\n` alike.
        if !self.at_event_boundary() {
            bytes.extend_from_slice(b"\n\n");
        }
        self.held = Held::Nothing;
        ending::write_error(&mut bytes, self.endpoint, error, request_id, &self.meter);
        self.scanner.forget();
        bytes.into()
    }

    /// Whether something can be written between two events now: true while nothing of the
    /// running event has left.
    pub fn at_event_boundary(&self) -> bool {
        matches!(self.held, Held::Event { .. }) || self.scanner.at_boundary()
    }

    /// What keeps the connection alive; write it only where [`Self::at_event_boundary`] is true.
    pub fn keepalive(&self) -> &'static [u8] {
        keepalive_bytes(self.endpoint.dialect())
    }

    /// Whether a delta of any kind has come: status and head must be committed by now.
    pub fn first_content_seen(&self) -> bool {
        self.meter.facts().content_seen
    }

    /// Bytes of a begun event in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.scanner.partial().len()
    }

    /// What is known of the answer.
    pub fn facts(&self) -> &Facts {
        self.meter.facts()
    }

    /// The meter, for its usage.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Dialect that errors and keepalives are written in.
    pub fn dialect(&self) -> Dialect {
        self.endpoint.dialect()
    }
}

fn write(chunk: &Bytes, from: usize, to: usize, out: &mut Vec<Bytes>) {
    if from < to {
        out.push(chunk.slice(from..to));
    }
}

/// Lets a held event go; `bytes` are what came of it so far.
fn write_held(held: Held, bytes: &[u8], out: &mut Vec<Bytes>) {
    match held {
        Held::Nothing => {}
        Held::Event { slice: Some(slice) } => out.push(slice),
        Held::Event { slice: None } => out.push(Bytes::copy_from_slice(bytes)),
    }
}

/// Whether a begun event may still turn out to be the usage chunk: until its `choices` are seen
/// to hold something.
fn may_be_usage(partial: &[u8]) -> bool {
    if partial.len() > HELD_BYTES_MAX {
        return false;
    }
    let Some(data) = Event::parse(partial).data else {
        return true;
    };
    for name in memmem::find_iter(&data, b"\"choices\"") {
        let rest = data[name + b"\"choices\"".len()..].iter();
        let mut rest = rest.filter(|byte| !byte.is_ascii_whitespace());
        if rest.next().is_none_or(|byte| *byte == b':') {
            let opens = rest.next().is_none_or(|byte| *byte == b'[');
            return opens && rest.next().is_none_or(|byte| *byte == b']');
        }
        // A text that is called like the member.
    }
    true
}

#[cfg(test)]
mod tests;
