//! One request and its answer on one connection, over HTTP/1.1 or HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::AsyncWriteExt;

use super::{Connection, Upstreams};

/// Header and body go out in one write up to this size; larger bodies follow in slices, so that
/// a 32 MiB body is not copied again.
const COALESCE_BYTES_MAX: usize = 64 * 1024;
/// Size of one write of a large body.
const SLICE_BYTES: usize = 256 * 1024;
/// Informational (1xx) heads skipped before the final one.
const INFORMATIONAL_MAX: usize = 16;

/// Head of a request as both protocol versions need it.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// `Host` / `:authority`.
    pub authority: String,
    /// End-to-end headers without `host` and `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

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
pub struct Exchange {
    session: HttpSession,
    peer: Arc<HttpPeer>,
}

impl Exchange {
    /// Sends head and body. The body is a list of slices so that an edited body needs no copy.
    pub async fn send(
        connection: Connection,
        head: &RequestHead,
        body: &[Bytes],
    ) -> Result<Self, SendError> {
        let Connection { session, peer, .. } = connection;
        let session = match session {
            HttpSession::H1(session) => send_h1(session, &peer, head, body).await?,
            session => send_h2(session, head, body).await?,
        };
        Ok(Self { session, peer })
    }

    /// Waits for the final response head.
    pub async fn read_head(&mut self) -> Result<&ResponseHeader, SendError> {
        for _ in 0..INFORMATIONAL_MAX {
            let read = self.session.read_response_header().await;
            read.map_err(|error| SendError::lost(&error))?;
            let status = self
                .session
                .response_header()
                .map_or(0, |head| head.status.as_u16());
            if status >= 200 {
                break;
            }
        }
        let head = self.session.response_header();
        head.filter(|head| head.status.as_u16() >= 200)
            .ok_or_else(|| SendError::Invalid {
                detail: "too many informational heads".into(),
            })
    }

    /// The final response head, once read.
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.session.response_header()
    }

    /// Next bytes of the body; `None` at its end.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, SendError> {
        self.session
            .read_response_body()
            .await
            .map_err(|error| SendError::lost(&error))
    }

    /// Whether the whole body was read.
    pub fn is_done(&mut self) -> bool {
        self.session.response_done()
    }

    /// Gives the connection back if its answer was read to the end, else cancels the request:
    /// HTTP/1.1 closes the connection, HTTP/2 resets the stream.
    pub async fn finish(mut self, upstreams: &Upstreams) {
        if self.session.response_done() {
            upstreams.release(self.session, &self.peer).await;
        } else {
            self.session.shutdown().await;
        }
    }

    /// Cancels the request upstream at once.
    pub async fn cancel(mut self) {
        self.session.shutdown().await;
    }
}

async fn send_h1(
    session: Http1Session,
    peer: &Arc<HttpPeer>,
    head: &RequestHead,
    body: &[Bytes],
) -> Result<HttpSession, SendError> {
    // pingora writes and flushes head and body separately; on the bare stream they leave in one
    // system call.
    let mut stream = session.into_inner();
    let body_len: usize = body.iter().map(Bytes::len).sum();
    let mut wire = encode_h1(head, body_len);
    let lost = |error: std::io::Error| SendError::Lost {
        detail: error.kind().to_string(),
    };
    if body_len <= COALESCE_BYTES_MAX {
        body.iter().for_each(|part| wire.extend_from_slice(part));
        stream.write_all(&wire).await.map_err(lost)?;
    } else {
        stream.write_all(&wire).await.map_err(lost)?;
        for slice in body.iter().flat_map(|part| part.chunks(SLICE_BYTES)) {
            // A server that answers before it has read a large body (413, 401) stops reading:
            // its answer is there to be read although the rest cannot be sent.
            if stream.write_all(slice).await.is_err() {
                break;
            }
        }
    }
    // A connection that is really lost says so when the answer is read.
    let _ = stream.flush().await;
    Ok(HttpSession::H1(Http1Session::new_with_options(
        stream, &**peer,
    )))
}

async fn send_h2(
    mut session: HttpSession,
    head: &RequestHead,
    body: &[Bytes],
) -> Result<HttpSession, SendError> {
    let sent = async {
        session
            .write_request_header(Box::new(h2_header(head, body)?))
            .await?;
        for slice in body.iter().filter(|part| !part.is_empty()) {
            session.write_request_body(slice.clone(), false).await?;
        }
        session.finish_request_body().await
    };
    sent.await.map_err(|error| SendError::lost(&error))?;
    Ok(session)
}

fn encode_h1(head: &RequestHead, body_len: usize) -> Vec<u8> {
    let headers_len: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let room = if body_len <= COALESCE_BYTES_MAX {
        body_len
    } else {
        0
    };
    let mut wire =
        Vec::with_capacity(96 + head.path.len() + head.authority.len() + headers_len + room);
    for part in [
        head.method.as_str(),
        " ",
        &head.path,
        " HTTP/1.1\r\nhost: ",
        &head.authority,
    ] {
        wire.extend_from_slice(part.as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    if body_len > 0 || head.method == Method::POST {
        wire.extend_from_slice(format!("content-length: {body_len}\r\n").as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    wire
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

/// Headers that belong to one connection and are never passed on (RFC 9110, 7.6.1), including
/// those that `Connection` names.
pub fn is_hop_by_hop(name: &HeaderName, headers: &HeaderMap) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    if NAMES.contains(&name.as_str()) || name == http::header::TRAILER {
        return true;
    }
    let nominated = headers.get_all(http::header::CONNECTION).iter();
    nominated
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
}
