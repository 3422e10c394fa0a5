//! Fields of a JSON body, read as pydantic's lax mode does: absent, null and value differ.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::reply::AdminError;

/// Field names longer than this are cut in answers.
const SHOWN_INPUT_BYTES_MAX: usize = 200;

/// What a body says about one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given<T> {
    /// Not mentioned: an update leaves it as it is.
    Absent,
    /// `null`: an update clears it.
    Null,
    /// A value.
    Value(T),
}

impl<T> Given<T> {
    /// The value; null and absent are the same here.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value by reference.
    pub(super) fn as_value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// Writes a value or a cleared field into `slot`; absent leaves it.
    pub(super) fn write_to(self, slot: &mut Option<T>) {
        match self {
            Self::Absent => {}
            Self::Null => *slot = None,
            Self::Value(value) => *slot = Some(value),
        }
    }

    /// The same for a slot that has an empty value instead of none.
    pub(super) fn write_or_empty(self, slot: &mut T)
    where
        T: Default,
    {
        match self {
            Self::Absent => {}
            Self::Null => *slot = T::default(),
            Self::Value(value) => *slot = value,
        }
    }

    /// Uses `value` if nothing was given.
    pub(super) fn or_default(self, value: Option<T>) -> Self {
        match (self, value) {
            (Self::Absent | Self::Null, Some(value)) => Self::Value(value),
            (given, _) => given,
        }
    }
}

/// Reads the fields of one JSON object and collects what does not fit.
pub(super) struct Fields {
    object: Map<String, Value>,
    problems: Vec<Value>,
}

impl Fields {
    /// Takes an object that was already read.
    pub(super) fn of_object(object: Map<String, Value>) -> Self {
        Self {
            object,
            problems: Vec::new(),
        }
    }

    /// The value as it stands, for fields that are only stored.
    pub(super) fn any(&mut self, name: &str) -> Given<Value> {
        match self.object.remove(name) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(value) => Given::Value(value),
        }
    }

    /// A string.
    pub(super) fn text(&mut self, name: &str) -> Given<String> {
        self.read(
            name,
            "string_type",
            "Input should be a valid string",
            |value| match value {
                Value::String(text) => Ok(text),
                other => Err(other),
            },
        )
    }

    /// A string that must be there.
    pub(super) fn required_text(&mut self, name: &str) -> String {
        if !self.object.contains_key(name) {
            let input = Value::Object(self.object.clone());
            self.problems.push(problem(
                &["body", name],
                "missing",
                "Field required",
                &input,
            ));
            return String::new();
        }
        if self.object.get(name) == Some(&Value::Null) {
            self.object.insert(name.to_owned(), json!(0));
        }
        self.text(name).value().unwrap_or_default()
    }

    /// A number; a numeric string counts, as in pydantic.
    pub(super) fn number(&mut self, name: &str) -> Given<f64> {
        self.read(
            name,
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
            |value| {
                let number = match &value {
                    Value::Number(number) => number.as_f64(),
                    Value::String(text) => text.trim().parse().ok(),
                    Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
                    _ => None,
                };
                number.ok_or(value)
            },
        )
    }

    /// A whole number; negative ones do not fit any limit and are refused.
    pub(super) fn whole(&mut self, name: &str) -> Given<u64> {
        self.read(
            name,
            "int_parsing",
            "Input should be a valid non-negative integer",
            |value| {
                let whole = match &value {
                    Value::Number(number) => {
                        number.as_u64().or_else(|| whole_float(number.as_f64()))
                    }
                    Value::String(text) => text.trim().parse().ok(),
                    _ => None,
                };
                whole.ok_or(value)
            },
        )
    }

    /// A boolean, with pydantic's spellings.
    pub(super) fn flag(&mut self, name: &str) -> Given<bool> {
        self.read(
            name,
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
            |value| {
                let flag = match &value {
                    Value::Bool(flag) => Some(*flag),
                    Value::Number(number) => match number.as_u64() {
                        Some(0) => Some(false),
                        Some(1) => Some(true),
                        _ => None,
                    },
                    Value::String(text) => flag_of_text(text),
                    _ => None,
                };
                flag.ok_or(value)
            },
        )
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, name: &str) -> Given<Vec<String>> {
        self.read(
            name,
            "list_type",
            "Input should be a valid list of strings",
            |value| serde_json::from_value(value.clone()).map_err(|_| value),
        )
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str) -> Given<Map<String, Value>> {
        self.read(
            name,
            "dict_type",
            "Input should be a valid dictionary",
            |value| match value {
                Value::Object(object) => Ok(object),
                other => Err(other),
            },
        )
    }

    /// An object of strings.
    pub(super) fn text_map(&mut self, name: &str) -> Given<BTreeMap<String, String>> {
        self.read(
            name,
            "dict_type",
            "Input should be a valid dictionary of strings",
            |value| serde_json::from_value(value.clone()).map_err(|_| value),
        )
    }

    /// Puts a checked value back for a later reader.
    pub(super) fn put(&mut self, name: &str, value: Value) {
        self.object.insert(name.to_owned(), value);
    }

    /// One of a closed set of words.
    pub(super) fn word(&mut self, name: &str, words: &'static [&'static str]) -> Given<String> {
        let expected = words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Input should be one of {expected}");
        self.read(name, "enum", &message, |value| match value {
            Value::String(text) if words.contains(&text.as_str()) => Ok(text),
            other => Err(other),
        })
    }

    /// The end: every field that did not fit, at once.
    pub(super) fn finish(self) -> Result<(), AdminError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(AdminError::Invalid(self.problems))
        }
    }

    fn read<T>(
        &mut self,
        name: &str,
        kind: &str,
        message: &str,
        convert: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Given<T> {
        match self.any(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => match convert(value) {
                Ok(value) => Given::Value(value),
                Err(input) => {
                    let place = ["body", name];
                    self.problems.push(problem(&place, kind, message, &input));
                    Given::Absent
                }
            },
        }
    }
}

/// Reads a request body. Anything but an object is refused as FastAPI does.
pub(super) fn object_of(body: &[u8]) -> Result<Map<String, Value>, AdminError> {
    match read_json(body)? {
        Value::Object(object) => Ok(object),
        other => Err(AdminError::Invalid(vec![problem(
            &["body"],
            "model_attributes_type",
            "Input should be a valid dictionary or object to extract fields from",
            &other,
        )])),
    }
}

/// Reads JSON; LiteLLM's words for what is none.
pub(super) fn read_json(body: &[u8]) -> Result<Value, AdminError> {
    serde_json::from_slice(body).map_err(|error| AdminError::Refused {
        status: StatusCode::BAD_REQUEST,
        kind: "invalid_request_error",
        param: "request_body",
        message: format!("Invalid JSON payload: {error}"),
    })
}

/// One entry of FastAPI's `detail` list.
pub(super) fn problem(place: &[&str], kind: &str, message: &str, input: &Value) -> Value {
    // A wrong value may be a secret in the wrong field, or huge: only small scalars are shown.
    let shown = match input {
        Value::String(text) if text.starts_with("sk-") => json!("sk-..."),
        Value::String(text) if text.len() > SHOWN_INPUT_BYTES_MAX => json!("..."),
        Value::Object(_) | Value::Array(_) => Value::Null,
        scalar => scalar.clone(),
    };
    json!({"type": kind, "loc": place, "msg": message, "input": shown})
}

fn whole_float(number: Option<f64>) -> Option<u64> {
    let number = number?;
    (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as u64)
}

fn flag_of_text(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &[u8]) -> Fields {
        Fields::of_object(object_of(body).unwrap())
    }

    #[test]
    fn absent_null_and_value_are_three_things() {
        let mut fields = fields(br#"{"a": null, "b": "5", "c": 2.5, "d": "yes"}"#);
        assert_eq!(fields.text("a"), Given::Null);
        assert_eq!(fields.text("x"), Given::Absent);
        assert_eq!(fields.whole("b"), Given::Value(5));
        assert_eq!(fields.number("c"), Given::Value(2.5));
        assert_eq!(fields.flag("d"), Given::Value(true));
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn every_wrong_field_is_named_and_secrets_are_not_echoed() {
        let body =
            br#"{"rpm_limit": -1, "models": ["a", 1], "metadata": 3, "budget": "sk-canary"}"#;
        let mut fields = fields(body);
        fields.whole("rpm_limit");
        fields.texts("models");
        fields.object("metadata");
        fields.number("budget");
        fields.required_text("key");
        let Err(AdminError::Invalid(problems)) = fields.finish() else {
            panic!("must be refused")
        };
        assert_eq!(problems.len(), 5);
        let text = Value::from(problems.clone()).to_string();
        assert!(!text.contains("canary"));
        assert_eq!(problems[4]["type"], "missing");
        assert_eq!(problems[4]["loc"], json!(["body", "key"]));
    }
}
