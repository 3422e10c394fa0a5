//! Teams, users, organizations, budgets, customers, tags, and everything at once.

use super::super::{budgets, customers, organizations, tags, teams, users};
use super::{
    Answer, Body, Field, Operation, any, fields, flag, list, object, text, texts, whole, word,
};

const TEAM_ID: Field = text("team_id", "the team").required();
const ORGANIZATION_ID: Field = text("organization_id", "the organization").required();
const PAGE: [Field; 2] = [whole("page", "from 1"), whole("page_size", "1 to 100")];
const SORT_BY: Field = text("sort_by", "a column of the answer");
const SORT_ORDER: Field = text("sort_order", "`asc` or `desc`");
/// A row of LiteLLM's table.
const ROW: Answer = Answer::Free("the row, with LiteLLM's columns");
const ROWS: Answer = Answer::Free("the rows, with LiteLLM's columns");

/// An organization and the budget that comes with it.
const ORGANIZATION: &[&[super::schema::Field]] = &[
    organizations::FIELDS[0],
    organizations::FIELDS[1],
    organizations::LIMITS[0],
    organizations::LIMITS[1],
];

pub(super) const TEAM_NEW: Operation = Operation::written(
    "Makes a team",
    &[text("team_id", "its id; default: a new one")],
    teams::NEW_FIELDS,
    ROW,
);
pub(super) const TEAM_UPDATE: Operation =
    Operation::written("Changes a team", &[TEAM_ID], teams::UPDATE_FIELDS, ROW);
pub(super) const TEAM_DELETE: Operation = Operation::post(
    "Deletes teams with their keys",
    &[texts("team_ids", "the teams").required()],
    ROWS,
);
pub(super) const TEAM_READ: Operation =
    Operation::get("Shows a team with its keys and members", &[TEAM_ID], ROW);
pub(super) const TEAM_LIST: Operation = Operation::get(
    "Lists the teams that the caller may see",
    &[
        text("user_id", "only teams with this member"),
        text("organization_id", "only this organization's"),
    ],
    ROWS,
);
pub(super) const TEAM_LIST_V2: Operation = Operation::get(
    "Lists teams by page",
    &[
        text("user_id", "only teams with this member"),
        text("organization_id", "only this organization's"),
        text("team_id", "only this team"),
        text("team_alias", "a part of the alias"),
        text("status", "`deleted` for deleted ones"),
        PAGE[0],
        PAGE[1],
        SORT_BY,
        SORT_ORDER,
    ],
    ROWS,
);
pub(super) const TEAM_BLOCK: Operation =
    Operation::post("Blocks a team: its keys stop working", &[TEAM_ID], ROW);
pub(super) const TEAM_UNBLOCK: Operation = Operation::post("Unblocks a team", &[TEAM_ID], ROW);
pub(super) const TEAM_MEMBER_ADD: Operation = Operation::written(
    "Adds members to a team",
    &[
        TEAM_ID,
        any(
            "member",
            "one member or a list: role, and user_id or user_email",
        )
        .required(),
    ],
    &[teams::joining::LIMITS],
    ROW,
);
pub(super) const TEAM_MEMBER_UPDATE: Operation = Operation::written(
    "Changes what a member may do in a team",
    &[
        TEAM_ID,
        text("user_id", "the user"),
        text("user_email", "or its address"),
        text("role", "`admin` or `user`"),
    ],
    &[teams::joining::LIMITS],
    ROW,
);
pub(super) const TEAM_MEMBER_DELETE: Operation = Operation::post(
    "Takes a member out of a team",
    &[
        TEAM_ID,
        text("user_id", "the user"),
        text("user_email", "or its address"),
    ],
    ROW,
);
pub(super) const TEAM_BULK_MEMBER_ADD: Operation = Operation::written(
    "Adds many members to a team",
    &[
        TEAM_ID,
        any("members", "a list of members"),
        flag("all_users", "everybody"),
    ],
    &[teams::joining::LIMITS],
    ROW,
);
pub(super) const TEAM_MODEL_ADD: Operation = Operation::post(
    "Lets a team use more models",
    &[TEAM_ID, texts("models", "the models")],
    ROW,
);
pub(super) const TEAM_MODEL_DELETE: Operation = Operation::post(
    "Takes models from a team",
    &[TEAM_ID, texts("models", "the models")],
    ROW,
);
pub(super) const TEAM_PERMISSIONS_LIST: Operation = Operation::get(
    "What members may do with the keys of a team",
    &[TEAM_ID],
    ROW,
);
pub(super) const TEAM_PERMISSIONS_UPDATE: Operation = Operation::post(
    "Changes what members may do with the keys of a team",
    &[
        TEAM_ID,
        texts("team_member_permissions", "management routes for keys"),
    ],
    ROW,
);
pub(super) const TEAM_AVAILABLE: Operation = Operation::get(
    "Teams that the caller may join and has not joined",
    &[],
    ROWS,
);
pub(super) const TEAM_ME: Operation = Operation::get("What the caller is in a team", &[], ROW);
pub(super) const TEAM_KEY_BULK_UPDATE: Operation = Operation::post(
    "Changes many keys of a team",
    &[
        TEAM_ID,
        texts("key_ids", "their digests"),
        flag("all_keys_in_team", "all of them"),
        object("update_fields", "as for `/key/update`"),
    ],
    ROWS,
);
pub(super) const TEAM_PUT: Operation = Operation::written(
    "Makes a team or replaces it; the same again changes nothing",
    &[],
    teams::NEW_FIELDS,
    ROW,
);
pub(super) const USER_NEW: Operation = Operation::written(
    "Makes a user, and a key of its own",
    &[
        text("user_id", "its id; default: a new one"),
        any(
            "teams",
            "ids of teams, or objects with team_id, user_role and max_budget_in_team",
        ),
    ],
    users::write::NEW_FIELDS,
    ROW,
);
pub(super) const USER_UPDATE: Operation = Operation::written(
    "Changes a user",
    &[
        text("user_id", "the user; or name its user_email"),
        any("teams", "its teams"),
        text("password", "refused: there is no login by password"),
    ],
    users::UPDATE_FIELDS,
    ROW,
);
pub(super) const USER_BULK_UPDATE: Operation = Operation::post(
    "Changes many users",
    &[
        any("users", "a list, each as for `/user/update`"),
        flag("all_users", "everybody"),
        object("user_updates", "the change for everybody"),
    ],
    ROWS,
);
pub(super) const USER_DELETE: Operation = Operation::post(
    "Deletes users with their keys",
    &[texts("user_ids", "the users").required()],
    Answer::Free("how many there were"),
);
pub(super) const USER_READ: Operation = Operation::get(
    "Shows a user with its keys and teams",
    &[text("user_id", "default: the caller")],
    ROW,
);
pub(super) const USER_INFO_V2: Operation = Operation::get(
    "Shows a user alone",
    &[text("user_id", "default: the caller")],
    ROW,
);
pub(super) const USER_LIST: Operation = Operation::get(
    "Lists users by page",
    &[
        text("role", "only this role"),
        text("user_ids", "only these, with commas between"),
        text("sso_user_ids", "only these, with commas between"),
        text("user_email", "a part of the address"),
        text("team", "only members of this team"),
        PAGE[0],
        PAGE[1],
        SORT_BY,
        SORT_ORDER,
    ],
    ROWS,
);
pub(super) const USER_ROLES: Operation = Operation::get("Roles that a user may have", &[], ROW);
pub(super) const USER_FILTER: Operation = Operation::get(
    "Finds users by a part of id or address",
    &[
        text("user_id", "a part of the id"),
        text("user_email", "a part of the address"),
        PAGE[0],
        PAGE[1],
    ],
    ROWS,
);
pub(super) const USER_PUT: Operation = Operation::written(
    "Makes a user or replaces it; the same again changes nothing",
    &[],
    users::UPDATE_FIELDS,
    ROW,
);
pub(super) const ORGANIZATION_NEW: Operation = Operation::written(
    "Makes an organization with its budget",
    &[
        text("organization_id", "its id; default: a new one"),
        text("organization_alias", "its name").required(),
    ],
    ORGANIZATION,
    ROW,
);
pub(super) const ORGANIZATION_UPDATE: Operation = Operation::written(
    "Changes an organization and its budget",
    &[ORGANIZATION_ID, text("organization_alias", "its name")],
    ORGANIZATION,
    ROW,
);
pub(super) const ORGANIZATION_DELETE: Operation = Operation::post(
    "Deletes organizations with their teams and keys",
    &[texts("organization_ids", "the organizations")],
    ROWS,
);
pub(super) const ORGANIZATION_READ: Operation = Operation {
    query: &[text("organization_id", "the organization; for GET")],
    ..Operation::post(
        "Shows organizations with members and teams",
        &[texts("organizations", "the organizations; for POST")],
        ROWS,
    )
};
pub(super) const ORGANIZATION_LIST: Operation = Operation::get(
    "Lists organizations",
    &[
        text("organization_id", "only this one"),
        text("org_alias", "a part of the name"),
    ],
    ROWS,
);
pub(super) const ORGANIZATION_MEMBER_ADD: Operation = Operation::written(
    "Adds members to an organization",
    &[
        ORGANIZATION_ID,
        any(
            "member",
            "one member or a list: role, and user_id or user_email",
        )
        .required(),
    ],
    &[organizations::members::LIMITS],
    ROW,
);
pub(super) const ORGANIZATION_MEMBER_UPDATE: Operation = Operation::written(
    "Changes what a member may do in an organization",
    &[
        ORGANIZATION_ID,
        text("user_id", "the user"),
        text("user_email", "or its address"),
        text(
            "role",
            "`org_admin`, `internal_user` or `internal_user_viewer`",
        ),
    ],
    &[organizations::members::LIMITS],
    ROW,
);
pub(super) const ORGANIZATION_MEMBER_DELETE: Operation = Operation::post(
    "Takes a member out of an organization",
    &[
        ORGANIZATION_ID,
        text("user_id", "the user"),
        text("user_email", "or its address"),
    ],
    ROW,
);
pub(super) const ORGANIZATION_PUT: Operation = Operation::written(
    "Makes an organization or replaces it; the same again changes nothing",
    &[text("organization_alias", "its name")],
    ORGANIZATION,
    ROW,
);
pub(super) const BUDGET_NEW: Operation = Operation::written(
    "Makes a budget that others can refer to",
    &[text("budget_id", "its id; default: a new one")],
    budgets::FIELDS,
    ROW,
);
pub(super) const BUDGET_UPDATE: Operation = Operation::written(
    "Changes a budget, and so the bounds of all who refer to it",
    &[text("budget_id", "the budget").required()],
    budgets::FIELDS,
    ROW,
);
pub(super) const BUDGET_READ: Operation = Operation::post(
    "Shows budgets",
    &[texts("budgets", "the budgets").required()],
    ROWS,
);
pub(super) const BUDGET_DELETE: Operation = Operation::post(
    "Deletes a budget",
    &[text("id", "the budget").required()],
    ROW,
);
pub(super) const BUDGET_LIST: Operation = Operation::get("Lists every budget", &[], ROWS);
pub(super) const BUDGET_SETTINGS: Operation = Operation::get(
    "Fields of a budget, with what they hold",
    &[text("budget_id", "the budget").required()],
    ROWS,
);
pub(super) const BUDGET_PUT: Operation = Operation::written(
    "Makes a budget or replaces it; the same again changes nothing",
    &[],
    budgets::FIELDS,
    ROW,
);
pub(super) const CUSTOMER_NEW: Operation = Operation::written(
    "Makes a customer: the `user` of requests",
    &[text("user_id", "its id").required()],
    customers::FIELDS,
    ROW,
);
pub(super) const CUSTOMER_UPDATE: Operation = Operation::written(
    "Changes a customer",
    &[text("user_id", "the customer").required()],
    customers::FIELDS,
    ROW,
);
pub(super) const CUSTOMER_DELETE: Operation = Operation::post(
    "Deletes customers",
    &[texts("user_ids", "the customers").required()],
    ROWS,
);
pub(super) const CUSTOMER_BLOCK: Operation = Operation::post(
    "Blocks customers: their requests are refused",
    &[texts("user_ids", "the customers").required()],
    ROWS,
);
pub(super) const CUSTOMER_UNBLOCK: Operation = Operation::post(
    "Unblocks customers",
    &[texts("user_ids", "the customers").required()],
    ROWS,
);
pub(super) const CUSTOMER_READ: Operation = Operation::get(
    "Shows a customer with its budget",
    &[text("end_user_id", "the customer").required()],
    ROW,
);
pub(super) const CUSTOMER_LIST: Operation = Operation::get(
    "Lists every customer, or a page of them",
    &[
        whole("page", "from 1; all customers where it is not given"),
        whole("page_size", "customers per page, 1 to 100"),
    ],
    ROWS,
);
pub(super) const CUSTOMER_PUT: Operation = Operation::written(
    "Makes a customer or replaces it; the same again changes nothing",
    &[],
    customers::FIELDS,
    ROW,
);
pub(super) const TAG_NEW: Operation = Operation::written(
    "Makes a tag",
    &[text("name", "its name").required()],
    tags::FIELDS,
    ROW,
);
pub(super) const TAG_UPDATE: Operation = Operation::written(
    "Changes a tag",
    &[text("name", "the tag").required()],
    tags::FIELDS,
    ROW,
);
pub(super) const TAG_DELETE: Operation =
    Operation::post("Deletes a tag", &[text("name", "the tag").required()], ROW);
pub(super) const TAG_READ: Operation =
    Operation::post("Shows tags", &[texts("names", "the tags").required()], ROWS);
pub(super) const TAG_LIST: Operation = Operation::get("Lists every tag", &[], ROWS);
pub(super) const TAG_PUT: Operation = Operation::written(
    "Makes a tag or replaces it; the same again changes nothing",
    &[],
    tags::FIELDS,
    ROW,
);
pub(super) const KEY_PUT: Operation = Operation::with(
    "Replaces a key by its digest, or makes it; the same again changes nothing",
    Body::Free("as for `/key/update`"),
    ROW,
);
pub(super) const CONFIG_EXPORT: Operation = Operation::get(
    "Every record as one document, secrets sealed",
    &[
        whole(
            "limit",
            "records at most; `next` of the document says where to go on",
        ),
        text("after_kind", "kind of the record to go on behind"),
        text("after_id", "its id"),
    ],
    Answer::Free("the document that `/config/import` takes"),
);
pub(super) const CONFIG_IMPORT: Operation = Operation::with(
    "Takes a document of records; the same again changes nothing",
    Body::Free("what `/config/export` gives"),
    ROW,
);

pub(super) const TEAM_PERMISSIONS_BULK_UPDATE: Operation = Operation::post(
    "Adds permissions of members to many teams",
    &[
        texts("permissions", "what is added").required(),
        texts("team_ids", "the teams"),
        flag("apply_to_all_teams", "or all teams"),
    ],
    Answer::Object(&[
        text("message", "what was done"),
        whole("teams_updated", "teams that had not all of them"),
        texts("permissions_appended", "what was added"),
    ]),
);
pub(super) const TEAM_FILTER: Operation = Operation::get(
    "Finds teams by a part of their id or alias",
    &[
        text("team_id", "a part of the id or alias"),
        text("team_alias", "the same"),
        PAGE[0],
        PAGE[1],
    ],
    ROWS,
);
const CALLBACKS: &[Field] = &[
    text("team_id", "the team"),
    list("success_callbacks", "what its metadata names"),
    list("failure_callbacks", "what its metadata names"),
    object("callback_vars", "their variables, masked"),
];
pub(super) const TEAM_CALLBACKS: Operation = Operation::get(
    "Callbacks in a team's metadata; none of them runs here",
    &[],
    Answer::Object(&[
        text("status", "`success`"),
        fields("data", CALLBACKS, "the callbacks"),
    ]),
);
pub(super) const TEAM_CALLBACK_ADD: Operation = Operation::post(
    "Refused: this version sends requests to no logging service",
    &[
        text("callback_name", "the service").required(),
        word(
            "callback_type",
            &["success", "failure", "success_and_failure"],
            "when",
        ),
        object("callback_vars", "its variables"),
    ],
    Answer::Free("Never given: the call is refused."),
);
pub(super) const TEAM_DISABLE_LOGGING: Operation = Operation::with(
    "Takes every callback out of a team's metadata",
    Body::None,
    Answer::Object(&[
        text("status", "`success`"),
        text("message", "what was done"),
        object("data", "the team and its empty lists"),
    ]),
);
