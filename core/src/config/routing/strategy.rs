//! `routing_strategy`, its arguments, and `routing_groups`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::names::Names;
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::config::tree::Node;
use crate::routing::policy::{LatencyArgs, Strategy};

const SHUFFLE: &str = "simple-shuffle";
const LATENCY: &str = "latency-based-routing";
const USAGE: &str = "usage-based-routing-v2";
/// LiteLLM's older name of [`USAGE`].
const USAGE_OLD: &str = "usage-based-routing";
const BUSY: &str = "least-busy";
const COST: &str = "cost-based-routing";
const KEY: &str = "routing_strategy";
const ARGS: &str = "routing_strategy_args";
const BUFFER: &str = "lowest_latency_buffer";

/// Time after which a measurement has lost 63 % of its weight.
pub(super) fn decay(meridian: &Area<'_>, problems: &mut Problems) -> Duration {
    const DECAY: &str = "latency_decay_s";
    let default = LatencyArgs::default().decay;
    let decay = meridian.seconds(DECAY).unwrap_or(default);
    if decay.is_zero() {
        let message = "must be more than 0: measurements would be forgotten at once";
        problems.error(meridian.at(DECAY), &meridian.path_of(DECAY), message);
    }
    decay
}

/// The strategy that a section names; `None` when it names none or a wrong one.
pub(super) fn of(area: &Area<'_>, decay: Duration, problems: &mut Problems) -> Option<Strategy> {
    let args = area.child(ARGS);
    let asked = area.text(KEY);
    if args.has(BUFFER) && asked != Some(LATENCY) {
        let message = format!("only `{LATENCY}` reads it");
        problems.notice(args.at(BUFFER), &args.path_of(BUFFER), message);
    }
    let asked = asked?;
    let (at, path) = (area.at(KEY), area.path_of(KEY));
    let strategy = match asked {
        SHUFFLE => Strategy::SimpleShuffle,
        LATENCY => Strategy::LatencyBased(LatencyArgs {
            decay,
            buffer: args.number(BUFFER).unwrap_or_default(),
        }),
        BUSY => Strategy::LeastBusy,
        USAGE => Strategy::UsageBased,
        USAGE_OLD => {
            let message = format!("served as its successor `{USAGE}`");
            problems.notice(at, &path, message);
            Strategy::UsageBased
        }
        COST => Strategy::CostBased,
        _ => {
            problems.error(at, &path, unknown(asked));
            return None;
        }
    };
    Some(strategy)
}

fn unknown(asked: &str) -> String {
    let meant = match asked {
        _ if asked.contains("latency") => LATENCY,
        _ if asked.contains("cost") => COST,
        _ if asked.contains("busy") => BUSY,
        _ if asked.contains("usage") => USAGE,
        _ => SHUFFLE,
    };
    let all = [SHUFFLE, LATENCY, BUSY, USAGE, COST].join(", ");
    format!("no such strategy; did you mean `{meant}`? There are {all}")
}

/// Strategies of single models. A model that is named by an alias is the alias's model.
pub(super) fn of_groups(
    router: &Area<'_>,
    decay: Duration,
    names: &Names<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, Strategy> {
    const GROUPS: &str = "routing_groups";
    let mut found = BTreeMap::new();
    let items = router.get(GROUPS).map_or(&[][..], Node::items);
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", router.path_of(GROUPS));
        let group = Area::new(Some(item), &item.at, path);
        if group.text(KEY).is_none() && item.scalar().is_none() {
            let message = "required: the strategy of these models";
            problems.error(group.at(KEY), &group.path_of(KEY), message);
        }
        let strategy = of(&group, decay, problems);
        let mut models = group.texts("models");
        models.extend(group.texts("model_names"));
        if models.is_empty() && item.scalar().is_none() {
            let message = "required: the models that it holds for";
            problems.error(group.at("models"), &group.path_of("models"), message);
        }
        for (name, at) in models {
            let path = group.path_of("models");
            names.check(name, at, &path, problems);
            let model = names.model(name).to_owned();
            let again = strategy.is_some_and(|one| found.insert(model, one).is_some());
            if again {
                let message = format!("`{name}` is in another group; a model has one strategy");
                problems.error(at, &path, message);
            }
        }
    }
    found
}
