//! What a request cost where it ran: each deployment's budgets pay for what it did, its provider's
//! and the tags' with it.

use std::sync::Arc;

use meridian_core::meters::Admission;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;

use crate::rules::Target;
use crate::state::State;

/// Costs by the deployment that caused them.
pub(super) struct Places(Vec<(Arc<Target>, NanoUsd)>);

/// Money that budgets of a deployment pay, and what it is settled with.
pub(super) type Charge = (Admission, NanoUsd);

impl Places {
    /// The answer's.
    pub(super) fn of(target: Option<&Arc<Target>>, cost: NanoUsd) -> Self {
        let target = target.map(|target| (Arc::clone(target), cost));
        Self(target.into_iter().collect())
    }

    /// A deployment has caused a cost, more than once if need be.
    pub(super) fn add(&mut self, target: &Arc<Target>, cost: NanoUsd) {
        let same = |(known, _): &&mut (Arc<Target>, NanoUsd)| is_same(known, target);
        match self.0.iter_mut().find(same) {
            Some((_, sum)) => *sum = sum.saturating_add(cost),
            None => self.0.push((Arc::clone(target), cost)),
        }
    }

    /// What the budgets pay: from what the request holds where it was answered, and counted where
    /// it holds nothing any more, after a failure or because its client left.
    pub(super) fn charges(
        self,
        state: &State,
        tags: &[String],
        mut funds: Option<(Arc<Target>, Admission)>,
        now: WallMs,
    ) -> Vec<Charge> {
        let routed = state.registry.routed();
        let mut charges = Vec::new();
        for (target, cost) in self.0 {
            if let Some((_, held)) = funds.take_if(|(at, _)| is_same(at, &target)) {
                charges.push((held, cost));
                continue;
            }
            if cost == NanoUsd::ZERO {
                continue;
            }
            let deployment = &target.deployment;
            let mut dues = routed.dues(deployment.provider.label(), &deployment.id, tags);
            if let Some(first) = dues.pop() {
                let counted = first.meters.count("", dues, state.decides(), now);
                charges.push((counted, cost));
            }
        }
        // Where it is held and nothing was used.
        charges.extend(funds.map(|(_, held)| (held, NanoUsd::ZERO)));
        charges
    }
}

fn is_same(one: &Target, other: &Target) -> bool {
    one.deployment.id == other.deployment.id
}
