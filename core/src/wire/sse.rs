//! Server-sent events found in a byte stream that may be cut anywhere, without changing it.

use std::borrow::Cow;

use memchr::memchr2;

/// Default limit of one event in bytes.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A carry buffer that grew beyond this is given back after its event.
const CARRY_KEPT_BYTES: usize = 4 * 1024;

/// Why an event stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is over the limit.
    #[error("event is larger than {limit} bytes")]
    EventTooLarge {
        /// The limit.
        limit: usize,
    },
}

/// Finds where events end. Feed it every chunk in order:
/// `skip_line_feed` once per chunk, then `next_end` until it has no more.
///
/// The bytes of an event are everything after the previous event up to and including its blank
/// line. Line ends are `\n`, `\r\n` and `\r`, also mixed, also cut in the middle.
#[derive(Clone, Debug)]
pub struct EventScanner {
    /// Bytes of the running event that came with earlier chunks.
    carry: Vec<u8>,
    /// `carry` belongs to an event that has been handed out.
    done: bool,
    /// The next byte starts a line.
    line_start: bool,
    /// The last byte was `\r`: a line feed that follows belongs to it.
    after_return: bool,
    /// This stream ends lines with `\r\n`.
    crlf: bool,
    /// An event was over the limit.
    overrun: bool,
    limit: usize,
}

impl EventScanner {
    /// A scanner at the start of a stream.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            carry: Vec::new(),
            done: false,
            line_start: true,
            after_return: false,
            crlf: false,
            overrun: false,
            limit: event_bytes_max,
        }
    }

    /// Between events: the second half of a `\r\n` that was cut between two chunks still belongs
    /// to the event before. Returns its length, 0 or 1.
    pub fn skip_line_feed(&mut self, chunk: &[u8]) -> usize {
        if !self.after_return || self.mid_event() || chunk.first() != Some(&b'\n') {
            return 0;
        }
        self.after_return = false;
        self.crlf = true;
        1
    }

    /// Offset just past the next event that ends in `chunk[from..]`. `None`: no more end here, the
    /// rest is remembered.
    pub fn next_end(&mut self, chunk: &[u8], from: usize) -> Result<Option<usize>, SseError> {
        if self.done {
            self.done = false;
            self.carry.clear();
            if self.carry.capacity() > CARRY_KEPT_BYTES {
                self.carry = Vec::new();
            }
        }
        let end = self.scan(chunk, from);
        let piece = &chunk[from..end.unwrap_or(chunk.len())];
        self.overrun |= self.carry.len() + piece.len() > self.limit;
        if self.overrun {
            return Err(SseError::EventTooLarge { limit: self.limit });
        }
        if end.is_none() || !self.carry.is_empty() {
            self.carry.extend_from_slice(piece);
        }
        self.done = end.is_some() && !self.carry.is_empty();
        Ok(end)
    }

    fn scan(&mut self, chunk: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        if self.after_return && at < chunk.len() {
            self.after_return = false;
            if chunk[at] == b'\n' {
                self.crlf = true;
                at += 1;
            }
        }
        while at < chunk.len() {
            let Some(len) = memchr2(b'\n', b'\r', &chunk[at..]) else {
                self.line_start = false;
                return None;
            };
            let blank = self.line_start && len == 0;
            let is_return = chunk[at + len] == b'\r';
            at += len + 1;
            self.line_start = true;
            if is_return {
                match chunk.get(at) {
                    Some(b'\n') => {
                        self.crlf = true;
                        at += 1;
                    }
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            if blank {
                return Some(at);
            }
        }
        None
    }

    /// All bytes of the event that `next_end(chunk, from)` found to end at `end`.
    pub fn event<'s>(&'s self, chunk: &'s [u8], from: usize, end: usize) -> &'s [u8] {
        if self.done {
            &self.carry
        } else {
            &chunk[from..end]
        }
    }

    /// Bytes of an event that has begun and not ended.
    pub fn partial(&self) -> &[u8] {
        if self.done { &[] } else { &self.carry }
    }

    /// Whether an event has begun and not ended.
    pub fn mid_event(&self) -> bool {
        self.overrun || !self.partial().is_empty()
    }

    /// Forgets a begun event, as if it had never come.
    pub fn forget(&mut self) {
        let limit = self.limit;
        *self = Self::new(limit);
    }

    /// Whether something can be written between two events here. Not while the line feed of a
    /// cut `\r\n` is still to come.
    pub fn at_boundary(&self) -> bool {
        let in_line_end = self.after_return && self.crlf;
        !self.mid_event() && !in_line_end
    }
}

/// The fields of an event that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Value of the last `event:` line.
    pub name: Option<&'a [u8]>,
    /// Values of the `data:` lines, joined by line feeds. `None`: comments and the like.
    pub data: Option<Cow<'a, [u8]>>,
}

impl<'a> Event<'a> {
    /// Reads the bytes of one event; borrows unless it has several `data:` lines.
    pub fn parse(raw: &'a [u8]) -> Self {
        let mut event = Self::default();
        let mut rest = raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw);
        while !rest.is_empty() {
            let len = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(len);
            rest = after.get(1..).unwrap_or_default();
            if let Some(value) = field(line, b"data") {
                event.add_data(value);
            } else if let Some(value) = field(line, b"event") {
                event.name = Some(value);
            }
        }
        event
    }

    fn add_data(&mut self, value: &'a [u8]) {
        match &mut self.data {
            None => self.data = Some(Cow::Borrowed(value)),
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
    }
}

/// Value of a line if its field has this name; one space after the colon is not part of it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests;
