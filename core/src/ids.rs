//! Newtypes for identities: a key is only ever held as its digest.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::WallMs;

/// SHA-256 of a virtual key: LiteLLM's `token` column (64 hex digits, no salt).
///
/// The clear key is shown once to its owner and never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Digest of a clear key (`sk-...`).
    pub fn of_secret(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Reads the 64-digit hex form; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(out))
    }

    /// Digest given either as hex or as a clear key, as LiteLLM's management routes accept.
    pub fn from_key_or_hex(text: &str) -> Self {
        Self::from_hex(text).unwrap_or_else(|| Self::of_secret(text))
    }

    /// Reads what `as_bytes` gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl KeyHash {
    /// The 64 characters of its hex form.
    pub(crate) fn digits(self) -> [u8; 64] {
        let mut text = [0u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hex digits"))
    }
}

/// Identity of one client request, made before anything is dispatched: the key under which its
/// spend is stored exactly once. Shown as a UUID of version 7 (`x-litellm-call-id`): it begins
/// with its time, so that the rows of a batch lie side by side in every index over it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u128);

impl CallId {
    /// Makes a UUID of version 7 out of its time and sixteen random bytes, of which 74 bits count.
    pub fn new(at: WallMs, random: [u8; 16]) -> Self {
        let time = u128::from(at.0.max(0) as u64 & 0xffff_ffff_ffff) << 80;
        let bits = u128::from_be_bytes(random) & !(0xffff_ffff_ffff << 80);
        Self(time | bits & !(0xf << 76) & !(0x3 << 62) | 0x7 << 76 | 0x2 << 62)
    }

    /// The sixteen bytes of the UUID, as frames and tables store it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads what `to_bytes` gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Reads the usual 8-4-4-4-12 form.
    pub fn parse(text: &str) -> Option<Self> {
        let dashes_right = text.len() == 36
            && [8, 13, 18, 23]
                .iter()
                .all(|&at| text.as_bytes()[at] == b'-');
        if !dashes_right {
            return None;
        }
        let mut bits = 0u128;
        for digit in text.bytes().filter(|&digit| digit != b'-') {
            bits = bits << 4 | u128::from(hex_digit(digit.to_ascii_lowercase())?);
        }
        Some(Self(bits))
    }
}

impl CallId {
    /// The 36 characters of its usual form. Written into every journal frame: no formatting of
    /// parts.
    pub(crate) fn digits(self) -> [u8; 36] {
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.to_bytes().into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX_DIGITS[usize::from(byte >> 4)];
            text[at + 1] = HEX_DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

impl Serialize for CallId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a UUID"))
    }
}

/// A value that must not be shown: `Debug` prints `***`, comparison takes constant time.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the clear text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The clear text, for the one place that sends or hashes it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Constant-time comparison (the length may leak).
    pub fn matches(&self, candidate: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), candidate.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_hash_is_litellms_digest_and_reads_both_forms() {
        let hash = KeyHash::of_secret("sk-1234");
        let hex = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b";
        assert_eq!(hash.to_string(), hex);
        assert_eq!(KeyHash::from_hex(hex), Some(hash));
        assert_eq!(KeyHash::from_key_or_hex("sk-1234"), hash);
        assert_eq!(KeyHash::from_hex("sk-1234"), None);
    }

    #[test]
    fn call_id_is_a_version_7_uuid_and_survives_text() {
        let id = CallId::new(WallMs(0x0123_4567_89ab), [0xff; 16]);
        assert_eq!(id.to_string(), "01234567-89ab-7fff-bfff-ffffffffffff");
        assert!(CallId::new(WallMs(2), [0; 16]) > CallId::new(WallMs(1), [0xff; 16]));
        assert_eq!(CallId::parse(&id.to_string()), Some(id));
        assert_eq!(CallId::parse("ffffffff-ffff-4fff-bfff-fffffffffffé"), None);
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("sk-canary");
        assert_eq!(format!("{secret:?}"), "***");
        assert!(secret.matches("sk-canary") && !secret.matches("sk-canari"));
    }
}
