//! Checksummed frames: how the journal's facts lie in a segment.
//!
//! Header (32 bytes, little endian): magic 4, version 1, kind 1, reserved 2, payload length 4,
//! call id 16, CRC-32 4 (of everything after the magic but itself). The payload is JSON. The magic
//! contains bytes that UTF-8 never does, so it cannot be found inside a payload.

use super::payload::Payload;
use super::{Open, Progress, Transfer};
use crate::ids::CallId;
use crate::spend::SpendRecord;
use memchr::memmem;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 32;
/// Longest payload a reader accepts; a writer shortens texts to stay below.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Longest frame.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;
/// A record with a longer payload, without what was asked and answered, is shortened.
const PAYLOAD_BYTES_SOFT: usize = 3 * 1024;
/// Longest text of a record that had to be shortened.
const TEXT_BYTES_MAX: usize = 256;
/// Most tags, and longest tag, of a record that had to be shortened.
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 64;

const MAGIC: [u8; 4] = [0xff, b'M', b'J', 0xfe];
const VERSION: u8 = 1;
const LENGTH_AT: usize = 8;
const CALL_ID_AT: usize = 12;
const CRC_AT: usize = 28;
/// The call of frames that are about none.
const NOBODY: CallId = CallId::from_bytes([0; 16]);

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `Open`: a request is about to be dispatched.
    Open,
    /// `Progress`: how far a stream has come.
    Progress,
    /// `SpendRecord`: the request has ended.
    Close,
    /// `Transfer`: rights came, went, or were made. It is about no request.
    Transfer,
}

impl Kind {
    /// Name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Progress => "progress",
            Self::Close => "close",
            Self::Transfer => "transfer",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Progress => 2,
            Self::Close => 3,
            Self::Transfer => 4,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Progress),
            3 => Some(Self::Close),
            4 => Some(Self::Transfer),
            _ => None,
        }
    }
}

/// A record that cannot be written. Neither happens to a record that the gateway made.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The payload is longer than a reader would accept, even with its texts shortened.
    #[error("a journal payload of {0} bytes is over the limit of {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
    /// The payload is not JSON.
    #[error("journal payload: {0}")]
    Json(#[from] serde_json::Error),
}

/// Appends an OPEN frame to `out`.
pub fn encode_open(out: &mut Vec<u8>, open: &Open) -> Result<(), EncodeError> {
    let readable = open.record.context.is_readable();
    if readable && encode(out, Kind::Open, open.record.call_id, open, 0)? {
        return Ok(());
    }
    let short = Open {
        record: shortened(&open.record),
        bound: open.bound,
    };
    encode_short(out, Kind::Open, open.record.call_id, &short)
}

/// Appends a PROGRESS frame to `out`.
pub fn encode_progress(
    out: &mut Vec<u8>,
    call_id: CallId,
    progress: &Progress,
) -> Result<(), EncodeError> {
    encode_short(out, Kind::Progress, call_id, progress)
}

/// Appends a CLOSE frame to `out` and says whether it holds all of the record. An unusually long
/// one is shortened and one that could not be read back goes without its metadata; none is refused.
pub fn encode_close(out: &mut Vec<u8>, record: &SpendRecord) -> Result<bool, EncodeError> {
    let texts = record.texts.as_ref().map_or(0, |texts| texts.bytes());
    let readable = record.context.is_readable();
    if readable && encode(out, Kind::Close, record.call_id, record, texts)? {
        return Ok(true);
    }
    let short = shortened(record);
    let written = match encode_short(out, Kind::Close, record.call_id, &short) {
        Err(EncodeError::TooLong(_)) if short.texts.is_some() => {
            let texts = None;
            encode_short(
                out,
                Kind::Close,
                record.call_id,
                &SpendRecord { texts, ..short },
            )
        }
        done => done,
    };
    written.map(|()| false)
}

/// Appends a TRANSFER frame to `out`.
pub fn encode_transfer(out: &mut Vec<u8>, transfer: &Transfer) -> Result<(), EncodeError> {
    encode_short(out, Kind::Transfer, NOBODY, transfer)
}

/// Writes a frame; `false` and nothing written when its payload is over the soft limit and `more`.
fn encode(
    out: &mut Vec<u8>,
    kind: Kind,
    call_id: CallId,
    payload: &impl Payload,
    more: usize,
) -> Result<bool, EncodeError> {
    let start = out.len();
    let bytes_max = (PAYLOAD_BYTES_SOFT + more).min(PAYLOAD_BYTES_MAX);
    match encode_within(out, kind, call_id, payload, bytes_max) {
        Ok(()) => Ok(true),
        Err(error) => {
            out.truncate(start);
            match error {
                EncodeError::TooLong(_) => Ok(false),
                EncodeError::Json(_) => Err(error),
            }
        }
    }
}

/// Writes a frame up to the hard limit; nothing stays written on an error.
fn encode_short(
    out: &mut Vec<u8>,
    kind: Kind,
    call_id: CallId,
    payload: &impl Payload,
) -> Result<(), EncodeError> {
    let start = out.len();
    let done = encode_within(out, kind, call_id, payload, PAYLOAD_BYTES_MAX);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn encode_within(
    out: &mut Vec<u8>,
    kind: Kind,
    call_id: CallId,
    payload: &impl Payload,
    bytes_max: usize,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind.code(), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&call_id.to_bytes());
    out.extend_from_slice(&[0; 4]);
    payload.write(out)?;
    let length = out.len() - start - HEADER_BYTES;
    if length > bytes_max {
        return Err(EncodeError::TooLong(length));
    }
    let frame = &mut out[start..];
    frame[LENGTH_AT..CALL_ID_AT].copy_from_slice(&(length as u32).to_le_bytes());
    let crc = checksum(frame);
    frame[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// CRC-32 of a whole frame without its magic and its checksum field.
fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[MAGIC.len()..CRC_AT]);
    hasher.update(&frame[HEADER_BYTES..]);
    hasher.finalize()
}

/// The record with every text cut to a fixed length: money and tokens are never touched.
fn shortened(record: &SpendRecord) -> SpendRecord {
    let mut short = record.clone();
    let payer = &mut short.payer;
    let context = &mut short.context;
    for text in [
        &mut short.response_id,
        &mut short.error,
        &mut payer.key_alias,
        &mut payer.user_id,
        &mut payer.team_id,
        &mut payer.organization_id,
        &mut payer.end_user,
        &mut context.session_id,
        &mut context.client_ip,
        &mut context.user_agent,
    ] {
        text.iter_mut().for_each(|text| cut(text, TEXT_BYTES_MAX));
    }
    for text in [
        &mut short.model_group,
        &mut short.deployment_id,
        &mut short.model,
        &mut short.provider,
        &mut short.api_base,
    ] {
        cut(text, TEXT_BYTES_MAX);
    }
    context.tags.truncate(TAGS_MAX);
    context
        .tags
        .iter_mut()
        .for_each(|tag| cut(tag, TAG_BYTES_MAX));
    context.spend_logs_metadata = None;
    short
}

fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let boundary = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(boundary.unwrap_or(0));
    }
}

/// One whole frame with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub kind: Kind,
    /// Whose request.
    pub call_id: CallId,
    /// JSON of an `Open`, a `Progress`, a `SpendRecord` or a `Transfer`.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the frame in its segment.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// What lies at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Bytes that are no frame, followed by a frame: damage, or a write that failed half-way.
    Corrupt {
        /// How many bytes.
        bytes: usize,
    },
    /// A frame with a right checksum that a newer version of the gateway wrote.
    Newer,
}

/// Walks the frames of a slice and stops before a torn tail; `consumed` says where that begins.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Frames of `bytes`, which should begin at a frame.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes up to the end of the last item; what follows is a torn or a growing tail.
    pub fn consumed(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    /// Offset in the slice, and what lies there.
    type Item = (usize, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        if start == self.bytes.len() {
            return None;
        }
        if let Some((item, length)) = decode(&self.bytes[start..]) {
            self.at += length;
            return Some((start, item));
        }
        let next = resume(self.bytes, start + 1)?;
        self.at = next;
        let bytes = next - start;
        Some((start, Item::Corrupt { bytes }))
    }
}

/// Offset of the first whole frame at or after `from`.
fn resume(bytes: &[u8], from: usize) -> Option<usize> {
    memmem::find_iter(&bytes[from..], &MAGIC)
        .map(|found| from + found)
        .find(|&at| decode(&bytes[at..]).is_some())
}

/// The frame at the start of `bytes` and its length; `None` if there is no whole one.
fn decode(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    if header[..MAGIC.len()] != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(*header[LENGTH_AT..].first_chunk()?) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let frame = bytes.get(..HEADER_BYTES + length)?;
    if checksum(frame) != u32::from_le_bytes(*header[CRC_AT..].first_chunk()?) {
        return None;
    }
    let item = match (header[4], Kind::of_code(header[5])) {
        (VERSION, Some(kind)) => Item::Frame(Frame {
            kind,
            call_id: CallId::from_bytes(*header[CALL_ID_AT..].first_chunk()?),
            payload: &frame[HEADER_BYTES..],
        }),
        _ => Item::Newer,
    };
    Some((item, frame.len()))
}
