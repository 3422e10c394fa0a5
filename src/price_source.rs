//! Where the price map comes from: the embedded one, a file, a URL; and how it is refreshed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use meridian_core::price::{EMBEDDED, MAP_BYTES_MAX, PriceBook, PriceError};
use meridian_core::time::WallMs;
use pingora_core::connectors::http::Connector;
use thiserror::Error;

use crate::http_get::{GetError, GetLimits, get};

/// Longest fetch of a map by URL.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Share of its entries that a refreshed map may lose: LiteLLM's default.
const SHRINK_SHARE_MAX: f64 = 0.5;

/// Which map to use.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceSettings {
    /// A map on disk, used instead of the embedded one from the start.
    pub file: Option<PathBuf>,
    /// A map to fetch at each refresh.
    pub url: Option<String>,
    /// `LITELLM_LOCAL_MODEL_COST_MAP`: never fetch one.
    pub local: bool,
    /// Share of entries that a refreshed map may lose before it is refused, 0.5 for half.
    pub shrink_share_max: f64,
}

impl Default for PriceSettings {
    fn default() -> Self {
        Self {
            file: None,
            url: None,
            local: false,
            shrink_share_max: SHRINK_SHARE_MAX,
        }
    }
}

impl PriceSettings {
    /// Reads `MERIDIAN_MODEL_COST_MAP_FILE` and LiteLLM's `LITELLM_MODEL_COST_MAP_URL`,
    /// `LITELLM_LOCAL_MODEL_COST_MAP` (true: never fetch) and `MODEL_COST_MAP_MAX_SHRINK_RATIO`.
    /// Unlike LiteLLM, nothing is fetched unless a URL is given.
    pub fn from_environment(environment: &HashMap<String, String>) -> Self {
        let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let local = given("LITELLM_LOCAL_MODEL_COST_MAP")
            .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        let shrink = given("MODEL_COST_MAP_MAX_SHRINK_RATIO")
            .and_then(|value| value.parse().ok())
            .filter(|share: &f64| (0.0..=1.0).contains(share));
        Self {
            file: given("MERIDIAN_MODEL_COST_MAP_FILE").map(PathBuf::from),
            url: given("LITELLM_MODEL_COST_MAP_URL")
                .filter(|_| !local)
                .cloned(),
            local,
            shrink_share_max: shrink.unwrap_or(SHRINK_SHARE_MAX),
        }
    }
}

/// Where the current map is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The binary.
    Embedded,
    /// The configured file.
    File,
    /// The configured URL.
    Url,
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Neither file nor URL is configured, or the map is the same as before.
    Unchanged,
    /// Deployments must be priced again with the new book.
    Replaced {
        /// Models before.
        before: usize,
        /// Models now.
        after: usize,
    },
}

/// Why a map was not taken. After the start the old one stays in use.
#[derive(Debug, Error)]
pub enum PriceSourceError {
    /// The file cannot be read.
    #[error("price file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The URL gave no map.
    #[error("price url: {0}")]
    Fetch(#[from] GetError),
    /// What was read is not a price map.
    #[error(transparent)]
    Map(#[from] PriceError),
    /// The map lost more entries than is believable.
    #[error("price map shrank from {before} to {after} models, refused")]
    Shrunk {
        /// Models of the map in use.
        before: usize,
        /// Models of the refused one.
        after: usize,
    },
    /// The refresh itself broke down: a damaged system certificate or a defect of ours.
    #[error("price refresh broke down: {0}")]
    Defect(String),
}

/// The price map in use. Reading it never waits.
pub struct PriceSource {
    settings: PriceSettings,
    current: ArcSwap<Loaded>,
}

/// One map with its story.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The prices.
    pub book: Arc<PriceBook>,
    /// Where they are from.
    pub origin: Origin,
    /// When they were taken.
    pub at: WallMs,
    /// Size and checksum of the text, to notice that nothing changed.
    mark: (usize, u32),
}

impl PriceSource {
    /// Loads the configured file, or else the embedded map. Reads the disk: for the start only.
    /// The URL is first asked by `refresh`, so that a start never waits for it.
    pub fn load(settings: PriceSettings, now: WallMs) -> Result<Self, PriceSourceError> {
        let (bytes, origin) = match &settings.file {
            Some(path) => {
                let read = std::fs::read(path);
                let bytes = read.map_err(|error| file_error(path, &error))?;
                (Bytes::from(bytes), Origin::File)
            }
            None => (Bytes::from_static(EMBEDDED), Origin::Embedded),
        };
        let loaded = Loaded {
            book: Arc::new(PriceBook::from_json(&bytes)?),
            origin,
            at: now,
            mark: mark(&bytes),
        };
        Ok(Self {
            settings,
            current: ArcSwap::from_pointee(loaded),
        })
    }

    /// The prices in use.
    pub fn book(&self) -> Arc<PriceBook> {
        Arc::clone(&self.current.load().book)
    }

    /// The prices in use with where and when they came from.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// What was asked for.
    pub fn settings(&self) -> &PriceSettings {
        &self.settings
    }

    /// Whether `refresh` has anything to do.
    pub fn is_refreshable(&self) -> bool {
        self.settings.url.is_some() || self.settings.file.is_some()
    }

    /// Fetches the URL, or else reads the file again, and takes the map over if it is one and has
    /// not shrunk beyond belief. On an error the old prices stay.
    pub async fn refresh(&self, now: WallMs) -> Result<Refreshed, PriceSourceError> {
        let (bytes, origin) = match (&self.settings.url, &self.settings.file) {
            (Some(url), _) => (self.fetch(url).await?, Origin::Url),
            (None, Some(path)) => {
                let read = tokio::fs::read(path).await;
                let bytes = read.map_err(|error| file_error(path, &error))?;
                (Bytes::from(bytes), Origin::File)
            }
            (None, None) => return Ok(Refreshed::Unchanged),
        };
        let current = self.current.load_full();
        let mark = mark(&bytes);
        if mark == current.mark {
            return Ok(Refreshed::Unchanged);
        }
        // Parsing takes tens of milliseconds: not on a thread that moves requests.
        let parsed = tokio::task::spawn_blocking(move || PriceBook::from_json(&bytes)).await;
        let book = parsed.map_err(|error| PriceSourceError::Defect(error.to_string()))??;
        let (before, after) = (current.book.len(), book.len());
        let kept_min = before as f64 * (1.0 - self.settings.shrink_share_max);
        if (after as f64) < kept_min {
            return Err(PriceSourceError::Shrunk { before, after });
        }
        self.current.store(Arc::new(Loaded {
            book: Arc::new(book),
            origin,
            at: now,
            mark,
        }));
        Ok(Refreshed::Replaced { before, after })
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, PriceSourceError> {
        // Made for each fetch: it reads the system's certificates, blocks for that and panics on a
        // damaged one, which here becomes an error of this refresh.
        let connector = tokio::task::spawn_blocking(|| Connector::new(None)).await;
        let connector = connector.map_err(|error| PriceSourceError::Defect(error.to_string()))?;
        let limits = GetLimits {
            body_bytes_max: MAP_BYTES_MAX,
            timeout: FETCH_TIMEOUT,
        };
        Ok(get(&connector, url, limits).await?)
    }
}

fn mark(bytes: &[u8]) -> (usize, u32) {
    (bytes.len(), crc32fast::hash(bytes))
}

fn file_error(path: &std::path::Path, error: &std::io::Error) -> PriceSourceError {
    PriceSourceError::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
