//! Fields that callers may not set: they would choose where our credentials go, or what it costs.

use meridian_core::access::{FieldRule, field_rule};
use meridian_core::error::GatewayError;
use meridian_core::wire::span::BodySpans;

use crate::rules::Rules;

/// Refuses a body that names one of them, unless the configuration allows it.
pub(super) fn check(spans: &BodySpans, body: &[u8], rules: &Rules) -> Result<(), GatewayError> {
    if rules.config.general.allow_client_side_credentials {
        return Ok(());
    }
    let banned = |name: &str| field_rule(name) == FieldRule::Reject;
    match spans.first_banned(body, banned) {
        None => Ok(()),
        Some(field) => Err(GatewayError::BannedField { field }),
    }
}
