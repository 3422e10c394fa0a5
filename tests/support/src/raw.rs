//! A client that puts exact bytes on a connection and tells exactly what came back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::deadline::SOON;
pub use crate::raw::request::Request;

mod request;
pub(crate) mod tls;

/// Makes the end of a connection a reset (RST) instead of a FIN.
pub fn zero_linger(stream: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Ports below those that Linux gives to connections and to listeners without a wish.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port of 127.0.0.1 that nobody listened on a moment ago, and that nobody gets by chance: no
/// connection, no other caller of this in this process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that test at the same time begin far from each other.
    let start = std::process::id().wrapping_mul(7_919);
    for _ in PORTS {
        let number = start.wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("a range of ports");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// As its framing promised.
    Complete,
    /// The connection ended (FIN) before that. A body delimited by the end is complete instead.
    CutOff,
    /// The connection was reset.
    Reset,
    /// Bytes that are no valid framing.
    Garbage,
    /// Nothing came for as long as the connection's patience lasts.
    TimedOut,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Status.
    pub status: u16,
    /// Exact bytes with the blank line.
    pub raw: Vec<u8>,
    /// Fields in order, names as sent.
    pub fields: Vec<(String, String)>,
    /// Informational statuses that came before.
    pub interim: Vec<u16>,
}

impl Head {
    /// First value of a field, by name without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|(held, _)| held.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Its body without framing.
    pub body: Vec<u8>,
    /// Body bytes and when they came, one entry per chunk or read.
    pub pieces: Vec<(Instant, Vec<u8>)>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// How the body ended.
    pub end: BodyEnd,
}

impl Response {
    /// Status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// First value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text, odd bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Stops if it is none.
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// The `data:` of every event, joined lines included.
    pub fn events(&self) -> Vec<String> {
        let text = self.text().replace("\r\n", "\n");
        let data = |event: &str| {
            let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
            let lines: Vec<&str> = lines
                .map(|line| line.strip_prefix(' ').unwrap_or(line))
                .collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        };
        text.split("\n\n").filter_map(data).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
    Over(BodyEnd),
}

/// One HTTP/1.1 connection.
pub struct Conn {
    io: Box<dyn Io>,
    socket: socket2::Socket,
    buf: BytesMut,
    framing: Framing,
    trailers: Vec<(String, String)>,
    /// How long a read may take.
    pub patience: Duration,
}

enum Read {
    Some,
    End,
    Reset,
    TimedOut,
}

impl Conn {
    /// Connects in clear. Stops if that fails.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).await.expect("a connection")
    }

    /// Connects in clear, to a server that may not be there.
    pub async fn try_open(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&stream).try_clone()?;
        Ok(Self::over(Box::new(stream), socket))
    }

    /// Connects with TLS (ALPN http/1.1), trusting this certificate.
    pub async fn open_tls(addr: SocketAddr, ca_pem: &str) -> Self {
        let (stream, socket) = tls::connect(addr, ca_pem, b"http/1.1").await;
        Self::over(Box::new(stream), socket)
    }

    fn over(io: Box<dyn Io>, socket: socket2::Socket) -> Self {
        Self {
            io,
            socket,
            buf: BytesMut::new(),
            framing: Framing::Over(BodyEnd::Complete),
            trailers: Vec::new(),
            patience: SOON,
        }
    }

    /// Sends exact bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Sends bytes in pieces of `size` with a pause after each.
    pub async fn send_slowly(
        &mut self,
        bytes: &[u8],
        size: usize,
        pause: Duration,
    ) -> std::io::Result<()> {
        for piece in bytes.chunks(size) {
            self.send(piece).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Ends our side (FIN); reading goes on.
    pub async fn half_close(&mut self) {
        // Fails only if the other side is gone, which reading tells.
        let _ = self.io.shutdown().await;
    }

    /// Whether nothing has come since the last answer, not even the end.
    pub fn is_quiet(&self) -> bool {
        let peeked = self.socket.peek(&mut [std::mem::MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        // Fails only on a socket that is gone already.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// Sends a request and reads the whole response.
    pub async fn exchange(&mut self, request: &Request) -> Response {
        // A server that answers early may have closed its side; the answer still counts.
        let _ = self.send(&request.bytes()).await;
        self.response().await
    }

    async fn fill(&mut self) -> Read {
        self.buf.reserve(16 * 1024);
        match tokio::time::timeout(self.patience, self.io.read_buf(&mut self.buf)).await {
            Err(_) => Read::TimedOut,
            Ok(Ok(0)) => Read::End,
            Ok(Ok(_)) => Read::Some,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Read::End,
            Ok(Err(_)) => Read::Reset,
        }
    }

    /// The next final head, or how the connection ended instead.
    pub async fn head(&mut self) -> Result<Head, BodyEnd> {
        let mut interim = Vec::new();
        loop {
            let mut head = self.any_head().await?;
            if (100..200).contains(&head.status) && head.status != 101 {
                interim.push(head.status);
                continue;
            }
            head.interim = interim;
            self.framing = framing(&head);
            return Ok(head);
        }
    }

    /// The next head, an interim one too, or how the connection ended instead.
    pub async fn any_head(&mut self) -> Result<Head, BodyEnd> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buf, b"\r\n\r\n") {
                let raw = self.buf.split_to(end + 4).to_vec();
                return parse_head(raw).ok_or(BodyEnd::Garbage);
            }
            match self.fill().await {
                Read::Some => {}
                Read::End => return Err(BodyEnd::CutOff),
                Read::Reset => return Err(BodyEnd::Reset),
                Read::TimedOut => return Err(BodyEnd::TimedOut),
            }
        }
    }

    /// The next piece of the body: a chunk, or what one read brought. `Err` is its end.
    pub async fn piece(&mut self) -> Result<Vec<u8>, BodyEnd> {
        loop {
            if let Some(piece) = self.buffered_piece()? {
                return Ok(piece);
            }
            let end = match self.fill().await {
                Read::Some => continue,
                Read::End if self.framing == Framing::UntilEnd => BodyEnd::Complete,
                Read::End => BodyEnd::CutOff,
                Read::Reset => BodyEnd::Reset,
                Read::TimedOut => return Err(BodyEnd::TimedOut),
            };
            self.framing = Framing::Over(end);
        }
    }

    fn buffered_piece(&mut self) -> Result<Option<Vec<u8>>, BodyEnd> {
        match self.framing {
            Framing::Over(end) => Err(end),
            Framing::Length(0) => {
                self.framing = Framing::Over(BodyEnd::Complete);
                Err(BodyEnd::Complete)
            }
            _ if self.buf.is_empty() => Ok(None),
            Framing::UntilEnd => Ok(Some(self.buf.split().to_vec())),
            Framing::Length(left) => {
                let piece = self.buf.split_to(left.min(self.buf.len())).to_vec();
                self.framing = Framing::Length(left - piece.len());
                Ok(Some(piece))
            }
            Framing::Chunked => self.buffered_chunk(),
        }
    }

    fn buffered_chunk(&mut self) -> Result<Option<Vec<u8>>, BodyEnd> {
        let Some(line_end) = memchr::memmem::find(&self.buf, b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&self.buf[..line_end]).ok();
        let size = size.and_then(|text| text.split(';').next());
        let size = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let Some(size) = size else {
            self.framing = Framing::Over(BodyEnd::Garbage);
            return Err(BodyEnd::Garbage);
        };
        let start = line_end + 2;
        if size == 0 {
            return self.buffered_trailers(start);
        }
        if self.buf.len() < start + size + 2 {
            return Ok(None);
        }
        let chunk = self.buf[start..start + size].to_vec();
        let terminated = &self.buf[start + size..start + size + 2] == b"\r\n";
        let _ = self.buf.split_to(start + size + 2);
        match terminated {
            true => Ok(Some(chunk)),
            false => Err(BodyEnd::Garbage),
        }
    }

    fn buffered_trailers(&mut self, start: usize) -> Result<Option<Vec<u8>>, BodyEnd> {
        let blank = match self.buf[start..].starts_with(b"\r\n") {
            true => Some(0),
            false => memchr::memmem::find(&self.buf[start..], b"\r\n\r\n").map(|at| at + 2),
        };
        let Some(blank) = blank else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&self.buf[start..start + blank]).into_owned();
        self.trailers = text.lines().filter_map(field).collect();
        let _ = self.buf.split_to(start + blank + 2);
        self.framing = Framing::Over(BodyEnd::Complete);
        Err(BodyEnd::Complete)
    }

    /// Reads a whole response. Stops if no head comes.
    pub async fn response(&mut self) -> Response {
        let head = self
            .head()
            .await
            .unwrap_or_else(|end| panic!("no response: {end:?}"));
        self.rest_of(head).await
    }

    /// Reads the body that belongs to a head.
    pub async fn rest_of(&mut self, head: Head) -> Response {
        let mut pieces = Vec::new();
        let end = loop {
            match self.piece().await {
                Ok(piece) => pieces.push((Instant::now(), piece)),
                Err(end) => break end,
            }
        };
        let body = pieces
            .iter()
            .flat_map(|(_, piece)| piece.iter().copied())
            .collect();
        Response {
            head,
            body,
            pieces,
            trailers: std::mem::take(&mut self.trailers),
            end,
        }
    }

    /// Bytes of a chunk that has begun but not ended, or that were sent after a response.
    pub fn unread(&self) -> &[u8] {
        &self.buf
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

fn parse_head(raw: Vec<u8>) -> Option<Head> {
    let text = String::from_utf8_lossy(&raw).into_owned();
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = words.next()?.parse().ok()?;
    let fields = lines.filter_map(field).collect();
    Some(Head {
        status,
        raw,
        fields,
        interim: Vec::new(),
    })
}

fn framing(head: &Head) -> Framing {
    if matches!(head.status, 204 | 304) {
        return Framing::Length(0);
    }
    if head
        .header("transfer-encoding")
        .is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    {
        return Framing::Chunked;
    }
    match head.header("content-length").map(str::parse) {
        Some(Ok(length)) => Framing::Length(length),
        Some(Err(_)) => Framing::Over(BodyEnd::Garbage),
        None => Framing::UntilEnd,
    }
}
