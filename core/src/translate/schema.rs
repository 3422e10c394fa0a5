//! JSON schemas cut to what a provider's grammar compiler takes; the order of members stays.

use crate::translate::emit::Emit;
use crate::wire::json::{Kind, Value};

/// Keywords that Anthropic's structured output refuses.
const ANTHROPIC_REFUSES: [&str; 14] = [
    "contains",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "prefixItems",
    "uniqueItems",
    "patternProperties",
];

/// Members that only describe a schema to its reader.
const DESCRIBES: [&[u8]; 3] = [b"$schema", b"$id", b"$comment"];

/// Deepest schema that is rewritten; what is below it stays as it is.
const DEPTH_MAX: u32 = 64;

/// Writes a schema for Anthropic's `output_config.format`; true when constraints were left out.
pub(crate) fn for_anthropic(schema: Value<'_>, out: &mut Vec<u8>) -> bool {
    let mut lost = false;
    rewrite(schema, &mut Emit::new(out), 0, &mut lost);
    lost
}

/// Whether a keyword stays. One array item more or less is what Anthropic understands.
fn stays(name: &str, value: Value<'_>) -> bool {
    let few = name == "minItems" && value.count().is_some_and(|count| count <= 1);
    few || (name != "minItems" && !ANTHROPIC_REFUSES.contains(&name))
}

fn rewrite(schema: Value<'_>, emit: &mut Emit<'_>, depth: u32, lost: &mut bool) {
    if schema.kind != Kind::Object || depth > DEPTH_MAX {
        emit.raw(schema.raw);
        return;
    }
    let is_object = is_of_objects(schema);
    emit.open();
    for (name, value) in schema.fields() {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        if DESCRIBES.contains(&name.as_bytes()) {
            continue;
        }
        if !stays(name, value) {
            *lost = true;
            continue;
        }
        if name == "additionalProperties" && is_object {
            *lost |= value.raw != b"false";
            continue;
        }
        emit.name(name);
        match name {
            "properties" | "$defs" | "definitions" if value.kind == Kind::Object => {
                emit.open();
                for (name, value) in value.fields() {
                    emit.name(&String::from_utf8_lossy(name));
                    rewrite(value, emit, depth + 2, lost);
                }
                emit.close();
            }
            "anyOf" | "allOf" | "oneOf" if value.kind == Kind::Array => {
                emit.open_list();
                for each in value.items() {
                    rewrite(each, emit, depth + 2, lost);
                }
                emit.close_list();
            }
            "items" | "additionalProperties" | "not" => rewrite(value, emit, depth + 1, lost),
            _ => {
                emit.raw(value.raw);
            }
        }
    }
    if is_object {
        emit.name("additionalProperties").flag(false);
    }
    emit.close();
}

fn is_of_objects(schema: Value<'_>) -> bool {
    let kind = schema.field(b"type");
    kind.is_some_and(|kind| match kind.kind {
        Kind::Array => kind.items().any(|kind| kind.inner() == Some(b"object")),
        _ => kind.inner() == Some(b"object"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::whole;

    fn cut(schema: &str) -> (String, bool) {
        let mut out = Vec::new();
        let lost = for_anthropic(whole(schema.as_bytes()).unwrap(), &mut out);
        (String::from_utf8(out).unwrap(), lost)
    }

    #[test]
    fn constraints_go_and_objects_are_closed() {
        let (out, lost) = cut(concat!(
            r#"{"$schema":"x","type":"object","properties":{"#,
            r#""minimum":{"type":"integer","minimum":1},"#,
            r#""b":{"type":"array","minItems":1,"items":{"type":"object","properties":{}}}}}"#,
        ));
        assert!(lost);
        let expected = concat!(
            r#"{"type":"object","properties":{"minimum":{"type":"integer"},"#,
            r#""b":{"type":"array","minItems":1,"items":{"type":"object","properties":{},"#,
            r#""additionalProperties":false}}},"additionalProperties":false}"#,
        );
        assert_eq!(out, expected);
        let (out, lost) = cut(r#"{"type":"string","enum":["a"]}"#);
        assert_eq!(
            (out.as_str(), lost),
            (r#"{"type":"string","enum":["a"]}"#, false)
        );
    }
}
