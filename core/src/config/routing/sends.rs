//! Sends that no client asked for: a second request beside a slow one, and probes.

use std::time::Duration;

use super::Sections;
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::money::NanoUsd;
use crate::routing::policy::{HedgePolicy, ProbePolicy};

const HEDGE_SHARE_MAX: f64 = 0.05;
/// A cent.
const HEDGE_COST_MAX: NanoUsd = NanoUsd(10_000_000);
/// LiteLLM's default.
const PROBE_EVERY: Duration = Duration::from_secs(300);
const PROBE_EVERY_MIN: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn hedge(meridian: &Area<'_>, problems: &mut Problems) -> Option<HedgePolicy> {
    const AFTER: &str = "after_s";
    let node = meridian.get("hedge")?;
    let own = meridian.child("hedge");
    let after = own.seconds(AFTER).filter(|after| !after.is_zero());
    if after.is_none() && !node.entries().is_empty() {
        let message = "required: seconds, more than 0, until the second request";
        problems.error(own.at(AFTER), &own.path_of(AFTER), message);
    }
    let cost_max = dollars(&own, "cost_max_usd", problems);
    Some(HedgePolicy {
        after: after?,
        share_max: own.number("share_max").unwrap_or(HEDGE_SHARE_MAX),
        cost_max: cost_max.unwrap_or(HEDGE_COST_MAX),
    })
}

pub(super) fn probes(sections: &Sections<'_>, problems: &mut Problems) -> Option<ProbePolicy> {
    const INTERVAL: &str = "health_check_interval";
    let (general, own) = (&sections.general, sections.meridian.child("probes"));
    let billed_per_day = dollars(&own, "billed_usd_per_day", problems);
    if general.bool("background_health_checks") != Some(true) {
        if let Some(node) = sections.meridian.get("probes") {
            let message = "no effect without `general_settings.background_health_checks: true`";
            problems.warning(&node.at, own.path(), message);
        }
        return None;
    }
    let every = general.seconds(INTERVAL).unwrap_or(PROBE_EVERY);
    if every < PROBE_EVERY_MIN {
        let message = "expected at least 1 second";
        problems.error(general.at(INTERVAL), &general.path_of(INTERVAL), message);
    }
    Some(ProbePolicy {
        every,
        timeout: own.seconds("timeout_s").unwrap_or(PROBE_TIMEOUT),
        billed_per_day: billed_per_day.filter(|budget| *budget > NanoUsd::ZERO),
    })
}

fn dollars(area: &Area<'_>, key: &str, problems: &mut Problems) -> Option<NanoUsd> {
    let dollars = area.number(key)?;
    let money = NanoUsd::from_dollars(dollars);
    if money.is_none() {
        let message = "more dollars than there are";
        problems.error(area.at(key), &area.path_of(key), message);
    }
    money
}
