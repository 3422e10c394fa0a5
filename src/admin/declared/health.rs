//! Health and metrics.

use super::{Answer, Operation, flag, list, object, rows, text, texts, whole};

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
        text("cache", "where answers are cached: `local` or `redis`"),
        object("coordination", "Redis: mode and state"),
        text("litellm_version", "the version whose API this is"),
        text("meridian_version", "this version"),
        whole("keys_loaded", "virtual keys in memory"),
        texts(
            "records_left_out",
            "stored records that are not in force, and why",
        ),
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
        texts(
            "records_left_out",
            "stored records that are not in force; for administrators",
        ),
    ]),
);
pub(super) const BACKLOG: Operation = Operation::get(
    "Requests that are running",
    &[],
    Answer::Object(&[whole("in_flight_requests", "how many")]),
);
pub(super) const METRICS: Operation =
    Operation::get("Metrics for Prometheus", &[], Answer::Other("text/plain"));
pub(super) const SERVICES: Operation = Operation::get(
    "Sends a test event in LiteLLM; there is no service to send one to here",
    &[text("service", "the service").required()],
    Answer::Free("always 422"),
);
pub(super) const HISTORY: Operation = Operation::get(
    "When deployments began and ceased to get requests, as this node saw it",
    &[
        text("model", "name or deployment's id"),
        text("status_filter", "`healthy` or `unhealthy`"),
        whole("limit", "at most"),
        whole("offset", "rows to skip"),
    ],
    Answer::Object(&[
        list(
            "health_checks",
            "when a deployment began or ceased to get requests, latest first",
        ),
        whole("total_records", "how many there are"),
        whole("limit", "as asked"),
        whole("offset", "as asked"),
        text("message", "where figures over time are"),
    ]),
);
pub(super) const LATEST: Operation = Operation::get(
    "The newest finding about every deployment",
    &[],
    Answer::Object(&[
        object("latest_health_checks", "findings by deployment"),
        whole("total_models", "deployments"),
    ]),
);
pub(super) const LICENSE: Operation = Operation::get(
    "Whether there is a licence; none is needed",
    &[],
    Answer::Open(&[
        flag("has_license", "false"),
        text("license_type", "`community`"),
        object("limits", "none"),
    ]),
);
pub(super) const SHARED_STATUS: Operation = Operation::get(
    "Whether health checks are shared between nodes",
    &[],
    Answer::Object(&[
        flag("shared_health_check_enabled", "false"),
        text("message", "what is shared"),
        object("coordination", "Redis: mode and state"),
    ]),
);
