//! Requests of the gateway's own, with a deadline.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use meridian_core::endpoint::Dialect;
use meridian_core::routing::failure::Silence;
use meridian_core::wire::upstream_error::{ERROR_BODY_BYTES_MAX, ErrorAnswer};

use crate::credentials::Credential;
use crate::rules::{Door, Target};
use crate::state::State;
use crate::upstream::{Exchange, RequestHead, ResponseHead, SendError};

/// Version of Anthropic's API that the gateway itself speaks.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// An answer, read to its end or to the first 64 KiB.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
}

/// No answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoAnswer {
    pub(super) silence: Silence,
    /// A connection stood: the provider may have worked, and may bill it.
    pub(super) sent: bool,
}

impl Answer {
    /// The answer as an error. `provider` is LiteLLM's name of its exceptions.
    pub(super) fn as_error<'a>(&'a self, provider: &'a str) -> ErrorAnswer<'a> {
        let header = |name: &str| self.head.headers.get(name)?.to_str().ok();
        ErrorAnswer {
            status: self.head.status.as_u16(),
            retry_after: header("retry-after"),
            retry_after_ms: header("retry-after-ms"),
            body: &self.body,
            provider,
        }
    }
}

/// Headers of a request of the gateway's own: the deployment's and its dialect's.
pub(super) fn headers(target: &Target, door: &Door) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = door.headers.clone();
    headers.extend(bearer(door));
    let mut add = |name: HeaderName, value: &'static str| {
        if !headers.iter().any(|(own, _)| *own == name) {
            headers.push((name, HeaderValue::from_static(value)));
        }
    };
    add(http::header::ACCEPT_ENCODING, "identity");
    if !target.deployment.serves(Dialect::OpenAi) {
        let name = HeaderName::from_static("anthropic-version");
        add(name, ANTHROPIC_VERSION);
    }
    headers
}

/// The token that the deployment's identity has now.
fn bearer(door: &Door) -> Option<(HeaderName, HeaderValue)> {
    let token = door.source.as_ref()?.held()?;
    let Credential::Bearer(bearer) = &token.credential else {
        return None;
    };
    let mut value = HeaderValue::try_from(format!("Bearer {}", bearer.reveal())).ok()?;
    value.set_sensitive(true);
    Some((http::header::AUTHORIZATION, value))
}

/// Whether a request can prove who asks: without a token its answer would say nothing.
pub(super) fn can_prove(door: &Door) -> bool {
    let source = door.source.as_ref();
    source.is_none_or(|source| source.held().is_some())
}

/// Sends a request and reads its answer. Nothing is sent twice.
pub(super) async fn call(
    state: &State,
    door: &Door,
    (head, body): (&RequestHead, Bytes),
    limit: Duration,
) -> Result<Answer, NoAnswer> {
    let mut sent = false;
    let exchange = async {
        let connection = state.upstreams.connect(&door.origin).await?;
        sent = true;
        let mut exchange = Exchange::send(connection, head, &[body]).await?;
        let head = exchange.read_head().await?;
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_BYTES_MAX {
            let Some(part) = exchange.read_body().await? else {
                break;
            };
            body.extend_from_slice(&part);
        }
        exchange.finish(&state.upstreams).await;
        Ok(Answer { head, body })
    };
    let answered = tokio::time::timeout(limit, exchange).await;
    let silence = match answered {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => silence_of(&error),
        Err(_) => Silence::Deadline,
    };
    Err(NoAnswer { silence, sent })
}

fn silence_of(error: &SendError) -> Silence {
    match error {
        SendError::Unresolved { .. } | SendError::Connect { .. } | SendError::ConnectTimeout => {
            Silence::Unreachable
        }
        SendError::Lost { .. } | SendError::Stale { .. } | SendError::Unprocessed => Silence::Lost,
        SendError::Invalid { .. } => Silence::Malformed,
    }
}
