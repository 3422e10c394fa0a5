//! Who calls, and whose requests they are.

use std::sync::Arc;

use meridian_core::auth::{self, KeyView, Principal};
use meridian_core::error::GatewayError;
use meridian_core::ids::KeyHash;
use meridian_core::routes::Match;
use meridian_core::spend::Payer;
use meridian_core::time::WallMs;
use pingora_core::protocols::http::ServerSession;

use crate::plane::request;
use crate::records::Answer;
use crate::rules::Rules;
use crate::state::State;

/// Scopes that pay for a key's requests.
pub(crate) fn payer_of(key: Option<&KeyView>) -> Payer {
    let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let Some(key) = key else {
        return Payer::default();
    };
    let policy = &key.policy;
    Payer {
        key: Some(policy.token),
        key_alias: owned(&policy.alias),
        user_id: key.user_id().map(str::to_owned),
        team_id: owned(&policy.team_id),
        organization_id: key.organization_id().map(str::to_owned),
        end_user: None,
    }
}

/// A key that is not in memory may have been made a moment ago on another node. Only a store that
/// was asked may say that there is none.
pub(super) async fn look_up(state: &State, hash: &str) -> Result<(), GatewayError> {
    let (Some(lookups), Some(hash)) = (&state.lookups, KeyHash::from_hex(hash)) else {
        return Ok(());
    };
    match lookups.find(hash).await {
        Answer::Known | Answer::Absent => Ok(()),
        Answer::Unavailable => Err(GatewayError::KeysUnavailable {
            retry_after_s: Answer::RETRY_AFTER_S,
        }),
    }
}

/// Finds out who calls; `None` for the master key.
pub(super) fn authenticate(
    state: &State,
    rules: &Rules,
    session: &ServerSession,
    matched: &Match<'_>,
    now: WallMs,
) -> Result<Option<Arc<KeyView>>, GatewayError> {
    let general = &rules.config.general;
    let headers = &session.req_header().headers;
    let credential = auth::credential(general.key_header.as_deref(), |name| {
        request::header(headers, name).map(|value| value.as_bytes())
    })?;
    // A configuration without a master key does not start.
    let Some(master) = &general.master_key else {
        return Err(GatewayError::NoKey);
    };
    let lookup = |hash: &KeyHash| state.registry.get(hash, now);
    let principal = auth::authenticate(&credential, master, now, lookup)?;
    auth::authorize(&principal, matched)?;
    let key = match principal {
        Principal::Master => return Ok(None),
        Principal::Key(key) => key,
    };
    if !state.registry.is_complete() {
        // Limits that have not arrived yet are limits all the same.
        key.check_known()?;
    }
    if let (Some(records), Some(home)) = (&state.records, key.policy.home.as_deref()) {
        records.check_fresh(home, now)?;
    }
    Ok(Some(key))
}
