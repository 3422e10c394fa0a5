//! A deployment with `mock_response`: admitted, metered and settled like any other, but no
//! provider is called.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use meridian_core::error::GatewayError;
use meridian_core::mock::{self, MockAsk};
use meridian_core::wire::edit::UsageChunk;
use tokio::time::Instant;

use super::{Answer, Failure};
use crate::byte_budget::ByteLease;
use crate::plane::admit::Admitted;
use crate::plane::relay::prelude::{Prelude, StreamStart};
use crate::plane::source::Source;
use crate::rules::Target;
use crate::upstream::ResponseHead;

/// What `mock/...` says without a `mock_response`.
const DEFAULT_TEXT: &str = "This is a mock request";

/// The canned answer of a deployment; an error for providers that are not served yet.
pub(super) fn answer(
    admitted: &Admitted,
    target: &Arc<Target>,
    sent_at: Instant,
) -> Result<Box<Answer>, Failure> {
    let is_mock = target.deployment.mock_response.is_some()
        || target.deployment.provider == meridian_core::config::Provider::Mock;
    let ask = &admitted.ask;
    let id = admitted.arrival.call_id.to_string();
    let canned = mock::answer(&MockAsk {
        endpoint: admitted.arrival.endpoint,
        stream: ask.stream,
        usage_chunk: true,
        model: &admitted.ask.requested_model,
        text: target
            .deployment
            .mock_response
            .as_deref()
            .unwrap_or(DEFAULT_TEXT),
        prompt_bytes: ask.body.bytes.len(),
        id: &id,
        created: admitted.arrival.wall.0 / 1000,
    });
    let Some(canned) = canned.filter(|_| is_mock) else {
        let (route, model) = (admitted.arrival.canonical, ask.requested_model.clone());
        return Err(Failure::terminal(GatewayError::EndpointNotServed {
            route,
            model,
        }));
    };
    let content_type = HeaderValue::from_static(canned.content_type);
    let head = ResponseHead {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, content_type)]),
    };
    let body = Bytes::from(canned.body);
    let prelude = match ask.stream {
        true => stream(admitted, body),
        false => {
            let mut meter = admitted.meter();
            meter.body(&body);
            Prelude::Whole(body, Box::new(meter))
        }
    };
    let target = Arc::clone(target);
    Ok(Box::new(Answer {
        source: Source::Done,
        head,
        target,
        sent_at,
        ready_at: sent_at,
        prelude,
        losses: Vec::new(),
        _lease: ByteLease::new(&admitted.state.bytes),
    }))
}

fn stream(admitted: &Admitted, body: Bytes) -> Prelude {
    let usage_chunk = match admitted.ask.wants_usage {
        true => UsageChunk::Asked,
        false => UsageChunk::Injected,
    };
    let mut relay = admitted.stream_relay(usage_chunk);
    let mut held = Vec::new();
    // Our own text is well formed.
    let _ = relay.push(&body, &mut held);
    let first_content = Some(Instant::now());
    Prelude::Stream(Box::new(StreamStart {
        relay,
        held,
        first_content,
        at_end: true,
    }))
}
