//! `router_settings`, resolved.

use std::time::Duration;

use super::general::Settings;
use super::names::Names;
use super::problem::Problems;
use super::section::Area;
use super::tree::Node;

/// `router_settings`.
#[derive(Clone, Debug)]
pub struct Router {
    /// How a deployment is chosen.
    pub strategy: Strategy,
    /// What was asked for; differs from `strategy` when that is not in this version yet.
    pub strategy_asked: String,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// The same for streams, until the first token.
    pub stream_timeout: Duration,
    /// Attempts after the first.
    pub num_retries: u32,
    /// Where failed requests of a model go; not used in this version.
    pub fallbacks: Vec<Fallback>,
}

/// How a deployment is chosen among those of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// At random, by weight.
    SimpleShuffle,
}

/// Where failed requests of a model go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The model; `*` is every one.
    pub model: String,
    /// Tried in this order.
    pub to: Vec<String>,
}

/// LiteLLM's default.
const RETRIES: u32 = 2;
/// LiteLLM's strategies beside `simple-shuffle`.
const STRATEGIES: [&str; 5] = [
    "latency-based-routing",
    "least-busy",
    "usage-based-routing",
    "usage-based-routing-v2",
    "cost-based-routing",
];

pub(super) fn resolve(
    area: &Area<'_>,
    litellm: &Area<'_>,
    settings: &Settings,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Router {
    let retries = area
        .count("num_retries")
        .or(area.count("max_retries"))
        .or(litellm.count("num_retries"));
    let timeout = area.seconds("timeout").unwrap_or(settings.request_timeout);
    retry_policy(area, problems);
    Router {
        strategy: Strategy::SimpleShuffle,
        strategy_asked: strategy(area, problems),
        timeout,
        stream_timeout: area.seconds("stream_timeout").unwrap_or(timeout),
        num_retries: retries.map_or(RETRIES, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        fallbacks: fallbacks(area, litellm, names, problems),
    }
}

fn strategy(area: &Area<'_>, problems: &mut Problems) -> String {
    const SHUFFLE: &str = "simple-shuffle";
    let asked = area.text("routing_strategy").unwrap_or(SHUFFLE);
    let (at, path) = (
        area.at("routing_strategy"),
        area.path_of("routing_strategy"),
    );
    if STRATEGIES.contains(&asked) {
        let message = format!("`{asked}` is not in this version yet; {SHUFFLE} is used");
        problems.warning(at, &path, message);
    } else if asked != SHUFFLE {
        let meant = match asked {
            _ if asked.contains("latency") => "latency-based-routing",
            _ if asked.contains("cost") => "cost-based-routing",
            _ if asked.contains("busy") => "least-busy",
            _ if asked.contains("usage") => "usage-based-routing-v2",
            _ => SHUFFLE,
        };
        let all = STRATEGIES.join(", ");
        let message =
            format!("no such strategy; did you mean `{meant}`? There are {SHUFFLE}, {all}");
        problems.error(at, &path, message);
    }
    asked.to_owned()
}

/// A list is not LiteLLM's form; the mapping is reported by the audit.
fn retry_policy(area: &Area<'_>, problems: &mut Problems) {
    let Some(policy) = area
        .get("retry_policy")
        .filter(|node| node.entries().is_empty())
    else {
        return;
    };
    let message = "ignored: LiteLLM wants a mapping such as `{RateLimitErrorRetries: 3}`";
    problems.warning(&policy.at, &area.path_of("retry_policy"), message);
}

/// Fallbacks of both sections; the router's win. Two shapes: `{group: [..]}` is LiteLLM's,
/// `{model, fallback_models}` is what people also write.
fn fallbacks(
    area: &Area<'_>,
    litellm: &Area<'_>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<Fallback> {
    let place = |key| if area.has(key) { area } else { litellm };
    let from = place("fallbacks");
    let path = from.path_of("fallbacks");
    let mut list = Vec::new();
    for item in from.get("fallbacks").map_or(&[][..], Node::items) {
        let row = Area::new(Some(item), &item.at, path.clone());
        if let Some(model) = row.text("model").filter(|_| row.has("fallback_models")) {
            let message = format!("LiteLLM does not read this form; write `{model}: [...]`");
            problems.warning(&item.at, &path, message);
            names.check(model, row.at("model"), &path, problems);
            list.push(names.fallback(model, &row, "fallback_models", problems));
            continue;
        }
        if item.entries().is_empty() {
            problems.error(&item.at, &path, "expected `model: [other model, ...]`");
        }
        for entry in item.entries() {
            names.check(&entry.key, &entry.key_at, &path, problems);
            list.push(names.fallback(&entry.key, &row, &entry.key, problems));
        }
    }
    let default = names.fallback(
        "*",
        place("default_fallbacks"),
        "default_fallbacks",
        problems,
    );
    list.extend(Some(default).filter(|default| !default.to.is_empty()));
    list
}
