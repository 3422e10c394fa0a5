//! What a configuration says about routing: values, no decisions. `config::router` fills them in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::money::NanoUsd;

/// Everything that a configuration says about routing.
#[derive(Clone, Debug, Default)]
pub struct RoutingPolicy {
    /// How a deployment is chosen, where no group says otherwise.
    pub strategy: Strategy,
    /// Model group to its own strategy.
    pub strategy_of_group: BTreeMap<String, Strategy>,
    /// When a deployment is left out, and for how long.
    pub cooldown: CooldownPolicy,
    /// How often a failed request is tried again.
    pub retries: RetryPolicy,
    /// Where a failed request of a model goes.
    pub fallbacks: FallbackPolicy,
    /// Which regions are near.
    pub regions: RegionPolicy,
    /// How tags select deployments; `None` when tags do not.
    pub tags: Option<TagMatch>,
    /// Whether prompts that are too long for a deployment are not sent to it.
    pub pre_call_checks: bool,
    /// Keeps conversations on the deployment that has their prompt cache.
    pub affinity: AffinityPolicy,
    /// Second request when the first is slow to begin; `None` is never.
    pub hedge: Option<HedgePolicy>,
    /// Probes of deployments; `None` is never.
    pub probes: Option<ProbePolicy>,
}

/// How a deployment is chosen among those of a model and region.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Strategy {
    /// At random, by `weight`, else `rpm`, else `tpm`, else evenly.
    #[default]
    SimpleShuffle,
    /// The better of two random ones by peak-EWMA of time to first token and time per output token.
    LatencyBased(LatencyArgs),
    /// The one with the fewest requests in flight.
    LeastBusy,
    /// The one with the fewest tokens in this minute, of those below their limits.
    UsageBased,
    /// The cheapest.
    CostBased,
}

/// `routing_strategy_args` of latency-based-routing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyArgs {
    /// Time after which an old measurement has lost 63 % of its weight.
    pub decay: Duration,
    /// Deployments within this fraction of the best count as equal (LiteLLM's
    /// `lowest_latency_buffer`).
    pub buffer: f64,
}

impl Default for LatencyArgs {
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
            buffer: 0.0,
        }
    }
}

/// What a failure is, whoever reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// The request is at fault: no other deployment would take it.
    Client,
    /// The caller left, or its own deadline passed.
    Cancelled,
    /// The deployment's credential is refused.
    Auth,
    /// The account has no money or quota left.
    Quota,
    /// Too many requests or tokens for now.
    RateLimit,
    /// The provider is out of capacity.
    Overload,
    /// The provider failed.
    Server,
    /// A deadline of the gateway passed.
    Timeout,
    /// No connection, or it broke.
    Network,
    /// The prompt is too long for the model.
    ContextWindow,
    /// The provider refuses the content.
    ContentPolicy,
}

/// LiteLLM's exception types that policies name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyError {
    /// `BadRequestError`.
    BadRequest,
    /// `AuthenticationError`.
    Authentication,
    /// `TimeoutError`.
    Timeout,
    /// `RateLimitError`.
    RateLimit,
    /// `ContentPolicyViolationError`.
    ContentPolicyViolation,
    /// `InternalServerError`.
    InternalServer,
}

/// When a deployment is left out, and for how long.
#[derive(Clone, Debug)]
pub struct CooldownPolicy {
    /// Off: no deployment is ever left out (`disable_cooldowns`).
    pub disabled: bool,
    /// Failures within `window` that are forgiven, for all kinds of failure.
    pub allowed_fails: Option<u32>,
    /// The same for one kind of failure; wins over `allowed_fails`.
    pub allowed_fails_of: BTreeMap<PolicyError, u32>,
    /// Requests within `window` before a rate of failures means anything.
    pub min_samples: u32,
    /// Share of failed requests above which a deployment is left out, 0 to 1.
    pub failure_rate: f64,
    /// What is looked back at.
    pub window: Duration,
    /// First cooldown; doubles with each further one in a row.
    pub time: Duration,
    /// Longest cooldown that the gateway itself decides on; a provider's `Retry-After` may be
    /// longer.
    pub time_max: Duration,
    /// Time over which a deployment that is back gets its full share again.
    pub ramp: Duration,
    /// What happens when all deployments of a model are left out.
    pub all_cooling: AllCooling,
}

impl Default for CooldownPolicy {
    fn default() -> Self {
        Self {
            disabled: false,
            allowed_fails: None,
            allowed_fails_of: BTreeMap::new(),
            min_samples: 5,
            failure_rate: 0.5,
            window: Duration::from_secs(60),
            time: Duration::from_secs(5),
            time_max: Duration::from_secs(300),
            ramp: Duration::from_secs(10),
            all_cooling: AllCooling::LeastBad,
        }
    }
}

/// What happens when all deployments of a model are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllCooling {
    /// The one that is back first gets the request.
    #[default]
    LeastBad,
    /// The request waits for the first one that is back, at most this long, then 429.
    Wait(Duration),
    /// 429 with the time until the first one is back.
    Refuse,
}

/// How often a failed request is tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts after the first (`num_retries`).
    pub retries: u32,
    /// The same for one kind of failure (`retry_policy`).
    pub retries_of: BTreeMap<PolicyError, u32>,
    /// Model group to its own `retries_of` (`model_group_retry_policy`).
    pub retries_of_group: BTreeMap<String, BTreeMap<PolicyError, u32>>,
    /// Shortest pause before a deployment is tried again (`retry_after`).
    pub pause_min: Duration,
    /// Upstream sends of one client request over retries, fallbacks and hedges (`max_attempts`).
    pub attempts_max: u32,
    /// Extra sends as a share of all requests of this node (`retry_budget`), 0 to 1.
    pub budget: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 2,
            retries_of: BTreeMap::new(),
            retries_of_group: BTreeMap::new(),
            pause_min: Duration::ZERO,
            attempts_max: 6,
            budget: 0.1,
        }
    }
}

/// Where a failed request of a model goes. A key `*` means every model.
#[derive(Clone, Debug, Default)]
pub struct FallbackPolicy {
    /// After any failure.
    pub general: BTreeMap<String, Vec<String>>,
    /// When the prompt is too long.
    pub context_window: BTreeMap<String, Vec<String>>,
    /// When the content is refused.
    pub content_policy: BTreeMap<String, Vec<String>>,
    /// Most models tried after the first (`max_fallbacks`); 0 is LiteLLM's default of 5.
    pub depth_max: u32,
}

/// Which regions are near.
#[derive(Clone, Debug, Default)]
pub struct RegionPolicy {
    /// This node's region.
    pub own: Option<String>,
    /// Other regions, nearest first; one that is not listed comes last, by name.
    pub nearest: Vec<String>,
    /// Model group to the regions that may serve it (`allowed_regions` of a model).
    pub allowed_of_group: BTreeMap<String, BTreeSet<String>>,
    /// Team to the regions that may serve its keys.
    pub allowed_of_team: BTreeMap<String, Arc<BTreeSet<String>>>,
}

/// How tags select deployments (`enable_tag_filtering`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagMatch {
    /// A deployment needs one of the request's tags.
    #[default]
    Any,
    /// A deployment needs all of them (`tag_filtering_match_any: false`).
    All,
}

/// Keeps conversations on the deployment that has their prompt cache.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AffinityPolicy {
    /// Every request stands for itself.
    #[default]
    Off,
    /// Requests of one session header or, without one, of one prompt prefix go together unless
    /// their deployment has more than `load_max` times the mean of requests in flight.
    On {
        /// Bytes of the prompt that make the prefix.
        prefix_bytes: usize,
        /// At least 1; 1.25 is a good bound.
        load_max: f64,
    },
}

/// Second request when the first is slow to begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgePolicy {
    /// Wait for the first token before the second request is sent.
    pub after: Duration,
    /// Hedges as a share of all requests, 0 to 1.
    pub share_max: f64,
    /// Most that a hedge may be expected to cost.
    pub cost_max: NanoUsd,
}

/// Probes of deployments (`background_health_checks`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbePolicy {
    /// From one probe of a deployment to the next.
    pub every: Duration,
    /// Longest wait for one.
    pub timeout: Duration,
    /// What billed probes may cost in a day; `None` allows unbilled ones (a list of models) alone.
    pub billed_per_day: Option<NanoUsd>,
}
