//! One request with a method, headers and a body; whatever status answers it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_http::RequestHeader;

use super::{GetError, GetLimits, Target, Within, connect};

/// A request. No redirect is followed: it would carry a credential elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method; GET unless said otherwise.
    pub method: Method,
    /// `http` or `https`.
    pub url: String,
    /// Headers beside `host`, `content-length`, `user-agent` and `accept-encoding`.
    pub headers: Vec<(&'static str, String)>,
    /// Body; none is sent where it is empty.
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Called {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Whole body.
    pub body: Bytes,
}

/// Sends a request and reads its whole answer. Certificates are verified.
///
/// # Errors
/// No answer, or one over the limits.
pub async fn call(
    connector: &Connector,
    request: &Request,
    limits: GetLimits,
) -> Result<Called, GetError> {
    let exchanged = exchange(connector, request, limits.body_bytes_max);
    let timeout: Duration = limits.timeout;
    tokio::time::timeout(timeout, exchanged)
        .await
        .unwrap_or(Err(GetError::Timeout(timeout)))
}

async fn exchange(
    connector: &Connector,
    request: &Request,
    bytes_max: usize,
) -> Result<Called, GetError> {
    let target = Target::parse(&request.url)?;
    let mut session = connect(connector, &target, &Within::Anywhere).await?;
    let head = head(request, &target)?;
    session.write_request_header(Box::new(head)).await?;
    if !request.body.is_empty() {
        session
            .write_request_body(request.body.clone(), false)
            .await?;
    }
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let head = session.response_header().ok_or(GetError::Status(0))?;
    let (status, headers) = (head.status.as_u16(), head.headers.clone());
    let body = read(&mut session, bytes_max).await?;
    Ok(Called {
        status,
        headers,
        body,
    })
}

fn head(request: &Request, target: &Target) -> Result<RequestHeader, GetError> {
    let path = target.path.as_bytes();
    let mut head = RequestHeader::build(request.method.clone(), path, Some(8))?;
    head.insert_header(header::HOST, target.authority.as_str())?;
    head.insert_header(header::USER_AGENT, "meridian")?;
    head.insert_header(header::ACCEPT_ENCODING, "identity")?;
    if !request.body.is_empty() || request.method == Method::POST {
        head.insert_header(header::CONTENT_LENGTH, request.body.len())?;
    }
    for (name, value) in &request.headers {
        head.insert_header(*name, value.as_str())?;
    }
    Ok(head)
}

async fn read(session: &mut HttpSession, bytes_max: usize) -> Result<Bytes, GetError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_response_body().await? {
        if chunk.len() > bytes_max.saturating_sub(body.len()) {
            return Err(GetError::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
