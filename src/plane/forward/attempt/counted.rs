//! A count of tokens: the provider's own where it has one, else an estimate that is marked as one.
//! A count is worth no wait and no other deployment, and says nothing about a deployment's health.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meridian_core::config::Way;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::routing::policy::FailureClass;
use meridian_core::translate::{Count, CountClient, Counter};

use super::super::{Answer, Failure};
use super::Attempt;
use crate::byte_budget::ByteLease;
use crate::plane::relay::Prelude;
use crate::plane::source::Source;
use crate::rules::Door;
use crate::upstream::ResponseHead;

/// Says that a count is an estimate.
const MARK: HeaderName = HeaderName::from_static("x-meridian-token-count");
/// Longest wait for a provider's count.
const NATIVE_MAX: Duration = Duration::from_secs(3);

impl Attempt<'_> {
    /// The count for `client`, who asks with the headers `headers`.
    pub(super) async fn count(
        &self,
        client: CountClient,
        door: &Door,
        headers: &HeaderMap,
    ) -> Result<Box<Answer>, Failure> {
        let endpoint = self.admitted.arrival.endpoint;
        let way = self.target.deployment.way(endpoint, &self.target.model);
        let in_own_words = match way {
            None | Some(Way::Estimated) => return self.estimate(client).await,
            Some(Way::Counted(counter)) => {
                counter == Counter::Messages && endpoint == Endpoint::CountTokens
            }
            Some(_) => true,
        };
        let asked = async {
            let inlined = self.inlined().boxed().await?;
            self.prepared(door, headers, inlined.as_ref()).await
        };
        let until = self.sent_at + self.limit.min(NATIVE_MAX);
        let deployment = &self.target.deployment.id;
        match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) if is_callers(&failure, in_own_words) => return Err(failure),
            Ok(Err(failure)) => {
                let status = failure.error.reply().status;
                let class = failure.verdict.class.as_str();
                tracing::info!(
                    deployment,
                    status,
                    class,
                    "tokens are estimated: not counted"
                );
            }
            Err(_) => tracing::info!(deployment, "tokens are estimated: the count is late"),
        }
        self.estimate(client).await
    }

    /// The estimate, made outside of the threads that serve requests.
    async fn estimate(&self, client: CountClient) -> Result<Box<Answer>, Failure> {
        let admitted = self.admitted;
        let body = admitted.ask.body.bytes.clone();
        let counted = tokio::task::spawn_blocking(move || client.estimate(&body)).await;
        let counted = counted.map_err(|_| Failure::terminal(GatewayError::Internal))?;
        let tokens = counted.map_err(|refusal| Failure::terminal(refusal.into()))?;
        let body = Bytes::from(client.answer(Count {
            tokens,
            requested: &admitted.ask.requested_model,
            used: &self.target.model,
            native: None,
        }));
        let mut meter = admitted.meter();
        meter.body(&body);
        let json = HeaderValue::from_static("application/json");
        let headers = [
            (http::header::CONTENT_TYPE, json),
            (MARK, HeaderValue::from_static("estimate")),
        ];
        Ok(Box::new(Answer {
            source: Source::Done,
            head: ResponseHead {
                status: StatusCode::OK,
                headers: HeaderMap::from_iter(headers),
            },
            target: Arc::clone(&self.target),
            sent_at: self.sent_at,
            ready_at: self.sent_at,
            prelude: Prelude::Whole(body, Box::new(meter)),
            losses: Vec::new(),
            _lease: ByteLease::new(&admitted.state.bytes),
        }))
    }
}

/// Whether the caller is to hear of a failure: what is wrong with its request by our reading, or
/// by a provider's that was asked in the caller's own words.
fn is_callers(failure: &Failure, in_own_words: bool) -> bool {
    if failure.verdict.class != FailureClass::Client {
        return false;
    }
    let is_providers = matches!(*failure.error, GatewayError::Upstream(_));
    let about_request = matches!(failure.error.reply().status, 400 | 413 | 422);
    !is_providers || in_own_words && about_request
}
