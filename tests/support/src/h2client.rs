//! An HTTP/2 client that tells exactly how a stream ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::deadline::{SOON, within};
use crate::raw::Request;
use crate::raw::tls;

/// How an h2 response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H2End {
    /// END_STREAM.
    Complete,
    /// RST_STREAM with this reason, or GOAWAY that covers the stream.
    Reset(Reason),
    /// The connection ended.
    Lost,
}

/// A whole h2 response.
#[derive(Clone, Debug)]
pub struct H2Response {
    /// Status; 0 if none came.
    pub status: u16,
    /// Fields.
    pub headers: http::HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// DATA frames and when they came.
    pub pieces: Vec<(Instant, Bytes)>,
    /// Trailers.
    pub trailers: Option<http::HeaderMap>,
    /// How it ended.
    pub end: H2End,
}

impl H2Response {
    /// The body as JSON. Stops if it is none.
    pub fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", text()))
    }
}

/// A connection.
#[derive(Debug)]
pub struct H2 {
    send: SendRequest<Bytes>,
    task: tokio::task::JoinHandle<()>,
}

/// A request under way.
#[derive(Debug)]
pub struct H2Stream {
    response: h2::client::ResponseFuture,
    send: SendStream<Bytes>,
}

impl H2 {
    /// Connects in clear with prior knowledge.
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a connection");
        Self::over(stream).await
    }

    /// Connects with TLS and ALPN, trusting this certificate.
    pub async fn open_tls(addr: SocketAddr, ca_pem: &str) -> Self {
        let (stream, _) = tls::connect(addr, ca_pem, b"h2").await;
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            Some(&b"h2"[..]),
            "ALPN chose no h2"
        );
        Self::over(stream).await
    }

    async fn over<T>(io: T) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = h2::client::handshake(io).await.expect("an h2 handshake");
        let task = tokio::spawn(async move {
            // How it ended shows in the streams.
            let _ = connection.await;
        });
        Self { send, task }
    }

    /// Starts a request; the body is sent whole as windows allow.
    pub async fn start(&mut self, request: &Request) -> H2Stream {
        let mut builder = http::Request::builder().method(request.method.as_str());
        builder = builder.uri(format!("http://127.0.0.1{}", request.target));
        for (name, value) in &request.fields {
            builder = builder.header(name, value);
        }
        let head = builder.body(()).expect("a request that h2 can carry");
        let mut ready = self.send.clone().ready().await.expect("a live connection");
        let empty = request.body.is_empty();
        let (response, mut send) = ready.send_request(head, empty).expect("a live connection");
        let mut body = Bytes::copy_from_slice(&request.body);
        while !body.is_empty() {
            send.reserve_capacity(body.len());
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
            // A server that answers early may have reset the stream; the answer still counts.
            let Some(Ok(room)) = room else { break };
            let part = body.split_to(room.min(body.len()));
            if send.send_data(part, body.is_empty()).is_err() {
                break;
            }
        }
        H2Stream { response, send }
    }

    /// Sends a request and reads the whole response.
    pub async fn exchange(&mut self, request: &Request) -> H2Response {
        let stream = self.start(request).await;
        within(SOON * 3, "an h2 response", stream.response()).await
    }

    /// Returns when the other side has said GOAWAY: no more streams on this connection.
    pub async fn told_to_leave(&mut self) {
        loop {
            match self.send.clone().ready().await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => {
                    assert!(error.is_go_away() && error.is_remote(), "{error}");
                    assert_eq!(error.reason(), Some(Reason::NO_ERROR));
                    return;
                }
            }
        }
    }

    /// Ends the connection.
    pub fn close(self) {
        self.task.abort();
    }

    /// Waits until the other side ended the connection.
    pub async fn ended(self, limit: Duration) {
        let Self { send, task } = self;
        // Our handle stays until then: without it the client itself would hang up.
        let ended = within(limit, "the h2 connection", task).await;
        drop(send);
        ended.expect("the connection's task does not panic");
    }
}

impl H2Stream {
    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Waits for the head; the body stays unread.
    pub async fn head(&mut self) -> Result<(http::response::Parts, RecvStream), H2End> {
        let response = (&mut self.response).await.map_err(|error| end(&error))?;
        Ok(response.into_parts())
    }

    /// Reads the whole response.
    pub async fn response(mut self) -> H2Response {
        let (parts, mut body) = match self.head().await {
            Ok(head) => head,
            Err(end) => return no_response(end),
        };
        let mut pieces = Vec::new();
        let mut ended = H2End::Complete;
        while let Some(piece) = body.data().await {
            match piece {
                Ok(piece) => {
                    // Fails only on a dead stream, which the next read tells.
                    let _ = body.flow_control().release_capacity(piece.len());
                    pieces.push((Instant::now(), piece));
                }
                Err(error) => {
                    ended = end(&error);
                    break;
                }
            }
        }
        let trailers = body.trailers().await.ok().flatten();
        H2Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: pieces
                .iter()
                .flat_map(|(_, piece)| piece.iter().copied())
                .collect(),
            pieces,
            trailers,
            end: ended,
        }
    }
}

fn end(error: &h2::Error) -> H2End {
    match error.reason() {
        Some(reason) if error.is_reset() || error.is_go_away() => H2End::Reset(reason),
        _ => H2End::Lost,
    }
}

fn no_response(end: H2End) -> H2Response {
    H2Response {
        status: 0,
        headers: http::HeaderMap::new(),
        body: Vec::new(),
        pieces: Vec::new(),
        trailers: None,
        end,
    }
}
