//! How fast models answered and how often they failed: questions to the log.

use std::time::Duration;

use meridian_core::ids::KeyHash;

use super::{SpendQuery, TimeRange};

/// Which requests are looked at. Answers from the cache never are.
#[derive(Clone, Debug, PartialEq)]
pub struct PaceQuery {
    /// Requests that started in here.
    pub range: TimeRange,
    /// Requests for this model group.
    pub model_group: Option<String>,
    /// Requests of this key.
    pub api_key: Option<KeyHash>,
    /// Requests for this customer.
    pub end_user: Option<String>,
    /// A request that took at least this long was slow.
    pub slow: Duration,
}

/// How fast a provider's model was at one place on one day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// `YYYY-MM-DD`, UTC.
    pub day: String,
    /// Where requests went.
    pub api_base: String,
    /// The provider's model.
    pub model: String,
    /// Requests.
    pub requests: u64,
    /// Those that were slow.
    pub slow: u64,
    /// Mean seconds per output token of the requests that have any.
    pub per_token_s: Option<f64>,
    /// Mean seconds to the first content of the requests that were streamed.
    pub first_token_s: Option<f64>,
}

/// Requests to one place that ended with the same status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// The provider's model.
    pub model: String,
    /// Where requests went.
    pub api_base: String,
    /// HTTP status.
    pub status: u16,
    /// How many.
    pub requests: u64,
}

impl PaceQuery {
    /// What the log filters by; the model group is a condition of its own.
    pub(super) fn log(&self) -> SpendQuery {
        SpendQuery {
            range: Some(self.range),
            api_key: self.api_key,
            end_user: self.end_user.clone(),
            ..SpendQuery::default()
        }
    }

    /// `slow` in milliseconds.
    pub(super) fn slow_ms(&self) -> i64 {
        i64::try_from(self.slow.as_millis()).unwrap_or(i64::MAX)
    }
}
