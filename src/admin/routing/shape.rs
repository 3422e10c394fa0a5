//! How deployments and decisions about them are shown.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::routing::health::Gate;
use meridian_core::routing::plan::Skip;
use meridian_core::routing::policy::{FailureClass, RoutingPolicy};
use meridian_core::time::{MonoUs, WallMs};
use serde_json::{Value, json};

use super::super::state::Routes;
use crate::clock;
use crate::routing::CredentialId;
use crate::rules::Target;

/// A moment, and the rules that hold at it.
pub(super) struct Shape<'a> {
    pub(super) policy: &'a RoutingPolicy,
    pub(super) now: MonoUs,
    pub(super) wall: WallMs,
}

impl<'a> Shape<'a> {
    /// Now.
    pub(super) fn now(routes: &'a Routes) -> Self {
        Self {
            policy: &routes.rules.config.routing,
            now: routes.known.now(),
            wall: clock::now(),
        }
    }

    /// A deployment as `/router/state` shows it.
    pub(super) fn deployment(&self, target: &Arc<Target>) -> Value {
        let deployment = &target.deployment;
        let args = self
            .policy
            .strategy_for(&deployment.model_name)
            .latency_args();
        let report = target.health.report(self.now, &self.policy.cooldown, &args);
        let limits = &target.facts.limits;
        let mut out = self.gate(report.worse_gate());
        let mut credential = self.gate(report.credential);
        credential["id"] = json!(CredentialId::of(deployment).to_string());
        let more = json!({
            "id": deployment.id,
            "model_group": deployment.model_name,
            "model": target.model,
            "provider": deployment.provider.label(),
            "region": target.facts.region,
            "order": deployment.order,
            "tags": target.facts.tags,
            "weight": target.facts.weight,
            "limits": {
                "rpm": limits.rpm, "tpm": limits.tpm, "max_parallel_requests": limits.parallel,
            },
            "blocked": target.facts.blocked,
            "times_left_out": report.times,
            "ramp": report.ramp,
            "score": report.score,
            "ewma_ttft_s": seconds(report.ttft),
            "ewma_per_token_s": seconds(report.per_token),
            "in_flight": report.in_flight,
            "waiting": report.waiting,
            "oldest_wait_s": report.oldest_wait.as_secs_f64(),
            "rpm": report.rpm,
            "tpm": report.tpm,
            "successes": report.successes,
            "failures": report.failures,
            "credential": credential,
        });
        merge(&mut out, more);
        out
    }

    /// A gate with reason and deadline, where it has them.
    fn gate(&self, gate: Gate) -> Value {
        let mut out = match gate {
            Gate::Open { until, cause } => self.left_out(until, cause),
            Gate::Closed | Gate::HalfOpen | Gate::Probing => {
                json!({"reason": null, "until": null, "seconds_left": null})
            }
        };
        out["gate"] = json!(gate.as_str());
        out
    }

    fn left_out(&self, until: MonoUs, cause: FailureClass) -> Value {
        let mut out = self.moment(until);
        out["reason"] = json!(cause.as_str());
        out
    }

    /// A moment to come.
    pub(super) fn moment(&self, until: MonoUs) -> Value {
        let left = until.since(self.now);
        json!({
            "until": self.wall.plus_ms(left.as_millis() as i64).to_iso(),
            "seconds_left": left.as_secs_f64(),
        })
    }

    /// A deployment as `/router/explain` shows it. `skip` is why it was not chosen.
    pub(super) fn candidate(&self, group: &str, target: &Target, skip: Option<Skip>) -> Value {
        let args = self.policy.strategy_for(group).latency_args();
        let (facts, health) = (&target.facts, &target.health);
        let skip = skip.map(|skip| match skip {
            Skip::Cooling { until, cause } => {
                let mut details = self.left_out(until, cause);
                details["why"] = json!(skip.as_str());
                details
            }
            _ => json!({"why": skip.as_str()}),
        });
        json!({
            "id": target.deployment.id,
            "model": target.model,
            "provider": target.deployment.provider.label(),
            "region": facts.region,
            "order": target.deployment.order,
            "tags": facts.tags,
            "weight": facts.weight,
            "max_input_tokens": facts.max_input_tokens,
            "usd_per_token": facts.price,
            "gate": health.gate(self.now, &self.policy.cooldown).as_str(),
            "ramp": health.ramp(self.now, &self.policy.cooldown),
            "score": health.score(self.now, &args),
            "in_flight": health.in_flight(),
            "tpm": health.tokens_this_minute(self.now),
            "skip": skip,
        })
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

/// Adds the members of `more`, an object, to `out`, another one.
pub(super) fn merge(out: &mut Value, more: Value) {
    if let (Value::Object(out), Value::Object(more)) = (out, more) {
        out.extend(more);
    }
}
