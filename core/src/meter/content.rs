//! How much was generated, measured on the deltas for when a provider's count never comes.

use crate::usage::{text_weight, tokens_of_weight, unit_weight};
use crate::wire::json::{Kind, Value};

/// Size of a piece of text after JSON escapes are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// UTF-8 bytes.
    pub bytes: u64,
    /// What its characters weigh in tokens ([`text_weight`]).
    pub weight: u64,
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
            weight: text.weight + reasoning.weight + tools.weight,
        }
    }

    /// Tokens of everything together, estimated.
    pub fn tokens(&self) -> u64 {
        tokens_of_weight(self.total().weight)
    }
}

impl Amount {
    /// Adds a JSON string; true when it was not empty. Arrays count the texts in them, objects
    /// (tool input that is not streamed) their JSON.
    pub(super) fn add(&mut self, value: Value<'_>) -> bool {
        match value.kind {
            Kind::String(escaped) => {
                let inner = value.inner().unwrap_or_default();
                self.add_inner(inner, escaped)
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
                self.weight += text_weight(value.raw);
                true
            }
            _ => false,
        }
    }

    /// Adds what stands between the quotes of a JSON string; `escaped`: it may have a backslash.
    /// True when it was not empty.
    pub(crate) fn add_inner(&mut self, inner: &[u8], escaped: bool) -> bool {
        let (bytes, weight) = if escaped {
            resolved_size(inner)
        } else {
            (inner.len(), text_weight(inner))
        };
        self.bytes += bytes as u64;
        self.weight += weight;
        !inner.is_empty()
    }
}

/// Bytes and weight of a JSON string once its escapes are resolved.
fn resolved_size(inner: &[u8]) -> (usize, u64) {
    let (mut bytes, mut weight, mut at) = (0, 0, 0);
    while at < inner.len() {
        let escape = memchr::memchr(b'\\', &inner[at..]).map_or(inner.len(), |found| at + found);
        bytes += escape - at;
        weight += text_weight(&inner[at..escape]);
        at = escape;
        let (read, written, unit) = match inner.get(at + 1) {
            None => break,
            Some(b'u') => unicode_escape(inner.get(at + 2..at + 6).unwrap_or_default()),
            Some(b'n' | b'r' | b't' | b'b' | b'f') => (2, 1, u16::from(b'\n')),
            Some(&sign) => (2, 1, u16::from(sign)),
        };
        at += read;
        bytes += written;
        weight += unit_weight(unit);
    }
    (bytes, weight)
}

/// A `\uXXXX` escape: input bytes, UTF-8 bytes, the UTF-16 unit. The two halves of a surrogate
/// pair make four bytes together.
fn unicode_escape(digits: &[u8]) -> (usize, usize, u16) {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let unit = u16::from_str_radix(text, 16).unwrap_or(0);
    let written = match unit {
        0..=0x7F => 1,
        0x80..=0x7FF | 0xD800..=0xDFFF => 2,
        _ => 3,
    };
    (6, written, unit)
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
            assert_eq!(amount.weight, text_weight(text.as_bytes()), "{text:?}");
        }
        let mut amount = Amount::default();
        amount.add(whole(br#""\ud83d\ude00\u00e9\u6f22""#).unwrap());
        assert_eq!(amount.bytes, 9);
        assert_eq!(amount.weight, text_weight("😀é漢".as_bytes()));
    }
}
