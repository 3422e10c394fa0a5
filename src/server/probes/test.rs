//! `/health/test_connection`: one real call through settings that are not in force.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_core::config::Config;
use meridian_core::money::NanoUsd;
use meridian_core::routing::policy::ProbePolicy;

use super::{Probe, billed, models};
use crate::admin::Tested;
use crate::routing::Routing;
use crate::rules::Rules;
use crate::state::State;

/// Longest wait for the answer, LiteLLM's `health_check_timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most that one test may cost.
const COST_MAX: NanoUsd = NanoUsd::DOLLAR;

/// Calls the deployment with this id of a configuration: a short question where its price is
/// known, which the ledger then has; else the list of its provider's models. What deployments in
/// use have shown does not change.
pub(in crate::server) async fn test(
    state: Arc<State>,
    config: Config,
    id: String,
) -> Result<Tested, String> {
    let prices = Arc::clone(&state.rules.load().prices);
    let known = (Routing::new(), Arc::clone(state.rules.load().credentials()));
    let rules = Rules::build(Arc::new(config), prices, known, 0);
    let targets = rules.every_target();
    let target = targets.into_iter().find(|one| one.deployment.id == id);
    let target = target.ok_or("the model is not part of the configuration")?;
    if target.deployment.mock_response.is_some() {
        return Ok(Tested::Mock);
    }
    if target.door.is_none() {
        let provider = target.deployment.provider.label();
        return Err(format!("`{provider}` is not served by this version"));
    }
    let probe = Probe {
        state,
        rules: Arc::new(rules),
        target,
        policy: ProbePolicy {
            every: TIMEOUT,
            timeout: TIMEOUT,
            billed_per_day: Some(COST_MAX),
        },
        spending: Arc::new(Mutex::default()),
    };
    match billed::prepare(&probe) {
        Some(prepared) => match billed::try_out(probe, prepared).await {
            None => Ok(Tested::Chat),
            Some(error) => Err(error),
        },
        None => models::try_out(&probe).await.map(|()| Tested::Models),
    }
}
