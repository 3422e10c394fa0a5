//! Virtual keys.

use super::{
    Answer, Body, Field, Operation, any, flag, list, number, object, rows, text, text_map, texts,
    whole, word,
};

/// What `KeyPatch` reads.
const KEY: &[Field] = &[
    text("key_alias", "name for people, unique"),
    text(
        "duration",
        "lifetime: `30d`, `12h`, ...; absent is for ever",
    ),
    texts(
        "models",
        "models and access groups that it may use; empty is all",
    ),
    text_map("aliases", "other names for models"),
    number("spend", "dollars spent in the running period"),
    number("max_budget", "dollars per period"),
    number("soft_budget", "dollars from which it is reported"),
    text("budget_duration", "the period: `30d`, `1mo`, ..."),
    object("model_max_budget", "dollars per model"),
    text("user_id", "user that it belongs to"),
    text("team_id", "team that it belongs to"),
    text("organization_id", "organization that it belongs to"),
    whole("max_parallel_requests", "requests at the same time"),
    whole("tpm_limit", "tokens per minute"),
    whole("rpm_limit", "requests per minute"),
    object("metadata", "free fields"),
    flag("blocked", "requests are refused"),
    texts("allowed_routes", "routes that it may call; empty is all"),
    texts("allowed_regions", "regions that may serve it"),
    word(
        "key_type",
        &["llm_api", "management", "read_only", "default"],
        "sets allowed_routes",
    ),
    any("model_rpm_limit", "requests per minute and model"),
    any(
        "on_exhausted",
        "streams whose budget is used up: cut, finish or refuse_only",
    ),
    any(
        "degraded_policy",
        "without those who decide about budgets: lease_only, fail_closed or fail_open",
    ),
    any(
        "overdraft_percent",
        "of a budget, what each node may spend beyond its rights under fail_open",
    ),
    any("model_tpm_limit", "tokens per minute and model"),
    word("rpm_limit_type", LIMIT_TYPES, "stored"),
    word("tpm_limit_type", LIMIT_TYPES, "stored"),
    any("enforced_params", "stored"),
    any("temp_budget_increase", "stored"),
    any("temp_budget_expiry", "stored"),
    any("allowed_vector_store_indexes", "stored"),
    any("enforced_batch_output_expires_after", "stored"),
    any("enforced_file_expires_after", "stored"),
    any("guardrails", "stored"),
    any("policies", "stored"),
    any("tags", "tags of its requests"),
    any("team_member_key_duration", "stored"),
    any("prompts", "stored"),
    any("logging", "stored"),
    any("secret_manager_settings", "stored"),
    any("allowed_passthrough_routes", "stored"),
    any("agent_id", "stored"),
    any("project_id", "stored"),
    any("config", "stored"),
    any("permissions", "stored"),
    any("allowed_cache_controls", "stored"),
    any("object_permission", "stored"),
    any("budget_id", "budget whose bounds it takes"),
    any("router_settings", "stored"),
    any("access_group_ids", "stored"),
    any(
        "budget_limits",
        "further budgets: [{budget_duration, max_budget, reset_at}]",
    ),
    any("auto_rotate", "stored"),
    any("rotation_interval", "stored"),
];
const LIMIT_TYPES: &[&str] = &["guaranteed_throughput", "best_effort_throughput", "dynamic"];

/// A key as lists show it.
const ROW: &[Field] = &[
    text("key_name", "its last letters"),
    text("key_alias", "name for people"),
    number("spend", "dollars spent in the running period"),
    number("max_budget", "dollars per period"),
    texts("models", "models that it may use"),
];
/// A key that was just made, with its clear text.
const MADE: &[Field] = &[
    text("key", "the clear key, shown this once"),
    text("token", "its digest"),
    text("token_id", "the same"),
    text("key_name", "its last letters"),
    text("expires", "when it ends"),
];
const ONE_KEY: &[Field] = &[text("key", "the key or its digest").required()];

pub(super) const GENERATE: Operation = Operation::with(
    "Makes a key",
    Body::Joined(&[
        KEY,
        &[text("key", "the clear key, `sk-...`; made when absent")],
    ]),
    Answer::Open(MADE),
);
pub(super) const SERVICE_ACCOUNT: Operation = Operation::with(
    "Makes a key of a team that belongs to no user",
    Body::Joined(&[
        KEY,
        &[text("key", "the clear key, `sk-...`; made when absent")],
    ]),
    Answer::Open(MADE),
);
pub(super) const UPDATE: Operation = Operation::with(
    "Changes a key: what is not named stays",
    Body::Joined(&[ONE_KEY, KEY]),
    Answer::Open(ROW),
);
pub(super) const BULK_UPDATE: Operation = Operation::post(
    "Changes many keys, each by itself",
    &[list("keys", "objects as `/key/update` takes them").required()],
    Answer::Open(&[]),
);
pub(super) const DELETE: Operation = Operation::post(
    "Deletes keys",
    &[
        texts("keys", "keys or their digests"),
        texts("key_aliases", "or their aliases"),
    ],
    Answer::Object(&[texts("deleted_keys", "what was deleted")]),
);
pub(super) const BLOCK: Operation =
    Operation::post("Blocks a key", ONE_KEY, Answer::Free("the key, or null"));
pub(super) const UNBLOCK: Operation =
    Operation::post("Unblocks a key", ONE_KEY, Answer::Free("the key, or null"));
pub(super) const REGENERATE: Operation = Operation::with(
    "Gives a key a new clear text; spend and limits go on",
    Body::Joined(&[
        KEY,
        &[
            text(
                "key",
                "the key or its digest, where the path does not name it",
            ),
            text("new_key", "the new clear key; made when absent"),
            text("grace_period", "how long the old one works on: `24h`, ..."),
            any(
                "new_master_key",
                "refused: the master key is in the configuration",
            ),
        ],
    ]),
    Answer::Open(MADE),
);
pub(super) const RESET_SPEND: Operation = Operation::post(
    "Sets what a key has spent",
    &[any("reset_to", "dollars, at most what it has spent").required()],
    Answer::Open(&[]),
);
pub(super) const INFO: Operation = Operation::get(
    "One key; the caller's own when none is named",
    &[text("key", "the key or its digest")],
    Answer::Object(&[any("key", "what was asked for"), object("info", "the key")]),
);
pub(super) const INFO_V2: Operation = Operation::post(
    "Several keys",
    &[texts("keys", "keys or their digests").required()],
    Answer::Object(&[
        texts("key", "what was asked for"),
        rows("info", ROW, "the keys"),
    ]),
);
const LIST_QUERY: &[Field] = &[
    whole("page", "from 1"),
    whole("size", "keys per page, 1 to 100"),
    whole("page_size", "the same"),
    text("status", "`deleted`: those that were deleted"),
    flag("return_full_object", "objects instead of digests"),
    text("expand", "`user`: the same"),
    text("sort_by", "column to order by"),
    text("sort_order", "`asc` or `desc`"),
    text("user_id", "only this user's"),
    text("team_id", "only this team's"),
    text("organization_id", "only this organization's"),
    text("key_hash", "only this digest"),
    text("key_alias", "only this alias"),
];
pub(super) const LIST: Operation = Operation::get(
    "Keys, by page",
    LIST_QUERY,
    Answer::Object(&[
        list("keys", "digests or keys"),
        whole("total_count", "keys on all pages"),
        whole("current_page", "this page"),
        whole("total_pages", "how many pages"),
    ]),
);
pub(super) const ALIASES: Operation = Operation::get(
    "Aliases of keys, by page",
    &[
        whole("page", "from 1"),
        whole("size", "aliases per page, 1 to 100"),
        whole("page_size", "the same"),
        text("search", "part of the alias"),
    ],
    Answer::Object(&[
        texts("aliases", "the aliases"),
        whole("total_count", "aliases on all pages"),
        whole("current_page", "this page"),
        whole("total_pages", "how many pages"),
        whole("size", "aliases per page"),
    ]),
);
pub(super) const HEALTH: Operation = Operation::with(
    "Checks the logging settings of the caller's key; nothing is sent",
    Body::None,
    Answer::Object(&[
        text("key", "`healthy` or `unhealthy`"),
        object("logging_callbacks", "what was found, or null"),
    ]),
);
