//! What narrows the choice of a deployment: tags, and where a conversation went before.

use super::Sections;
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::routing::policy::{AffinityPolicy, TagMatch};

/// Prefix of a prompt that is about as long as the shortest one that providers cache.
const PREFIX_BYTES: u64 = 4_096;
const LOAD_MAX: f64 = 1.25;

/// Entries of `optional_pre_call_checks` that mean: keep conversations where they are.
const AFFINITY_CHECKS: [&str; 3] = ["deployment_affinity", "prompt_caching", "session_affinity"];

pub(super) fn tags(router: &Area<'_>, problems: &mut Problems) -> Option<TagMatch> {
    const ANY: &str = "tag_filtering_match_any";
    if router.bool("enable_tag_filtering") != Some(true) {
        if router.has(ANY) {
            let message = "no effect without `enable_tag_filtering: true`";
            problems.warning(router.at(ANY), &router.path_of(ANY), message);
        }
        return None;
    }
    match router.bool(ANY) {
        Some(false) => Some(TagMatch::All),
        _ => Some(TagMatch::Any),
    }
}

/// On when a check of LiteLLM's asks for it or `meridian.affinity` says anything.
pub(super) fn affinity(sections: &Sections<'_>, problems: &mut Problems) -> AffinityPolicy {
    let own = sections.meridian.child("affinity");
    let asked = checks(&sections.router, problems);
    let written = own.has("prefix_bytes") || own.has("load_max");
    let load_max = own.number("load_max").unwrap_or(LOAD_MAX);
    if load_max < 1.0 {
        let message = "expected a number of at least 1: no deployment has less than the mean";
        problems.error(own.at("load_max"), &own.path_of("load_max"), message);
    }
    if !asked && !written {
        return AffinityPolicy::Off;
    }
    let prefix_bytes = own.count("prefix_bytes").unwrap_or(PREFIX_BYTES);
    AffinityPolicy::On {
        prefix_bytes: usize::try_from(prefix_bytes).unwrap_or(usize::MAX),
        load_max,
    }
}

/// Whether one of the checks asks for affinity; the others are reported.
fn checks(router: &Area<'_>, problems: &mut Problems) -> bool {
    const KEY: &str = "optional_pre_call_checks";
    let path = router.path_of(KEY);
    let mut asked = false;
    for (name, at) in router.texts(KEY) {
        let why = match name {
            _ if AFFINITY_CHECKS.contains(&name) => {
                asked = true;
                continue;
            }
            "responses_api_deployment_check" => {
                let message = "always on: a response is continued where it was made";
                problems.notice(at, &path, message);
                continue;
            }
            "enforce_model_rate_limits" => {
                let message = "always on: `rpm` and `tpm` of a deployment are limits";
                problems.notice(at, &path, message);
                continue;
            }
            "router_budget_limiting" => "budgets of deployments are not enforced".to_owned(),
            "encrypted_content_affinity" | "forward_client_headers_by_model_group" => {
                "no such check is made".to_owned()
            }
            _ => format!(
                "unknown, no effect; there are {}",
                AFFINITY_CHECKS.join(", ")
            ),
        };
        problems.warning(at, &path, format!("`{name}`: {why}"));
    }
    asked
}
