//! Declarations are whole, and answers are what they say.

use std::collections::HashSet;

use meridian_core::routes::{ROWS, Target};

use super::*;

/// What an answer with status 200 has that is not declared, or has not that is.
pub(in crate::admin) fn disagreement(answer: &Answer, given: &Value) -> Option<String> {
    let (object, fields, closed) = match (answer, given) {
        (Answer::Free(_) | Answer::Other(_), _) => return None,
        (Answer::Object(fields), Value::Object(object)) => (object, fields, true),
        (Answer::Open(fields), Value::Object(object)) => (object, fields, false),
        (Answer::List(fields), Value::Array(items)) => {
            let open = Answer::Open(fields);
            return items.iter().find_map(|item| disagreement(&open, item));
        }
        _ => return Some("another kind of answer than declared".to_owned()),
    };
    let known = |name: &String| fields.iter().any(|field| field.name == name);
    let extra = object.keys().find(|name| closed && !known(name));
    if let Some(name) = extra {
        return Some(format!("`{name}` is not declared"));
    }
    let absent = fields.iter().find(|field| !object.contains_key(field.name));
    let wrong = || {
        fields.iter().find_map(|field| {
            let value = object.get(field.name)?;
            (!fits(field.kind, value)).then(|| format!("`{}` is {value}", field.name))
        })
    };
    match absent {
        Some(field) => Some(format!("`{}` is declared and absent", field.name)),
        None => wrong(),
    }
}

fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        _ if value.is_null() => true,
        Kind::Any => true,
        Kind::Text | Kind::Moment | Kind::Word(_) => value.is_string(),
        Kind::Whole => value.is_u64(),
        Kind::Number => value.is_number(),
        Kind::Flag => value.is_boolean(),
        Kind::Texts | Kind::List | Kind::Rows(_) => value.is_array(),
        Kind::Fields(fields) => disagreement(&Answer::Open(fields), value).is_none(),
        Kind::Object | Kind::TextMap => value.is_object(),
    }
}

#[test]
fn every_route_says_what_it_is_for_and_no_field_is_declared_twice() {
    for row in ROWS {
        let Target::Own(route) = row.target else {
            continue;
        };
        let declared = operation(route);
        assert!(declared.summary.len() > 8, "{route:?}");
        let tables = declared.body.tables().iter().copied();
        for (what, fields) in [
            ("query", declared.query.iter().collect::<Vec<_>>()),
            ("body", tables.flatten().collect()),
        ] {
            let mut names = HashSet::new();
            for field in fields {
                assert!(names.insert(field.name), "{route:?} {what} {}", field.name);
                assert!(!field.what.is_empty(), "{route:?} {what} {}", field.name);
            }
        }
    }
}
