//! Spend and usage.

use super::{
    Answer, Body, Field, Operation, any, fields, flag, list, moment, number, object, rows, text,
    texts, whole, word,
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

pub(super) const LOGS_ONE: Operation =
    Operation::get("One request", &[START, END], Answer::Open(LOG));
pub(super) const LOGS_SESSION: Operation = Operation::get(
    "The requests of a session, the first one first",
    &[
        text("session_id", "the session").required(),
        text("api_key", "only this key"),
        text("user_id", "only this user"),
        whole("page", "from 1"),
        whole("size", "rows per page, 1 to 100"),
        whole("page_size", "the same"),
    ],
    Answer::Object(LOG_PAGE),
);
const MODEL: Field = text(
    "model",
    "only these provider models, with commas between them",
);
const KEY: Field = text("api_key", "only these keys, with commas between them");
const ZONE: Field = number("timezone", "minutes behind UTC, as a browser gives them");
const PAGE: Field = whole("page", "from 1");
const PAGE_SIZE: Field = whole("page_size", "rows per page, 1 to 1000; 50 when absent");
const ACTIVITY_ANSWER: Answer = Answer::Object(&[
    rows(
        "results",
        &[
            text("date", "UTC day"),
            object("metrics", "sums of the day"),
            object(
                "breakdown",
                "sums by models, model_groups, providers, endpoints, api_keys, entities",
            ),
        ],
        "the days, latest first",
    ),
    fields(
        "metadata",
        &[
            number("total_spend", "dollars of this page"),
            whole("total_tokens", "tokens of this page"),
            whole("total_api_requests", "requests of this page"),
            whole("page", "this page"),
            whole("total_pages", "how many pages"),
            flag("has_more", "whether there is a further page"),
        ],
        "sums of the page",
    ),
]);
pub(super) const DAILY_USER: Operation = Operation::get(
    "What users used per day, by model, provider, endpoint and key",
    &[
        START_NEEDED,
        END_NEEDED,
        text("user_id", "only these users"),
        MODEL,
        KEY,
        ZONE,
        PAGE,
        PAGE_SIZE,
    ],
    ACTIVITY_ANSWER,
);
pub(super) const DAILY_USER_ALL: Operation = Operation::get(
    "What users used per day, in one page",
    &[
        START_NEEDED,
        END_NEEDED,
        text("user_id", "only these users"),
        MODEL,
        KEY,
        ZONE,
    ],
    ACTIVITY_ANSWER,
);
pub(super) const DAILY_TEAM: Operation = Operation::get(
    "What teams used per day; a key sees its user's part",
    &[
        START_NEEDED,
        END_NEEDED,
        text("team_ids", "only these teams, with commas between them"),
        text("exclude_team_ids", "all but these teams"),
        MODEL,
        KEY,
        ZONE,
        PAGE,
        PAGE_SIZE,
    ],
    ACTIVITY_ANSWER,
);
pub(super) const DAILY_ORGANIZATION: Operation = Operation::get(
    "What organizations used per day",
    &[
        START_NEEDED,
        END_NEEDED,
        text("organization_ids", "only these, with commas between them"),
        text("exclude_organization_ids", "all but these"),
        MODEL,
        KEY,
        ZONE,
        PAGE,
        PAGE_SIZE,
    ],
    ACTIVITY_ANSWER,
);
pub(super) const DAILY_CUSTOMER: Operation = Operation::get(
    "What customers used per day",
    &[
        START_NEEDED,
        END_NEEDED,
        text("end_user_ids", "only these, with commas between them"),
        text("exclude_end_user_ids", "all but these"),
        MODEL,
        KEY,
        ZONE,
        PAGE,
        PAGE_SIZE,
    ],
    ACTIVITY_ANSWER,
);
pub(super) const DAILY_TAG: Operation = Operation::get(
    "What was used per day under tags",
    &[
        START_NEEDED,
        END_NEEDED,
        text("tags", "only these, with commas between them"),
        MODEL,
        KEY,
        ZONE,
        PAGE,
        PAGE_SIZE,
    ],
    ACTIVITY_ANSWER,
);
const REFUSED: &[Field] = &[
    list("daily_data", "date and num_rate_limit_exceptions per day"),
    whole(
        "sum_num_rate_limit_exceptions",
        "requests that ended with 429",
    ),
];
const OF_GROUP: &[Field] = &[
    START_NEEDED,
    END_NEEDED,
    text("model_group", "the model").required(),
];
pub(super) const EXCEPTIONS: Operation = Operation::get(
    "Requests for a model that ended with 429, per day",
    OF_GROUP,
    Answer::Object(REFUSED),
);
pub(super) const EXCEPTIONS_DEPLOYMENT: Operation = Operation::get(
    "The same for each deployment of the model",
    OF_GROUP,
    Answer::List(REFUSED),
);
pub(super) const CACHE_HITS: Operation = Operation::get(
    "Requests and cached answers by key, endpoint and model",
    DATED,
    Answer::List(&[
        text("api_key", "alias of the key"),
        text("call_type", "the endpoint"),
        text("model", "the provider's model"),
        whole("total_rows", "requests"),
        whole("cache_hit_true_rows", "answers from the cache"),
        whole("cached_completion_tokens", "tokens of those"),
        whole("generated_completion_tokens", "tokens of the others"),
    ]),
);
pub(super) const TAG_NAMES: Operation = Operation::get(
    "Every tag that requests had",
    &[],
    Answer::Object(&[texts("tag_names", "the tags")]),
);
pub(super) const REFRESH: Operation = Operation::with(
    "Brings what requests have spent until now into the reports",
    Body::None,
    Answer::Object(&[
        text("message", "what was done"),
        text("status", "`success`"),
    ]),
);
pub(super) const PROVIDER_BUDGETS: Operation = Operation::get(
    "Budgets of providers (`provider_budget_config`) and what their running periods cost",
    &[],
    Answer::Object(&[object(
        "providers",
        "`budget_limit`, `time_period`, `spend` and `budget_reset_at` by provider",
    )]),
);
/// How a shared budget stands.
const STANDINGS: Answer = Answer::Object(&[
    text("actor", "this node: region, node, life of its journal"),
    text("region", "the region of this node"),
    text("coordination", "`redis`, `nodes` or `alone`"),
    list("nodes", "live nodes of all regions"),
    list("links", "ways to regions"),
    list("out_of_reach", "who decides about budgets and is not heard"),
    list(
        "configured_otherwise",
        "budgets of the configuration that are at home here, and otherwise elsewhere",
    ),
    object("bound", "how far spend can be over, of all that are shown"),
    object("fencing", "what became of the last order to fence a region"),
    list(
        "budgets",
        "each with limit, used, rights here, by node and by region, and its bound",
    ),
    text("why", "why there are none"),
]);
pub(super) const BUDGET_STATES: Operation =
    Operation::get("Shared budgets that this node uses", &[], STANDINGS);
pub(super) const BUDGET_STATE: Operation =
    Operation::get("Shared budgets of one scope, as kind:id", &[], STANDINGS);
const ACTOR: Field = text("actor", "region.node.incarnation").required();
pub(super) const BUDGET_WRITE_OFF: Operation = Operation::with(
    "A node is lost with its disk: what it held of shared budgets counts as spent, or is made anew",
    Body::Fields(&[
        ACTOR,
        flag(
            "anew",
            "budgets at home in this region that it had a part in begin anew with what was spent",
        ),
    ]),
    Answer::Object(&[
        flag("written_off", "whether it was"),
        text("counted_as_spent", "dollars that this node knows of"),
    ]),
);
const LOST_REGION: Field = text("region", "name of the region").required();
const PROOF: Field = word(
    "proof",
    &["dead", "fence"],
    "`dead`: the operator knows that it is gone, as without; `fence`: it may be alive",
);
pub(super) const BUDGET_REGION_LOST: Operation = Operation::with(
    "A region is gone for good, or cut off and fenced: what it held of budgets that are at home \
     elsewhere, or can spend no more, is made anew",
    Body::Fields(&[LOST_REGION, PROOF]),
    Answer::Object(&[
        text("region", "its name"),
        PROOF,
        flag("done", "of a fence: every node has reported"),
        number("made_anew", "of a fence: dollars"),
        whole("budgets", "of a fence: in how many budgets that was"),
        object(
            "stays_out",
            "of a fence: what was not made anew, and who keeps it from being",
        ),
        whole(
            "budgets_looked_at_here",
            "budgets that this node speaks for",
        ),
        whole(
            "not_known_here",
            "those of which it does not know what the region held",
        ),
        whole(
            "at_home_in_the_lost_region",
            "budgets in use here that only the lost region can change",
        ),
        text("why", "where the rest is seen"),
    ]),
);
pub(super) const RIGHTS_FRAME: Operation = Operation::with(
    "What nodes tell each other about shared budgets, while their Redis is away",
    Body::Free("a signed frame of a node of this installation"),
    Answer::Object(&[]),
);
