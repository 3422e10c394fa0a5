//! The price map that this installation uses.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use meridian_core::config::Config;
use meridian_core::time::WallMs;

use crate::clock;
use crate::price_source::{PriceSettings, PriceSource, PriceSourceError};

/// Opens the embedded map, or the file or URL that configuration or environment name.
pub(super) fn open(
    config: &Config,
    env: &HashMap<String, String>,
) -> Result<PriceSource, PriceSourceError> {
    let configured = &config.meridian.price_map;
    let mut settings = PriceSettings::from_environment(env);
    if let Some(file) = &configured.file {
        settings.file = Some(PathBuf::from(file));
    }
    if let Some(url) = &configured.url {
        settings.url = Some(url.clone());
    }
    PriceSource::load(settings, clock::now())
}

/// Whether file and URL are to be read again.
pub(super) fn is_due(prices: &PriceSource, interval: Duration, now: WallMs) -> bool {
    let since = now.0 - prices.current().at.0;
    prices.is_refreshable() && !interval.is_zero() && since >= interval.as_millis() as i64
}
