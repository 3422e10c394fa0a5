//! Every metric family: name, type, labels, text. `docs/METRICS.md` is compared with this list.

use super::histogram::Bounds;

mod latencies;

pub(super) use latencies::LATENCIES;

/// A label of the per-request families. The first `STORED` of them are kept as text by a series;
/// the rest are other names for one of those, or are never filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    EndUser,
    ApiKeyAlias,
    RequestedModel,
    Team,
    TeamAlias,
    User,
    UserEmail,
    ExceptionClass,
    Route,
    ModelId,
    OrgId,
    OrgAlias,
    Model,
    ApiProvider,
    ApiBase,
    HashedApiKey,
    StatusCode,
    ExceptionStatus,
    LitellmModelName,
    ModelGroup,
    ClientIp,
    UserAgent,
    Deployment,
}

impl Label {
    /// Labels whose text a request brings along.
    pub(super) const PROBED: usize = Self::HashedApiKey as usize;
    /// Labels whose text a series keeps.
    pub(super) const STORED: usize = Self::StatusCode as usize + 1;

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EndUser => "end_user",
            Self::ApiKeyAlias => "api_key_alias",
            Self::RequestedModel => "requested_model",
            Self::Team => "team",
            Self::TeamAlias => "team_alias",
            Self::User => "user",
            Self::UserEmail => "user_email",
            Self::ExceptionClass => "exception_class",
            Self::Route => "route",
            Self::ModelId => "model_id",
            Self::OrgId => "org_id",
            Self::OrgAlias => "org_alias",
            Self::Model => "model",
            Self::ApiProvider => "api_provider",
            Self::ApiBase => "api_base",
            Self::HashedApiKey => "hashed_api_key",
            Self::StatusCode => "status_code",
            Self::ExceptionStatus => "exception_status",
            Self::LitellmModelName => "litellm_model_name",
            Self::ModelGroup => "model_group",
            Self::ClientIp => "client_ip",
            Self::UserAgent => "user_agent",
            Self::Deployment => "deployment",
        }
    }

    /// The stored label that holds its text; `None` for those that are never filled.
    pub(super) fn stored(self) -> Option<Self> {
        match self {
            Self::ExceptionStatus => Some(Self::StatusCode),
            Self::LitellmModelName => Some(Self::Model),
            Self::ModelGroup => Some(Self::RequestedModel),
            Self::Deployment => Some(Self::ModelId),
            Self::ClientIp | Self::UserAgent => None,
            stored => Some(stored),
        }
    }
}

/// Prometheus type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// As `# TYPE` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Description of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Name on the wire, with `_total` for counters.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Label names in LiteLLM's order.
    pub labels: Vec<&'static str>,
}

/// What a per-request counter shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Ended,
    Failed,
    Served,
    Spend,
    TokensTotal,
    TokensIn,
    TokensOut,
    CacheRead,
    CacheWrite,
    AudioIn,
    Reasoning,
    AudioOut,
    DeploymentSuccess,
    DeploymentFailure,
    DeploymentTotal,
    PriceUnknown,
    CacheHits,
    CacheMisses,
    CachedTokens,
}

/// A counter with one series per label set of a request.
pub(super) struct CounterFamily {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [Label],
    pub(super) shown: Shown,
}

impl CounterFamily {
    /// Whether its series name a key.
    pub(super) fn names_keys(&self) -> bool {
        self.labels.contains(&HashedApiKey)
    }
}

/// A latency histogram with one series per label set of a request.
pub(super) struct LatencyFamily {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [Label],
    pub(super) latency: Latency,
}

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latency {
    Total,
    Upstream,
    Ttft,
    Overhead,
    PerToken,
}

impl Latency {
    pub(super) const COUNT: usize = Self::PerToken as usize + 1;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Total,
        Self::Upstream,
        Self::Ttft,
        Self::Overhead,
        Self::PerToken,
    ];

    /// Its buckets, `configured` where LiteLLM lets them be configured.
    pub(super) fn bounds(self, configured: &[f64]) -> Bounds {
        match self {
            Self::PerToken => Bounds::of(&PER_TOKEN_BUCKETS),
            _ => Bounds::of(configured),
        }
    }
}

/// A family that is not per request: its labels are closed sets or configured objects.
pub(super) struct PlainFamily {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
}

/// LiteLLM's latency buckets, seconds.
pub const LATENCY_BUCKETS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 420.0,
    600.0,
];

/// LiteLLM's buckets of the latency per output token, seconds.
const PER_TOKEN_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Buckets of the gateway's own time, seconds: 50 us is about what an idle gateway adds.
pub(super) const OVERHEAD_BUCKETS: [f64; 16] = [
    0.00005, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.002, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 1.0,
];

/// Buckets of the time to first token, seconds.
pub(super) const TTFT_BUCKETS: [f64; 14] = [
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
];

use Label::{
    ApiBase, ApiKeyAlias, ApiProvider, ClientIp, Deployment, EndUser, ExceptionClass,
    ExceptionStatus, HashedApiKey, LitellmModelName, Model, ModelId, OrgAlias, OrgId,
    RequestedModel, Route, StatusCode, Team, TeamAlias, User, UserAgent, UserEmail,
};

const TOKEN_LABELS: &[Label] = &[
    EndUser,
    HashedApiKey,
    ApiKeyAlias,
    Model,
    Team,
    TeamAlias,
    User,
    UserEmail,
    RequestedModel,
    ModelId,
    OrgId,
    OrgAlias,
];
const TOKEN_DETAIL_LABELS: &[Label] = TOKEN_LABELS.split_at(10).0;
const SPEND_LABELS: &[Label] = &[
    EndUser,
    HashedApiKey,
    ApiKeyAlias,
    Model,
    Team,
    TeamAlias,
    User,
    UserEmail,
    ClientIp,
    UserAgent,
    ModelId,
    ApiProvider,
    OrgId,
    OrgAlias,
];
const DEPLOYMENT_LABELS: &[Label] = &[
    RequestedModel,
    LitellmModelName,
    ModelId,
    ApiBase,
    ApiProvider,
    HashedApiKey,
    ApiKeyAlias,
    Team,
    TeamAlias,
    ClientIp,
    UserAgent,
];
const CACHE_LABELS: &[Label] = &[
    Model,
    HashedApiKey,
    ApiKeyAlias,
    Team,
    TeamAlias,
    EndUser,
    User,
    ModelId,
];

/// Labels of `meridian_upstream_attempts_total` beside `outcome`.
pub(super) const ATTEMPT_LABELS: &[Label] = &[Deployment];

/// Labels of the per-request counters that do not name keys, attempts among them.
pub(super) const KEYLESS_LABELS: [Label; 2] = [Model, ModelId];

/// Per-request counters in the order in which they are shown.
pub(super) const COUNTERS: &[CounterFamily] = &[
    CounterFamily {
        name: "litellm_proxy_total_requests_metric_total",
        help: "Requests that ended, whatever their status",
        labels: &[
            EndUser,
            HashedApiKey,
            ApiKeyAlias,
            RequestedModel,
            Team,
            TeamAlias,
            User,
            StatusCode,
            UserEmail,
            Route,
            ClientIp,
            UserAgent,
            ModelId,
            OrgId,
            OrgAlias,
        ],
        shown: Shown::Ended,
    },
    CounterFamily {
        name: "litellm_proxy_failed_requests_metric_total",
        help: "Requests whose client did not get a successful answer",
        labels: &[
            EndUser,
            HashedApiKey,
            ApiKeyAlias,
            RequestedModel,
            Team,
            TeamAlias,
            User,
            UserEmail,
            ExceptionStatus,
            ExceptionClass,
            Route,
            ClientIp,
            UserAgent,
            ModelId,
            OrgId,
            OrgAlias,
        ],
        shown: Shown::Failed,
    },
    CounterFamily {
        name: "litellm_requests_metric_total",
        help: "Requests that were answered with success",
        labels: SPEND_LABELS,
        shown: Shown::Served,
    },
    CounterFamily {
        name: "litellm_spend_metric_total",
        help: "Cost of settled requests in US dollars",
        labels: SPEND_LABELS,
        shown: Shown::Spend,
    },
    CounterFamily {
        name: "litellm_total_tokens_metric_total",
        help: "Input and output tokens of settled requests",
        labels: TOKEN_LABELS,
        shown: Shown::TokensTotal,
    },
    CounterFamily {
        name: "litellm_input_tokens_metric_total",
        help: "Input tokens of settled requests",
        labels: TOKEN_LABELS,
        shown: Shown::TokensIn,
    },
    CounterFamily {
        name: "litellm_output_tokens_metric_total",
        help: "Output tokens of settled requests",
        labels: TOKEN_LABELS,
        shown: Shown::TokensOut,
    },
    CounterFamily {
        name: "litellm_input_cached_tokens_metric_total",
        help: "Input tokens that the provider read from its prompt cache",
        labels: TOKEN_DETAIL_LABELS,
        shown: Shown::CacheRead,
    },
    CounterFamily {
        name: "litellm_input_cache_creation_tokens_metric_total",
        help: "Input tokens that the provider wrote to its prompt cache",
        labels: TOKEN_DETAIL_LABELS,
        shown: Shown::CacheWrite,
    },
    CounterFamily {
        name: "litellm_input_audio_tokens_metric_total",
        help: "Audio tokens of the input",
        labels: TOKEN_DETAIL_LABELS,
        shown: Shown::AudioIn,
    },
    CounterFamily {
        name: "litellm_output_reasoning_tokens_metric_total",
        help: "Output tokens spent on reasoning",
        labels: TOKEN_DETAIL_LABELS,
        shown: Shown::Reasoning,
    },
    CounterFamily {
        name: "litellm_output_audio_tokens_metric_total",
        help: "Audio tokens of the output",
        labels: TOKEN_DETAIL_LABELS,
        shown: Shown::AudioOut,
    },
    CounterFamily {
        name: "litellm_deployment_success_responses_total",
        help: "Attempts that a deployment answered whole and with success",
        labels: DEPLOYMENT_LABELS,
        shown: Shown::DeploymentSuccess,
    },
    CounterFamily {
        name: "litellm_deployment_failure_responses_total",
        help: "Attempts that a deployment failed",
        labels: &[
            RequestedModel,
            LitellmModelName,
            ModelId,
            ApiBase,
            ApiProvider,
            ExceptionStatus,
            ExceptionClass,
            HashedApiKey,
            ApiKeyAlias,
            Team,
            TeamAlias,
            ClientIp,
            UserAgent,
        ],
        shown: Shown::DeploymentFailure,
    },
    CounterFamily {
        name: "litellm_deployment_total_requests_total",
        help: "Attempts that a deployment answered or failed",
        labels: DEPLOYMENT_LABELS,
        shown: Shown::DeploymentTotal,
    },
    CounterFamily {
        name: "litellm_cache_hits_metric_total",
        help: "Requests that were answered from the response cache",
        labels: CACHE_LABELS,
        shown: Shown::CacheHits,
    },
    CounterFamily {
        name: "litellm_cache_misses_metric_total",
        help: "Requests whose answer was not in the response cache",
        labels: CACHE_LABELS,
        shown: Shown::CacheMisses,
    },
    CounterFamily {
        name: "litellm_cached_tokens_metric_total",
        help: "Tokens of answers from the response cache",
        labels: CACHE_LABELS,
        shown: Shown::CachedTokens,
    },
    CounterFamily {
        name: "meridian_price_unknown_total",
        help: "Settled requests whose model has no price",
        labels: &[Model],
        shown: Shown::PriceUnknown,
    },
];
