//! Management is one more upstream: its paths go to the admin server over a Unix socket, so that
//! a slow report never shares a thread with traffic.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use meridian_core::error::GatewayError;
use meridian_core::routes;
use pingora_core::protocols::http::ServerSession;

use super::body::{self, BodyError, BodyLimits};
use super::reply::{self, Gone};
use crate::state::State;
use crate::upstream::{
    Exchange, Origin, RequestHead, ResponseHead, SendError, Upstreams, is_hop_by_hop,
};

/// Largest management request.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest silence of a management upload.
const BODY_IDLE: Duration = Duration::from_secs(30);
/// Takes a document of any size; the admin server says how large it may be.
const IMPORT: &str = "/config/import";
/// Longest wait until all of it is checked and written.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Longest management answer, reports included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Kept connections of a process that is gone, each of which is tried once.
const STALE_MAX: usize = 32;
/// Carries the client's address to the admin server.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How long the bodies of management may be, and how slow.
const LIMITS: BodyLimits = BodyLimits {
    bytes_max: BODY_BYTES_MAX,
    idle_timeout: BODY_IDLE,
};

/// Passes one request to the admin server and its answer back.
pub(crate) async fn pass(state: &State, session: &mut ServerSession) -> Result<(), PassError> {
    let head = request_head(session);
    let exchanged = match head.path.split('?').next() {
        Some(IMPORT) => import(state, session, &head).await?,
        _ => {
            let body = body::read_body(session, LIMITS, &state.admin_bytes).await?;
            let asked = ask(&state.admin, &state.upstreams, &head, &body.bytes);
            answered(ANSWER_TIMEOUT, asked).await?
        }
    };
    let (exchange, answer) = exchanged;
    let unread = !session.is_body_done();
    if unread {
        session.set_keepalive(None);
    }
    let relayed = relay(state, session, exchange, answer).await;
    if unread && relayed.is_ok() {
        body::linger(session).await;
    }
    relayed.map_err(|Gone| PassError::ClientGone)
}

async fn answered<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, SendError>>,
) -> Result<T, PassError> {
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::error!(%error, "the admin server did not answer");
            Err(unavailable())
        }
        Err(_) => Err(unavailable()),
    }
}

/// Passes a document on as it comes: it may be larger than what may be held in memory.
async fn import(
    state: &State,
    session: &mut ServerSession,
    head: &RequestHead,
) -> Result<(Exchange, ResponseHead), PassError> {
    let begun = begin(&state.admin, &state.upstreams, head);
    let mut exchange = answered(ANSWER_TIMEOUT, begun).await?;
    body::ask_for_body(session).await?;
    let mut taken = true;
    while taken && let Some(part) = body::next_part(session, LIMITS).await? {
        taken = part.is_empty() || exchange.send_part(&part).await;
    }
    // Where no more of it is read, the answer is there.
    let _whole = exchange.send_part(&[]).await;
    let answer = answered(IMPORT_TIMEOUT, exchange.read_head()).await?;
    Ok((exchange, answer_head(&answer)))
}

/// Begins a request on a connection that was not closed meanwhile.
async fn begin(
    admin: &Origin,
    upstreams: &Upstreams,
    head: &RequestHead,
) -> Result<Exchange, SendError> {
    let mut stale = 0;
    loop {
        let connection = upstreams.connect(admin).await?;
        match Exchange::begin(connection, head).await {
            Err(SendError::Stale { .. }) if stale < STALE_MAX => stale += 1,
            begun => return begun,
        }
    }
}

/// Sends the request and waits for its answer. A connection that was kept may end as the request
/// is sent: the process that served it was replaced, and it answers what it has read before it
/// closes, so that nothing is done twice.
async fn ask(
    admin: &Origin,
    upstreams: &Upstreams,
    head: &RequestHead,
    body: &Bytes,
) -> Result<(Exchange, ResponseHead), SendError> {
    let mut stale = 0;
    loop {
        match once(admin, upstreams, head, body.clone()).await {
            Err(SendError::Stale { .. }) if stale < STALE_MAX => stale += 1,
            exchanged => return exchanged,
        }
    }
}

async fn once(
    admin: &Origin,
    upstreams: &Upstreams,
    head: &RequestHead,
    body: Bytes,
) -> Result<(Exchange, ResponseHead), SendError> {
    let connection = upstreams.connect(admin).await?;
    let mut exchange = Exchange::send(connection, head, &[body]).await?;
    let answer = answer_head(&exchange.read_head().await?);
    Ok((exchange, answer))
}

/// Why a management request got no answer from the admin server.
#[derive(Debug)]
pub(crate) enum PassError {
    /// Answer with this.
    Refused(GatewayError),
    /// Nobody is left to answer.
    ClientGone,
}

impl From<BodyError> for PassError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Refused(error) => Self::Refused(error),
            BodyError::ClientGone => Self::ClientGone,
        }
    }
}

fn unavailable() -> PassError {
    let what = "The management API is not available";
    PassError::Refused(GatewayError::Overloaded {
        what,
        retry_after_s: 1,
    })
}

fn request_head(session: &ServerSession) -> RequestHead {
    let request = session.req_header();
    let own = |name: &HeaderName| {
        *name == http::header::HOST
            || *name == http::header::CONTENT_LENGTH
            || *name == http::header::EXPECT
            || *name == FORWARDED_FOR
            || is_hop_by_hop(name, &request.headers)
    };
    let mut headers: Vec<(HeaderName, HeaderValue)> = request
        .headers
        .iter()
        .filter(|(name, _)| !own(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let address = session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map(|inet| inet.ip());
    if let Some(Ok(value)) = address.map(|ip| HeaderValue::from_str(&ip.to_string())) {
        headers.push((FORWARDED_FOR, value));
    }
    // The path in the spelling that was matched, so that both sides decide about the same.
    let mut path = routes::plain_spelling(request.uri.path()).into_owned();
    if let Some(query) = request.uri.query() {
        path.push('?');
        path.push_str(query);
    }
    RequestHead {
        method: request.method.clone(),
        path,
        authority: "admin".to_owned(),
        headers,
    }
}

fn answer_head(upstream: &ResponseHead) -> ResponseHead {
    let mut head = ResponseHead::new(upstream.status);
    for (name, value) in &upstream.headers {
        if !is_hop_by_hop(name, &upstream.headers) {
            head.headers.append(name.clone(), value.clone());
        }
    }
    head
}

async fn relay(
    state: &State,
    session: &mut ServerSession,
    mut exchange: Exchange,
    head: ResponseHead,
) -> Result<(), Gone> {
    reply::send_head(state, session, head).await?;
    loop {
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange.read_body()).await {
            Ok(Ok(Some(bytes))) => reply::send_part(session, bytes).await?,
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) => {
                session.shutdown().await;
                return Err(Gone);
            }
        }
    }
    reply::send_end(session, Bytes::new()).await?;
    exchange.finish(&state.upstreams).await;
    Ok(())
}
