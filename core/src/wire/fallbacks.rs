//! Fallbacks of a request or a key: names of models, in the shapes that LiteLLM's users write.

use serde_json::{Map, Value as Json};

use crate::wire::json::{Kind, Value};

/// Most models of one list.
pub const NAMES_MAX: usize = 16;
/// Longest list as it is written.
pub const BYTES_MAX: usize = 16 * 1_024;
/// Stands for every model.
const ANY: &str = "*";

const SHAPE: &str = "must be a list of model names";
const OTHER_REQUEST: &str = "may change the model alone: write its name";

/// A list of fallbacks: `["b"]`, `[{"model": "b"}]`, or as in a configuration `[{"a": ["b"]}]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    always: Vec<String>,
    of_model: Vec<(String, Vec<String>)>,
}

impl Fallbacks {
    /// Reads a field of a body.
    ///
    /// # Errors
    /// What is wrong, to be said after the field's name.
    pub fn read(list: Value<'_>) -> Result<Self, String> {
        if list.kind != Kind::Array {
            return Err(SHAPE.to_owned());
        }
        if list.raw.len() > BYTES_MAX {
            return Err(format!("must have at most {BYTES_MAX} bytes"));
        }
        let list = serde_json::from_slice(list.raw).map_err(|_| SHAPE.to_owned())?;
        Self::of_json(list)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// What is wrong, to be said after the field's name.
    pub fn of_json(list: Json) -> Result<Self, String> {
        let Json::Array(items) = list else {
            return Err(SHAPE.to_owned());
        };
        let mut read = Self::default();
        for item in items {
            match item {
                Json::String(name) => read.always.push(name),
                Json::Object(fields) if fields.contains_key("model") => {
                    read.always.push(alone(fields)?);
                }
                Json::Object(table) => {
                    for (model, to) in table {
                        read.of_model.push((model, list_of(to)?));
                    }
                }
                _ => return Err(SHAPE.to_owned()),
            }
        }
        let names = || {
            let of_model = read.of_model.iter().flat_map(|(_, to)| to);
            read.always.iter().chain(of_model)
        };
        match names().any(String::is_empty) {
            true => Err(SHAPE.to_owned()),
            false if names().count() > NAMES_MAX => {
                Err(format!("must name at most {NAMES_MAX} models"))
            }
            false => Ok(read),
        }
    }

    /// The models to try for a request of `model`: its own entry counts, else that of `*`.
    pub fn for_model(&self, model: &str) -> Vec<String> {
        let entry = |name| self.of_model.iter().find(|(of, _)| of == name);
        let own = entry(model).or_else(|| entry(ANY));
        let own = own.map_or(&[][..], |(_, to)| to);
        self.always.iter().chain(own).cloned().collect()
    }
}

/// LiteLLM lets such an object replace messages and anything else; the body is not rewritten here.
fn alone(fields: Map<String, Json>) -> Result<String, String> {
    let only = fields.len() == 1;
    match fields.into_iter().next() {
        Some((_, Json::String(name))) if only => Ok(name),
        _ => Err(OTHER_REQUEST.to_owned()),
    }
}

fn list_of(value: Json) -> Result<Vec<String>, String> {
    let text = |item| match item {
        Json::String(name) => Ok(name),
        _ => Err(SHAPE.to_owned()),
    };
    match value {
        Json::Array(items) => items.into_iter().map(text).collect(),
        other => Ok(vec![text(other)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::whole;

    fn read(list: &str) -> Result<Vec<String>, String> {
        let read = Fallbacks::read(whole(list.as_bytes()).unwrap())?;
        Ok(read.for_model("a"))
    }

    #[test]
    fn every_shape_of_a_list_names_models_in_its_order() {
        for (list, expected) in [
            ("[]", &[][..]),
            (r#"["b", "c"]"#, &["b", "c"]),
            (r#"[{"model": "b"}, "c"]"#, &["b", "c"]),
            (r#"[{"a": ["b", "c"]}, {"a": ["d"]}]"#, &["b", "c"]),
            (r#"[{"*": ["x"]}, {"a": "b"}, {"z": ["y"]}]"#, &["b"]),
            (r#"[{"z": ["y"]}, {"*": ["x"]}]"#, &["x"]),
            (r#"[{"z": ["y"]}]"#, &[]),
        ] {
            assert_eq!(read(list).unwrap(), expected, "{list}");
        }
    }

    #[test]
    fn what_names_no_model_is_refused() {
        let many = format!("[{}\"b\"]", "\"b\",".repeat(NAMES_MAX));
        let long = format!("[\"{}\"]", "b".repeat(BYTES_MAX));
        for (list, why) in [
            (r#""b""#, SHAPE),
            (r#"{"a": ["b"]}"#, SHAPE),
            ("[1]", SHAPE),
            ("[null]", SHAPE),
            (r#"[""]"#, SHAPE),
            (r#"["b", ["c"]]"#, SHAPE),
            (r#"[{"a": [1]}]"#, SHAPE),
            (r#"[{"model": 1}]"#, OTHER_REQUEST),
            (r#"[{"model": "b", "messages": []}]"#, OTHER_REQUEST),
            (&many, "must name at most 16 models"),
            (&long, "must have at most 16384 bytes"),
        ] {
            assert_eq!(read(list).unwrap_err(), why, "{list}");
        }
    }
}
