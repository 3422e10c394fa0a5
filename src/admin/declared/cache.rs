//! Cached answers.

use super::{Answer, Body, Operation, any, flag, list, object, text, texts, whole};

/// What a deletion answers.
const DELETED: &[super::Field] = &[
    text("status", "`success`"),
    whole("deleted", "answers that were there"),
];

pub(super) const PING: Operation = Operation::get(
    "Whether cached answers can be kept: writes and reads",
    &[],
    Answer::Object(&[
        text("status", "`healthy`"),
        text("cache_type", "`local` or `redis`"),
        flag("ping_response", "`true`"),
        text("set_cache_response", "`success`"),
        text("litellm_cache_params", "the settings, as JSON in a text"),
        any(
            "health_check_cache_params",
            "where Redis is, and the namespace",
        ),
    ]),
);
pub(super) const DELETE: Operation = Operation::post(
    "Deletes cached answers",
    &[texts("keys", "as in the header `x-litellm-cache-key`").required()],
    Answer::Object(DELETED),
);
pub(super) const FLUSH_ALL: Operation = Operation::with(
    "Deletes every cached answer, and nothing else that is in Redis",
    Body::None,
    Answer::Object(DELETED),
);
pub(super) const REDIS_INFO: Operation = Operation::get(
    "What Redis says of itself",
    &[],
    Answer::Object(&[
        whole("num_clients", "its clients"),
        list("clients", "one object for each line of `CLIENT LIST`"),
        object("info", "`INFO` by field"),
    ]),
);
