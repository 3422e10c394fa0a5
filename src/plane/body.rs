//! Request bodies: bounded each, bounded in total, bounded in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use meridian_core::error::GatewayError;
use pingora_core::ErrorType;
use pingora_core::protocols::http::ServerSession;

use crate::byte_budget::{ByteBudget, ByteLease};

/// Slowest upload that is still waited for, on top of the idle timeout.
const UPLOAD_BYTES_PER_S_MIN: u64 = 32 * 1024;
/// What a refused upload may still send before its connection is closed: enough for a client to
/// finish writing and read the refusal instead of seeing a reset.
const LINGER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a refused upload is drained.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes are held as they arrive, in steps of this size: an announcement alone costs nothing.
const GROW_BYTES: u64 = 64 * 1024;
/// Room that is made for an announced body before its bytes come.
const CAPACITY_FIRST_MAX: u64 = 1 << 20;

/// A request body held in memory.
#[derive(Debug)]
pub(crate) struct BufferedBody {
    /// The bytes as the client sent them.
    pub bytes: Bytes,
    _lease: ByteLease,
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// Answer with this and close.
    Refused(GatewayError),
    /// The client left while sending.
    ClientGone,
}

impl From<GatewayError> for BodyError {
    fn from(error: GatewayError) -> Self {
        Self::Refused(error)
    }
}

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Largest body.
    pub bytes_max: u64,
    /// Longest silence while it is sent.
    pub idle_timeout: Duration,
}

/// Reads the whole body of a request.
pub(crate) async fn read_body(
    session: &mut ServerSession,
    limits: BodyLimits,
    budget: &Arc<ByteBudget>,
) -> Result<BufferedBody, BodyError> {
    let announced = content_length(session);
    let too_large = GatewayError::BodyTooLarge {
        limit_bytes: limits.bytes_max,
    };
    if announced.is_some_and(|length| length > limits.bytes_max) {
        return Err(too_large.into());
    }
    let mut lease = ByteLease::new(budget);
    let first = announced.unwrap_or(0).min(GROW_BYTES);
    if !lease.grow(first) {
        return Err(buffers_full().into());
    }
    ask_for_body(session).await?;
    let longest = limits.bytes_max / UPLOAD_BYTES_PER_S_MIN;
    let read = collect(session, limits, announced, &mut lease);
    let bytes = match tokio::time::timeout(limits.idle_timeout + Duration::from_secs(longest), read)
        .await
    {
        Ok(read) => read?,
        Err(_) => return Err(GatewayError::BodyTimeout.into()),
    };
    Ok(BufferedBody {
        bytes,
        _lease: lease,
    })
}

async fn collect(
    session: &mut ServerSession,
    limits: BodyLimits,
    announced: Option<u64>,
    lease: &mut ByteLease,
) -> Result<Bytes, BodyError> {
    let Some(first) = next_part(session, limits).await? else {
        return Ok(Bytes::new());
    };
    if announced == Some(first.len() as u64) {
        return Ok(first);
    }
    let mut held = announced.unwrap_or(0).min(GROW_BYTES);
    let room = announced.unwrap_or(GROW_BYTES).min(CAPACITY_FIRST_MAX);
    let mut body = BytesMut::with_capacity(room as usize);
    let mut part = Some(first);
    while let Some(bytes) = part {
        let length = (body.len() + bytes.len()) as u64;
        if length > limits.bytes_max {
            let too_large = GatewayError::BodyTooLarge {
                limit_bytes: limits.bytes_max,
            };
            return Err(too_large.into());
        }
        if length > held {
            let more = (length - held).max(GROW_BYTES);
            if !lease.grow(more) {
                return Err(buffers_full().into());
            }
            held += more;
        }
        body.extend_from_slice(&bytes);
        part = next_part(session, limits).await?;
    }
    Ok(body.freeze())
}

/// Tells a client that waits for it to send its body.
pub(crate) async fn ask_for_body(session: &mut ServerSession) -> Result<(), BodyError> {
    if expects_continue(session) {
        let told = session.write_continue_response().await;
        told.map_err(|_| BodyError::ClientGone)?;
    }
    Ok(())
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn next_part(
    session: &mut ServerSession,
    limits: BodyLimits,
) -> Result<Option<Bytes>, BodyError> {
    match tokio::time::timeout(limits.idle_timeout, session.read_request_body()).await {
        Ok(Ok(part)) => Ok(part),
        // Pingora's own timer runs beside ours and may fire first.
        Ok(Err(error)) if error.etype() == &ErrorType::ReadTimedout => {
            Err(GatewayError::BodyTimeout.into())
        }
        Ok(Err(_)) => Err(BodyError::ClientGone),
        Err(_) => Err(GatewayError::BodyTimeout.into()),
    }
}

/// Lets a client whose body was refused finish writing, so that it reads the refusal.
pub(crate) async fn linger(session: &mut ServerSession) {
    let drain = async {
        let mut drained = 0u64;
        while let Ok(Some(part)) = session.read_request_body().await {
            drained += part.len() as u64;
            if drained > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME_MAX, drain).await;
}

fn content_length(session: &ServerSession) -> Option<u64> {
    let value = session.get_header(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn expects_continue(session: &ServerSession) -> bool {
    let expect = session.get_header(http::header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The answer when the process holds as many bytes as it may.
pub(crate) fn buffers_full() -> GatewayError {
    GatewayError::Overloaded {
        what: "The gateway is holding as many request bytes as it may",
        retry_after_s: 1,
    }
}
