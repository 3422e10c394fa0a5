//! Images and documents that requests name by a web address, fetched for providers that take
//! nothing but bytes. Only public addresses are reached, and what the operator names
//! (`core/src/remote` decides).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures::{StreamExt, TryStreamExt, stream};
use meridian_core::error::GatewayError;
use meridian_core::ids::KeyHash;
use meridian_core::remote::{Fetched, ITEMS_MAX, Place, Reach, Taker, read};
use pingora_core::connectors::http::Connector;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::byte_budget::{ByteBudget, ByteLease};
use crate::http_get::{Caller, Fetched as Got, GetError, GetLimits, Within, get_within};

/// Fetches at the same time, of all requests.
const FETCHES_MAX: usize = 64;
/// Fetches at the same time, of all requests of one key.
const FETCHES_OF_KEY: usize = 16;
/// Fetches at the same time, of one request.
const FETCHES_OF_REQUEST: usize = 8;
/// Seconds after which there may be room again.
const RETRY_S: u64 = 1;

/// Bounds of what is fetched for one request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Bytes of all items together.
    pub bytes_max: u64,
    /// Until all are there.
    pub timeout: Duration,
    /// Where they may come from besides the public internet.
    pub reach: &'a Reach,
    /// Who asks; `None` is the master key.
    pub key: Option<KeyHash>,
    /// What holds the bytes, from each one's arrival on.
    pub budget: &'a Arc<ByteBudget>,
}

/// Why the things that a request names did not come.
#[derive(Debug)]
pub enum NotFetched {
    /// What is named is at fault, and is so for whoever takes bytes.
    Refused(GatewayError),
    /// They did not come now. Who fetches by itself may get them.
    Failed(GatewayError),
}

/// Things that a request names, as they came, and what holds their bytes in memory.
#[derive(Debug)]
pub struct Items {
    items: Vec<Item>,
    _lease: ByteLease,
}

#[derive(Debug)]
struct Item {
    place: Place,
    body: Bytes,
    /// What the server says that it is.
    content_type: String,
}

impl Items {
    /// They as a provider takes them.
    ///
    /// # Errors
    /// `BadField` that names the first that it does not take, and what it is.
    pub fn read(&self, taker: Taker) -> Result<Vec<(Place, Fetched<Bytes>)>, GatewayError> {
        let one = |item: &Item| {
            let Item {
                place,
                body,
                content_type,
            } = item;
            match read(body.clone(), content_type, place.wanted, taker) {
                Ok(fetched) => Ok((place.clone(), fetched)),
                Err(why) => Err(bad(place, &why)),
            }
        };
        self.items.iter().map(one).collect()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.body.len()).sum()
    }
}

/// The way to what requests name.
pub struct Remote {
    /// Made when it is first needed: most gateways fetch nothing.
    connector: OnceCell<Connector>,
    slots: Semaphore,
    /// Of the keys that fetch at the moment.
    of_keys: DashMap<Option<KeyHash>, Arc<Semaphore>>,
    no_slots: Arc<Semaphore>,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            connector: OnceCell::new(),
            slots: Semaphore::new(FETCHES_MAX),
            of_keys: DashMap::new(),
            no_slots: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Remote {
    /// Fetches the things that a request names, several at a time. Whoever drops it ends them all.
    ///
    /// # Errors
    /// `BadField` that names the item and why it did not come, `Overloaded` without a free place.
    pub async fn fetch(&self, places: Vec<Place>, bounds: Bounds<'_>) -> Result<Items, NotFetched> {
        if places.len() >= ITEMS_MAX {
            let message = format!("more than {} web addresses in one request", ITEMS_MAX - 1);
            let field = places.into_iter().next().map(|place| place.field);
            return Err(NotFetched::Refused(GatewayError::BadField {
                field: field.unwrap_or_default(),
                message,
            }));
        }
        let of_key = OfKey::of(self, bounds.key);
        let stock = Stock::of(bounds);
        let ends_at = Instant::now() + bounds.timeout;
        let fetches = places.into_iter().map(|place| {
            let (stock, of_key) = (&stock, &of_key.slots);
            async move {
                let slots = async { (of_key.acquire().await, self.slots.acquire().await) };
                let Ok(_slots) = timeout_at(ends_at, slots).await else {
                    return Err(NotFetched::Failed(overloaded(
                        "The gateway is fetching as many web items as it may",
                    )));
                };
                match self.item(&place, bounds, (stock, ends_at)).await {
                    Ok(got) => Ok(Item {
                        place,
                        body: got.body,
                        content_type: got.content_type,
                    }),
                    Err(why) => Err(why.of(&place)),
                }
            }
        });
        let fetches = stream::iter(fetches).buffered(FETCHES_OF_REQUEST);
        let items = fetches.try_collect().await?;
        let lease = stock.lease.into_inner();
        Ok(Items {
            items,
            _lease: lease.unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// One item, or why it did not come.
    async fn item(
        &self,
        place: &Place,
        bounds: Bounds<'_>,
        (stock, ends_at): (&Stock, Instant),
    ) -> Result<Got, Why> {
        let fetched = async {
            let connector = self.connector().await?;
            let limits = GetLimits {
                body_bytes_max: usize::try_from(bounds.bytes_max).unwrap_or(usize::MAX),
                timeout: bounds.timeout,
            };
            let within = Within::Caller(Caller {
                refuses: &|host: &str, ip: IpAddr| bounds.reach.refuses(host, ip),
                takes: &|bytes| stock.take(bytes as u64),
            });
            let got = get_within(connector, &place.url, limits, &within).await;
            got.map_err(|error| why(&error, bounds.bytes_max))
        };
        let fetched = timeout_at(ends_at, fetched).await;
        fetched.map_err(|_| why(&GetError::Timeout(bounds.timeout), 0))?
    }

    async fn connector(&self) -> Result<&Connector, Why> {
        let made = self.connector.get_or_try_init(|| async {
            // It reads the system's authorities.
            tokio::task::spawn_blocking(|| Connector::new(None)).await
        });
        made.await
            .map_err(|_| Why::Failed("cannot be fetched at the moment".to_owned()))
    }
}

/// A key's places; the last one that drops them forgets the key.
struct OfKey<'r> {
    remote: &'r Remote,
    key: Option<KeyHash>,
    slots: Arc<Semaphore>,
}

impl<'r> OfKey<'r> {
    fn of(remote: &'r Remote, key: Option<KeyHash>) -> Self {
        let slots = remote.of_keys.entry(key);
        let slots = slots.or_insert_with(|| Arc::new(Semaphore::new(FETCHES_OF_KEY)));
        let slots = Arc::clone(&slots);
        Self { remote, key, slots }
    }
}

impl Drop for OfKey<'_> {
    fn drop(&mut self) {
        // Given back first: of several that end together the last one sees the map's own alone.
        self.slots = Arc::clone(&self.remote.no_slots);
        let is_last = |_: &_, slots: &mut Arc<Semaphore>| Arc::strong_count(slots) == 1;
        self.remote.of_keys.remove_if_mut(&self.key, is_last);
    }
}

/// What a request's items may still take.
struct Stock {
    bytes_max: u64,
    left: AtomicU64,
    lease: Mutex<ByteLease>,
}

impl Stock {
    fn of(bounds: Bounds<'_>) -> Self {
        Self {
            bytes_max: bounds.bytes_max,
            left: AtomicU64::new(bounds.bytes_max),
            lease: Mutex::new(ByteLease::new(bounds.budget)),
        }
    }

    fn take(&self, bytes: u64) -> Result<(), GetError> {
        let take = |left: u64| left.checked_sub(bytes);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_err() {
            let most = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
            return Err(GetError::TooLarge(most));
        }
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        match lease.grow(bytes) {
            true => Ok(()),
            false => Err(GetError::NoRoom),
        }
    }
}

/// Why one item did not come, in a caller's words.
enum Why {
    Refused(String),
    Failed(String),
    NoRoom,
}

impl Why {
    fn of(self, place: &Place) -> NotFetched {
        match self {
            Self::Refused(why) => NotFetched::Refused(bad(place, &why)),
            Self::Failed(why) => NotFetched::Failed(bad(place, &why)),
            Self::NoRoom => NotFetched::Failed(no_room()),
        }
    }
}

fn bad(place: &Place, why: &str) -> GatewayError {
    GatewayError::BadField {
        message: format!("'{}' {why}", place.field),
        field: place.field.clone(),
    }
}

/// Nothing of the request's bytes fits any more.
pub fn no_room() -> GatewayError {
    overloaded("The gateway is holding as many bytes of requests as it may")
}

fn overloaded(what: &'static str) -> GatewayError {
    GatewayError::Overloaded {
        what,
        retry_after_s: RETRY_S,
    }
}

/// What an address inside said stays inside: whether a port is open there is nobody's to know, and
/// such addresses are not connected to at all. Nor is anything quoted of where redirects lead.
fn why(error: &GetError, bytes_max: u64) -> Why {
    let text = match error {
        GetError::NoRoom => return Why::NoRoom,
        GetError::TooLarge(_) => too_large(bytes_max),
        GetError::Status(status) => format!("cannot be fetched: its server answered {status}"),
        GetError::Transport(_) => "cannot be fetched: no answer from its server".to_owned(),
        GetError::Dns { .. } => "cannot be fetched: its host cannot be resolved".to_owned(),
        GetError::Encoded(_) => "cannot be fetched: its body is encoded".to_owned(),
        GetError::Refused { class, .. } => format!(
            "cannot be fetched: its host is at an address that must not be reached ({class})"
        ),
        error => format!("cannot be fetched: {error}"),
    };
    match error {
        GetError::BadUrl | GetError::Refused { .. } => Why::Refused(text),
        _ => Why::Failed(text),
    }
}

fn too_large(bytes_max: u64) -> String {
    format!(
        "cannot be fetched: the web items of a request may have {bytes_max} bytes together \
         (meridian.fetch_bytes_max)"
    )
}

#[cfg(test)]
mod tests;
