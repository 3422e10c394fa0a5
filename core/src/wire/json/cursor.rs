//! A position in JSON text that skips strings, containers and numbers.

use std::ops::Range;

use memchr::memchr2;

use super::{DEPTH_MAX, JsonError, Kind, Member, Problem, Value};

/// A position in the input.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn error(&self, problem: Problem) -> JsonError {
        let problem = if self.at >= self.bytes.len() {
            Problem::End
        } else {
            problem
        };
        JsonError {
            at: self.at,
            problem,
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    pub(super) fn eat(&mut self, byte: u8, problem: Problem) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(problem));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a name and its colon: where it stands without its quotes, whether it has escapes.
    pub(super) fn name(&mut self) -> Result<(Range<usize>, bool), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.error(Problem::Name));
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let end = self.at - 1;
        self.space();
        self.eat(b':', Problem::Colon)?;
        self.space();
        Ok((start..end, escaped))
    }

    pub(super) fn member(&mut self) -> Result<Member<'a>, JsonError> {
        let (name, name_escaped) = self.name()?;
        let value_start = self.at;
        let value = self.value()?;
        Ok(Member {
            name: &self.bytes[name.clone()],
            name_escaped,
            name_at: name.start - 1..name.end + 1,
            value,
            value_at: value_start..self.at,
        })
    }

    pub(super) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => Kind::String(self.string()?),
            Some(b'{') => self.container(Kind::Object)?,
            Some(b'[') => self.container(Kind::Array)?,
            Some(b't') => self.literal(b"true", Kind::Bool)?,
            Some(b'f') => self.literal(b"false", Kind::Bool)?,
            Some(b'n') => self.literal(b"null", Kind::Null)?,
            Some(b'-' | b'0'..=b'9') => self.digits(),
            _ => return Err(self.error(Problem::Value)),
        };
        let raw = &self.bytes[start..self.at];
        Ok(Value { raw, kind })
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Kind, JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.error(Problem::Value));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn digits(&mut self) -> Kind {
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        while self.peek().is_some_and(is_part) {
            self.at += 1;
        }
        Kind::Number
    }

    /// Skips a string that starts here; true when it has a backslash. Names and words of a few
    /// bytes, which most strings of an event are, end here without a call.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, JsonError> {
        if let Some(word) = self.bytes.get(self.at + 1..).and_then(<[u8]>::first_chunk) {
            let word = u64::from_le_bytes(*word);
            let quotes = zero_bytes(word ^ splat(b'"'));
            let found = quotes | zero_bytes(word ^ splat(b'\\'));
            // The lowest bit is never wrong.
            if found != 0 && quotes.trailing_zeros() == found.trailing_zeros() {
                self.at += 2 + found.trailing_zeros() as usize / 8;
                return Ok(false);
            }
        }
        self.long_string()
    }

    fn long_string(&mut self) -> Result<bool, JsonError> {
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at.min(self.bytes.len())..];
            let Some(found) = quote_or_backslash(rest) else {
                self.at = self.bytes.len();
                return Err(self.error(Problem::End));
            };
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(escaped);
            }
            escaped = true;
            match self.peek() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u') => self.at += 1,
                _ => return Err(self.error(Problem::Escape)),
            }
        }
    }

    /// Skips an array or object that starts here. Only brackets and strings are looked at:
    /// whatever stands between them is the provider's to judge.
    fn container(&mut self, kind: Kind) -> Result<Kind, JsonError> {
        // One bit per open bracket, set for an object.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            let rest = &self.bytes[self.at..];
            let Some(found) = rest.iter().position(|byte| STRUCTURE[*byte as usize]) else {
                self.at = self.bytes.len();
                return Err(self.error(Problem::End));
            };
            self.at += found;
            match rest[found] {
                b'"' => {
                    self.string()?;
                    continue;
                }
                bracket @ (b'{' | b'[') => {
                    if depth > DEPTH_MAX {
                        return Err(self.error(Problem::Depth));
                    }
                    depth += 1;
                    open = (open << 1) | u128::from(bracket == b'{');
                }
                bracket => {
                    if (open & 1 == 1) != (bracket == b'}') {
                        return Err(self.error(Problem::Bracket));
                    }
                    depth -= 1;
                    open >>= 1;
                }
            }
            self.at += 1;
            if depth == 0 {
                return Ok(kind);
            }
        }
    }
}

/// Most strings of a stream are a few bytes long, for which a call into a vector search costs
/// more than it saves: up to here eight bytes at a time are compared in one register.
const SHORT_STRING: usize = 48;

pub(super) fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ splat(b'"')) | zero_bytes(word ^ splat(b'\\'));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
        if at >= SHORT_STRING {
            return memchr2(b'"', b'\\', &bytes[at..]).map(|found| found + at);
        }
    }
    let tail = bytes.get(at..).unwrap_or_default();
    let found = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    found.map(|found| found + at)
}

const fn splat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The high bit of every byte that is zero; bits above the lowest one may be wrong.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(splat(1)) & !word & splat(0x80)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Bytes that matter when skipping a container.
static STRUCTURE: [bool; 256] = {
    let mut table = [false; 256];
    table[b'"' as usize] = true;
    table[b'{' as usize] = true;
    table[b'}' as usize] = true;
    table[b'[' as usize] = true;
    table[b']' as usize] = true;
    table
};
