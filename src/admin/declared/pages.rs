//! Pages about the gateway, tools, routing.

use super::{Answer, Body, Operation, list, object, rows, text, texts};

pub(super) const HOME: Operation =
    Operation::get("Says that the gateway runs", &[], Answer::Free("text"));
pub(super) const ROUTES: Operation = Operation::get(
    "Every route, its methods and who may call it",
    &[],
    Answer::Object(&[rows(
        "routes",
        &[
            text("path", "the path"),
            texts("methods", "its methods"),
            text("name", "the path that stands for its aliases"),
            text("access", "who may call it"),
        ],
        "the routes",
    )]),
);
pub(super) const ROBOTS: Operation = Operation::get(
    "Forbids robots, with general_settings.block_robots",
    &[],
    Answer::Other("text/plain"),
);
pub(super) const DOCS: Operation = Operation::get(
    "A page that shows this document and tries calls",
    &[],
    Answer::Other("text/html"),
);
pub(super) const OPENAPI: Operation = Operation::get(
    "This document",
    &[],
    Answer::Free("an OpenAPI 3.1 document"),
);
pub(super) const TEST: Operation = Operation::get(
    "Says that the gateway runs",
    &[],
    Answer::Object(&[text("route", "/test")]),
);
pub(super) const TRANSFORM: Operation = Operation::with(
    "Not offered by this version",
    Body::None,
    Answer::Free("always 501"),
);
pub(super) const SUPPORTED_PARAMS: Operation = Operation::get(
    "Not offered by this version",
    &[],
    Answer::Free("always 501"),
);
pub(super) const EVENTS: Operation = Operation::with(
    "Takes clients' telemetry and drops it",
    Body::Free("anything"),
    Answer::Object(&[text("status", "`ok`")]),
);
pub(super) const ROUTER_STATE: Operation = Operation::get(
    "What is known of every deployment, and the retry budget",
    &[text("model", "only this model's deployments")],
    Answer::Open(&[
        list("deployments", "every deployment"),
        object("policy", "the routing policy"),
    ]),
);
pub(super) const ROUTER_EXPLAIN: Operation = Operation::with(
    "Where a request would go and why; nothing is sent",
    Body::Free(
        "a request's body as it is, or {\"request\": {...}, \"key\", \"route\", \"tags\", \
         \"session\"}",
    ),
    Answer::Free("the decision, step by step"),
);
