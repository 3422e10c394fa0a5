//! Credentials, settings, fallbacks, the audit log.

use super::{
    Answer, Body, Field, Operation, any, flag, list, moment, object, rows, text, texts, whole, word,
};

const DONE: Answer = Answer::Object(&[flag("success", "true"), text("message", "what was done")]);
const CREDENTIAL: &[Field] = &[
    text("credential_name", "its name"),
    object("credential_values", "its values, masked"),
    object("credential_info", "its description"),
];
const CHANGE: &[Field] = &[
    object(
        "credential_values",
        "`api_key`, `api_base` and the like; stored sealed",
    ),
    object("credential_info", "a description, not secret"),
];

pub(super) const CREDENTIAL_NEW: Operation = Operation::with(
    "Stores a credential that models name by litellm_credential_name",
    Body::Joined(&[
        &[text("credential_name", "its name, unique").required()],
        CHANGE,
        &[text(
            "model_id",
            "take the values of this stored model instead",
        )],
    ]),
    DONE,
);
pub(super) const CREDENTIAL_LIST: Operation = Operation::get(
    "Every stored credential, masked",
    &[],
    Answer::Object(&[
        flag("success", "true"),
        rows("credentials", CREDENTIAL, "the credentials"),
    ]),
);
pub(super) const CREDENTIAL_BY_NAME: Operation =
    Operation::get("One credential, masked", &[], Answer::Object(CREDENTIAL));
pub(super) const CREDENTIAL_BY_MODEL: Operation = Operation::get(
    "What a stored model would make a credential of, masked",
    &[],
    Answer::Object(CREDENTIAL),
);
pub(super) const CREDENTIAL_UPDATE: Operation = Operation::with(
    "Changes a credential: what is not named stays, null removes",
    Body::Joined(&[&[text("credential_name", "the name of the path")], CHANGE]),
    DONE,
);
pub(super) const CREDENTIAL_DELETE: Operation = Operation::with(
    "Deletes a credential that no stored model uses",
    Body::None,
    DONE,
);

/// A section as it is stored.
const STORED: Answer = Answer::Object(&[
    text("param_name", "the section"),
    object("param_value", "what is stored of it, secrets masked"),
]);
const FIELD_NAME: Field = text("field_name", "the key").required();
const SECTION: Field = text(
    "config_type",
    "`general_settings` (when absent), `litellm_settings` or `router_settings`",
);

pub(super) const CONFIG_UPDATE: Operation = Operation::post(
    "Sets keys over those of the configuration files; null takes one back",
    &[
        object("general_settings", "keys of this section"),
        object("litellm_settings", "keys of this section"),
        object("router_settings", "keys of this section"),
        object(
            "environment_variables",
            "variables for os.environ/NAME; stored sealed",
        ),
        any("model_list", "refused: use /model/new"),
    ],
    Answer::Object(&[text("message", "what was done")]),
);
pub(super) const CONFIG_LIST: Operation = Operation::get(
    "Every known key of a section, its value and where it is from",
    &[SECTION],
    Answer::List(&[
        text("field_name", "the key"),
        text("field_type", "Python's name of its type"),
        text("field_description", "what it does"),
        any("field_value", "its value, secrets masked"),
        flag(
            "stored_in_db",
            "true: stored, false: of the files, null: not set",
        ),
    ]),
);
pub(super) const CONFIG_FIELD_INFO: Operation = Operation::get(
    "The value of one key",
    &[FIELD_NAME, SECTION],
    Answer::Object(&[
        text("field_name", "the key"),
        any("field_value", "its value, secrets masked"),
    ]),
);
pub(super) const CONFIG_FIELD_UPDATE: Operation = Operation::post(
    "Sets one key",
    &[
        FIELD_NAME,
        any("field_value", "its value").required(),
        SECTION,
    ],
    STORED,
);
pub(super) const CONFIG_FIELD_DELETE: Operation = Operation::post(
    "Takes one key back to what the files say",
    &[FIELD_NAME, SECTION],
    STORED,
);
pub(super) const CONFIG_CALLBACKS: Operation = Operation::get(
    "Callbacks that run here, and the router's settings that are set",
    &[],
    Answer::Object(&[
        text("status", "`success`"),
        list("callbacks", "name, variables, type"),
        list("alerts", "none: no alert is sent"),
        object("router_settings", "the router's settings"),
        object("available_callbacks", "none"),
    ]),
);

const CAUSES: &[&str] = &["general", "context_window", "content_policy"];
const CAUSE: Field = text(
    "fallback_type",
    "`general` (when absent), `context_window` or `content_policy`",
);
const FALLBACK: [Field; 3] = [
    text("model", "the model"),
    texts("fallback_models", "what is asked when it fails, in order"),
    word("fallback_type", CAUSES, "when they are asked"),
];

pub(super) const FALLBACK_NEW: Operation = Operation::post(
    "Sets the fallbacks of a model",
    &[
        text("model", "the model").required(),
        texts("fallback_models", "what is asked when it fails, in order").required(),
        CAUSE,
    ],
    Answer::Open(&FALLBACK),
);
pub(super) const FALLBACK_INFO: Operation = Operation::get(
    "The fallbacks of a model",
    &[CAUSE],
    Answer::Object(&FALLBACK),
);
pub(super) const FALLBACK_DELETE: Operation = Operation {
    summary: "Removes the fallbacks of a model",
    query: &[CAUSE],
    body: Body::None,
    answer: Answer::Object(&[
        text("model", "the model"),
        word("fallback_type", CAUSES, "which ones"),
        text("message", "what was done"),
    ]),
};

const AUDIT_ENTRY: &[Field] = &[
    text("id", "the entry"),
    moment("updated_at", "when"),
    text("changed_by", "the user, or who `litellm-changed-by` named"),
    text(
        "changed_by_api_key",
        "digest of the key; empty for the master key",
    ),
    word(
        "action",
        &["created", "updated", "deleted"],
        "what was done",
    ),
    text("table_name", "LiteLLM's table of such objects"),
    text("object_id", "the object"),
    object("before_value", "its fields before, secrets masked"),
    object("updated_values", "its fields after, secrets masked"),
];
pub(super) const AUDIT: Operation = Operation::get(
    "Who changed what, latest first",
    &[
        text("changed_by", "only this one"),
        text("changed_by_api_key", "only this key's digest"),
        text("action", "`created`, `updated` or `deleted`"),
        text("table_name", "only this table"),
        text("object_id", "only this object"),
        moment("start_date", "from"),
        moment("end_date", "to; a date includes its day"),
        text("sort_by", "`updated_at`"),
        text("sort_order", "`desc` (when absent) or `asc`"),
        whole("page", "from 1"),
        whole("size", "entries per page, 1 to 100"),
        whole("page_size", "the same"),
    ],
    Answer::Object(&[
        rows("audit_logs", AUDIT_ENTRY, "the entries"),
        whole("total", "entries on all pages"),
        whole("page", "this page"),
        whole("page_size", "entries per page"),
        whole("total_pages", "how many pages"),
    ]),
);
pub(super) const AUDIT_ONE: Operation = Operation::get(
    "One entry of the audit log",
    &[],
    Answer::Object(AUDIT_ENTRY),
);

pub(super) const CALLBACK_DELETE: Operation = Operation::post(
    "Takes a callback out of success_callback",
    &[text("callback_name", "the callback").required()],
    Answer::Object(&[
        text("message", "what was done"),
        text("removed_callback", "the callback"),
        texts("remaining_callbacks", "those that are left"),
        moment("deleted_at", "when"),
    ]),
);
pub(super) const COSTS: Operation = Operation::get(
    "What is taken off or put on the providers' prices",
    &[],
    Answer::Object(&[object("values", "by provider")]),
);
const COSTS_SET: Answer = Answer::Object(&[
    text("message", "what was done"),
    text("status", "`success`"),
    object("values", "by provider"),
]);
pub(super) const DISCOUNT_SET: Operation = Operation::with(
    "Replaces all discounts; in force for requests that begin later",
    Body::Free("A share from 0 to 1 by provider or `provider/model`: `{\"openai\": 0.05}`."),
    COSTS_SET,
);
pub(super) const MARGIN_SET: Operation = Operation::with(
    "Replaces all margins; in force for requests that begin later",
    Body::Free(
        "By provider or `global` a share from 0 to 10, or `percentage` and `fixed_amount` in \
         dollars per request: `{\"global\": 0.05, \"openai\": {\"fixed_amount\": 0.001}}`.",
    ),
    COSTS_SET,
);
pub(super) const PASS_THROUGH: Operation = Operation::get(
    "Paths that are forwarded as they are: none in this version",
    &[
        text("endpoint_id", "only this one"),
        text("team_id", "only this team's"),
    ],
    Answer::Object(&[list("endpoints", "none")]),
);
pub(super) const PASS_THROUGH_NEW: Operation = Operation::post(
    "Refused: this version forwards no other paths",
    &[
        text("path", "the path").required(),
        text("target", "where it would lead").required(),
    ],
    Answer::Free("Never given: the call is refused."),
);
pub(super) const PASS_THROUGH_DELETE: Operation = Operation {
    summary: "Refused: there are none",
    query: &[text("endpoint_id", "the one to delete").required()],
    body: Body::None,
    answer: Answer::Free("Never given: the call is refused."),
};
pub(super) const YAML: Operation = Operation::get(
    "LiteLLM's page about the configuration file; it says nothing",
    &[],
    Answer::Object(&[text("hello", "`world`")]),
);
