//! Text between dialects, resolved only where its meaning matters.

use std::borrow::Cow;

use crate::wire::json::{Kind, Value, whole};

/// A text as it came. Most of it is copied from one JSON string into another, escapes untouched:
/// that is faster, and keeps what cannot be resolved (half of a surrogate pair) as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// What stands between the quotes of a JSON string.
    Escaped(Cow<'a, [u8]>),
    /// Clear text.
    Plain(Cow<'a, str>),
}

impl<'a> Text<'a> {
    /// The text of a JSON string; `None` for other types.
    pub fn of(value: Value<'a>) -> Option<Self> {
        let inner = value.inner()?;
        Some(Self::Escaped(Cow::Borrowed(inner)))
    }

    /// Clear text.
    pub fn plain(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Plain(text.into())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Escaped(inner) => inner.is_empty(),
            Self::Plain(text) => text.is_empty(),
        }
    }

    /// Its clear text; what cannot be resolved is replaced by U+FFFD.
    pub fn clear(&self) -> Cow<'_, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(inner) if !inner.contains(&b'\\') => String::from_utf8_lossy(inner),
            Self::Escaped(inner) => Cow::Owned(resolved(inner)),
        }
    }

    /// Whether its clear text is this word.
    pub fn is(&self, word: &str) -> bool {
        match self {
            Self::Escaped(inner) if !inner.contains(&b'\\') => **inner == *word.as_bytes(),
            _ => self.clear() == word,
        }
    }

    /// Without a borrow of the body.
    pub fn into_owned(self) -> Text<'static> {
        match self {
            Self::Escaped(inner) => Text::Escaped(Cow::Owned(inner.into_owned())),
            Self::Plain(text) => Text::Plain(Cow::Owned(text.into_owned())),
        }
    }

    /// The same text, borrowed.
    pub fn borrowed(&self) -> Text<'_> {
        match self {
            Self::Escaped(inner) => Text::Escaped(Cow::Borrowed(inner)),
            Self::Plain(text) => Text::Plain(Cow::Borrowed(text)),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Plain(Cow::Borrowed(text))
    }
}

/// Resolves escapes; halves of surrogate pairs become U+FFFD.
fn resolved(inner: &[u8]) -> String {
    let mut quoted = Vec::with_capacity(inner.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inner);
    quoted.push(b'"');
    let whole_text = whole(&quoted).ok().and_then(|value| match value.kind {
        Kind::String(_) => value.text().map(Cow::into_owned),
        _ => None,
    });
    whole_text.unwrap_or_else(|| {
        let lossy = String::from_utf8_lossy(&quoted);
        resolved_piecewise(lossy.trim_matches('"'))
    })
}

/// For texts with something in them that has no clear form.
fn resolved_piecewise(inner: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    let mut buffer = [0; 2];
    while let Some(sign) = rest.next() {
        if sign != '\\' {
            units.extend_from_slice(sign.encode_utf16(&mut buffer));
            continue;
        }
        units.push(match rest.next() {
            Some('n') => 0x0A,
            Some('r') => 0x0D,
            Some('t') => 0x09,
            Some('b') => 0x08,
            Some('f') => 0x0C,
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD)
            }
            Some(other) => u16::try_from(u32::from(other)).unwrap_or(0xFFFD),
            None => break,
        });
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_resolved_and_what_cannot_be_is_replaced() {
        let clear = |json: &str| {
            let value = whole(json.as_bytes()).unwrap();
            Text::of(value).unwrap().clear().into_owned()
        };
        assert_eq!(clear(r#""plain é""#), "plain é");
        assert_eq!(clear(r#""a\n\"b\" \u00e9 \ud83d\ude00""#), "a\n\"b\" é 😀");
        assert_eq!(clear(r#""x\ud83d y""#), "x\u{fffd} y");
        assert_eq!(clear(r#""""#), "");
        assert!(Text::of(whole(b"1").unwrap()).is_none());
        assert!(Text::of(whole(br#""a\u0062""#).unwrap()).unwrap().is("ab"));
    }
}
