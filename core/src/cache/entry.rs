//! An answer as it is kept, in memory and in Redis: our own form, with a version in front.
//!
//! Layout of version 1, little endian: magic `MRC`, version, shape (one byte), key (32), stored at,
//! kept until, cost (8 each), prompt and completion tokens (8 each), then content type, deployment,
//! model, provider, response id (two bytes of length each), then the body to the end.

use std::time::Duration;

use bytes::{BufMut, Bytes};

use super::key::CacheKey;
use crate::money::NanoUsd;
use crate::time::WallMs;

const MAGIC: &[u8; 3] = b"MRC";
const VERSION: u8 = 1;
/// Magic, version, shape, key, five numbers.
const FIXED_BYTES: usize = 3 + 1 + 1 + 32 + 5 * 8;
/// Longest text beside the body.
const TEXT_BYTES_MAX: usize = 1_024;

/// How an answer is framed towards a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In one piece.
    Whole,
    /// An event stream.
    Stream,
}

/// What is known of an answer beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it is framed.
    pub shape: Shape,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Deployment that gave it.
    pub deployment_id: String,
    /// The provider's name of the model.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// The provider's response id; empty where it gave none.
    pub response_id: String,
    /// Input tokens.
    pub prompt_tokens: u64,
    /// Output tokens.
    pub completion_tokens: u64,
    /// What it has cost.
    pub cost: NanoUsd,
}

/// A kept answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose answer to what: a value that is found under another key is not used.
    pub key: CacheKey,
    /// When it was kept.
    pub stored_at: WallMs,
    /// When it is over.
    pub expires_at: WallMs,
    /// What is known of it.
    pub answer: Answer,
    /// The bytes that the client got.
    pub body: Bytes,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Another program's bytes, or another version's.
    #[error("not an entry of this version")]
    Foreign,
    /// They end too early or hold what cannot be.
    #[error("a damaged entry")]
    Damaged,
    /// An answer to something else.
    #[error("an entry of another key")]
    OtherKey,
}

impl Entry {
    /// Age at a moment; zero when clocks of two nodes disagree.
    pub fn age(&self, now: WallMs) -> Duration {
        Duration::from_millis(
            now.0
                .saturating_sub(self.stored_at.0)
                .try_into()
                .unwrap_or(0),
        )
    }

    /// How much longer it may be used; `None` when it is over, or older than asked for.
    pub fn left(&self, now: WallMs, max_age: Option<Duration>) -> Option<Duration> {
        if max_age.is_some_and(|oldest| self.age(now) > oldest) {
            return None;
        }
        let left = self.expires_at.0.saturating_sub(now.0);
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }

    /// Bytes that it takes in memory.
    pub fn weight(&self) -> usize {
        FIXED_BYTES + self.texts().iter().map(|text| text.len()).sum::<usize>() + self.body.len()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let answer = &self.answer;
        let mut out = Vec::with_capacity(self.weight() + 16);
        out.extend_from_slice(MAGIC);
        out.put_u8(VERSION);
        out.put_u8(match answer.shape {
            Shape::Whole => 0,
            Shape::Stream => 1,
        });
        out.extend_from_slice(self.key.as_bytes());
        out.put_i64_le(self.stored_at.0);
        out.put_i64_le(self.expires_at.0);
        out.put_i64_le(answer.cost.0);
        out.put_u64_le(answer.prompt_tokens);
        out.put_u64_le(answer.completion_tokens);
        for text in self.texts() {
            let text = clipped(text).as_bytes();
            out.put_u16_le(text.len() as u16);
            out.extend_from_slice(text);
        }
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads what stands under `key`; the body is a slice of `bytes`.
    ///
    /// # Errors
    /// It is not an entry of this version and this key.
    pub fn decode(key: CacheKey, bytes: &Bytes) -> Result<Self, EntryError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len())? != MAGIC || reader.array()? != [VERSION] {
            return Err(EntryError::Foreign);
        }
        let shape = match reader.array()? {
            [0] => Shape::Whole,
            [1] => Shape::Stream,
            [_] => return Err(EntryError::Damaged),
        };
        if reader.array()? != *key.as_bytes() {
            return Err(EntryError::OtherKey);
        }
        let stored_at = WallMs(i64::from_le_bytes(reader.array()?));
        let expires_at = WallMs(i64::from_le_bytes(reader.array()?));
        let cost = NanoUsd(i64::from_le_bytes(reader.array()?));
        let prompt_tokens = u64::from_le_bytes(reader.array()?);
        let completion_tokens = u64::from_le_bytes(reader.array()?);
        let answer = Answer {
            shape,
            content_type: reader.text()?,
            deployment_id: reader.text()?,
            model: reader.text()?,
            provider: reader.text()?,
            response_id: reader.text()?,
            prompt_tokens,
            completion_tokens,
            cost,
        };
        Ok(Self {
            key,
            stored_at,
            expires_at,
            answer,
            body: bytes.slice(reader.at..),
        })
    }

    fn texts(&self) -> [&str; 5] {
        let answer = &self.answer;
        [
            &answer.content_type,
            &answer.deployment_id,
            &answer.model,
            &answer.provider,
            &answer.response_id,
        ]
    }
}

/// The beginning of a text that is too long.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], EntryError> {
        let end = self.at.checked_add(count).ok_or(EntryError::Damaged)?;
        let taken = self.bytes.get(self.at..end).ok_or(EntryError::Damaged)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| EntryError::Damaged)
    }

    fn text(&mut self) -> Result<String, EntryError> {
        let length = u16::from_le_bytes(self.array()?);
        let text = self.take(usize::from(length))?;
        let text = std::str::from_utf8(text).map_err(|_| EntryError::Damaged)?;
        Ok(text.to_owned())
    }
}
