//! Spend and usage.

use super::{
    Answer, Body, Field, Operation, any, flag, list, moment, number, object, rows, text, whole,
};

/// A row of the spend log.
pub(super) const LOG: &[Field] = &[
    text(
        "request_id",
        "the provider's id of the answer, else the call's",
    ),
    text("litellm_call_id", "the call"),
    text("api_key", "digest of the key"),
    number("spend", "dollars"),
    whole("total_tokens", "tokens"),
    text("model", "the provider's model"),
    text("model_group", "the model that was asked for"),
    text("status", "`success` or `failure`"),
    object("metadata", "key, team, usage, how it ended"),
];
const START: Field = moment("start_date", "first day or moment");
const END: Field = moment("end_date", "last day (included) or moment");
const START_NEEDED: Field = START.required();
const END_NEEDED: Field = END.required();
const DATED: &[Field] = &[START_NEEDED, END_NEEDED];
const LIMIT: Field = whole("limit", "rows, 1 to 1000; 100 when absent");
const LIMITED: &[Field] = &[LIMIT];

pub(super) const LOGS: Operation = Operation::get(
    "Requests, or sums per day when dates are given",
    &[
        text("api_key", "only this key"),
        text("user_id", "only this user"),
        text("request_id", "only this request"),
        START,
        END,
        flag("summarize", "sums per day; true when absent"),
    ],
    Answer::Free("rows of the spend log, or one object per day with users and models"),
);
/// Filters of the paged spend log.
pub(super) const LOG_QUERY: &[Field] = &[
    text("api_key", "only this key"),
    text("key_alias", "only keys with this alias"),
    text("user_id", "only this user"),
    text("team_id", "only this team"),
    text("end_user", "only this customer"),
    text("request_id", "only this request"),
    text("session_id", "only this session"),
    text("model", "only this model"),
    text("model_id", "only this deployment"),
    text("status_filter", "`success` or `failure`"),
    whole("error_code", "only this HTTP status"),
    number("min_spend", "dollars at least"),
    number("max_spend", "dollars at most"),
    START,
    END,
    whole("page", "from 1"),
    whole("size", "rows per page, 1 to 100"),
    whole("page_size", "the same"),
    text(
        "sort_by",
        "`startTime`, `endTime`, `spend` or `total_tokens`",
    ),
    text("sort_order", "`asc` or `desc`"),
];
/// A page of the spend log.
pub(super) const LOG_PAGE: &[Field] = &[
    rows("data", LOG, "the rows"),
    whole("total", "rows on all pages"),
    whole("page", "this page"),
    whole("page_size", "rows per page"),
    whole("total_pages", "how many pages"),
];
pub(super) const LOGS_V2: Operation =
    Operation::get("Requests, by page", LOG_QUERY, Answer::Object(LOG_PAGE));
pub(super) const CALCULATE: Operation = Operation::post(
    "What a request would cost, or did",
    &[
        text("model", "the model"),
        any("prompt", "text or a list of texts"),
        any("messages", "chat messages"),
        any("contents", "contents in Google's form"),
        any("completion_response", "an answer with its usage"),
    ],
    Answer::Object(&[number("cost", "dollars")]),
);
pub(super) const KEYS: Operation = Operation::get(
    "Keys that spent most in their running period",
    LIMITED,
    Answer::List(&[
        text("key_alias", "name for people"),
        number("spend", "dollars"),
    ]),
);
pub(super) const USERS: Operation = Operation::get(
    "Users by spend",
    &[text("user_id", "only this user"), LIMIT],
    Answer::List(&[text("user_id", "the user"), number("spend", "dollars")]),
);
pub(super) const TAGS: Operation = Operation::get(
    "Tags by spend",
    &[START, END, LIMIT],
    Answer::List(&[
        text("individual_request_tag", "the tag"),
        whole("log_count", "requests"),
        number("total_spend", "dollars"),
    ]),
);
pub(super) const GLOBAL: Operation = Operation::get(
    "Spend of everything",
    &[],
    Answer::Object(&[
        number("spend", "dollars"),
        number("max_budget", "the installation's budget; 0 is none"),
    ]),
);
pub(super) const GLOBAL_LOGS: Operation = Operation::get(
    "Spend per day of the last thirty days",
    &[text("api_key", "only this key")],
    Answer::List(&[text("date", "the day"), number("spend", "dollars")]),
);
pub(super) const GLOBAL_KEYS: Operation = Operation::get(
    "Keys by spend of the last thirty days",
    LIMITED,
    Answer::List(&[
        text("api_key", "digest of the key"),
        text("key_alias", "name for people"),
        number("total_spend", "dollars"),
    ]),
);
pub(super) const GLOBAL_MODELS: Operation = Operation::get(
    "Models by spend of the last thirty days",
    LIMITED,
    Answer::List(&[
        text("model", "the provider's model"),
        number("total_spend", "dollars"),
    ]),
);
pub(super) const GLOBAL_TEAMS: Operation = Operation::get(
    "Teams by spend, per day and in sum, of the last thirty days",
    &[],
    Answer::Object(&[
        list("daily_spend", "a day and dollars per team"),
        list("teams", "the teams"),
        list("total_spend_per_team", "dollars per team"),
    ]),
);
pub(super) const GLOBAL_TAGS: Operation = Operation::get(
    "Tags by spend",
    &[
        START,
        END,
        LIMIT,
        text("tags", "only these, with commas between them"),
    ],
    Answer::Object(&[list("spend_per_tag", "name, spend and log_count")]),
);
pub(super) const GLOBAL_PROVIDER: Operation = Operation::get(
    "Providers by spend",
    &[START, END, LIMIT],
    Answer::List(&[text("provider", "the provider"), number("spend", "dollars")]),
);
pub(super) const GLOBAL_END_USERS: Operation = Operation::post(
    "Customers by spend",
    &[
        text("api_key", "only this key"),
        moment("startTime", "from"),
        moment("endTime", "to"),
    ],
    Answer::List(&[
        text("end_user", "the customer"),
        number("total_spend", "dollars"),
    ]),
);
pub(super) const REPORT: Operation = Operation::get(
    "What finance asks for: spend per day and team, customer or key",
    &[
        START_NEEDED,
        END_NEEDED,
        text("group_by", "`team`, `customer` or `api_key`"),
        text("api_key", "only this key"),
        text("internal_user_id", "only this user"),
        text("team_id", "only this team"),
        text("customer_id", "only this customer"),
    ],
    Answer::List(&[]),
);
pub(super) const RESET: Operation = Operation::with(
    "Sets the spend of all keys and teams to zero; logs stay",
    Body::None,
    Answer::Object(&[
        text("message", "what was done"),
        text("status", "`success`"),
    ]),
);
/// Requests and tokens per day.
pub(super) const DAILY_COUNTS: &[Field] = &[
    list("daily_data", "date, api_requests and total_tokens per day"),
    whole("sum_api_requests", "requests"),
    whole("sum_total_tokens", "tokens"),
];
pub(super) const ACTIVITY: Operation = Operation::get(
    "Requests and tokens per day",
    DATED,
    Answer::Object(DAILY_COUNTS),
);
pub(super) const ACTIVITY_MODEL: Operation = Operation::get(
    "Requests and tokens per day of the ten models with most requests",
    DATED,
    Answer::List(DAILY_COUNTS),
);
