//! Latency families, each with one series per label set of a request.

use super::Label::{
    ApiBase, ApiKeyAlias, ApiProvider, EndUser, HashedApiKey, LitellmModelName, Model, ModelGroup,
    ModelId, OrgAlias, OrgId, RequestedModel, Team, TeamAlias, User,
};
use super::{Label, Latency, LatencyFamily};

const API_LATENCY_LABELS: &[Label] = &[
    Model,
    HashedApiKey,
    ApiKeyAlias,
    Team,
    TeamAlias,
    RequestedModel,
    EndUser,
    User,
    ModelId,
    OrgId,
    OrgAlias,
];

/// Per-request latencies in the order in which they are shown.
pub(in super::super) const LATENCIES: &[LatencyFamily] = &[
    LatencyFamily {
        name: "litellm_request_total_latency_metric",
        help: "Seconds from the request's arrival to the end of the answer",
        labels: &[
            EndUser,
            HashedApiKey,
            ApiKeyAlias,
            RequestedModel,
            Team,
            TeamAlias,
            User,
            Model,
            ModelId,
            OrgId,
            OrgAlias,
        ],
        latency: Latency::Total,
    },
    LatencyFamily {
        name: "litellm_llm_api_latency_metric",
        help: "Seconds spent waiting for the provider",
        labels: API_LATENCY_LABELS,
        latency: Latency::Upstream,
    },
    LatencyFamily {
        name: "litellm_llm_api_time_to_first_token_metric",
        help: "Seconds to the first token of a stream",
        labels: API_LATENCY_LABELS,
        latency: Latency::Ttft,
    },
    LatencyFamily {
        name: "litellm_overhead_latency_metric",
        help: "Milliseconds added by the gateway",
        labels: &[
            ModelGroup,
            ApiProvider,
            ApiBase,
            LitellmModelName,
            HashedApiKey,
            ApiKeyAlias,
            ModelId,
        ],
        latency: Latency::Overhead,
    },
    LatencyFamily {
        name: "litellm_deployment_latency_per_output_token",
        help: "Seconds of provider time per output token",
        labels: &[
            LitellmModelName,
            ModelId,
            ApiBase,
            ApiProvider,
            HashedApiKey,
            ApiKeyAlias,
            Team,
            TeamAlias,
            OrgId,
            OrgAlias,
        ],
        latency: Latency::PerToken,
    },
];
