//! Arguments of a function that come piece by piece: Gemini names a place and what stands there.

use serde_json::{Map, Number, Value as Json};

use crate::wire::json::{Kind, Value};

/// Longest list that a place may reach into.
const INDEX_MAX: usize = 10_000;
/// Deepest place.
const DEPTH_MAX: usize = 64;

/// Arguments as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    root: Map<String, Json>,
}

enum Step {
    Member(String),
    Item(usize),
}

impl Arguments {
    /// Takes in one of `partialArgs`. What names no place is left out.
    pub(super) fn add(&mut self, piece: Value<'_>) {
        let path = piece.field(b"jsonPath").and_then(Value::text);
        let Some(steps) = path.and_then(|path| steps(&path)) else {
            return;
        };
        let Some((Step::Member(first), rest)) = steps.split_first() else {
            return;
        };
        let mut place = self.root.entry(first.clone()).or_insert(Json::Null);
        for step in rest {
            let Some(next) = enter(place, step) else {
                return;
            };
            place = next;
        }
        for (name, value) in piece.fields() {
            match (name, value.kind) {
                (b"stringValue", Kind::String(_)) => {
                    let more = value.text().unwrap_or_default();
                    match &mut *place {
                        Json::String(text) => text.push_str(&more),
                        other => *other = Json::String(more.into_owned()),
                    }
                }
                (b"numberValue", Kind::Number) => {
                    let number: Option<Number> = serde_json::from_slice(value.raw).ok();
                    *place = number.map_or(Json::Null, Json::Number);
                }
                (b"boolValue", Kind::Bool) => *place = Json::Bool(value.raw == b"true"),
                (b"nullValue", _) => *place = Json::Null,
                _ => {}
            }
        }
    }

    /// All of them as JSON, and none is left here.
    pub(super) fn take(&mut self) -> String {
        Json::Object(std::mem::take(&mut self.root)).to_string()
    }
}

/// The place one step further; lists and objects come into being where a step needs them.
fn enter<'p>(place: &'p mut Json, step: &Step) -> Option<&'p mut Json> {
    match step {
        Step::Member(name) => {
            if !place.is_object() {
                *place = Json::Object(Map::new());
            }
            let object = place.as_object_mut()?;
            Some(object.entry(name.clone()).or_insert(Json::Null))
        }
        Step::Item(index) => {
            if !place.is_array() {
                *place = Json::Array(Vec::new());
            }
            let list = place.as_array_mut()?;
            while list.len() <= *index {
                list.push(Json::Null);
            }
            list.get_mut(*index)
        }
    }
}

/// `$.a.b[0]['c d']` as steps.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let len = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Member(after[..len].to_owned()));
            rest = &after[len..];
        } else {
            let after = rest.strip_prefix('[')?;
            let (inside, behind) = after.split_once(']')?;
            rest = behind;
            let quoted = inside.trim_matches(['\'', '"']);
            steps.push(match inside.parse() {
                Ok(index) if index <= INDEX_MAX => Step::Item(index),
                Ok(_) => return None,
                Err(_) => Step::Member(quoted.to_owned()),
            });
        }
    }
    (steps.len() <= DEPTH_MAX).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::whole;

    #[test]
    fn pieces_become_one_object() {
        let mut arguments = Arguments::default();
        for piece in [
            r#"{"jsonPath":"$.city","stringValue":"Bos","willContinue":true}"#,
            r#"{"jsonPath":"$.city","stringValue":"ton"}"#,
            r#"{"jsonPath":"$.days[1].n","numberValue":2}"#,
            r#"{"jsonPath":"$['a b']","boolValue":true}"#,
            r#"{"jsonPath":"$.none","nullValue":"NULL_VALUE"}"#,
            r#"{"jsonPath":"$.x[99999999]","numberValue":1}"#,
            r#"{"jsonPath":"nowhere","numberValue":1}"#,
        ] {
            arguments.add(whole(piece.as_bytes()).unwrap());
        }
        let expected = r#"{"a b":true,"city":"Boston","days":[null,{"n":2}],"none":null}"#;
        assert_eq!(arguments.take(), expected);
        assert_eq!(arguments.take(), "{}");
    }
}
