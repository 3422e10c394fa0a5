//! What new keys, users and teams get: `default_key_generate_params`,
//! `upperbound_key_generate_params`, `key_generation_settings`, `default_internal_user_params`,
//! `default_team_params` and their relatives, resolved.

use serde_json::{Map, Value as Json};

use super::period;
use super::problem::Problems;
use super::section::Area;

/// What new keys get by default, at most, and must be given. Fields are named and typed as those
/// of `/key/generate`; what is not configured is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewKeys {
    /// `default_key_generate_params`.
    pub defaults: Map<String, Json>,
    /// `upperbound_key_generate_params`.
    pub upper_bounds: Map<String, Json>,
    /// Fields that a key with a team must be given.
    pub required_of_team: Vec<String>,
    /// Fields that any other key must be given.
    pub required_of_person: Vec<String>,
    /// `default_team_disabled`: every key has a team.
    pub only_of_teams: bool,
    /// `disable_key_generate_for_org_admin`.
    pub none_by_organizations: bool,
    /// `default_internal_user_params`, as `/user/new` reads it.
    pub users: Map<String, Json>,
    /// What users with the role `internal_user` get where neither says it.
    pub internal_users: Map<String, Json>,
    /// `default_team_params`, as `/team/new` reads it.
    pub teams: Map<String, Json>,
    /// `default_internal_user_params.available_teams`: ids of teams that users may join by
    /// themselves.
    pub open_teams: Vec<String>,
    /// `max_end_user_budget_id`: the budget of customers that have none of their own.
    pub customer_budget: Option<String>,
}

/// Roles that a user may be given unasked.
const DEFAULT_ROLES: [&str; 2] = ["internal_user", "internal_user_viewer"];

const NUMBERS: [&str; 4] = [
    "max_budget",
    "max_parallel_requests",
    "tpm_limit",
    "rpm_limit",
];
const DURATIONS: [&str; 2] = ["duration", "budget_duration"];

pub(super) fn resolve(
    litellm: &Area<'_>,
    general: &Area<'_>,
    has_links: bool,
    problems: &mut Problems,
) -> NewKeys {
    let flag = |key| general.bool(key).unwrap_or(false);
    let defaults = litellm.child("default_key_generate_params");
    let bounds = litellm.child("upperbound_key_generate_params");
    for name in NUMBERS {
        if defaults.number(name) > bounds.number(name).or(Some(f64::INFINITY)) {
            report(&defaults, name, problems);
        }
    }
    for name in DURATIONS {
        let length = |area: &Area<'_>| area.text(name).and_then(period::parse);
        if length(&bounds).is_some_and(|bound| length(&defaults) > Some(bound)) {
            report(&defaults, name, problems);
        }
    }
    let generation = litellm.child("key_generation_settings");
    let required = |kind| {
        let names = generation.child(kind).texts("required_params");
        names.into_iter().map(|(name, _)| name.to_owned()).collect()
    };
    let of_users = litellm.child("default_internal_user_params");
    let open_teams = of_users.texts("available_teams").into_iter();
    NewKeys {
        defaults: fields(&defaults),
        upper_bounds: fields(&bounds),
        required_of_team: required("team_key_generation"),
        required_of_person: required("personal_key_generation"),
        only_of_teams: flag("default_team_disabled"),
        none_by_organizations: flag("disable_key_generate_for_org_admin"),
        users: users(&of_users, problems),
        internal_users: internal_users(litellm),
        teams: fields(&litellm.child("default_team_params")),
        open_teams: open_teams.map(|(id, _)| id.to_owned()).collect(),
        customer_budget: customer_budget(litellm, has_links, problems),
    }
}

/// A record that a request makes of a customer has its home where the request came: two regions
/// would make two of one, and a limit that somebody wrote elsewhere would be lost.
fn customer_budget(litellm: &Area<'_>, has_links: bool, problems: &mut Problems) -> Option<String> {
    const NAME: &str = "max_end_user_budget_id";
    let id = litellm.text(NAME)?;
    if has_links {
        let message = "has no effect with `meridian.regions.links`: write customers' budgets with \
                       `/customer/new`";
        problems.warning(litellm.at(NAME), &litellm.path_of(NAME), message);
        return None;
    }
    Some(id.to_owned())
}

fn users(defaults: &Area<'_>, problems: &mut Problems) -> Map<String, Json> {
    let role = defaults.text("user_role");
    if role.is_some_and(|role| !DEFAULT_ROLES.contains(&role)) {
        let message = "expected `internal_user` or `internal_user_viewer`";
        let path = defaults.path_of("user_role");
        problems.error(defaults.at("user_role"), &path, message);
    }
    let mut fields = fields(defaults);
    if let Some(teams) = defaults.all_json().remove("teams") {
        fields.insert("teams".to_owned(), teams);
    }
    fields
}

fn internal_users(litellm: &Area<'_>) -> Map<String, Json> {
    let budget = litellm.number("max_internal_user_budget");
    let budget = budget.or_else(|| litellm.number("default_max_internal_user_budget"));
    let duration = litellm.text("internal_user_budget_duration");
    let named = [
        ("max_budget", budget.map(Json::from)),
        ("budget_duration", duration.map(Json::from)),
    ];
    let said = named.into_iter();
    said.filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// With such a pair every `/key/generate` would be refused.
fn report(defaults: &Area<'_>, name: &str, problems: &mut Problems) {
    let message = format!("over `upperbound_key_generate_params.{name}`");
    problems.error(defaults.at(name), &defaults.path_of(name), message);
}

/// What is written, as `/key/generate` reads it.
fn fields(area: &Area<'_>) -> Map<String, Json> {
    let mut fields = Map::new();
    for (name, value) in area.all_json() {
        let value = match name.as_str() {
            "max_budget" => area.number(&name).map(Json::from),
            _ if NUMBERS.contains(&name.as_str()) => area.count(&name).map(Json::from),
            "models" | "team_member_permissions" => {
                let models = area.texts(&name).into_iter().map(|(text, _)| text.into());
                Some(Json::Array(models.collect()))
            }
            "metadata" => value.is_object().then_some(value),
            _ => area.text(&name).map(Json::from),
        };
        fields.extend(value.map(|value| (name, value)));
    }
    fields
}
