//! Sections that can be set by the management API, and which of their keys.

use meridian_core::config::keys::{Effect, Kind, Section};
use meridian_core::config::overlay::is_reserved;
use serde_json::{Map, Value};

use super::super::mask;
use super::super::reply::AdminError;
use super::bad;

/// Keys that only the files and the environment may say: who is administrator, where data lies,
/// and whether stored settings count at all.
const OF_FILES: [&str; 6] = [
    "master_key",
    "store_model_in_db",
    "coordination_redis",
    "key_management_system",
    "key_management_settings",
    "custom_auth",
];

/// A section that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum StoredSection {
    /// `general_settings`
    General,
    /// `litellm_settings`
    Settings,
    /// `router_settings`
    Router,
    /// `environment_variables`
    Environment,
}

impl StoredSection {
    pub(in crate::admin) const ALL: [Self; 4] = [
        Self::General,
        Self::Settings,
        Self::Router,
        Self::Environment,
    ];

    /// Its name in the file, and the id of its record.
    pub(in crate::admin) fn as_str(self) -> &'static str {
        match self {
            Self::General => "general_settings",
            Self::Settings => "litellm_settings",
            Self::Router => "router_settings",
            Self::Environment => "environment_variables",
        }
    }

    /// Its table of keys; variables have none.
    pub(in crate::admin) fn section(self) -> Option<Section> {
        match self {
            Self::General => Some(Section::General),
            Self::Settings => Some(Section::Settings),
            Self::Router => Some(Section::Router),
            Self::Environment => None,
        }
    }

    /// The section of a call's `config_type`.
    pub(in crate::admin) fn of_type(name: &str) -> Result<Self, AdminError> {
        let tabled = Self::ALL.into_iter().filter(|one| one.section().is_some());
        let found = tabled.into_iter().find(|one| one.as_str() == name);
        found.ok_or_else(|| {
            bad(&format!(
                "config_type={name}: it must be general_settings, litellm_settings or \
                 router_settings"
            ))
        })
    }

    /// Refuses keys that are not known, that would do nothing, or that only files may say. `null`
    /// takes any key back.
    pub(in crate::admin) fn check(self, values: &Map<String, Value>) -> Result<(), AdminError> {
        let refusals: Vec<String> = values
            .iter()
            .filter(|(_, value)| !value.is_null())
            .filter_map(|(key, value)| {
                Some(format!(
                    "{}.{key}: {}",
                    self.as_str(),
                    self.refusal(key, value)?
                ))
            })
            .collect();
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(bad(&refusals.join("; "))),
        }
    }

    fn refusal(self, key: &str, value: &Value) -> Option<String> {
        const OURS: &str = "only the configuration file and the environment may say this";
        let Some(section) = self.section() else {
            return is_reserved(key).then(|| OURS.to_owned());
        };
        let Some(row) = section.find(key) else {
            let near = section.nearest(key);
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Some(format!("no such setting{hint}"));
        };
        let is_ours = OF_FILES.contains(&key)
            || row.kind == Kind::Secret
            || key.starts_with("database_")
            || key.starts_with("redis_");
        match row.effect {
            _ if is_ours => Some(OURS.to_owned()),
            _ if holds_secret(value) => {
                let text = "a secret in it must be a reference, `os.environ/NAME`";
                Some(text.to_owned())
            }
            Effect::NotYet(instead) => Some(format!("not in this version yet: {instead}")),
            Effect::Effective(_) | Effect::Ignored(_) => None,
        }
    }

    /// Values as they are shown.
    pub(in crate::admin) fn shown(self, values: &Map<String, Value>) -> Map<String, Value> {
        match (self, mask::masked(&Value::Object(values.clone()))) {
            (Self::Environment, Value::Object(masked)) => masked,
            _ => mask::settings(values),
        }
    }
}

/// Whether a text below a name that sounds secret stands in clear. Settings are not sealed.
fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(name, value)| {
            let texts = match value {
                Value::Array(items) => items.as_slice(),
                one => std::slice::from_ref(one),
            };
            (mask::sounds_secret(name) && texts.iter().any(is_clear)) || holds_secret(value)
        }),
        Value::Array(items) => items.iter().any(holds_secret),
        _ => false,
    }
}

/// Whether a value is a text and no reference to a variable.
fn is_clear(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    !text.is_empty() && !text.starts_with("os.environ/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_in_clear_are_found_wherever_they_lie() {
        for hidden in [
            json!({"password": "clear"}),
            json!({"a": [{"api_key": "clear"}]}),
            json!({"api_keys": ["os.environ/A", "clear"]}),
            json!([{"b": {"slack_webhook": ["clear"]}}]),
        ] {
            assert!(holds_secret(&hidden), "{hidden}");
        }
        for plain in [
            json!({"password": "os.environ/A", "api_keys": ["os.environ/A"], "token": ""}),
            json!({"team_key_generation": {"required_params": ["max_budget"]}}),
            json!(["password"]),
        ] {
            assert!(!holds_secret(&plain), "{plain}");
        }
    }
}
