//! `default_key_generate_params`, `upperbound_key_generate_params` and `key_generation_settings`,
//! resolved.

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
}

const NUMBERS: [&str; 4] = [
    "max_budget",
    "max_parallel_requests",
    "tpm_limit",
    "rpm_limit",
];
const DURATIONS: [&str; 2] = ["duration", "budget_duration"];

pub(super) fn resolve(litellm: &Area<'_>, problems: &mut Problems) -> NewKeys {
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
    NewKeys {
        defaults: fields(&defaults),
        upper_bounds: fields(&bounds),
        required_of_team: required("team_key_generation"),
        required_of_person: required("personal_key_generation"),
    }
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
            "models" => {
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
