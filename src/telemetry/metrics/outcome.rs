//! Closed sets that label values come from: attempt outcomes, ends of streams, refusals.

use meridian_core::error::GatewayError;
use meridian_core::spend::{EndReason, SpendRecord};

/// How an attempt at a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// Answered whole with success.
    Success,
    /// The client left; says nothing about the deployment.
    ClientGone,
    /// The caller's budget ended it; says nothing about the deployment.
    BudgetCut,
    /// Connection refused, reset before the answer, name not found, TLS.
    ConnectFailed,
    /// A deadline passed before the answer began.
    Timeout,
    /// Status 429.
    RateLimited,
    /// Any other status 4xx.
    ClientError,
    /// Status 5xx, or an answer that is none.
    ServerError,
    /// An error inside a started answer.
    StreamError,
    /// The connection broke in the middle of the answer.
    Reset,
    /// Nothing came for longer than the stall timeout.
    Stall,
}

impl AttemptOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::ClientGone,
        Self::BudgetCut,
        Self::ConnectFailed,
        Self::Timeout,
        Self::RateLimited,
        Self::ClientError,
        Self::ServerError,
        Self::StreamError,
        Self::Reset,
        Self::Stall,
    ];

    pub(super) const COUNT: usize = Self::ALL.len();

    /// Outcome of an answer with an error status.
    pub fn of_status(status: u16) -> Self {
        match status {
            408 | 504 => Self::Timeout,
            429 => Self::RateLimited,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The last attempt of a settled request, where the deployment did not fail it.
    pub(super) fn of_record(record: &SpendRecord) -> Option<Self> {
        if record.deployment_id.is_empty() {
            return None;
        }
        match record.end_reason {
            EndReason::Complete if record.status < 400 => Some(Self::Success),
            EndReason::ClientGoneBeforeFirstByte | EndReason::ClientGoneMidStream => {
                Some(Self::ClientGone)
            }
            EndReason::BudgetCut => Some(Self::BudgetCut),
            // Nobody may have the rest; the provider did its part.
            EndReason::Revoked => Some(Self::ClientGone),
            EndReason::Complete
            | EndReason::UpstreamReset
            | EndReason::Stall
            | EndReason::ProviderError
            | EndReason::UpstreamFailed
            | EndReason::Timeout
            | EndReason::InternalError
            | EndReason::Crashed => None,
        }
    }

    /// Whether it counts as a failure of the deployment in LiteLLM's families.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Success | Self::ClientGone | Self::BudgetCut)
    }

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientGone => "client_gone",
            Self::BudgetCut => "budget_cut",
            Self::ConnectFailed => "connect_failed",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::StreamError => "stream_error",
            Self::Reset => "reset",
            Self::Stall => "stall",
        }
    }
}

/// Label of `meridian_rejected_total` for an error.
pub fn reject_reason(error: &GatewayError) -> &'static str {
    match error {
        GatewayError::NoKey => "no_key",
        GatewayError::MalformedKey => "malformed_key",
        GatewayError::NotAVirtualKey { .. } => "not_a_virtual_key",
        GatewayError::UnknownKey { .. } => "unknown_key",
        GatewayError::KeysUnavailable { .. } => "keys_unavailable",
        GatewayError::StaleAuth { .. } => "stale_auth",
        GatewayError::KeyBlocked => "key_blocked",
        GatewayError::KeyExpired { .. } => "key_expired",
        GatewayError::ScopeBlocked { .. } => "scope_blocked",
        GatewayError::ScopeDeleted { .. } => "scope_deleted",
        GatewayError::ScopeUnknown { .. } => "scope_unknown",
        GatewayError::ModelNotAllowed { .. } => "model_not_allowed",
        GatewayError::RouteNotAllowed { .. } => "route_not_allowed",
        GatewayError::CacheControlNotAllowed { .. } => "cache_control_not_allowed",
        GatewayError::AdminOnly { .. } => "admin_only",
        GatewayError::MasterKeyOnly { .. } => "master_key_only",
        GatewayError::BudgetExceeded { .. } => "budget_exceeded",
        GatewayError::RateLimited { .. } => "rate_limited",
        GatewayError::UnknownModel { .. } => "unknown_model",
        GatewayError::EndpointNotServed { .. } => "endpoint_not_served",
        GatewayError::NoDeployment { .. } => "no_deployment",
        GatewayError::RegionNotAllowed { .. } => "region_not_allowed",
        GatewayError::TagsNotAllowed { .. } => "tags_not_allowed",
        GatewayError::InvalidJson { .. } => "invalid_json",
        GatewayError::MissingField { .. } => "missing_field",
        GatewayError::BadField { .. } => "bad_field",
        GatewayError::BannedField { .. } => "banned_field",
        GatewayError::BodyTooLarge { .. } => "body_too_large",
        GatewayError::BodyTimeout => "body_timeout",
        GatewayError::Overloaded { .. } => "overloaded",
        GatewayError::JournalUnavailable { .. } => "journal_unavailable",
        GatewayError::RouteNotFound => "route_not_found",
        GatewayError::MethodNotAllowed => "method_not_allowed",
        GatewayError::ObjectNotFound { .. } => "object_not_found",
        GatewayError::NotBilledYet { .. } => "not_billed_yet",
        GatewayError::FileNotFound { .. } => "file_not_found",
        GatewayError::UpgradeRequired => "upgrade_required",
        GatewayError::UpstreamTimeout { .. } => "upstream_timeout",
        GatewayError::UpstreamUnreachable { .. } => "upstream_unreachable",
        GatewayError::Upstream(_) => "upstream",
        GatewayError::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (at, reason) in EndReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
        for (at, outcome) in AttemptOutcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, at);
        }
    }
}
