//! JSON schemas without the keywords that a provider refuses.

use crate::translate::Emit;
use crate::wire::json::{Kind, Value};

/// Schema of a tool without arguments.
pub(super) const NO_ARGUMENTS: &[u8] = br#"{"type":"object","properties":{}}"#;
/// Schema of a function that stands in for a tool of free text.
pub(super) const FREE_TEXT: &[u8] =
    br#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Gemini's `parametersJsonSchema` and `responseJsonSchema`.
    Gemini,
    /// Amazon's models.
    Nova,
    /// Cohere's.
    Cohere,
}

/// What happens to a keyword.
enum Fate {
    /// Its value is data.
    Keep,
    /// Its value is a schema, or true or false.
    Schema,
    /// A list of schemas.
    List,
    /// Schemas by name.
    Map,
    /// Schemas whose members become members here.
    Merge,
    /// Becomes an `enum` of one.
    Constant,
    /// A pointer to another schema.
    Pointer,
    /// Left out.
    Drop,
}

impl Rules {
    fn fate(self, keyword: &[u8]) -> Fate {
        match (self, keyword) {
            (Self::Nova, b"additionalProperties") => Fate::Drop,
            (Self::Nova | Self::Cohere, b"$schema" | b"$id" | b"$comment") => Fate::Drop,
            (Self::Gemini, b"const") => Fate::Constant,
            (Self::Gemini, b"allOf") => Fate::Merge,
            (_, b"$ref") => Fate::Pointer,
            (_, b"items" | b"additionalProperties") => Fate::Schema,
            (_, b"anyOf" | b"oneOf" | b"prefixItems" | b"allOf") => Fate::List,
            (_, b"properties" | b"$defs" | b"definitions") => Fate::Map,
            (Self::Nova | Self::Cohere, _) => Fate::Keep,
            (
                Self::Gemini,
                b"$anchor" | b"type" | b"format" | b"title" | b"description" | b"enum"
                | b"minItems" | b"maxItems" | b"minimum" | b"maximum" | b"required"
                | b"propertyOrdering" | b"nullable",
            ) => Fate::Keep,
            (Self::Gemini, _) => Fate::Drop,
        }
    }
}

/// The schema, and whether anything was left out or told in other words.
pub(super) fn cleaned(schema: Value<'_>, rules: Rules) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(schema.raw.len());
    let mut cleaner = Cleaner {
        rules,
        changed: false,
    };
    cleaner.schema(schema, &mut Emit::new(&mut bytes));
    (bytes, cleaner.changed)
}

struct Cleaner {
    rules: Rules,
    changed: bool,
}

impl Cleaner {
    // Recursion is bounded: nothing nests deeper than `wire::json::DEPTH_MAX`.
    fn schema(&mut self, schema: Value<'_>, emit: &mut Emit<'_>) {
        if schema.kind != Kind::Object {
            emit.raw(schema.raw);
            return;
        }
        emit.open();
        self.members(schema, &mut Vec::new(), emit);
        emit.close();
    }

    /// Members of one schema; `seen` holds the keywords that are written already.
    fn members<'s>(&mut self, schema: Value<'s>, seen: &mut Vec<&'s [u8]>, emit: &mut Emit<'_>) {
        for (keyword, value) in schema.fields() {
            let fate = self.rules.fate(keyword);
            let name = match keyword {
                b"const" if matches!(fate, Fate::Constant) => b"enum".as_slice(),
                b"definitions" => b"$defs",
                other => other,
            };
            if matches!(fate, Fate::Drop) || seen.contains(&name) {
                // `$schema` and the like say nothing about the arguments.
                self.changed |= !matches!(keyword, b"$schema" | b"$id" | b"$comment");
                continue;
            }
            if matches!(fate, Fate::Merge) {
                self.changed = true;
                for item in value.items() {
                    self.members(item, seen, emit);
                }
                continue;
            }
            let Ok(word) = std::str::from_utf8(name) else {
                continue;
            };
            seen.push(name);
            emit.name(word);
            self.value(&fate, value, emit);
        }
    }

    fn value(&mut self, fate: &Fate, value: Value<'_>, emit: &mut Emit<'_>) {
        match (fate, value.kind) {
            (Fate::Schema, _) => self.schema(value, emit),
            (Fate::List, Kind::Array) => {
                emit.open_list();
                for item in value.items() {
                    self.schema(item, emit);
                }
                emit.close_list();
            }
            (Fate::Map, Kind::Object) => {
                emit.open();
                for (name, item) in value.fields() {
                    if let Ok(name) = std::str::from_utf8(name) {
                        emit.name(name);
                        self.schema(item, emit);
                    }
                }
                emit.close();
            }
            (Fate::Constant, _) => {
                self.changed = true;
                emit.open_list().raw(value.raw).close_list();
            }
            (Fate::Pointer, Kind::String(false)) => {
                let inner = value.inner().unwrap_or_default();
                let own = String::from_utf8_lossy(inner).replace("#/definitions/", "#/$defs/");
                emit.string(&own);
            }
            _ => {
                emit.raw(value.raw);
            }
        }
    }
}

/// Whether an object schema has no property: Gemini wants no schema at all then.
pub(super) fn is_empty_object(schema: Value<'_>) -> bool {
    let properties = schema.field(b"properties");
    properties.is_none_or(|properties| properties.fields().next().is_none())
        && schema.field(b"$ref").is_none()
        && schema.field(b"anyOf").is_none()
        && schema.field(b"oneOf").is_none()
        && schema.field(b"allOf").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::whole;

    fn clean(schema: &str, rules: Rules) -> (String, bool) {
        let (bytes, changed) = cleaned(whole(schema.as_bytes()).unwrap(), rules);
        (String::from_utf8(bytes).unwrap(), changed)
    }

    #[test]
    fn gemini_gets_the_keywords_that_it_takes() {
        let schema = r##"{"$schema":"x","type":"object","properties":{"const":{"const":1,
            "default":2,"pattern":"a"},"r":{"$ref":"#/definitions/R"}},"definitions":{"R":{"allOf":[
            {"type":"string","minLength":1},{"description":"d"}]}},"required":["const"],
            "additionalProperties":false,"oneOf":[{"not":{}}]}"##;
        let (text, changed) = clean(schema, Rules::Gemini);
        assert!(changed);
        let expected = [
            r##"{"type":"object","properties":{"const":{"enum":[1]},"r":{"$ref":"#/$defs/R"}},"##,
            r##""$defs":{"R":{"type":"string","description":"d"}},"required":["const"],"##,
            r##""additionalProperties":false,"oneOf":[{}]}"##,
        ]
        .concat();
        assert_eq!(text, expected);
    }

    #[test]
    fn what_a_provider_takes_is_not_called_a_change() {
        let schema = r#"{"$schema":"x","type":"object","properties":{"a":{"type":"string"}}}"#;
        for rules in [Rules::Gemini, Rules::Nova, Rules::Cohere] {
            let (text, changed) = clean(schema, rules);
            assert!(!changed, "{rules:?}");
            assert!(!text.contains("$schema") && text.contains(r#""a":{"type":"string"}"#));
        }
        let closed = r#"{"type":"object","additionalProperties":false}"#;
        assert_eq!(
            clean(closed, Rules::Nova),
            (r#"{"type":"object"}"#.to_owned(), true)
        );
    }
}
