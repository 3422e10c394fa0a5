//! A count of tokens for models whose provider counts none: an estimate, and marked as one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meridian_core::config::Way;
use meridian_core::usage::estimate_tokens;
use tokio::time::Instant;

use super::Answer;
use crate::byte_budget::ByteLease;
use crate::plane::admit::Admitted;
use crate::plane::relay::Prelude;
use crate::plane::source::Source;
use crate::rules::Target;
use crate::upstream::ResponseHead;

/// Says that a count is an estimate.
const MARK: HeaderName = HeaderName::from_static("x-meridian-token-count");

/// Whether nobody but us counts.
pub(super) fn is_estimated(admitted: &Admitted, target: &Target) -> bool {
    let way = target
        .deployment
        .way(admitted.arrival.endpoint, &target.model);
    way == Some(Way::Estimated)
}

/// The estimate, made outside of the threads that serve requests.
pub(super) async fn estimate(
    admitted: &Admitted,
    target: &Arc<Target>,
    sent_at: Instant,
) -> Box<Answer> {
    let body = admitted.ask.body.bytes.clone();
    let counted = tokio::task::spawn_blocking(move || estimate_tokens(&body)).await;
    let body = format!(r#"{{"input_tokens":{}}}"#, counted.unwrap_or_default());
    let body = Bytes::from(body);
    let mut meter = admitted.meter();
    meter.body(&body);
    let json = HeaderValue::from_static("application/json");
    let headers = [
        (http::header::CONTENT_TYPE, json),
        (MARK, HeaderValue::from_static("estimate")),
    ];
    Box::new(Answer {
        source: Source::Done,
        head: ResponseHead {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter(headers),
        },
        target: Arc::clone(target),
        sent_at,
        ready_at: sent_at,
        prelude: Prelude::Whole(body, Box::new(meter)),
        losses: Vec::new(),
        _lease: ByteLease::new(&admitted.state.bytes),
    })
}
