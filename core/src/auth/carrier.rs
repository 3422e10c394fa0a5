//! Taking the credential out of a request's headers, and showing it without showing it.

use std::borrow::Cow;
use std::fmt;

use crate::error::GatewayError;

/// Longest credential that is looked at, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 4_096;

/// Shortest secret of which eight characters may be shown.
const SHOWABLE_LENGTH: usize = 16;

/// What a caller presented. `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential<'a>(Cow<'a, str>);

impl<'a> Credential<'a> {
    /// Wraps a clear credential that did not come from a header of ours (a Gemini `?key=`).
    pub fn new(clear: impl Into<Cow<'a, str>>) -> Self {
        Self(clear.into())
    }

    /// The clear text, for the one place that compares and hashes it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Takes the credential from the first of LiteLLM's headers that is present and not blank:
/// the configured `custom` one, `x-litellm-api-key`, `Authorization`, `API-Key`, `x-api-key`,
/// `x-goog-api-key`, `Ocp-Apim-Subscription-Key`. `header` gets lower-case names (`custom` is
/// passed on as it is) and returns the first value.
///
/// # Errors
/// `NoKey`; `MalformedKey` when that header holds no usable credential. A later header is not
/// tried then: who wrote two must not be understood differently by two readers.
pub fn credential<'a>(
    custom: Option<&str>,
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Credential<'a>, GatewayError> {
    let present = |name: &str| {
        header(name)
            .map(<[u8]>::trim_ascii)
            .filter(|v| !v.is_empty())
    };
    if let Some(value) = custom
        .and_then(present)
        .or_else(|| present("x-litellm-api-key"))
    {
        return plain(value);
    }
    if let Some(value) = present("authorization") {
        return authorization(value);
    }
    let others = [
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
    ];
    let value = others.into_iter().find_map(present);
    plain(value.ok_or(GatewayError::NoKey)?)
}

/// A header that holds nothing but a key, with or without `Bearer`.
fn plain(value: &[u8]) -> Result<Credential<'_>, GatewayError> {
    let text = readable(value)?;
    let key = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start(),
        _ => text,
    };
    Ok(Credential(Cow::Borrowed(key)))
}

fn authorization(value: &[u8]) -> Result<Credential<'_>, GatewayError> {
    let text = readable(value)?;
    let (scheme, rest) = text.split_once(' ').ok_or(GatewayError::MalformedKey)?;
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Credential(Cow::Borrowed(rest)))
    } else if scheme.eq_ignore_ascii_case("basic") {
        Ok(Credential(basic(rest)))
    } else if scheme == "AWS4-HMAC-SHA256" {
        aws(rest).map(|key| Credential(Cow::Borrowed(key)))
    } else {
        Err(GatewayError::MalformedKey)
    }
}

fn readable(value: &[u8]) -> Result<&str, GatewayError> {
    if value.len() > CREDENTIAL_BYTES_MAX {
        return Err(GatewayError::MalformedKey);
    }
    std::str::from_utf8(value).map_err(|_| GatewayError::MalformedKey)
}

/// `Basic` carries the key bare, or base64 of it, or base64 of `user:password` of which one is
/// it (Langfuse clients send `public:secret`).
fn basic(text: &str) -> Cow<'_, str> {
    let decoded = decode_base64(text).and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(decoded) = decoded.filter(|_| !text.starts_with("sk-")) else {
        return Cow::Borrowed(text);
    };
    let key = match decoded.split_once(':') {
        Some((user, password)) if password.is_empty() || user.starts_with("sk-") => user,
        Some((_, password)) => password,
        None => &decoded,
    };
    Cow::Owned(key.to_owned())
}

/// Bedrock clients sign with `Credential=Bearer <key>/date/region/...`.
fn aws(text: &str) -> Result<&str, GatewayError> {
    let from = text.split_once("Credential=").map(|(_, from)| from);
    let from = from.ok_or(GatewayError::MalformedKey)?;
    let key = from.strip_prefix("Bearer ").unwrap_or(from);
    let end = key.find(['/', ',', ' ']).unwrap_or(key.len());
    Some(&key[..end])
        .filter(|key| !key.is_empty())
        .ok_or(GatewayError::MalformedKey)
}

/// Standard or URL alphabet, padding optional; `None` for anything else.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for &letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    (text.len() % 4 != 1).then_some(out)
}

/// `abcd****wxyz`, or only stars for what is too short to show eight characters of.
pub(super) fn masked_middle(clear: &str) -> String {
    masked(clear, 4, SHOWABLE_LENGTH)
}

/// `sk-...wxyz`.
pub(super) fn masked_head(clear: &str) -> String {
    let tail = clear
        .char_indices()
        .rev()
        .nth(3)
        .map(|(at, _)| &clear[at..]);
    let tail = tail.filter(|_| clear.len() >= SHOWABLE_LENGTH / 2);
    format!("sk-...{}", tail.unwrap_or_default())
}

/// The first and last `shown` characters around four stars, when there are `at_least` characters.
pub(super) fn masked(text: &str, shown: usize, at_least: usize) -> String {
    if text.chars().count() < at_least {
        return "****".to_owned();
    }
    let head: String = text.chars().take(shown).collect();
    let tail = text.char_indices().rev().nth(shown - 1);
    let tail = tail.map_or("", |(at, _)| &text[at..]);
    format!("{head}****{tail}")
}
