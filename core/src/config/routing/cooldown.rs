//! When a deployment is left out: LiteLLM's cooldown keys and `meridian.cooldown`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{POLICY_ERRORS, Sections, small};
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::routing::policy::{AllCooling, CooldownPolicy, PolicyError};

/// LiteLLM takes its default for "not set".
const ALLOWED_FAILS_UNSET: u64 = 3;
/// Longest wait of `all_cooling: wait` where none is given.
const WAIT: Duration = Duration::from_secs(10);

pub(super) fn resolve(sections: &Sections<'_>, problems: &mut Problems) -> CooldownPolicy {
    let default = CooldownPolicy::default();
    let (router, own) = (&sections.router, sections.meridian.child("cooldown"));
    let allowed_fails_of = allowed_fails_of(router);
    let allowed_fails = allowed_fails(sections, &allowed_fails_of, problems);
    let seconds = |key, default| own.seconds(key).unwrap_or(default);
    let time = router.seconds("cooldown_time").unwrap_or(default.time);
    CooldownPolicy {
        disabled: router.bool("disable_cooldowns").unwrap_or(false),
        allowed_fails,
        allowed_fails_of,
        min_samples: own.count("min_samples").map_or(default.min_samples, small),
        failure_rate: own.number("failure_rate").unwrap_or(default.failure_rate),
        window: seconds("window_s", default.window),
        time,
        time_max: time_max(sections, &own, time, default.time_max, problems),
        ramp: seconds("ramp_s", default.ramp),
        all_cooling: all_cooling(&own, problems),
    }
}

fn allowed_fails_of(router: &Area<'_>) -> BTreeMap<PolicyError, u32> {
    let policy = router.child("allowed_fails_policy");
    let one = |(error, stem): (PolicyError, &str)| {
        let count = policy.count(&format!("{stem}AllowedFails"))?;
        Some((error, small(count)))
    };
    POLICY_ERRORS.into_iter().filter_map(one).collect()
}

fn allowed_fails(
    sections: &Sections<'_>,
    of_kinds: &BTreeMap<PolicyError, u32>,
    problems: &mut Problems,
) -> Option<u32> {
    const KEY: &str = "allowed_fails";
    let place = sections.place(KEY);
    let count = place.count(KEY)?;
    if count == ALLOWED_FAILS_UNSET && of_kinds.is_empty() {
        let message = "3 is the same as not set, as in LiteLLM: the share of failures decides \
            (`meridian.cooldown`); write 2 or 4 to count them";
        problems.notice(place.at(KEY), &place.path_of(KEY), message);
        return None;
    }
    Some(small(count))
}

/// A first cooldown that is longer than the default of the longest one raises that.
fn time_max(
    sections: &Sections<'_>,
    own: &Area<'_>,
    time: Duration,
    default: Duration,
    problems: &mut Problems,
) -> Duration {
    const KEY: &str = "time_max_s";
    let Some(written) = own.seconds(KEY) else {
        return default.max(time);
    };
    if written < time && sections.router.has("cooldown_time") {
        let message = format!(
            "shorter than `router_settings.cooldown_time`, {} s",
            time.as_secs_f64()
        );
        problems.error(own.at(KEY), &own.path_of(KEY), message);
    }
    written.max(time)
}

fn all_cooling(own: &Area<'_>, problems: &mut Problems) -> AllCooling {
    let policy = match own.text("all_cooling") {
        Some("wait") => return AllCooling::Wait(own.seconds("wait_s").unwrap_or(WAIT)),
        Some("refuse") => AllCooling::Refuse,
        _ => AllCooling::LeastBad,
    };
    if own.has("wait_s") {
        let message = "no effect: only `all_cooling: wait` waits";
        problems.warning(own.at("wait_s"), &own.path_of("wait_s"), message);
    }
    policy
}
