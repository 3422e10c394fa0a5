//! Images and documents that requests name by a web address, fetched for providers that take
//! nothing but bytes. Only public addresses are reached, and what the operator names
//! (`core/src/remote` decides).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use meridian_core::error::GatewayError;
use meridian_core::remote::{Fetched, ITEMS_MAX, Place, Reach, Taker, read};
use pingora_core::connectors::http::Connector;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::http_get::{GetError, GetLimits, Within, get_within};

/// Fetches at the same time, of all requests.
const FETCHES_MAX: usize = 64;
/// Fetches at the same time, of one request.
const FETCHES_OF_REQUEST: usize = 8;

/// Bounds of what is fetched for one request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Bytes of all items together.
    pub bytes_max: u64,
    /// Until all are there.
    pub timeout: Duration,
    /// Where they may come from besides the public internet.
    pub reach: &'a Reach,
}

/// The way to what requests name.
pub struct Remote {
    /// Made when it is first needed: most gateways fetch nothing.
    connector: OnceCell<Connector>,
    slots: Semaphore,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            connector: OnceCell::new(),
            slots: Semaphore::new(FETCHES_MAX),
        }
    }
}

impl Remote {
    /// Fetches the things that a request names, several at a time. Whoever drops it ends them all.
    ///
    /// # Errors
    /// `BadField` that names the item and why it did not come.
    pub async fn fetch(
        &self,
        places: Vec<Place>,
        taker: Taker,
        bounds: Bounds<'_>,
    ) -> Result<Vec<(Place, Fetched<Bytes>)>, GatewayError> {
        if places.len() >= ITEMS_MAX {
            let message = format!("more than {} web addresses in one request", ITEMS_MAX - 1);
            let field = places.into_iter().next().map(|place| place.field);
            return Err(GatewayError::BadField {
                field: field.unwrap_or_default(),
                message,
            });
        }
        let left = AtomicU64::new(bounds.bytes_max);
        let ends_at = Instant::now() + bounds.timeout;
        let fetches = places.into_iter().map(|place| {
            let left = &left;
            async move {
                match self.item(&place, taker, bounds, (left, ends_at)).await {
                    Ok(item) => Ok((place, item)),
                    Err(why) => Err(refused(place, &why)),
                }
            }
        });
        let fetches = stream::iter(fetches).buffered(FETCHES_OF_REQUEST);
        fetches.try_collect().await
    }

    /// One item, or why it did not come.
    async fn item(
        &self,
        place: &Place,
        taker: Taker,
        bounds: Bounds<'_>,
        (left, ends_at): (&AtomicU64, Instant),
    ) -> Result<Fetched<Bytes>, String> {
        let fetched = async {
            let _slot = self.slots.acquire().await;
            let connector = self.connector().await?;
            let refuses = |host: &str, ip: IpAddr| bounds.reach.refuses(host, ip);
            let most = left.load(Ordering::Relaxed);
            let limits = GetLimits {
                body_bytes_max: usize::try_from(most).unwrap_or(usize::MAX),
                timeout: bounds.timeout,
            };
            let within = Within::Caller(&refuses);
            let got = get_within(connector, &place.url, limits, &within).await;
            got.map_err(|error| why(&error, bounds.bytes_max))
        };
        let fetched = tokio::time::timeout_at(ends_at, fetched).await;
        let fetched = fetched.map_err(|_| why(&GetError::Timeout(bounds.timeout), 0))??;
        let size = fetched.body.len() as u64;
        let take = |left: u64| left.checked_sub(size);
        if left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_err()
        {
            return Err(too_large(bounds.bytes_max));
        }
        read(fetched.body, &fetched.content_type, place.wanted, taker)
    }

    async fn connector(&self) -> Result<&Connector, String> {
        let made = self.connector.get_or_try_init(|| async {
            // It reads the system's authorities.
            tokio::task::spawn_blocking(|| Connector::new(None)).await
        });
        made.await
            .map_err(|_| "cannot be fetched at the moment".to_owned())
    }
}

fn refused(place: Place, why: &str) -> GatewayError {
    let message = format!("'{}' {why}", place.field);
    GatewayError::BadField {
        field: place.field,
        message,
    }
}

/// In a caller's words. What an address inside said stays inside: whether a port is open there is
/// nobody's to know, and such addresses are not connected to at all.
fn why(error: &GetError, bytes_max: u64) -> String {
    match error {
        GetError::TooLarge(_) => too_large(bytes_max),
        GetError::Status(status) => format!("cannot be fetched: its server answered {status}"),
        GetError::Transport(_) => "cannot be fetched: no answer from its server".to_owned(),
        error => format!("cannot be fetched: {error}"),
    }
}

fn too_large(bytes_max: u64) -> String {
    format!(
        "cannot be fetched: the web items of a request may have {bytes_max} bytes together \
         (meridian.fetch_bytes_max)"
    )
}
