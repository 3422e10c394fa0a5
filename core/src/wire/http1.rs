//! The body of an HTTP/1.1 answer: where it ends, and its bytes without the framing.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Longest line that announces a chunk, its extensions included.
const SIZE_LINE_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Why a body cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A chunk is not framed as RFC 9112, 7.1 says.
    #[error("invalid chunk")]
    InvalidChunk,
    /// The connection ended before the body did.
    #[error("body cut short")]
    CutShort,
}

/// How the end of a body is known (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By a chunk of no bytes.
    Chunked,
    /// When the connection ends.
    UntilClose,
}

/// Takes the framing off the bytes of one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a body of known length are left.
    Length(u64),
    UntilClose,
    /// The line with a chunk's size comes next.
    ChunkSize,
    /// So many bytes of a chunk are left.
    ChunkData(u64),
    /// The line end behind a chunk's data comes next.
    ChunkEnd,
    /// Trailers, of which so many bytes were read, up to an empty line.
    Trailers(usize),
    Done,
    /// Nothing that follows can be understood.
    Broken(BodyFault),
}

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Whether the body was read to its end. Bytes that are left then belong to no answer.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Everything that `buffer` holds of the body, without its framing; `None` when it holds
    /// nothing. One chunk is a slice of the buffer, several are copied together. A fault behind
    /// good bytes is told by the next call.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BodyFault> {
        let mut gathered: Option<BytesMut> = None;
        loop {
            match self.next_piece(buffer) {
                Ok(Some(piece)) => match &mut gathered {
                    None => gathered = Some(piece),
                    Some(gathered) => gathered.extend_from_slice(&piece),
                },
                Ok(None) => return Ok(gathered.map(BytesMut::freeze)),
                Err(fault) => {
                    self.state = State::Broken(fault);
                    return gathered.map(|bytes| Some(bytes.freeze())).ok_or(fault);
                }
            }
        }
    }

    /// Says that the connection ended.
    pub fn close(&mut self) -> Result<(), BodyFault> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyFault::CutShort),
        }
    }

    /// Data up to the next piece of framing.
    fn next_piece(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, BodyFault> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Broken(fault) => return Err(fault),
                State::UntilClose if buffer.is_empty() => return Ok(None),
                State::UntilClose => return Ok(Some(buffer.split())),
                State::Length(left) => {
                    let (piece, left) = take(buffer, left);
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    return Ok(piece);
                }
                State::ChunkData(left) => {
                    let (piece, left) = take(buffer, left);
                    self.state = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::ChunkData(left)
                    };
                    return Ok(piece);
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers(_) => {
                    if !self.read_framing(buffer)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Reads one piece of framing; `false` when not all of it is there.
    fn read_framing(&mut self, buffer: &mut BytesMut) -> Result<bool, BodyFault> {
        match self.state {
            State::ChunkEnd => {
                if !b"\r\n".starts_with(&buffer[..buffer.len().min(2)]) {
                    return Err(BodyFault::InvalidChunk);
                }
                if buffer.len() < 2 {
                    return Ok(false);
                }
                buffer.advance(2);
                self.state = State::ChunkSize;
            }
            State::ChunkSize => {
                let Some(line) = line(buffer, SIZE_LINE_BYTES_MAX)? else {
                    return Ok(false);
                };
                self.state = match chunk_size(&line)? {
                    0 => State::Trailers(0),
                    size => State::ChunkData(size),
                };
            }
            State::Trailers(read) => {
                let Some(line) = line(buffer, TRAILER_BYTES_MAX.saturating_sub(read))? else {
                    return Ok(false);
                };
                self.state = match line.is_empty() {
                    true => State::Done,
                    false => State::Trailers(read + line.len()),
                };
            }
            State::Length(_)
            | State::UntilClose
            | State::ChunkData(_)
            | State::Done
            | State::Broken(_) => {}
        }
        Ok(true)
    }
}

/// Up to `left` bytes, and how many are left then.
fn take(buffer: &mut BytesMut, left: u64) -> (Option<BytesMut>, u64) {
    let length = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    let piece = (length > 0).then(|| buffer.split_to(length));
    (piece, left - length as u64)
}

/// The next line without its end, which must be CR LF.
fn line(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, BodyFault> {
    let Some(end) = memchr(b'\n', buffer) else {
        return match buffer.len() > bytes_max {
            true => Err(BodyFault::InvalidChunk),
            false => Ok(None),
        };
    };
    let mut line = buffer.split_to(end + 1);
    if end > bytes_max || !line.ends_with(b"\r\n") {
        return Err(BodyFault::InvalidChunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size that a chunk's first line announces; extensions after `;` say nothing to us.
fn chunk_size(line: &[u8]) -> Result<u64, BodyFault> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    // More than 15 digits are larger than anything that is ever sent.
    if digits.is_empty() || digits.len() > 15 {
        return Err(BodyFault::InvalidChunk);
    }
    digits.iter().try_fold(0u64, |size, digit| {
        let value = char::from(*digit).to_digit(16);
        let value = value.ok_or(BodyFault::InvalidChunk)?;
        Ok(size << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what arrives in pieces of one length; the body, and what is left behind it.
    fn decode(framing: Framing, wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize), BodyFault> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
        for part in wire.chunks(piece) {
            buffer.extend_from_slice(part);
            while let Some(bytes) = decoder.decode(&mut buffer)? {
                assert!(!bytes.is_empty());
                body.extend_from_slice(&bytes);
            }
        }
        if !decoder.is_done() {
            decoder.close()?;
        }
        Ok((body, buffer.len()))
    }

    #[test]
    fn chunks_cut_anywhere_are_the_same_body() {
        let wire =
            b"5\r\nhello\r\n1;name=\"x\"\r\n \r\n00a  \r\nbig\r\nworld\r\n0\r\nDigest: x\r\n\r\n";
        for piece in 1..=wire.len() {
            let decoded = decode(Framing::Chunked, wire, piece);
            assert_eq!(decoded, Ok((b"hello big\r\nworld".to_vec(), 0)), "{piece}");
        }
    }

    #[test]
    fn bytes_behind_a_body_are_not_part_of_it() {
        for piece in 1..9 {
            let chunked = decode(Framing::Chunked, b"2\r\nab\r\n0\r\n\r\n0\r\n\r\n", piece);
            assert_eq!(chunked, Ok((b"ab".to_vec(), 5)));
            let sized = decode(Framing::Length(2), b"abc", piece);
            assert_eq!(sized, Ok((b"ab".to_vec(), 1)));
        }
        assert!(BodyDecoder::new(Framing::Length(0)).is_done());
    }

    #[test]
    fn a_body_that_ends_early_never_looks_whole() {
        let wire = b"5\r\nhello\r\n0\r\n\r\n";
        for length in 0..wire.len() {
            let cut = decode(Framing::Chunked, &wire[..length], 3);
            assert_eq!(cut, Err(BodyFault::CutShort), "{length}");
        }
        assert_eq!(
            decode(Framing::Length(3), b"ab", 1),
            Err(BodyFault::CutShort)
        );
        assert_eq!(
            decode(Framing::UntilClose, b"ab", 1),
            Ok((b"ab".to_vec(), 0))
        );
    }

    #[test]
    fn bytes_before_a_bad_chunk_are_not_lost() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut buffer = BytesMut::from(&b"2\r\nab\r\n1\r\nc\r\nzz\r\n"[..]);
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Bytes::from("abc"))));
        assert_eq!(decoder.decode(&mut buffer), Err(BodyFault::InvalidChunk));
        assert!(!decoder.is_done());
    }

    #[test]
    fn framing_that_is_none_is_refused() {
        let long_line = [b"1;".as_slice(), &[b'x'; SIZE_LINE_BYTES_MAX]].concat();
        let long_trailer = [b"0\r\n".as_slice(), &[b'x'; TRAILER_BYTES_MAX + 1]].concat();
        let wires: [&[u8]; 9] = [
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"1\nab\n0\n\n",
            b"1\r\nabc",
            b"1 1\r\na",
            b"1000000000000000\r\n",
            &long_line,
            &long_trailer,
        ];
        for wire in wires {
            for piece in [1, 2, wire.len()] {
                let decoded = decode(Framing::Chunked, wire, piece);
                assert_eq!(decoded, Err(BodyFault::InvalidChunk), "{wire:?}");
            }
        }
    }
}
