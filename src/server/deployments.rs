//! What looks at deployments beside the traffic: probes, and cooldowns that the region shares.

use std::sync::Arc;

use meridian_core::config::Config;
use meridian_core::health::Coordination;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::probes;
use crate::cli::Role;
use crate::shared::{Link, Sharer};
use crate::state::State;
use crate::store::Store;

/// Starts probes, and the sharing of cooldowns.
pub(super) fn look(
    control: &Runtime,
    state: &Arc<State>,
    (store, role): (&Store, Role),
    stopped: &watch::Receiver<bool>,
) {
    if role != Role::Admin {
        let prober = probes::Prober::new(Arc::clone(state), store.clone());
        control.spawn(prober.run(stopped.clone()));
    }
    if let Some(sharer) = sharer(state) {
        control.spawn(sharer.run(stopped.clone()));
    }
}

/// Whether cooldowns are shared with the region.
pub(super) fn link(config: &Config, role: Role) -> Arc<Link> {
    let shares = config.redis.is_some() && role != Role::Admin;
    Arc::new(Link::new(shares))
}

/// Who shares cooldowns with the region; `None` without Redis, and where nothing is routed.
fn sharer(state: &Arc<State>) -> Option<Sharer> {
    let redis = state.rules.load().config.redis.clone()?;
    let shares = state.link.coordination() != Coordination::Alone;
    shares.then(|| {
        let (routing, metrics) = (Arc::clone(&state.routing), Arc::clone(&state.metrics));
        let link = Arc::clone(&state.link);
        Sharer::new(redis, state.region.as_deref(), routing, link, metrics)
    })
}
