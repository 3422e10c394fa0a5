//! HTTP/1.1 on the provider's side, written for speed and for breaking on purpose.

mod read;
mod write;

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::exchange::Received;
use super::meter::End;
use super::script::Early;
use super::{Shared, control};
use crate::raw::zero_linger;

/// Bytes of requests that may wait while an answer is written.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// A byte stream that can be reset.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It ended its side.
    Closed,
    /// It reset the connection.
    Reset,
}

impl From<Gone> for End {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Closed => Self::ClientClosed,
            Gone::Reset => Self::ClientReset,
        }
    }
}

/// What follows an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    KeepAlive,
    HangUp,
}

/// One connection.
struct Conn<W> {
    io: W,
    buf: BytesMut,
    number: u64,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<W: Wire>(io: W, shared: Arc<Shared>, number: u64) {
    let buf = BytesMut::with_capacity(4096);
    let mut conn = Conn { io, buf, number };
    while let Some(head) = conn.read_head().await {
        let next = conn.exchange(&shared, &head).await;
        if next == Next::HangUp {
            return;
        }
    }
}

impl<W: Wire> Conn<W> {
    async fn exchange(&mut self, shared: &Shared, head: &read::Head) -> Next {
        if head.target().starts_with("/__") {
            return self.control(shared, head).await;
        }
        let early = shared.early(head.deployment().as_deref());
        match early {
            Early::No => {}
            Early::NeverRead => std::future::pending().await,
            Early::Answer | Early::AnswerThenRead => {
                let next = self.answer(shared, head, bytes::Bytes::new()).await;
                if early == Early::Answer || next == Next::HangUp {
                    return Next::HangUp;
                }
                return match self.read_body(head).await {
                    Some(_) => next,
                    None => Next::HangUp,
                };
            }
        }
        match self.read_body(head).await {
            Some(body) => self.answer(shared, head, body).await,
            None => Next::HangUp,
        }
    }

    async fn answer(&mut self, shared: &Shared, head: &read::Head, body: bytes::Bytes) -> Next {
        let received = Received {
            connection: self.number,
            h2: false,
            method: head.method(),
            target: head.target(),
            head: head.raw.clone(),
            body,
            header: &|name| head.header(name).map(str::to_owned),
        };
        let decided = shared.decide(&received);
        let mut exchange = write::Exchange::new(&decided, head);
        let end = exchange.run(self).await;
        let usage = decided.answer.usage;
        shared
            .meter
            .finish(decided.seq, usage, exchange.progress, end);
        match end == End::Complete && exchange.keep_alive {
            true => Next::KeepAlive,
            false => Next::HangUp,
        }
    }

    async fn control(&mut self, shared: &Shared, head: &read::Head) -> Next {
        let Some(body) = self.read_body(head).await else {
            return Next::HangUp;
        };
        let (status, answer) = control::answer(shared, head.method(), head.target(), &body);
        let text = format!(
            "HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
             {answer}",
            answer.len()
        );
        match self.write(text.as_bytes()).await {
            Ok(()) if head.keep_alive => Next::KeepAlive,
            _ => Next::HangUp,
        }
    }

    /// Writes all bytes; while the socket takes none, also watches for the client's end.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        std::future::poll_fn(|cx| {
            while !bytes.is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Gone::Closed)),
                    Poll::Ready(Ok(written)) => bytes = &bytes[written..],
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(gone(&error))),
                    Poll::Pending => return self.poll_gone(cx).map(Err),
                }
            }
            // TLS may hold what was written.
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(gone(&error))),
                Poll::Pending => self.poll_gone(cx).map(Err),
            }
        })
        .await
    }

    /// Ends when the client does; what it sends meanwhile is kept for the next request.
    async fn gone(&mut self) -> Gone {
        std::future::poll_fn(|cx| self.poll_gone(cx)).await
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        while self.buf.len() < AHEAD_BYTES_MAX {
            let mut scratch = [0; 4096];
            let mut taken = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut taken)) {
                Ok(()) if taken.filled().is_empty() => return Poll::Ready(Gone::Closed),
                Ok(()) => self.buf.extend_from_slice(taken.filled()),
                Err(error) => return Poll::Ready(gone(&error)),
            }
        }
        Poll::Pending
    }

    /// Waits, unless the client goes away first.
    async fn pause(&mut self, ms: u64) -> Result<(), Gone> {
        if ms == 0 {
            return Ok(());
        }
        tokio::select! {
            gone = self.gone() => Err(gone),
            () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(()),
        }
    }

    /// Makes the end of the connection a reset.
    fn reset_at_drop(&self) {
        zero_linger(self.io.tcp());
    }
}

fn gone(error: &std::io::Error) -> Gone {
    match error.kind() {
        ErrorKind::UnexpectedEof => Gone::Closed,
        _ => Gone::Reset,
    }
}
