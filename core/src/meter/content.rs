//! How much was generated, measured on the deltas for when a provider's count never comes.

use crate::wire::json::{Kind, Value};

/// Size of a piece of text after JSON escapes are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// UTF-8 bytes.
    pub bytes: u64,
    /// Characters.
    pub chars: u64,
}

/// Generated content by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Text and refusals.
    pub text: Amount,
    /// Reasoning that the provider shows.
    pub reasoning: Amount,
    /// Names and arguments of tool calls.
    pub tools: Amount,
}

impl Content {
    /// Everything together.
    pub fn total(&self) -> Amount {
        let Self {
            text,
            reasoning,
            tools,
        } = self;
        Amount {
            bytes: text.bytes + reasoning.bytes + tools.bytes,
            chars: text.chars + reasoning.chars + tools.chars,
        }
    }
}

impl Amount {
    /// Adds a JSON string; true when it was not empty. Arrays count the texts in them, objects
    /// (tool input that is not streamed) their JSON.
    pub(super) fn add(&mut self, value: Value<'_>) -> bool {
        match value.kind {
            Kind::String(escaped) => {
                let inner = value.inner().unwrap_or_default();
                let (bytes, chars) = if escaped {
                    resolved_len(inner)
                } else {
                    (inner.len(), char_count(inner))
                };
                self.bytes += bytes as u64;
                self.chars += chars as u64;
                !inner.is_empty()
            }
            Kind::Array => {
                let mut any = false;
                for text in value.items().filter_map(|part| part.field(b"text")) {
                    any |= self.add(text);
                }
                any
            }
            Kind::Object => {
                self.bytes += value.raw.len() as u64;
                self.chars += char_count(value.raw) as u64;
                true
            }
            _ => false,
        }
    }
}

/// Bytes that start a character.
fn char_count(bytes: &[u8]) -> usize {
    let starts = bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80);
    starts.count()
}

/// Bytes and characters of a JSON string once its escapes are resolved.
fn resolved_len(inner: &[u8]) -> (usize, usize) {
    let (mut bytes, mut chars, mut at) = (0, 0, 0);
    while at < inner.len() {
        let (read, written, starts) = match (inner[at], inner.get(at + 1)) {
            (b'\\', Some(b'u')) => unicode_escape(inner.get(at + 2..at + 6).unwrap_or_default()),
            (b'\\', _) => (2, 1, 1),
            (byte, _) => (1, 1, usize::from((byte & 0xC0) != 0x80)),
        };
        at += read;
        bytes += written;
        chars += starts;
    }
    (bytes, chars)
}

/// A `\uXXXX` escape: input bytes, UTF-8 bytes, characters. The two halves of a surrogate pair
/// make four bytes and one character together.
fn unicode_escape(digits: &[u8]) -> (usize, usize, usize) {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match u32::from_str_radix(text, 16).unwrap_or(0) {
        0..=0x7F => (6, 1, 1),
        0x80..=0x7FF => (6, 2, 1),
        0xD800..=0xDBFF => (6, 2, 1),
        0xDC00..=0xDFFF => (6, 2, 0),
        _ => (6, 3, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::whole;

    #[test]
    fn sizes_are_those_of_the_resolved_text() {
        for text in ["", "abc", "é漢😀", "a\n\"\\\t/", "\u{1}x"] {
            let json = serde_json::to_string(text).unwrap();
            let mut amount = Amount::default();
            assert_eq!(
                amount.add(whole(json.as_bytes()).unwrap()),
                !text.is_empty()
            );
            assert_eq!(amount.bytes, text.len() as u64, "{text:?}");
            assert_eq!(amount.chars, text.chars().count() as u64, "{text:?}");
        }
        let mut amount = Amount::default();
        amount.add(whole(br#""\ud83d\ude00\u00e9\u6f22""#).unwrap());
        assert_eq!((amount.bytes, amount.chars), (9, 3));
    }
}
