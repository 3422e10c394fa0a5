//! Writing to the client: heads, bodies, errors.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use meridian_core::endpoint::Dialect;
use meridian_core::error::{ErrorReply, GatewayError};
use meridian_core::health::Coordination;
use meridian_core::ids::CallId;
use meridian_core::money::NanoUsd;
use pingora_core::protocols::http::ServerSession;

use crate::state::State;
use crate::upstream::ResponseHead;

/// The client is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Header that tells SDKs not to multiply the gateway's own retries by theirs.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// LiteLLM's request identity.
pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");
/// What a request cost, in dollars.
pub(crate) const RESPONSE_COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");
/// Spend of the key in its period, in dollars.
const KEY_SPEND: HeaderName = HeaderName::from_static("x-litellm-key-spend");
/// LiteLLM's answer to cross-origin requests.
const ALLOW_ORIGIN: HeaderName = HeaderName::from_static("access-control-allow-origin");

/// Sends a response head. A body of unknown length is chunked; a client of HTTP/1.0 gets it until
/// the connection closes. A process that leaves says so, however long ago the request came.
pub(crate) async fn send_head(
    state: &State,
    session: &mut ServerSession,
    mut head: ResponseHead,
) -> Result<(), Gone> {
    if state.is_draining() {
        session.set_keepalive(None);
    }
    let unframed = !head.headers.contains_key(http::header::CONTENT_LENGTH)
        && !matches!(head.status.as_u16(), 100..=199 | 204 | 304);
    if unframed && !session.is_http2() {
        if session.req_header().version == http::Version::HTTP_11 {
            let chunked = HeaderValue::from_static("chunked");
            head.set(http::header::TRANSFER_ENCODING, chunked);
        } else {
            session.set_keepalive(None);
        }
    }
    session
        .write_response_header(Box::new(head.into()))
        .await
        .map_err(|_| Gone)
}

/// Sends a part of the body, flushed at once unless the head announced its length.
pub(crate) async fn send_part(session: &mut ServerSession, part: Bytes) -> Result<(), Gone> {
    session
        .write_response_body(part, false)
        .await
        .map_err(|_| Gone)
}

/// Sends the last part of the body.
pub(crate) async fn send_end(session: &mut ServerSession, part: Bytes) -> Result<(), Gone> {
    session
        .write_response_body(part, true)
        .await
        .map_err(|_| Gone)
}

/// Sends a whole answer: head and body leave in one write.
pub(crate) async fn send_whole(
    state: &State,
    session: &mut ServerSession,
    mut head: ResponseHead,
    body: Bytes,
) -> Result<(), Gone> {
    head.set(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    send_head(state, session, head).await?;
    send_end(session, body).await
}

/// Sends an error in the caller's dialect. `extra` are headers that belong to the refusal.
pub(crate) async fn send_error(
    state: &State,
    session: &mut ServerSession,
    error: &ErrorReply,
    dialect: Dialect,
    call_id: CallId,
    extra: &[(HeaderName, HeaderValue)],
) -> Result<(), Gone> {
    let call_id = call_id.to_string();
    let body = Bytes::from(error.body(dialect, &call_id));
    let mut head = head_of(error.status);
    head.set(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    head.set(ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(value) = HeaderValue::try_from(call_id) {
        head.set(CALL_ID, value);
    }
    if let Some(seconds) = error.retry_after_s {
        head.set(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(error.status, 400..=407 | 409..=428) {
        head.set(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    for (name, value) in extra {
        head.set(name.clone(), value.clone());
    }
    send_whole(state, session, head, body).await
}

/// An empty head.
pub(crate) fn head_of(status: u16) -> ResponseHead {
    let status = StatusCode::from_u16(status);
    ResponseHead::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// What LiteLLM says with an error about its cost, and the limit of the attempt that failed. An
/// error that a provider may bill tells the estimate.
pub(crate) fn failure_details(
    cost: NanoUsd,
    limit: Option<Duration>,
) -> Vec<(HeaderName, HeaderValue)> {
    let cost = match cost {
        NanoUsd::ZERO => HeaderValue::try_from("0"),
        cost => HeaderValue::try_from(cost.to_string()),
    };
    // As Python prints a float: `6000.0`.
    let limit = limit.map(|limit| HeaderValue::try_from(format!("{:?}", limit.as_secs_f64())));
    let named = [
        (RESPONSE_COST, Some(cost)),
        (HeaderName::from_static("x-litellm-timeout"), limit),
    ];
    let valid = |(name, value): (_, Option<Result<HeaderValue, _>>)| Some((name, value?.ok()?));
    named.into_iter().filter_map(valid).collect()
}

/// Whether this node shares limits and times out with others, now.
pub(crate) fn coordination(now: Coordination) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_static("x-meridian-coordination");
    (name, HeaderValue::from_static(now.label()))
}

/// Spend of the key with this request.
pub(crate) fn key_spend(spend: Option<NanoUsd>) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(spend?.to_string()).ok()?;
    Some((KEY_SPEND, value))
}

/// LiteLLM's extra headers of a refused rate.
pub(crate) fn limit_details(error: &GatewayError) -> Vec<(HeaderName, HeaderValue)> {
    let GatewayError::RateLimited {
        what, resets_at, ..
    } = error
    else {
        return Vec::new();
    };
    let mut headers = vec![(
        HeaderName::from_static("rate_limit_type"),
        HeaderValue::from_static(what),
    )];
    if let Ok(value) = HeaderValue::try_from((resets_at.0 / 1000).to_string()) {
        headers.push((HeaderName::from_static("reset_at"), value));
    }
    headers
}
