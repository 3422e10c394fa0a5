//! What is shown of objects that hold secrets: names and numbers, and texts that are known not to
//! be secret.

use serde_json::{Map, Value};

/// What stands for a secret. An update that brings it back leaves the secret as it is.
pub(super) const MASK: &str = "*****";

/// Parameters of a deployment whose texts are no secrets.
const SHOWN: [&str; 22] = [
    "allowed_regions",
    "api_base",
    "api_version",
    "aws_region_name",
    "aws_role_name",
    "aws_session_name",
    "base_model",
    "base_url",
    "budget_duration",
    "custom_llm_provider",
    "litellm_credential_name",
    "mock_response",
    "model",
    "organization",
    "region_name",
    "rpm",
    "tags",
    "tenant_id",
    "tpm",
    "vertex_location",
    "vertex_project",
    "weight",
];

/// Parameters or values of a credential, texts masked unless their name is known.
pub(super) fn params(object: &Map<String, Value>) -> Map<String, Value> {
    let shown = |(name, value): (&String, &Value)| {
        let value = match SHOWN.contains(&name.as_str()) {
            true => value.clone(),
            false => masked(value),
        };
        (name.clone(), value)
    };
    object.iter().map(shown).collect()
}

/// Settings, texts masked where their name sounds secret.
pub(super) fn settings(object: &Map<String, Value>) -> Map<String, Value> {
    let shown = |(name, value): (&String, &Value)| {
        let value = match (sounds_secret(name), value) {
            (true, value) => masked(value),
            (false, Value::Object(inner)) => Value::Object(settings(inner)),
            (false, Value::Array(items)) => items.iter().map(item).collect(),
            (false, value) => value.clone(),
        };
        (name.clone(), value)
    };
    object.iter().map(shown).collect()
}

fn item(value: &Value) -> Value {
    match value {
        Value::Object(inner) => Value::Object(settings(inner)),
        other => other.clone(),
    }
}

/// A value with every text in it masked.
pub(super) fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => value.clone(),
        Value::String(_) => Value::String(MASK.to_owned()),
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(object) => {
            let pair = |(name, value): (&String, &Value)| (name.clone(), masked(value));
            Value::Object(object.iter().map(pair).collect())
        }
        scalar => scalar.clone(),
    }
}

/// Whether a name is one that secrets have.
pub(super) fn sounds_secret(name: &str) -> bool {
    const PARTS: [&str; 14] = [
        "key",
        "secret",
        "password",
        "passphrase",
        "passwd",
        "token",
        "credential",
        "url",
        "sentinel",
        "auth",
        "webhook",
        "cookie",
        "bearer",
        "dsn",
    ];
    const PLAIN: [&str; 9] = [
        "key_alias",
        "key_name",
        "key_type",
        "token_rate_limit_type",
        "litellm_key_header_name",
        "require_auth_for_metrics_endpoint",
        "token_id",
        "max_tokens",
        "litellm_credential_name",
    ];
    let name = name.to_ascii_lowercase();
    !PLAIN.contains(&name.as_str()) && PARTS.iter().any(|part| name.contains(part))
}

/// Lays changes over an object: `null` removes, the mask leaves what is there.
pub(super) fn merge(old: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, value) in changes {
        match value {
            Value::Null => {
                old.remove(&name);
            }
            Value::Object(inner) => match old.get_mut(&name) {
                Some(Value::Object(known)) => {
                    // An object is replaced whole, but the masks in it stand for what was there.
                    let known = std::mem::replace(known, inner);
                    if let Some(Value::Object(new)) = old.get_mut(&name) {
                        unmask(new, &known);
                    }
                }
                _ => {
                    old.insert(name, Value::Object(inner));
                }
            },
            value if value == MASK && old.contains_key(&name) => {}
            value => {
                old.insert(name, value);
            }
        }
    }
}

fn unmask(new: &mut Map<String, Value>, known: &Map<String, Value>) {
    for (name, value) in new.iter_mut() {
        if let (true, Some(before)) = (*value == MASK, known.get(name)) {
            *value = before.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn only_names_that_are_known_show_their_text() {
        let shown = params(&object(json!({
            "model": "openai/x", "api_key": "canary", "rpm": 5, "tags": ["a"],
            "extra_headers": {"x": "canary"}, "unheard_of": ["canary"], "api_base": "https://a",
        })));
        let text = Value::Object(shown.clone()).to_string();
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(shown["model"], "openai/x");
        assert_eq!(shown["extra_headers"]["x"], MASK);
        assert_eq!((&shown["rpm"], &shown["tags"]), (&json!(5), &json!(["a"])));
        let shown = settings(&object(json!({
            "num_retries": 3, "cache_params": {"password": "canary", "host": "h"},
            "redis_url": "canary", "slack_webhook": "canary", "SENTRY_DSN": "canary",
            "headers": [{"Cookie": "canary", "X-Passphrase": ["canary"]}],
            "fallbacks": [{"a": ["b"]}], "timezone": "UTC",
        })));
        assert!(!Value::Object(shown.clone()).to_string().contains("canary"));
        assert_eq!(shown["fallbacks"], json!([{"a": ["b"]}]));
        assert_eq!(shown["cache_params"]["host"], "h");
    }

    #[test]
    fn a_mask_that_comes_back_changes_nothing() {
        let mut old = object(json!({"api_key": "real", "h": {"a": "x", "b": "y"}, "rpm": 5}));
        let changes = json!({"api_key": MASK, "h": {"a": MASK, "c": "z"}, "rpm": null});
        merge(&mut old, object(changes));
        let expected = json!({"api_key": "real", "h": {"a": "x", "c": "z"}});
        assert_eq!(Value::Object(old), expected);
    }
}
