//! Cached answers.

use super::{Answer, Body, Operation, any, flag, list, object, rows, text, texts, whole};

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

const SETTING: &[super::Field] = &[
    text("field_name", "the setting"),
    text("field_type", "Python's name of its type"),
    any("field_value", "what it is, secrets masked"),
    text("field_description", "what it does"),
    any("field_default", "null"),
    texts("options", "its words, where it has some"),
    text("ui_field_name", "its name for people"),
    text("link", "null"),
    text("redis_type", "null"),
];
pub(super) const SETTINGS: Operation = Operation::get(
    "Every setting of the cache, and what it is now",
    &[],
    Answer::Object(&[
        rows("fields", SETTING, "the settings"),
        object("current_values", "those that are set, secrets masked"),
        object("redis_type_descriptions", "ways to reach a Redis"),
    ]),
);
const WANTED: &[super::Field] = &[object(
    "cache_settings",
    "as `cache_params` of the file; secrets as references, `os.environ/NAME`",
)
.required()];
pub(super) const SETTINGS_SET: Operation = Operation::post(
    "Turns the cache on and says where answers are kept",
    WANTED,
    Answer::Object(&[
        text("message", "what was done, and whether a restart is needed"),
        text("status", "`success`"),
        object("settings", "what is set now, secrets masked"),
    ]),
);
pub(super) const SETTINGS_TEST: Operation = Operation::post(
    "Asks the Redis that these settings name; stores nothing",
    &[object("cache_settings", "as `cache_params` of the file").required()],
    Answer::Object(&[
        text("status", "`success` or `failed`"),
        text("message", "what came of it"),
        text("error", "what went wrong"),
    ]),
);
