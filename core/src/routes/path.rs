//! Paths: the one normalisation, and patterns with a single parameter.

use std::borrow::Cow;

/// Longest decoded `{model}`, in bytes.
pub(super) const MODEL_BYTES_MAX: usize = 256;

/// Longest decoded `{id}` or `{key}`, in bytes; ids of LiteLLM's that carry a routing envelope
/// are a few hundred long.
pub(super) const ID_BYTES_MAX: usize = 1_024;

/// What a pattern's braces stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// A model or deployment name; may hold slashes.
    Model,
    /// The identity of an object.
    Id,
}

/// `prefix{parameter}suffix`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    /// The whole pattern.
    pub(super) text: &'static str,
    /// Before the parameter.
    pub(super) prefix: &'static str,
    /// What it is.
    pub(super) parameter: Parameter,
    /// After it.
    pub(super) suffix: &'static str,
}

impl Pattern {
    /// Splits a row's pattern; `None` when it has no parameter.
    pub(super) fn of(pattern: &'static str) -> Option<Self> {
        let (prefix, rest) = pattern.split_once('{')?;
        let (name, suffix) = rest.split_once('}')?;
        let parameter = match name {
            "model" => Parameter::Model,
            _ => Parameter::Id,
        };
        Some(Self {
            text: pattern,
            prefix,
            parameter,
            suffix,
        })
    }

    /// The decoded parameter of a path that has this shape.
    pub(super) fn parameter_in<'p>(&self, path: &'p str) -> Option<Cow<'p, str>> {
        let text = path
            .strip_prefix(self.prefix)?
            .strip_suffix(self.suffix)
            .filter(|text| !text.is_empty())?;
        let text = decode_all(text)?;
        let valid = match self.parameter {
            Parameter::Model => is_model(&text),
            Parameter::Id => is_id(&text),
        };
        valid.then_some(text)
    }
}

/// A name that no reader of paths could take for a step upwards or a second request.
fn is_model(text: &str) -> bool {
    let plain = |character: char| {
        !character.is_control() && !matches!(character, '\\' | '?' | '#' | '%' | ';')
    };
    text.len() <= MODEL_BYTES_MAX
        && text.chars().all(plain)
        && text.split('/').all(|step| !matches!(step, "" | "." | ".."))
}

fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:=+@,".contains(&byte);
    text.len() <= ID_BYTES_MAX && text.bytes().all(plain) && !text.bytes().all(|byte| byte == b'.')
}

/// Decodes `%XX` of unreserved characters and leaves every other byte as it is.
pub(super) fn decode_unreserved(path: &str) -> Cow<'_, str> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if memchr::memchr(b'%', path.as_bytes()).is_none() {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match escaped(rest.as_bytes()) {
            Some(byte) if unreserved(byte) => {
                out.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Decodes every `%XX` once; `None` for a broken escape or bytes that are not UTF-8.
fn decode_all(text: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            out.push(escaped(rest)?);
            rest = &rest[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The byte that a leading `%XX` stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let value = digit(1)? << 4 | digit(2)?;
    u8::try_from(value).ok()
}
