//! A request at its deployment: what routing hears of how it goes there.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::budget::policy::{Degraded, OnExhausted, Policy};
use meridian_core::meters::{Admission, Grows};
use meridian_core::money::NanoUsd;
use meridian_core::routing::failure::{self, Blame, Silence, Verdict};
use meridian_core::routing::health::{Failed, Flight, Surroundings};
use meridian_core::routing::plan::Why;
use meridian_core::spend::{EndReason, SpendRecord};
use meridian_core::time::WallMs;

use crate::clock;
use crate::plane::settle::Outcome;
use crate::rules::{Rules, Target};
use crate::state::State;

/// A request that runs at a deployment. Dropped, it counts as cancelled: nobody is blamed.
pub(crate) struct InFlight {
    pub(super) flight: Flight,
    /// What it holds of the budgets of where it runs.
    pub(super) funds: Option<Admission>,
    /// Where it runs.
    pub target: Arc<Target>,
    /// Why it runs there.
    pub why: Why,
    /// Another deployment could have taken it.
    pub others: bool,
    /// Memory of the averages that it is measured for.
    pub(super) decay: Duration,
    pub(super) rules: Arc<Rules>,
}

/// Budgets that decide where requests go cut none that runs.
const RUNS_ON: Policy = Policy {
    on_exhausted: OnExhausted::RefuseOnly,
    degraded: Degraded::LeaseOnly,
    overdraft_percent: 0,
    finish_tokens: 0,
};

impl InFlight {
    /// Takes what it holds of the budgets of where it runs, to be settled, and where that is.
    pub(crate) fn take_funds(&mut self) -> Option<(Arc<Target>, Admission)> {
        let funds = self.funds.take()?;
        Some((Arc::clone(&self.target), funds))
    }

    /// Holds more of them for a stream that grew.
    pub(crate) fn fund(&mut self, more: NanoUsd, now: WallMs) {
        let grows = Grows {
            more,
            may_finish: true,
            all: RUNS_ON,
        };
        if let Some(funds) = &mut self.funds
            && let Err(lacking) = funds.grow(grows, now)
        {
            // No such budget says otherwise.
            tracing::debug!(?lacking, "a budget of a deployment cuts a stream");
        }
    }

    /// The first content has arrived.
    pub(crate) fn first_token(&mut self, state: &State) {
        let around = surroundings(&self.rules, &self.target, self.decay, self.others);
        self.flight.first_token(state.routing.now(), &around);
    }

    /// The attempt failed: health, and whether somebody is left out from now on.
    pub(crate) fn failed(
        self,
        state: &State,
        verdict: Verdict,
        wait: Option<Duration>,
        status: u16,
    ) {
        let around = surroundings(&self.rules, &self.target, self.decay, self.others);
        let failed = Failed { verdict, wait };
        let cooled = self.flight.failed(state.routing.now(), failed, &around);
        let Some(cooled) = cooled else { return };
        let target = &self.target;
        tracing::warn!(
            deployment = target.deployment.id,
            whose = match cooled.whose {
                Blame::Credential => "credential",
                Blame::Deployment | Blame::Nobody => "deployment",
            },
            cause = cooled.opened.cause.as_str(),
            seconds = state.routing.until(cooled.opened.until).as_secs_f64(),
            times = cooled.opened.times,
            "left out after failures"
        );
        let labels = target.labels(!target.deployment.is_wildcard());
        state.metrics.deployment_cooled_down(&labels, status);
        state.routing.tell(&target.deployment, cooled);
    }

    /// The caller left, or its own deadline passed.
    pub(crate) fn left(self, state: &State) {
        let around = surroundings(&self.rules, &self.target, self.decay, self.others);
        self.flight.left(state.routing.now(), &around);
    }

    /// The request is settled.
    pub(crate) fn settled(mut self, state: &State, outcome: &Outcome<'_>, record: &SpendRecord) {
        match record.end_reason {
            // How fast tokens are counted, or estimated here, says nothing about answers.
            EndReason::Complete if record.endpoint.counts() => {}
            EndReason::Complete => {
                let is_stream = record.first_byte.is_some() && record.stream;
                if is_stream {
                    self.first_token(state);
                }
                let known = !record.estimated;
                let total = known.then(|| record.usage.total());
                let output = known.then_some(record.usage.completion);
                let around = surroundings(&self.rules, &self.target, self.decay, self.others);
                self.flight
                    .finished(state.routing.now(), (total, output), &around);
            }
            EndReason::UpstreamReset => self.failed(state, Silence::Lost.verdict(), None, 502),
            EndReason::Stall => self.failed(state, Silence::Deadline.verdict(), None, 504),
            EndReason::ProviderError => {
                let verdict = complaint_of(outcome, &self.target);
                self.failed(state, verdict, None, 500);
            }
            EndReason::ClientGoneBeforeFirstByte | EndReason::ClientGoneMidStream => {
                self.left(state);
            }
            // What the gateway ended itself says nothing about a deployment.
            EndReason::UpstreamFailed
            | EndReason::Timeout
            | EndReason::BudgetCut
            | EndReason::Revoked
            | EndReason::InternalError
            | EndReason::Crashed => {}
        }
    }
}

/// What a provider's error inside a started stream is.
fn complaint_of(outcome: &Outcome<'_>, target: &Target) -> Verdict {
    let complaint = outcome.meter.and_then(|meter| meter.facts().error.clone());
    match complaint {
        Some(complaint) => {
            failure::of_complaint(target.origin(), complaint, 200, None, None).verdict
        }
        None => Silence::Malformed.verdict(),
    }
}

fn surroundings<'a>(
    rules: &'a Rules,
    target: &Target,
    decay: Duration,
    others: bool,
) -> Surroundings<'a> {
    Surroundings {
        policy: &rules.config.routing.cooldown,
        decay,
        time: target.deployment.cooldown_time,
        others,
        dice: clock::dice(),
    }
}
