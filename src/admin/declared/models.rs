//! Models and prices.

use super::{
    Answer, Body, Field, Operation, any, flag, list, moment, number, object, rows, text, texts,
    whole, word,
};

/// A deployment as `/model/info` shows it.
const DEPLOYMENT: &[Field] = &[
    text("model_name", "name that clients ask for"),
    object(
        "litellm_params",
        "provider, target and limits, without secrets",
    ),
    object("model_info", "id, db_model, prices and abilities"),
];

pub(super) const LIST: Operation = Operation::get(
    "The models that the key may use",
    &[
        flag("return_wildcard_routes", "patterns too"),
        flag("include_model_access_groups", "access groups too"),
        flag("only_model_access_groups", "access groups alone"),
    ],
    Answer::Open(&[list("data", "the models")]),
);
pub(super) const ONE: Operation =
    Operation::get("One model", &[], Answer::Open(&[text("id", "its name")]));
pub(super) const INFO: Operation = Operation::get(
    "Every deployment, without secrets",
    &[text("litellm_model_id", "only this deployment")],
    Answer::Object(&[rows("data", DEPLOYMENT, "the deployments")]),
);
pub(super) const INFO_V2: Operation = Operation::get(
    "Deployments, by page",
    &[
        whole("page", "from 1"),
        whole("size", "deployments per page, 1 to 100"),
        whole("page_size", "the same"),
        text("model", "only this model name"),
        text("modelId", "only this deployment"),
        text("search", "part of the model name"),
    ],
    Answer::Object(&[
        rows("data", DEPLOYMENT, "the deployments"),
        whole("total_count", "deployments on all pages"),
        whole("current_page", "this page"),
        whole("total_pages", "how many pages"),
        whole("size", "deployments per page"),
    ]),
);
pub(super) const GROUP_INFO: Operation = Operation::get(
    "Every model name and what its deployments have in common",
    &[text("model_group", "only this model name")],
    Answer::Object(&[rows(
        "data",
        &[
            text("model_group", "the model name"),
            texts("providers", "who serves it"),
            number("input_cost_per_token", "the highest price"),
            number("output_cost_per_token", "the highest price"),
            text("mode", "`chat`, `embedding`, ..."),
        ],
        "the model names",
    )]),
);
pub(super) const RELOAD_PRICES: Operation = Operation::with(
    "Loads the price map anew",
    Body::None,
    Answer::Object(&[
        text("message", "what was done"),
        text("status", "`success`"),
        whole("models_count", "models with a price"),
    ]),
);

/// What a call says about a deployment.
const CHANGE: &[Field] = &[
    object(
        "litellm_params",
        "`model`, `api_key`, `api_base` and the rest as in model_list; texts are stored sealed",
    ),
    object(
        "model_info",
        "`id`, `mode`, prices and free fields as in model_list",
    ),
    flag("blocked", "it gets no request"),
];
/// A stored deployment.
const STORED: Answer = Answer::Object(&[
    text("model_id", "its id"),
    text("model_name", "name that clients ask for"),
    object("litellm_params", "its parameters, secrets masked"),
    object("model_info", "its description"),
    flag("blocked", "it gets no request"),
    moment("created_at", "when it was made"),
    text("created_by", "by whom"),
    moment("updated_at", "when it was last changed"),
    text("updated_by", "by whom"),
]);
const NAME: Field = text("model_name", "name that clients ask for");
const NAME_NEEDED: Field = NAME.required();

pub(super) const NEW: Operation = Operation::with(
    "Stores a deployment; it serves requests at once",
    Body::Joined(&[&[NAME_NEEDED], CHANGE]),
    STORED,
);
pub(super) const UPDATE: Operation = Operation::with(
    "Changes the stored deployment that model_info.id names",
    Body::Joined(&[&[NAME], CHANGE]),
    STORED,
);
pub(super) const PATCH: Operation = Operation::with(
    "Changes a stored deployment: what is not named stays, null removes",
    Body::Joined(&[&[NAME], CHANGE]),
    STORED,
);
pub(super) const DELETE: Operation = Operation::post(
    "Deletes a stored deployment; it gets no further request",
    &[text("id", "its id").required()],
    Answer::Object(&[text("message", "what was done")]),
);
pub(super) const TEST_CONNECTION: Operation = Operation::post(
    "Makes one real call with these parameters; nothing is stored",
    &[
        object("litellm_params", "as in /model/new").required(),
        object("model_info", "as in /model/new"),
        text("mode", "`chat`, `embedding`, ..."),
    ],
    Answer::Object(&[
        word("status", &["success", "error"], "how it went"),
        object("result", "what was called, or the provider's error"),
    ]),
);

const PROVIDER: &[Field] = &[
    text("name", "the provider"),
    rows(
        "fields",
        &[
            text("field_name", "a parameter of the model"),
            text("field_type", "its type"),
            text("field_description", "what it is"),
            any("field_value", "what it is when absent"),
        ],
        "what a model of it may need",
    ),
];
pub(super) const SETTINGS: Operation = Operation::get(
    "Providers that requests are sent to",
    &[],
    Answer::List(PROVIDER),
);
pub(super) const COST_MAP_SOURCE: Operation = Operation::get(
    "Where the prices in use are from",
    &[],
    Answer::Object(&[
        text("source", "`local` (the binary or a file) or `remote`"),
        text("url", "where the map is fetched from; null: nowhere"),
        flag("is_env_forced", "the environment forbids to fetch one"),
        text("fallback_reason", "why it is local although there is a URL"),
        whole("model_count", "models that have a price"),
    ]),
);
pub(super) const COST_MAP_SCHEDULE: Operation = Operation::with(
    "Refused: how often prices are fetched is a setting",
    Body::None,
    Answer::Free("Never given: the call is refused."),
);
