//! How fast models were, how often they failed, and who used tags.

use super::{Answer, Field, Operation, list, moment, number, rows, text, texts, whole};

const PACE_QUERY: &[Field] = &[
    text("_selected_model_group", "only this model; all when absent"),
    moment(
        "startTime",
        "from; thirty days ago when absent, for streams seven",
    ),
    moment("endTime", "to; a date includes its day"),
    text("api_key", "only this key"),
    text("customer", "only this customer"),
];
const PACE: Answer = Answer::Object(&[
    list("data", "one object per date: `date`, and seconds by place"),
    texts("all_api_bases", "the places"),
]);
pub(super) const MODEL_METRICS: Operation = Operation::get(
    "Mean seconds per output token, per day and place",
    PACE_QUERY,
    PACE,
);
pub(super) const MODEL_STREAMING: Operation = Operation::get(
    "Mean seconds to the first content, per day and place",
    PACE_QUERY,
    PACE,
);
pub(super) const MODEL_SLOW: Operation = Operation::get(
    "Requests per place, and those that took five minutes or more",
    PACE_QUERY,
    Answer::List(&[
        text("api_base", "the place"),
        whole("total_count", "requests"),
        whole("slow_count", "those that were slow"),
    ]),
);
pub(super) const MODEL_EXCEPTIONS: Operation = Operation::get(
    "Failed requests per place and class",
    PACE_QUERY,
    Answer::Object(&[
        rows(
            "data",
            &[
                text("model", "the model and its place"),
                whole("total_exceptions", "all of them"),
            ],
            "one object per place, with a member for each class",
        ),
        texts("exception_types", "the classes"),
    ]),
);

const TAGS: [Field; 2] = [
    text("tag_filter", "only tags with this part"),
    texts("tag_filters", "only these tags; may be repeated"),
];
const ACTIVE: &[Field] = &[
    text("tag", "the tag"),
    whole("active_users", "users of keys that had requests with it"),
    text("date", "the day, week or month"),
    text("period_start", "its first day"),
    text("period_end", "its last day"),
];
pub(super) const TAG_ACTIVE: Operation = Operation::get(
    "Users per tag in each of the last seven days, weeks or months",
    &TAGS,
    Answer::Object(&[rows("results", ACTIVE, "the counts")]),
);
pub(super) const TAG_DISTINCT: Operation = Operation::get(
    "Tags by how often they are used",
    &[],
    Answer::Object(&[rows("results", &[text("tag", "the tag")], "250 at most")]),
);
pub(super) const TAG_SUMMARY: Operation = Operation::get(
    "Users, requests, tokens and spend per tag",
    &[
        moment("start_date", "from").required(),
        moment("end_date", "to; a date includes its day").required(),
        TAGS[0],
        TAGS[1],
    ],
    Answer::Object(&[rows(
        "results",
        &[
            text("tag", "the tag"),
            whole("unique_users", "users of keys that had requests with it"),
            whole("total_requests", "requests"),
            whole("successful_requests", "those that did not fail"),
            whole("failed_requests", "those that did"),
            whole("total_tokens", "tokens"),
            number("total_spend", "dollars"),
        ],
        "the sums",
    )]),
);
pub(super) const TAG_PER_USER: Operation = Operation::get(
    "What each user had under these tags in the last thirty days",
    &[
        TAGS[0],
        TAGS[1],
        whole("page", "from 1"),
        whole("page_size", "users per page, 1 to 1,000"),
    ],
    Answer::Object(&[
        rows(
            "results",
            &[
                text("user_id", "the user"),
                text("user_email", "its address"),
                text("user_agent", "one of the tags"),
                whole("successful_requests", "requests that did not fail"),
                whole("failed_requests", "those that did"),
                whole("total_requests", "all of them"),
                whole("total_tokens", "tokens"),
                number("spend", "dollars"),
            ],
            "the users",
        ),
        whole("total_count", "users on all pages"),
        whole("page", "this page"),
        whole("page_size", "users per page"),
        whole("total_pages", "how many pages"),
    ]),
);
pub(super) const ALL_END_USERS: Operation = Operation::get(
    "Customers that had requests",
    &[],
    Answer::Object(&[texts("end_users", "their ids")]),
);
