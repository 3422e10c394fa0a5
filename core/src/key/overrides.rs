//! What a key says about routing: its `router_settings` and `metadata.disable_fallbacks`.

use std::time::Duration;

use serde_json::{Map, Value};

use super::KeyRecord;
use crate::error::GatewayError;
use crate::wire::fallbacks::Fallbacks;

/// Longest deadline that a key may set.
const DEADLINE_MAX: Duration = Duration::from_secs(86_400);
/// The column that holds them.
const FIELD: &str = "router_settings";
/// What of LiteLLM's router settings can be a key's own.
const NAMES: [&str; 7] = [
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "fallbacks",
    "max_retries",
    "num_retries",
    "stream_timeout",
    "timeout",
];

/// Settings that a key brings with it. Those of a request win, those of the configuration yield.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyOverrides {
    /// Limit of one attempt.
    pub timeout: Option<Duration>,
    /// The same for a stream, until its first content.
    pub stream_timeout: Option<Duration>,
    /// Attempts after the first.
    pub num_retries: Option<u32>,
    /// Models to try after any failure.
    pub fallbacks: Option<Fallbacks>,
    /// The same when the prompt is too long.
    pub context_window_fallbacks: Option<Fallbacks>,
    /// The same when the content is refused.
    pub content_policy_fallbacks: Option<Fallbacks>,
    /// No other model is tried, whatever asks for it.
    pub disable_fallbacks: bool,
    /// `metadata.strict_translation`: a request that a translation would change or shorten is
    /// refused.
    pub strict_translation: bool,
}

impl KeyOverrides {
    /// Reads a stored key.
    ///
    /// # Errors
    /// `BadField` naming the setting: it has a wrong value, or a key cannot have it.
    pub fn of(record: &KeyRecord) -> Result<Self, GatewayError> {
        let none = Map::new();
        let settings = match record.extra.get(FIELD) {
            None | Some(Value::Null) => &none,
            Some(Value::Object(settings)) => settings,
            Some(_) => return Err(bad(FIELD, "must be an object")),
        };
        for (name, value) in settings {
            if !NAMES.contains(&name.as_str()) && !says_nothing(value) {
                let names = NAMES.join(", ");
                return Err(bad(
                    &format!("{FIELD}.{name}"),
                    &format!("is no setting of a key; there are {names}"),
                ));
            }
        }
        let retries = match retries(settings, "num_retries")? {
            None => retries(settings, "max_retries")?,
            own => own,
        };
        Ok(Self {
            timeout: seconds(settings, "timeout")?,
            stream_timeout: seconds(settings, "stream_timeout")?,
            num_retries: retries,
            fallbacks: fallbacks(settings, "fallbacks")?,
            context_window_fallbacks: fallbacks(settings, "context_window_fallbacks")?,
            content_policy_fallbacks: fallbacks(settings, "content_policy_fallbacks")?,
            disable_fallbacks: switch(&record.metadata, "disable_fallbacks")?,
            strict_translation: switch(&record.metadata, "strict_translation")?,
        })
    }
}

/// A member of `metadata` that is true or false.
fn switch(metadata: &Map<String, Value>, name: &str) -> Result<bool, GatewayError> {
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(bad(&format!("metadata.{name}"), "must be true or false")),
    }
}

/// LiteLLM's user interface sends every setting, most of them empty.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn given<'a>(settings: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    settings.get(name).filter(|value| !value.is_null())
}

fn seconds(settings: &Map<String, Value>, name: &str) -> Result<Option<Duration>, GatewayError> {
    let Some(value) = given(settings, name) else {
        return Ok(None);
    };
    let asked = value.as_f64().filter(|seconds| *seconds > 0.0);
    let asked = asked.map(|seconds| seconds.min(DEADLINE_MAX.as_secs_f64()));
    match asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(time) if !time.is_zero() => Ok(Some(time)),
        _ => Err(bad(
            &format!("{FIELD}.{name}"),
            "must be seconds, more than 0",
        )),
    }
}

fn retries(settings: &Map<String, Value>, name: &str) -> Result<Option<u32>, GatewayError> {
    let Some(value) = given(settings, name) else {
        return Ok(None);
    };
    match value.as_u64() {
        Some(count) => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
        None => Err(bad(
            &format!("{FIELD}.{name}"),
            "must be a whole number that is not negative",
        )),
    }
}

fn fallbacks(settings: &Map<String, Value>, name: &str) -> Result<Option<Fallbacks>, GatewayError> {
    let list = given(settings, name).filter(|value| !says_nothing(value));
    let list = list.map(|list| Fallbacks::of_json(list.clone()));
    list.transpose()
        .map_err(|why| bad(&format!("{FIELD}.{name}"), &why))
}

fn bad(field: &str, why: &str) -> GatewayError {
    GatewayError::BadField {
        field: field.to_owned(),
        message: format!("{field} {why}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::KeyHash;

    fn read(settings: Value, metadata: Value) -> Result<KeyOverrides, GatewayError> {
        let record = json!({
            "token": KeyHash::of_secret("k"), "key_name": "k", "metadata": metadata,
            "extra": {"router_settings": settings},
        });
        KeyOverrides::of(&serde_json::from_value(record).unwrap())
    }

    #[test]
    fn a_key_without_settings_overrides_nothing() {
        for settings in [
            Value::Null,
            json!({}),
            json!({"allowed_fails": null, "model_group_alias": {}, "fallbacks": []}),
        ] {
            assert_eq!(read(settings, json!({})).unwrap(), KeyOverrides::default());
        }
    }

    #[test]
    fn a_key_sets_deadlines_retries_and_fallbacks() {
        let settings = json!({"timeout": 0.5, "stream_timeout": 1e9, "max_retries": 1,
            "content_policy_fallbacks": [{"*": ["b"]}]});
        let key = read(settings, json!({"disable_fallbacks": true})).unwrap();
        assert_eq!(key.timeout, Some(Duration::from_millis(500)));
        assert_eq!(key.stream_timeout, Some(DEADLINE_MAX));
        assert_eq!((key.num_retries, key.disable_fallbacks), (Some(1), true));
        assert_eq!(key.content_policy_fallbacks.unwrap().for_model("x"), ["b"]);
    }

    #[test]
    fn what_a_key_cannot_have_is_refused_by_its_name() {
        for (settings, field) in [
            (json!([]), "router_settings"),
            (json!({"allowed_fails": 3}), "router_settings.allowed_fails"),
            (json!({"timeout": 0}), "router_settings.timeout"),
            (json!({"num_retries": -1}), "router_settings.num_retries"),
            (json!({"fallbacks": ["a", 1]}), "router_settings.fallbacks"),
        ] {
            let error = read(settings.clone(), json!({})).unwrap_err();
            let GatewayError::BadField {
                field: found,
                message,
            } = error
            else {
                panic!("{error:?}")
            };
            assert_eq!(found, field, "{settings}");
            assert!(message.starts_with(&format!("{field} ")), "{message}");
        }
        assert!(read(json!({}), json!({"disable_fallbacks": "yes"})).is_err());
    }
}
