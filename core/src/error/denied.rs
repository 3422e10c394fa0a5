//! A model that a scope may not use, in LiteLLM's words.

use super::python::python_list;

/// What a key without a model is told.
pub(super) fn model_denied(scope: &str, models: &[String], model: &str) -> String {
    if scope == "user" && models.iter().any(|name| name == "no-default-models") {
        return format!(
            "User not allowed to access model. No default model access, only team models allowed. \
             Tried to access {model}"
        );
    }
    format!(
        "{scope} not allowed to access model. This {scope} can only access models={}. Tried to \
         access {model}",
        python_list(models)
    )
}

/// Its `type`.
pub(super) fn model_denied_kind(scope: &str) -> &'static str {
    match scope {
        "team" | "team_member" => "team_model_access_denied",
        "user" => "user_model_access_denied",
        "org" | "org_member" => "org_model_access_denied",
        "project" => "project_model_access_denied",
        _ => "key_model_access_denied",
    }
}
