//! Deadlines of `router_settings`, resolved; what decides routing is in `routing`.

use std::time::Duration;

use super::general::Settings;
use super::section::Area;

/// Deadlines of one attempt.
#[derive(Clone, Debug)]
pub struct Router {
    /// Limit of one attempt.
    pub timeout: Duration,
    /// The same for streams, until the first token.
    pub stream_timeout: Duration,
}

pub(super) fn resolve(area: &Area<'_>, settings: &Settings) -> Router {
    let timeout = area.seconds("timeout").unwrap_or(settings.request_timeout);
    Router {
        timeout,
        stream_timeout: area.seconds("stream_timeout").unwrap_or(timeout),
    }
}
