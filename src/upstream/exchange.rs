//! One request and its answer on one connection, over HTTP/1.1 or HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::{Error, ErrorType};
use pingora_http::RequestHeader;

use super::h1::Http1;
use super::head::{RequestHead, ResponseHead};
use super::resolve::Address;
use super::{Connection, Link, Upstreams};

/// Informational (1xx) heads skipped before the final one.
const INFORMATIONAL_MAX: usize = 16;

/// Why a request could not be sent or its answer not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The name has no address.
    #[error("no address for {host}")]
    Unresolved {
        /// The name.
        host: String,
    },
    /// No connection: refused, unreachable, TLS failure.
    #[error("connect failed: {detail}")]
    Connect {
        /// Error class, without addresses or secrets.
        detail: String,
    },
    /// No connection in time.
    #[error("connect timed out")]
    ConnectTimeout,
    /// The connection broke while sending or before an answer.
    #[error("connection lost: {detail}")]
    Lost {
        /// Error class.
        detail: String,
    },
    /// A connection that had been used before was closed before a byte of the answer: its server
    /// had ended it, most likely before the request came.
    #[error("idle connection closed: {detail}")]
    Stale {
        /// Error class.
        detail: String,
    },
    /// The connection was closing and the server said that it did not process the request.
    #[error("connection closing, request not processed")]
    Unprocessed,
    /// The answer is not HTTP.
    #[error("invalid answer: {detail}")]
    Invalid {
        /// Error class.
        detail: String,
    },
}

impl SendError {
    pub(super) fn connect(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Self::ConnectTimeout,
            kind => Self::Connect {
                detail: kind.as_str().to_owned(),
            },
        }
    }

    fn lost(error: &Error) -> Self {
        if is_unprocessed(error) {
            return Self::Unprocessed;
        }
        let detail = error.etype().as_str().to_owned();
        match error.etype() {
            ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2 => Self::Invalid { detail },
            _ => Self::Lost { detail },
        }
    }
}

/// Whether the server promised that it did nothing with this request: its stream is above the
/// last one of a GOAWAY, or was refused (RFC 9113, 6.8 and 8.7). Pingora's own retry mark is not
/// asked: it also stands on errors after which a POST may have been processed (pingora#979).
fn is_unprocessed(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| {
        let going_away = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (going_away || refused)
    })
}

/// A request that was sent; reads its answer.
///
/// Pingora's HTTP/2 futures are boxed: they are kilobytes, which every idle stream over HTTP/1.1
/// would carry.
pub struct Exchange {
    wire: Wire,
    address: Arc<Address>,
}

enum Wire {
    Http1(Http1),
    Http2(Box<HttpSession>),
}

impl Exchange {
    /// Sends head and body. The body is a list of slices so that an edited body needs no copy.
    pub async fn send(
        connection: Connection,
        head: &RequestHead,
        body: &[Bytes],
    ) -> Result<Self, SendError> {
        let Connection { link, address } = connection;
        let wire = match link {
            Link::Http1(stream, reused) => {
                Wire::Http1(Http1::send((stream, reused), head, body).await?)
            }
            Link::Http2(session) => Wire::Http2(Box::pin(send_h2(session, head, body)).await?),
        };
        Ok(Self { wire, address })
    }

    /// Sends a head whose body comes in parts; over HTTP/1.1 alone, as the admin server speaks it.
    pub async fn begin(connection: Connection, head: &RequestHead) -> Result<Self, SendError> {
        let Connection { link, address } = connection;
        match link {
            Link::Http1(stream, reused) => {
                let wire = Wire::Http1(Http1::begin((stream, reused), head).await?);
                Ok(Self { wire, address })
            }
            Link::Http2(_) => Err(SendError::Invalid {
                detail: "bodies in parts are for HTTP/1.1".into(),
            }),
        }
    }

    /// Sends a part of the body of a request that was begun; an empty one is its end. `false` when
    /// no more of it is read: the answer says why.
    pub async fn send_part(&mut self, part: &[u8]) -> bool {
        match &mut self.wire {
            Wire::Http1(http1) => http1.send_part(part).await,
            Wire::Http2(_) => false,
        }
    }

    /// Waits for the final response head.
    pub async fn read_head(&mut self) -> Result<ResponseHead, SendError> {
        match &mut self.wire {
            Wire::Http1(http1) => http1.read_head().await,
            Wire::Http2(session) => Box::pin(read_h2_head(session)).await,
        }
    }

    /// Next bytes of the body; `None` at its end. Nothing is lost when the caller stops waiting.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, SendError> {
        match &mut self.wire {
            Wire::Http1(http1) => http1.read_body().await,
            Wire::Http2(session) => {
                let read = session.read_response_body().await;
                read.map_err(|error| SendError::lost(&error))
            }
        }
    }

    /// Gives the connection back if its answer was read to the end, else cancels the request:
    /// HTTP/1.1 closes the connection, HTTP/2 resets the stream.
    pub async fn finish(self, upstreams: &Upstreams) {
        match self.wire {
            Wire::Http1(http1) => {
                if let Some(stream) = http1.into_reusable() {
                    upstreams.idle.put(self.address.key, stream);
                }
            }
            Wire::Http2(mut session) => match session.response_done() {
                true => Box::pin(upstreams.release_h2(*session, &self.address)).await,
                false => Box::pin(session.shutdown()).await,
            },
        }
    }

    /// Cancels the request upstream at once.
    pub async fn cancel(self) {
        match self.wire {
            // A connection that is dropped is closed.
            Wire::Http1(_) => {}
            Wire::Http2(mut session) => Box::pin(session.shutdown()).await,
        }
    }
}

async fn send_h2(
    mut session: Box<HttpSession>,
    head: &RequestHead,
    body: &[Bytes],
) -> Result<Box<HttpSession>, SendError> {
    let sent = async {
        session
            .write_request_header(Box::new(h2_header(head, body)?))
            .await?;
        for slice in body.iter().filter(|part| !part.is_empty()) {
            // As over HTTP/1.1: a server that answers early stops reading, and its answer says so.
            if session
                .write_request_body(slice.clone(), false)
                .await
                .is_err()
            {
                break;
            }
        }
        let _ = session.finish_request_body().await;
        Ok::<(), Box<Error>>(())
    };
    sent.await.map_err(|error| SendError::lost(&error))?;
    Ok(session)
}

fn h2_header(head: &RequestHead, body: &[Bytes]) -> pingora_core::Result<RequestHeader> {
    let uri = format!("https://{}{}", head.authority, head.path);
    let mut header =
        RequestHeader::build_no_case(head.method.clone(), b"/", Some(head.headers.len() + 1))?;
    let uri = uri
        .parse()
        .map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
    header.set_uri(uri);
    header.set_version(http::Version::HTTP_2);
    for (name, value) in &head.headers {
        header.append_header(name.clone(), value.clone())?;
    }
    let body_len: usize = body.iter().map(Bytes::len).sum();
    if body_len > 0 || head.method == Method::POST {
        header.insert_header(http::header::CONTENT_LENGTH, body_len)?;
    }
    Ok(header)
}

async fn read_h2_head(session: &mut HttpSession) -> Result<ResponseHead, SendError> {
    for _ in 0..INFORMATIONAL_MAX {
        let read = session.read_response_header().await;
        read.map_err(|error| SendError::lost(&error))?;
        if let Some(head) = session.response_header()
            && head.status.as_u16() >= 200
        {
            return Ok(ResponseHead {
                status: head.status,
                headers: head.headers.clone(),
            });
        }
    }
    Err(SendError::Invalid {
        detail: "too many informational heads".into(),
    })
}
