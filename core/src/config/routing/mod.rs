//! Everything that decides routing, of `router_settings`, `litellm_settings`, `general_settings`
//! and `meridian`, resolved into one policy.

mod choice;
mod cooldown;
mod fallbacks;
pub(super) mod regions;
mod retries;
mod sends;
mod strategy;

use super::deployment::Deployment;
use super::names::Names;
use super::problem::Problems;
use super::section::Area;
use crate::routing::policy::{PolicyError, RoutingPolicy};

/// The sections that say something about routing.
pub(super) struct Sections<'a> {
    /// `router_settings`.
    pub(super) router: Area<'a>,
    /// `litellm_settings`, whose keys count where the router has none.
    pub(super) litellm: Area<'a>,
    /// `general_settings`.
    pub(super) general: Area<'a>,
    /// `meridian`.
    pub(super) meridian: Area<'a>,
}

impl<'a> Sections<'a> {
    /// The section that a key of both is read from: the router's wins.
    fn place(&self, key: &str) -> &Area<'a> {
        match self.router.has(key) {
            true => &self.router,
            false => &self.litellm,
        }
    }
}

/// Resolves the policy. `own_region` is what the command line says.
pub(super) fn resolve(
    sections: &Sections<'_>,
    own_region: Option<&str>,
    deployments: &[Deployment],
    names: &Names<'_>,
    problems: &mut Problems,
) -> RoutingPolicy {
    let decay = strategy::decay(&sections.meridian, problems);
    RoutingPolicy {
        strategy: strategy::of(&sections.router, decay, problems).unwrap_or_default(),
        strategy_of_group: strategy::of_groups(&sections.router, decay, names, problems),
        cooldown: cooldown::resolve(sections, problems),
        retries: retries::resolve(sections, names, problems),
        fallbacks: fallbacks::resolve(sections, names, problems),
        regions: regions::resolve(&sections.meridian, own_region, deployments, problems),
        tags: choice::tags(&sections.router, problems),
        pre_call_checks: sections
            .router
            .bool("enable_pre_call_checks")
            .unwrap_or(false),
        affinity: choice::affinity(sections, problems),
        hedge: sends::hedge(&sections.meridian, problems),
        probes: sends::probes(sections, problems),
    }
}

/// LiteLLM's exception types by the names that its policies begin with.
const POLICY_ERRORS: [(PolicyError, &str); 6] = [
    (PolicyError::BadRequest, "BadRequestError"),
    (PolicyError::Authentication, "AuthenticationError"),
    (PolicyError::Timeout, "TimeoutError"),
    (PolicyError::RateLimit, "RateLimitError"),
    (
        PolicyError::ContentPolicyViolation,
        "ContentPolicyViolationError",
    ),
    (PolicyError::InternalServer, "InternalServerError"),
];

/// A count as policies hold it.
fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
