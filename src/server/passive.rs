//! What requests and probes have shown of deployments, for `/health` and `/metrics`.

use std::sync::Arc;

use meridian_core::routing::health::{Gate, Report, Standing};
use meridian_core::time::WallMs;

use crate::admin::DeploymentHealth;
use crate::clock;
use crate::routing::Routing;
use crate::rules::{Rules, Target};
use crate::state::State;
use crate::telemetry::metrics::{DeploymentGauges, DeploymentState};

/// Every deployment with a name of its own, and what speaks against it.
pub(super) fn health(state: &State) -> Vec<DeploymentHealth> {
    let rules = state.rules.load();
    let all = rules
        .targets()
        .map(|target| health_of(target, &rules, &state.routing));
    all.collect()
}

fn health_of(target: &Target, rules: &Rules, routing: &Routing) -> DeploymentHealth {
    let gate = report(target, rules, routing).worse_gate();
    let label = target.deployment.provider.label();
    DeploymentHealth {
        model_id: target.deployment.id.clone(),
        model_name: target.deployment.model_name.clone(),
        model: format!("{label}/{}", target.model),
        provider: label.to_owned(),
        api_base: target.api_base.clone(),
        unhealthy: reason(gate, routing, clock::now()),
    }
}

fn reason(gate: Gate, routing: &Routing, now: WallMs) -> Option<String> {
    match gate {
        Gate::Closed => None,
        Gate::HalfOpen => Some("left out until now; the next request tries it".to_owned()),
        Gate::Probing => Some("left out until now; one request is trying it".to_owned()),
        Gate::Open { until, cause } => {
            let left = routing.until(until);
            let at = now.plus_ms(left.as_millis() as i64).to_iso();
            Some(format!("left out until {at} ({})", cause.as_str()))
        }
    }
}

/// The figures of every deployment. `targets` are those of `rules`.
pub(super) fn gauges<'a>(
    targets: &'a [Arc<Target>],
    rules: &Rules,
    routing: &Routing,
) -> Vec<DeploymentGauges<'a>> {
    let of = |target: &'a Arc<Target>| {
        let report = report(target, rules, routing);
        DeploymentGauges {
            labels: target.labels(!target.deployment.is_wildcard()),
            state: match report.standing() {
                Standing::Healthy => DeploymentState::Healthy,
                Standing::Partial => DeploymentState::PartialOutage,
                Standing::Out => DeploymentState::Outage,
            },
            ttft: report.ttft,
            score: report.score,
            in_flight: report.in_flight,
        }
    };
    targets.iter().map(of).collect()
}

fn report(target: &Target, rules: &Rules, routing: &Routing) -> Report {
    let policy = &rules.config.routing;
    let args = policy
        .strategy_for(&target.deployment.model_name)
        .latency_args();
    target.health.report(routing.now(), &policy.cooldown, &args)
}
