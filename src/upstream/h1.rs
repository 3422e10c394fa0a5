//! One request and its answer over HTTP/1.1.
//!
//! The codec is our own and small: Pingora writes head and body separately and holds a buffer of
//! 64 KiB per answer; here a request leaves in one system call and a silent stream holds 2 KiB.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use meridian_core::wire::http1::{BodyDecoder, Framing};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::SendError;
use super::head::{RequestHead, ResponseHead, lists};

/// Header and body go out in one write up to this size; larger bodies follow in slices, so that
/// a 32 MiB body is not copied again.
const COALESCE_BYTES_MAX: usize = 64 * 1024;
/// Size of one write of a large body.
const SLICE_BYTES: usize = 256 * 1024;
/// Room for one read at first; what fills it is followed by reads of `READ_BYTES_MAX`.
const READ_BYTES: usize = 2 * 1024;
/// Room for one read of an answer that comes fast.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 256;
/// Headers of a usual answer: room for all that there may be takes longer to clear than to fill.
const HEADERS_USUAL: usize = 32;
/// Informational (1xx) heads skipped before the final one.
const INFORMATIONAL_MAX: usize = 16;

/// A request that was sent over HTTP/1.1; reads its answer.
pub(super) struct Http1 {
    stream: Stream,
    buffer: BytesMut,
    read_bytes: usize,
    /// The answer to `HEAD` has the headers of a body and none.
    bodiless: bool,
    body: BodyDecoder,
    keep_alive: bool,
    /// The connection had carried a request before.
    reused: bool,
    /// The whole request left.
    complete: bool,
}

impl Http1 {
    /// Sends head and body.
    pub(super) async fn send(
        (mut stream, reused): (Stream, bool),
        head: &RequestHead,
        body: &[Bytes],
    ) -> Result<Self, SendError> {
        let complete = write(&mut stream, head, body).await;
        let complete = complete.map_err(|error| gone(reused, error.kind().to_string()))?;
        Ok(Self::sent(stream, reused, head, complete))
    }

    fn sent(stream: Stream, reused: bool, head: &RequestHead, complete: bool) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(READ_BYTES),
            read_bytes: READ_BYTES,
            bodiless: head.method == Method::HEAD,
            body: BodyDecoder::new(Framing::Length(0)),
            keep_alive: false,
            reused,
            complete,
        }
    }

    /// Sends a head whose body comes in parts, of a length that nobody knows.
    pub(super) async fn begin(
        (mut stream, reused): (Stream, bool),
        head: &RequestHead,
    ) -> Result<Self, SendError> {
        let mut wire = encode_head(head, 0);
        wire.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        let written = async {
            stream.write_all(&wire).await?;
            stream.flush().await
        };
        let written = written.await;
        written.map_err(|error| gone(reused, error.kind().to_string()))?;
        Ok(Self::sent(stream, reused, head, false))
    }

    /// Sends a part of the body; an empty one is its end. `false` when no more of it is read: the
    /// answer says why.
    pub(super) async fn send_part(&mut self, part: &[u8]) -> bool {
        let size = format!("{:x}\r\n", part.len());
        let stream = &mut self.stream;
        let sent = async {
            stream.write_all(size.as_bytes()).await?;
            stream.write_all(part).await?;
            stream.write_all(b"\r\n").await?;
            stream.flush().await
        };
        let sent = sent.await.is_ok();
        self.complete = sent && part.is_empty();
        sent
    }

    /// Waits for the final head.
    pub(super) async fn read_head(&mut self) -> Result<ResponseHead, SendError> {
        for _ in 0..INFORMATIONAL_MAX {
            let (head, version) = self.read_any_head().await?;
            if head.status.as_u16() >= 200 {
                self.begin_body(&head, version)?;
                return Ok(head);
            }
        }
        Err(invalid("too many informational heads"))
    }

    /// Next bytes of the body; `None` at its end. Nothing is lost when the caller stops waiting.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, SendError> {
        loop {
            let decoded = self.body.decode(&mut self.buffer);
            if let Some(bytes) = decoded.map_err(|fault| invalid(fault.to_string()))? {
                return Ok(Some(bytes));
            }
            if self.body.is_done() {
                return Ok(None);
            }
            if self.read_more().await? == 0 {
                self.keep_alive = false;
                self.body.close().map_err(|fault| lost(fault.to_string()))?;
            }
        }
    }

    /// The connection, if another request can follow on it.
    pub(super) fn into_reusable(mut self) -> Option<Stream> {
        // What follows an answer that is already here needs no waiting: its last chunk.
        let ended = self.body.decode(&mut self.buffer) == Ok(None) && self.body.is_done();
        let reusable = ended && self.complete && self.keep_alive && self.buffer.is_empty();
        reusable.then_some(self.stream)
    }

    async fn read_any_head(&mut self) -> Result<(ResponseHead, Version), SendError> {
        loop {
            if let Some(head) = parse_head(&mut self.buffer)? {
                return Ok(head);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("head too large"));
            }
            let unheard = self.buffer.is_empty();
            let read = match self.read_more().await {
                Err(SendError::Lost { detail }) if unheard => {
                    return Err(gone(self.reused, detail));
                }
                read => read?,
            };
            if read == 0 {
                let stale = self.reused && unheard;
                return Err(gone(stale, "closed before an answer".to_owned()));
            }
        }
    }

    fn begin_body(&mut self, head: &ResponseHead, version: Version) -> Result<(), SendError> {
        let headers = &head.headers;
        let framing = match self.bodiless || matches!(head.status.as_u16(), 204 | 304) {
            true => Framing::Length(0),
            false => framing(headers)?,
        };
        let both = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        self.keep_alive = !both
            && framing != Framing::UntilClose
            && match version {
                Version::Http11 => !lists(headers, &CONNECTION, "close"),
                Version::Http10 => lists(headers, &CONNECTION, "keep-alive"),
            };
        self.body = BodyDecoder::new(framing);
        Ok(())
    }

    /// Reads once; 0 at the end of the connection.
    async fn read_more(&mut self) -> Result<usize, SendError> {
        self.buffer.reserve(self.read_bytes);
        let room = self.buffer.capacity() - self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer).await;
        let read = read.map_err(|error| lost(error.kind().to_string()))?;
        self.read_bytes = match read == room {
            true => READ_BYTES_MAX,
            false => READ_BYTES,
        };
        Ok(read)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn lost(detail: String) -> SendError {
    SendError::Lost { detail }
}

fn invalid(detail: impl Into<String>) -> SendError {
    SendError::Invalid {
        detail: detail.into(),
    }
}

/// A connection that ended before a byte of the answer: one that had been used before was closed
/// under our hands, which is no sign of trouble.
fn gone(reused: bool, detail: String) -> SendError {
    match reused {
        true => SendError::Stale { detail },
        false => lost(detail),
    }
}

/// Whether all of it left.
async fn write(stream: &mut Stream, head: &RequestHead, body: &[Bytes]) -> std::io::Result<bool> {
    let body_len: usize = body.iter().map(Bytes::len).sum();
    let mut wire = encode(head, body_len);
    let mut complete = true;
    if body_len <= COALESCE_BYTES_MAX {
        body.iter().for_each(|part| wire.extend_from_slice(part));
        stream.write_all(&wire).await?;
    } else {
        stream.write_all(&wire).await?;
        for slice in body.iter().flat_map(|part| part.chunks(SLICE_BYTES)) {
            // A server that answers before it has read a large body (413, 401) stops reading:
            // its answer is there to be read although the rest cannot be sent.
            if stream.write_all(slice).await.is_err() {
                complete = false;
                break;
            }
        }
    }
    // A connection that is really lost says so when the answer is read.
    complete &= stream.flush().await.is_ok();
    Ok(complete)
}

fn encode(head: &RequestHead, body_len: usize) -> Vec<u8> {
    let room = match body_len <= COALESCE_BYTES_MAX {
        true => body_len,
        false => 0,
    };
    let mut wire = encode_head(head, room);
    if body_len > 0 || head.method == Method::POST {
        wire.extend_from_slice(format!("content-length: {body_len}\r\n").as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

/// A head without its end, and room for what follows it.
fn encode_head(head: &RequestHead, room: usize) -> Vec<u8> {
    let length = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len() + 4;
    let headers_len: usize = head.headers.iter().map(length).sum();
    let mut wire =
        Vec::with_capacity(96 + head.path.len() + head.authority.len() + headers_len + room);
    for part in [
        head.method.as_str(),
        " ",
        &head.path,
        " HTTP/1.1\r\nhost: ",
        &head.authority,
        "\r\n",
    ] {
        wire.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &head.headers {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// Takes a whole head off the buffer; `None` when not all of it is there.
fn parse_head(buffer: &mut BytesMut) -> Result<Option<(ResponseHead, Version)>, SendError> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut usual = [httparse::EMPTY_HEADER; HEADERS_USUAL];
    let mut many;
    let mut parsed = httparse::Response::new(&mut usual);
    let mut outcome = parsed.parse(buffer);
    if outcome == Err(httparse::Error::TooManyHeaders) {
        many = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
        parsed = httparse::Response::new(&mut many);
        outcome = parsed.parse(buffer);
    }
    let length = match outcome {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(error.to_string())),
    };
    let version = match parsed.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default());
    let status = status.map_err(|_| invalid("status"))?;
    let begin = buffer.as_ptr() as usize;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut places = Vec::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let from = field.value.as_ptr() as usize - begin;
        places.push((
            name.map_err(|_| invalid("header name"))?,
            from..from + field.value.len(),
        ));
    }
    // Values are slices of a copy: of the buffer itself they would keep all of it alive.
    let wire = Bytes::copy_from_slice(&buffer[..length]);
    buffer.advance(length);
    for (name, place) in places {
        let value = HeaderValue::from_maybe_shared(wire.slice(place));
        headers.append(name, value.map_err(|_| invalid("header value"))?);
    }
    Ok(Some((ResponseHead { status, headers }, version)))
}

fn framing(headers: &HeaderMap) -> Result<Framing, SendError> {
    if headers.contains_key(TRANSFER_ENCODING) {
        // Any other coding would have to be taken off, and nobody asked for one.
        let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
        return match codings.as_slice() {
            [one] if one.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            _ => Err(invalid("transfer-encoding")),
        };
    }
    let mut lengths = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|value| length(value.trim_ascii()));
    let Some(first) = lengths.next() else {
        return Ok(Framing::UntilClose);
    };
    match first {
        Some(length) if lengths.all(|other| other == first) => Ok(Framing::Length(length)),
        _ => Err(invalid("content-length")),
    }
}

fn length(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits)?;
    text.parse().ok()
}
