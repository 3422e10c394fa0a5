//! The routing policy in force, with the words of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_core::routing::policy::{
    AffinityPolicy, AllCooling, CooldownPolicy, FallbackPolicy, HedgePolicy, PolicyError,
    ProbePolicy, RetryPolicy, RoutingPolicy, Strategy, TagMatch,
};
use serde_json::{Value, json};

/// Everything that decides.
pub(super) fn shown(policy: &RoutingPolicy) -> Value {
    let of_group = policy.strategy_of_group.iter();
    let of_group: BTreeMap<_, _> = of_group
        .map(|(group, one)| (group, strategy(one)))
        .collect();
    let of_team = policy.regions.allowed_of_team.iter();
    let of_team: serde_json::Map<String, Value> = of_team
        .map(|(team, regions)| (team.clone(), json!(**regions)))
        .collect();
    json!({
        "strategy": strategy(&policy.strategy),
        "strategy_of_group": of_group,
        "cooldown": cooldown(&policy.cooldown),
        "retries": retries(&policy.retries),
        "fallbacks": fallbacks(&policy.fallbacks),
        "regions": {
            "nearest": policy.regions.nearest,
            "allowed_of_group": policy.regions.allowed_of_group,
            "allowed_of_team": of_team,
        },
        "tag_filtering": policy.tags.map(|matching| match matching {
            TagMatch::Any => "any",
            TagMatch::All => "all",
        }),
        "pre_call_checks": policy.pre_call_checks,
        "affinity": affinity(&policy.affinity),
        "hedge": policy.hedge.as_ref().map(hedge),
        "probes": policy.probes.as_ref().map(probes),
    })
}

fn strategy(strategy: &Strategy) -> Value {
    let mut out = json!({"name": strategy.as_str()});
    if let Strategy::LatencyBased(args) = strategy {
        out["latency_decay_s"] = seconds(args.decay);
        out["lowest_latency_buffer"] = json!(args.buffer);
    }
    out
}

fn cooldown(policy: &CooldownPolicy) -> Value {
    let (all_cooling, wait) = match policy.all_cooling {
        AllCooling::LeastBad => ("least-bad", None),
        AllCooling::Wait(longest) => ("wait", Some(seconds(longest))),
        AllCooling::Refuse => ("refuse", None),
    };
    json!({
        "disabled": policy.disabled,
        "allowed_fails": policy.allowed_fails,
        "allowed_fails_policy": by_error(&policy.allowed_fails_of),
        "min_samples": policy.min_samples,
        "failure_rate": policy.failure_rate,
        "window_s": seconds(policy.window),
        "cooldown_time": seconds(policy.time),
        "time_max_s": seconds(policy.time_max),
        "ramp_s": seconds(policy.ramp),
        "all_cooling": all_cooling,
        "wait_s": wait,
    })
}

fn retries(policy: &RetryPolicy) -> Value {
    let of_group = policy.retries_of_group.iter();
    let of_group: BTreeMap<_, _> = of_group
        .map(|(group, one)| (group, by_error(one)))
        .collect();
    json!({
        "num_retries": policy.retries,
        "retry_policy": by_error(&policy.retries_of),
        "model_group_retry_policy": of_group,
        "retry_after": seconds(policy.pause_min),
        "max_attempts": policy.attempts_max,
        "retry_budget": policy.budget,
    })
}

fn fallbacks(policy: &FallbackPolicy) -> Value {
    json!({
        "fallbacks": policy.general,
        "context_window_fallbacks": policy.context_window,
        "content_policy_fallbacks": policy.content_policy,
        "max_fallbacks": policy.depth_max,
    })
}

fn affinity(policy: &AffinityPolicy) -> Value {
    match policy {
        AffinityPolicy::Off => Value::Null,
        AffinityPolicy::On {
            prefix_bytes,
            load_max,
        } => json!({"prefix_bytes": prefix_bytes, "load_max": load_max}),
    }
}

fn hedge(policy: &HedgePolicy) -> Value {
    json!({
        "after_s": seconds(policy.after),
        "share_max": policy.share_max,
        "cost_max_usd": policy.cost_max.dollars(),
    })
}

fn probes(policy: &ProbePolicy) -> Value {
    json!({
        "health_check_interval": seconds(policy.every),
        "timeout_s": seconds(policy.timeout),
        "billed_usd_per_day": policy.billed_per_day.map(|cap| cap.dollars()),
    })
}

/// LiteLLM's exception types and a figure for each.
fn by_error(figures: &BTreeMap<PolicyError, u32>) -> BTreeMap<&'static str, u32> {
    let name = |error: &PolicyError| match error {
        PolicyError::BadRequest => "BadRequestError",
        PolicyError::Authentication => "AuthenticationError",
        PolicyError::Timeout => "TimeoutError",
        PolicyError::RateLimit => "RateLimitError",
        PolicyError::ContentPolicyViolation => "ContentPolicyViolationError",
        PolicyError::InternalServer => "InternalServerError",
    };
    let figures = figures.iter();
    figures
        .map(|(error, figure)| (name(error), *figure))
        .collect()
}

fn seconds(time: Duration) -> Value {
    json!(time.as_secs_f64())
}
