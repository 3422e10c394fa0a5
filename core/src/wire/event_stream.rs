//! AWS event-stream frames: read from bytes cut anywhere, both checksums verified, and written.
//!
//! A frame is big endian: total length 4, length of the headers 4, CRC-32 of these eight bytes 4,
//! headers, payload, CRC-32 of everything before it 4.

mod header;
mod message;

use std::ops::Range;

pub use header::{Header, HeaderProblem, HeaderValue, Headers};
pub use message::{Content, Message};

/// Default limit of one frame in bytes; AWS writes none above it.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of headers in one frame.
pub const HEADERS_BYTES_MAX: usize = 128 * 1024;

const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
/// A frame without headers and payload.
const FRAME_BYTES_MIN: usize = PRELUDE_BYTES + CRC_BYTES;

/// A buffer that grew beyond this is given back once it is empty.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;

/// Why a stream of frames cannot be read on, or a frame not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The lengths arrived changed.
    #[error("checksum of an event-stream prelude does not match")]
    PreludeChecksum,
    /// The frame arrived changed.
    #[error("checksum of an event-stream frame does not match")]
    FrameChecksum,
    /// A frame is over the limit.
    #[error("event-stream frame has {bytes} bytes, more than the {limit} allowed")]
    FrameTooLarge {
        /// Length that its prelude gives.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The headers of a frame are over [`HEADERS_BYTES_MAX`].
    #[error("event-stream headers have {bytes} bytes, more than the {HEADERS_BYTES_MAX} allowed")]
    HeadersTooLarge {
        /// Length that its prelude gives.
        bytes: usize,
    },
    /// A frame that is shorter than its own parts.
    #[error("event-stream lengths contradict each other: {total} in all, {headers} of headers")]
    Lengths {
        /// Length of the frame.
        total: usize,
        /// Length of its headers.
        headers: usize,
    },
    /// A header cannot be read or written.
    #[error("event-stream header: {0}")]
    Header(#[from] HeaderProblem),
    /// The stream ended inside a frame.
    #[error("event stream ended inside a frame, after {bytes} bytes of it")]
    Truncated {
        /// Bytes of the unfinished frame.
        bytes: usize,
    },
}

/// Reads frames: [`FrameReader::feed`] every chunk, then [`FrameReader::next_frame`] until it has
/// no more, [`FrameReader::finish`] at the end. After an error it stays at that error.
#[derive(Clone, Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been handed out.
    taken: usize,
    failed: Option<FrameError>,
    frame_bytes_max: usize,
}

/// Where headers and payload of a frame lie.
type Parts = (Range<usize>, Range<usize>);

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            failed: None,
            frame_bytes_max,
        }
    }

    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > BUFFER_KEPT_BYTES {
                self.buffer = Vec::new();
            }
        } else {
            self.buffer.drain(..self.taken);
        }
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole frame, its checksums and headers verified. `Ok(None)`: more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Message<'_>>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let found = self.take_frame();
        match found {
            Ok(Some((headers, payload))) => Ok(Some(Message {
                headers: Headers::checked(&self.buffer[headers]),
                payload: &self.buffer[payload],
            })),
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                self.buffer = Vec::new();
                self.taken = 0;
                Err(error)
            }
        }
    }

    /// Where headers and payload of the next frame lie in the buffer.
    fn take_frame(&mut self) -> Result<Option<Parts>, FrameError> {
        let start = self.taken;
        let Some(lengths) = lengths(&self.buffer[start..], self.frame_bytes_max)? else {
            return Ok(None);
        };
        let (total, headers) = lengths;
        let Some(frame) = self.buffer.get(start..start + total) else {
            return Ok(None);
        };
        let (content, crc) = frame.split_at(total - CRC_BYTES);
        if crc32fast::hash(content) != big_endian(crc) {
            return Err(FrameError::FrameChecksum);
        }
        let headers_end = PRELUDE_BYTES + headers;
        Headers::verify(&content[PRELUDE_BYTES..headers_end])?;
        self.taken = start + total;
        let headers_at = start + PRELUDE_BYTES..start + headers_end;
        Ok(Some((
            headers_at,
            start + headers_end..start + total - CRC_BYTES,
        )))
    }

    /// Whether a frame has begun and not ended.
    pub fn mid_frame(&self) -> bool {
        self.taken < self.buffer.len()
    }

    /// Bytes of a begun frame in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// To be called when the stream has ended: an error if that was inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match (self.failed, self.buffer.len() - self.taken) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(()),
            (None, bytes) => Err(FrameError::Truncated { bytes }),
        }
    }
}

/// Length of a frame and of its headers, checked; `None`: the prelude has not come yet.
fn lengths(bytes: &[u8], frame_bytes_max: usize) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(prelude) = bytes.get(..PRELUDE_BYTES) else {
        return Ok(None);
    };
    if crc32fast::hash(&prelude[..8]) != big_endian(&prelude[8..]) {
        return Err(FrameError::PreludeChecksum);
    }
    let total = big_endian(prelude) as usize;
    let headers = big_endian(&prelude[4..]) as usize;
    if total > frame_bytes_max {
        return Err(FrameError::FrameTooLarge {
            bytes: total,
            limit: frame_bytes_max,
        });
    }
    if headers > HEADERS_BYTES_MAX {
        return Err(FrameError::HeadersTooLarge { bytes: headers });
    }
    if total < FRAME_BYTES_MIN + headers {
        return Err(FrameError::Lengths { total, headers });
    }
    Ok(Some((total, headers)))
}

/// The first four bytes as a number; 0 when there are fewer.
fn big_endian(bytes: &[u8]) -> u32 {
    let first = bytes.first_chunk::<4>().copied();
    u32::from_be_bytes(first.unwrap_or_default())
}

/// Appends one frame to `out`. On an error nothing is appended.
pub fn write_frame(
    headers: &[Header<'_>],
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let mut encoded = Vec::new();
    for header in headers {
        header.write(&mut encoded)?;
    }
    if encoded.len() > HEADERS_BYTES_MAX {
        let bytes = encoded.len();
        return Err(FrameError::HeadersTooLarge { bytes });
    }
    let total = FRAME_BYTES_MIN + encoded.len() + payload.len();
    if total > FRAME_BYTES_MAX {
        return Err(FrameError::FrameTooLarge {
            bytes: total,
            limit: FRAME_BYTES_MAX,
        });
    }
    let start = out.len();
    out.reserve(total);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    let prelude_crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&prelude_crc.to_be_bytes());
    out.extend_from_slice(&encoded);
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
    Ok(())
}

/// Appends the frame of one event: a JSON payload of this type, as Bedrock writes it.
pub fn write_event(event_type: &str, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let headers = [
        Header::text(":event-type", event_type),
        Header::text(":content-type", "application/json"),
        Header::text(":message-type", "event"),
    ];
    write_frame(&headers, payload, out)
}

/// Appends the frame of an exception: it ends the stream, and `payload` is its JSON body.
pub fn write_exception(name: &str, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let headers = [
        Header::text(":exception-type", name),
        Header::text(":content-type", "application/json"),
        Header::text(":message-type", "exception"),
    ];
    write_frame(&headers, payload, out)
}

#[cfg(test)]
mod tests;
