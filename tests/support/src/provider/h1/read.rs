//! Reading requests: heads and bodies, exact.

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::super::ask::Route;
use super::{Conn, Wire};

/// Limits of one request.
const HEAD_BYTES_MAX: usize = 256 * 1024;
const BODY_BYTES_MAX: usize = 64 << 20;
const FIELDS_MAX: usize = 256;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    /// Exact bytes up to and with the blank line.
    pub(super) raw: Bytes,
    method: (usize, usize),
    target: (usize, usize),
    fields: Vec<[(usize, usize); 2]>,
    pub(super) keep_alive: bool,
    length: Length,
    continues: bool,
}

impl Head {
    fn text(&self, (start, end): (usize, usize)) -> &str {
        std::str::from_utf8(&self.raw[start..end]).unwrap_or_default()
    }

    pub(super) fn method(&self) -> &str {
        self.text(self.method)
    }

    pub(super) fn target(&self) -> &str {
        self.text(self.target)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let [_, value] = fields.find(|[held, _]| self.text(*held).eq_ignore_ascii_case(name))?;
        Some(self.text(*value))
    }

    /// The model that the path names.
    pub(super) fn deployment(&self) -> Option<String> {
        Route::from_target(self.target()).deployment
    }

    /// Takes a head from the front of the buffer; `Ok(None)` needs more bytes.
    fn parse(buf: &mut BytesMut) -> Result<Option<Self>, ()> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let size = match request.parse(buf).map_err(|_| ())? {
            httparse::Status::Complete(size) => size,
            httparse::Status::Partial => return Ok(None),
        };
        let base = buf.as_ptr() as usize;
        let span = |text: &[u8]| {
            let start = text.as_ptr() as usize - base;
            (start, start + text.len())
        };
        let method = span(request.method.unwrap_or_default().as_bytes());
        let target = span(request.path.unwrap_or_default().as_bytes());
        let found: Vec<_> = request
            .headers
            .iter()
            .map(|f| [span(f.name.as_bytes()), span(f.value)])
            .collect();
        let mut head = Self {
            raw: Bytes::new(),
            method,
            target,
            fields: found,
            keep_alive: request.version == Some(1),
            length: Length::Known(0),
            continues: false,
        };
        head.raw = buf.split_to(size).freeze();
        head.interpret()?;
        Ok(Some(head))
    }

    fn interpret(&mut self) -> Result<(), ()> {
        let is = |value: Option<&str>, wanted: &str| {
            value.is_some_and(|v| v.eq_ignore_ascii_case(wanted))
        };
        if is(self.header("connection"), "close") {
            self.keep_alive = false;
        }
        self.continues = is(self.header("expect"), "100-continue");
        if is(self.header("transfer-encoding"), "chunked") {
            self.length = Length::Chunked;
        } else if let Some(length) = self.header("content-length") {
            self.length = Length::Known(length.parse().map_err(|_| ())?);
        }
        Ok(())
    }
}

impl<W: Wire> Conn<W> {
    /// The next request's head; `None` when the connection is over or speaks nonsense.
    pub(super) async fn read_head(&mut self) -> Option<Head> {
        loop {
            if !self.buf.is_empty()
                && let Some(head) = Head::parse(&mut self.buf).ok()?
            {
                return Some(head);
            }
            if self.buf.len() > HEAD_BYTES_MAX || !self.fill().await {
                return None;
            }
        }
    }

    /// Reads some more; false at the end.
    async fn fill(&mut self) -> bool {
        self.buf.reserve(4096);
        matches!(self.io.read_buf(&mut self.buf).await, Ok(read) if read > 0)
    }

    /// The body without framing; `None` if it breaks off or is over the limit.
    pub(super) async fn read_body(&mut self, head: &Head) -> Option<Bytes> {
        if head.continues {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        match head.length {
            Length::Known(length) => self.take(length).await,
            Length::Chunked => self.read_chunks().await,
        }
    }

    async fn take(&mut self, length: usize) -> Option<Bytes> {
        if length > BODY_BYTES_MAX {
            return None;
        }
        self.buf.reserve(length.saturating_sub(self.buf.len()));
        while self.buf.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buf.split_to(length).freeze())
    }

    async fn read_chunks(&mut self) -> Option<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.read_line().await?;
            let size = line.split(|&byte| byte == b';').next()?;
            let size = usize::from_str_radix(std::str::from_utf8(size).ok()?.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            if body.len() + size > BODY_BYTES_MAX {
                return None;
            }
            let chunk = self.take(size + 2).await?;
            if !chunk.ends_with(b"\r\n") {
                return None;
            }
            body.extend_from_slice(&chunk[..size]);
        }
        // Trailers, if any, up to the blank line.
        while !self.read_line().await?.is_empty() {}
        Some(body.freeze())
    }

    async fn read_line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buf, b"\r\n") {
                let line = self.buf.split_to(end + 2).freeze();
                return Some(line.slice(..end));
            }
            if self.buf.len() > HEAD_BYTES_MAX || !self.fill().await {
                return None;
            }
        }
    }
}
