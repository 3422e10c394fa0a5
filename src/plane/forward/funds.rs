//! Money of providers, deployments and tags: what a request holds of their budgets while it runs at
//! a deployment. Where there is no room it goes elsewhere.

use meridian_core::error::GatewayError;
use meridian_core::meters::{Admission, Denied, Due, Need};
use meridian_core::money::NanoUsd;

use crate::clock;
use crate::escrow::{Found, WAIT_MAX};
use crate::plane::admit::Admitted;
use crate::plane::admit::hold::{need_at, rights_unknown};
use crate::rules::Target;
use crate::state::State;

/// Everything that a request is charged to at a deployment.
fn dues(state: &State, admitted: &Admitted, target: &Target) -> Vec<Due> {
    let deployment = &target.deployment;
    let provider = deployment.provider.label();
    let tags = &admitted.ask.context.tags;
    let routed = state.registry.routed();
    routed.dues(provider, &deployment.id, tags)
}

/// Takes what a request needs of the budgets of a deployment; `None` where it has none.
pub(super) fn take(
    state: &State,
    admitted: &Admitted,
    target: &Target,
) -> Result<Option<Admission>, Denied> {
    let mut dues = dues(state, admitted, target);
    let Some(first) = dues.pop() else {
        return Ok(None);
    };
    let (cost, free) = need_at(admitted, target);
    let need = Need {
        cost,
        tokens: 0,
        model: "",
        free,
        key_alias: None,
        decides: state.decides(),
        excess: NanoUsd::ZERO,
    };
    first.meters.admit(need, dues, clock::now()).map(Some)
}

/// Why a deployment has no room, if it has none.
fn lacks(state: &State, admitted: &Admitted, target: &Target) -> Option<Denied> {
    let dues = dues(state, admitted, target);
    if dues.is_empty() {
        return None;
    }
    let ((cost, free), now) = (need_at(admitted, target), clock::now());
    let fits = |due: &Due| due.meters.has_room(cost, state.decides(), now);
    if free || dues.iter().all(fits) {
        return None;
    }
    take(state, admitted, target).err()
}

/// Why each deployment of the request's model has no room; empty where no budget is configured.
pub(super) fn spent(state: &State, admitted: &Admitted) -> Vec<Option<Box<GatewayError>>> {
    if state.registry.routed().is_empty() {
        return Vec::new();
    }
    let targets = admitted.group.targets().iter();
    let spent = targets.map(|target| lacks(state, admitted, target).map(|no| no.error));
    spent.collect()
}

/// Waits for rights where nodes share budgets and no deployment of the model has room yet, or one
/// was never asked for here. Returns what the client is told where there is no room and nobody can
/// say whether there is any: that is no answer about money.
pub(super) async fn fetch(state: &State, admitted: &Admitted) -> Option<GatewayError> {
    let rights = state.rights.as_ref()?;
    if state.registry.routed().is_empty() {
        return None;
    }
    let until = clock::mono() + WAIT_MAX;
    let (mut has_room, mut is_known) = (false, true);
    let mut short = Vec::new();
    for target in admitted.group.targets() {
        match lacks(state, admitted, target) {
            None => has_room = true,
            Some(denied) => short.extend(denied.lacking.map(|lacking| (target, lacking))),
        }
    }
    for (target, mut lacking) in short {
        if has_room && rights.is_open(&lacking) {
            // The request goes elsewhere, and the next one finds what there is.
            rights.hint(&lacking);
            continue;
        }
        // One budget after the other: the deployment's, its provider's, those of tags.
        loop {
            match rights.wait(&lacking, until).await {
                Found::Some => {}
                Found::Nothing => break,
                Found::Unknown => {
                    is_known = false;
                    break;
                }
            }
            let denied = lacks(state, admitted, target);
            has_room |= denied.is_none();
            match denied.and_then(|denied| denied.lacking) {
                Some(next) => lacking = next,
                None => break,
            }
            if clock::mono() >= until {
                is_known &= rights.is_open(&lacking);
                break;
            }
        }
    }
    (!has_room && !is_known).then(rights_unknown)
}
