//! Health and metrics.

use super::{Answer, Operation, object, rows, text, whole};

/// A deployment and how it is.
const ENDPOINT: &[super::Field] = &[
    text("model", "provider and model"),
    text("model_name", "name that clients ask for"),
    text("model_id", "id of the deployment"),
    text("custom_llm_provider", "the provider"),
    text("api_base", "base URL; for administrators"),
    text("error", "why it gets no requests"),
];

pub(super) const LIVENESS: Operation =
    Operation::get("Whether the process runs", &[], Answer::Free("text"));
pub(super) const READINESS: Operation = Operation::get(
    "Whether this node should get requests",
    &[],
    Answer::Open(&[
        text("status", "`healthy`, or why not"),
        text("db", "the store"),
    ]),
);
pub(super) const DETAILS: Operation = Operation::get(
    "Readiness with details",
    &[],
    Answer::Open(&[
        text("status", "`healthy`, or why not"),
        text("db", "the store"),
        object("coordination", "Redis: mode and state"),
        text("litellm_version", "the version whose API this is"),
        text("meridian_version", "this version"),
        whole("keys_loaded", "virtual keys in memory"),
    ]),
);
pub(super) const HEALTH: Operation = Operation::get(
    "The passive state of every deployment; asking costs nothing",
    &[
        text("model", "only this model's deployments"),
        text("model_id", "only this deployment"),
    ],
    Answer::Open(&[
        rows(
            "healthy_endpoints",
            ENDPOINT,
            "deployments that get requests",
        ),
        rows("unhealthy_endpoints", ENDPOINT, "those that do not"),
        whole("healthy_count", "how many"),
        whole("unhealthy_count", "how many"),
        text("probe", "`passive`"),
    ]),
);
pub(super) const BACKLOG: Operation = Operation::get(
    "Requests that are running",
    &[],
    Answer::Object(&[whole("in_flight_requests", "how many")]),
);
pub(super) const METRICS: Operation =
    Operation::get("Metrics for Prometheus", &[], Answer::Other("text/plain"));
