//! JSON with long texts cut short.

use memchr::memchr2;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{EXCERPT_BYTES_MAX, JsonText};

/// A document that is too long with texts of the usual length is tried with these.
const SHORTER: [usize; 2] = [256, 32];
/// Largest exponent that is kept: what reads the document later has an end of its numbers.
const EXPONENT_MAX: u32 = 300;
/// What stands for a NUL, and for half of a surrogate pair.
const REPLACEMENT: &str = "\\ufffd";

/// The document with at most `chars_max` characters of each text and [`EXCERPT_BYTES_MAX`] bytes
/// in all; how long it was where even short texts leave it longer. `None`: not JSON.
pub fn excerpt(json: &[u8], chars_max: usize) -> Option<JsonText> {
    let json = std::str::from_utf8(json).ok()?;
    serde_json::from_str::<IgnoredAny>(json).ok()?;
    let lengths = [chars_max].into_iter().chain(SHORTER);
    let kept = lengths
        .filter(|chars| *chars <= chars_max)
        .find_map(|chars| Cutter::new(json, chars).run());
    let kept = kept.unwrap_or_else(|| format!("{{\"left_out_bytes\":{}}}", json.len()));
    RawValue::from_string(kept).ok().map(JsonText)
}

/// Copies valid JSON, compact, with its texts cut.
struct Cutter<'a> {
    rest: &'a str,
    chars_max: usize,
    out: String,
}

impl<'a> Cutter<'a> {
    fn new(json: &'a str, chars_max: usize) -> Self {
        Self {
            rest: json,
            chars_max,
            out: String::with_capacity(json.len().min(EXCERPT_BYTES_MAX)),
        }
    }

    /// `None` when it comes out too long.
    fn run(mut self) -> Option<String> {
        while let Some(next) = self.rest.chars().next() {
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '"' => self.text(),
                ' ' | '\t' | '\n' | '\r' => {}
                'e' | 'E' if self.out.ends_with(|last: char| last.is_ascii_digit()) => {
                    self.exponent();
                }
                other => self.out.push(other),
            }
            if self.out.len() > EXCERPT_BYTES_MAX {
                return None;
            }
        }
        Some(self.out)
    }

    /// The exponent of a number, whose letter was read: none that numbers elsewhere do not have.
    fn exponent(&mut self) {
        let digits = self.rest.trim_start_matches(['+', '-']);
        let sign = self.rest.len() - digits.len();
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        let written = digits[..length].parse().unwrap_or(EXPONENT_MAX);
        self.out.push('e');
        self.out.push_str(&self.rest[..sign]);
        self.out.push_str(&written.min(EXPONENT_MAX).to_string());
        self.rest = &digits[length..];
    }

    /// A string whose opening quote was read.
    fn text(&mut self) {
        self.out.push('"');
        for _ in 0..self.chars_max {
            if !self.character() {
                self.out.push('"');
                return;
            }
        }
        let left_out = self.skip();
        if left_out > 0 {
            let mark = format!("... ({left_out} bytes left out)");
            self.out.push_str(&mark);
        }
        self.out.push('"');
    }

    /// Copies one character or escape; `false` at the closing quote, which is read.
    fn character(&mut self) -> bool {
        let mut chars = self.rest.chars();
        let length = match chars.next() {
            None => return false,
            Some('"') => {
                self.rest = &self.rest[1..];
                return false;
            }
            Some('\\') if chars.next() == Some('u') => return self.unicode(),
            Some('\\') => 2,
            Some(plain) => plain.len_utf8(),
        };
        let (one, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.out.push_str(one);
        self.rest = rest;
        true
    }

    /// Copies a `\uXXXX`, both of a pair, or what stands for it.
    fn unicode(&mut self) -> bool {
        let unit = |text: &str| u16::from_str_radix(text.get(2..6)?, 16).ok();
        let first = unit(self.rest).unwrap_or(0);
        let after = self.rest.get(6..).unwrap_or("");
        let second = after.starts_with("\\u").then(|| unit(after)).flatten();
        let length = match (first, second) {
            (0xD800..=0xDBFF, Some(0xDC00..=0xDFFF)) => 12,
            (0 | 0xD800..=0xDFFF, _) => {
                self.out.push_str(REPLACEMENT);
                self.rest = after;
                return true;
            }
            _ => 6,
        };
        let (one, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.out.push_str(one);
        self.rest = rest;
        true
    }

    /// Reads up to and over the closing quote; gives how many bytes stood before it.
    fn skip(&mut self) -> usize {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
            at += found;
            if bytes[at] == b'"' {
                self.rest = &self.rest[at + 1..];
                return at;
            }
            at = (at + 2).min(bytes.len());
        }
        self.rest = "";
        bytes.len()
    }
}
