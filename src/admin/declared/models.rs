//! Models and prices.

use super::{Answer, Body, Field, Operation, flag, list, number, object, rows, text, texts, whole};

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
