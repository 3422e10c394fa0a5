//! Images and documents on the web that a deployment takes as bytes only: fetched before it is
//! asked, and written into the body that it gets. Other deployments get the addresses.

use std::sync::Arc;

use bytes::Bytes;
use meridian_core::config::Way;
use meridian_core::error::GatewayError;
use meridian_core::remote::{self, Place, Taker};
use meridian_core::wire::span::BodySpans;

use super::{Attempt, Failure};
use crate::byte_budget::ByteLease;
use crate::plane::admit::Content;
use crate::remote::{Bounds, Items, NotFetched, no_room};

/// Bytes of items from which they are put into the body beside the threads that serve requests.
const LARGE: usize = 256 * 1_024;
/// Bytes held for each that came, besides itself: its base64 in the body, and what a translation
/// makes of that.
const FILLED_PER_BYTE: u64 = 3;

/// A body that names nothing on the web any more.
pub(in crate::plane) struct Inlined {
    pub(in crate::plane) bytes: Bytes,
    pub(in crate::plane) spans: BodySpans,
    _lease: ByteLease,
}

impl Attempt<'_> {
    /// The body with what it names on the web in it; `None`: the caller's own is sent.
    pub(super) async fn inlined(&self) -> Result<Option<Inlined>, Failure> {
        let meridian = &self.admitted.rules.config.meridian;
        let (Some(taker), Content::Json(spans)) = (self.taker(), &self.admitted.ask.content) else {
            return Ok(None);
        };
        let body = &self.admitted.ask.body.bytes;
        if meridian.fetch_bytes_max == 0 {
            return Ok(None);
        }
        let places = remote::places(body, spans);
        if places.is_empty() {
            return Ok(None);
        }
        let bounds = Bounds {
            bytes_max: meridian.fetch_bytes_max,
            timeout: meridian.fetch_timeout.min(self.limit),
            reach: &meridian.fetch_reach,
            key: self.admitted.key.as_ref().map(|key| key.policy.identity()),
            budget: &self.state.bytes,
        };
        let came = self.web_items(places, bounds).await?;
        let items = came.read(taker).map_err(Failure::terminal)?;
        let size = came.bytes();
        let filled = (size as u64).saturating_mul(FILLED_PER_BYTE);
        let mut lease = ByteLease::new(&self.state.bytes);
        if !lease.grow(filled.saturating_add(body.len() as u64)) {
            return Err(Failure::not_fetched(no_room()));
        }
        let body = body.clone();
        let fill = move || Bytes::from(remote::filled(&body, &items));
        let bytes = match size >= LARGE {
            false => fill(),
            true => tokio::task::spawn_blocking(fill)
                .await
                .map_err(|_| Failure::terminal(GatewayError::Internal))?,
        };
        let spans = BodySpans::scan(&bytes).map_err(|error| Failure::terminal(error.into()))?;
        Ok(Some(Inlined {
            bytes,
            spans,
            _lease: lease,
        }))
    }

    /// What the body names, fetched once for all attempts of a request: one that comes while
    /// another one's fetch runs waits for that. What did not come is not remembered.
    async fn web_items(
        &self,
        places: Vec<Place>,
        bounds: Bounds<'_>,
    ) -> Result<Arc<Items>, Failure> {
        let mut shared = self.admitted.web_items.lock().await;
        if let Some(items) = &*shared {
            return Ok(Arc::clone(items));
        }
        let fetched = self.state.remote.fetch(places, bounds).await;
        let items = Arc::new(fetched.map_err(|not| match not {
            NotFetched::Refused(error) => Failure::terminal(error),
            NotFetched::Failed(error) => Failure::not_fetched(error),
        })?);
        *shared = Some(Arc::clone(&items));
        Ok(items)
    }

    /// What the deployment takes instead of addresses; `None` where it takes those.
    fn taker(&self) -> Option<Taker> {
        let deployment = &self.target.deployment;
        let endpoint = self.admitted.arrival.endpoint;
        let dialect = match deployment.way(endpoint, &self.target.model)? {
            Way::Told(pair) => pair.provider,
            Way::Door(dialect) => dialect,
            Way::Counted(counter) => counter.dialect(),
            Way::Pass | Way::Estimated => return None,
        };
        Taker::of(dialect, deployment.platform(dialect))
    }
}
