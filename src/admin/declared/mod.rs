//! What every route takes and answers: declared once, parsed and documented from the same table.
//!
//! The extractors `JsonBody` and `Query` let through what is declared here and nothing else, and
//! `/openapi.json` is made of it: a field that is read is a field that is documented.

mod cache;
mod config;
mod figures;
mod health;
mod keys;
mod models;
mod pages;
mod people;
mod spend;
mod table;

use axum::http::Extensions;
use meridian_core::routes::Route;
use serde_json::{Map, Value, json};

use super::schema;

pub(super) use table::operation;

/// One operation: what it is for, what it takes, what it gives.
pub(super) struct Operation {
    /// One line for people.
    pub(super) summary: &'static str,
    /// Parameters of the query string.
    pub(super) query: &'static [Field],
    /// The body.
    pub(super) body: Body,
    /// The answer with status 200.
    pub(super) answer: Answer,
}

/// What a request's body may hold.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// There is none, or it is not read.
    None,
    /// An object with these fields; others are ignored, as in LiteLLM.
    Fields(&'static [Field]),
    /// Several tables together make one object.
    Joined(&'static [&'static [Field]]),
    /// An object with these fields, and those that are written to a record.
    Written(&'static [Field], &'static [&'static [schema::Field]]),
    /// Any JSON, described by these words.
    Free(&'static str),
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// An object with these fields and no others.
    Object(&'static [Field]),
    /// An object with at least these fields among others.
    Open(&'static [Field]),
    /// A list of objects with at least these fields.
    List(&'static [Field]),
    /// Any JSON, described by these words.
    Free(&'static str),
    /// No JSON: this content type.
    Other(&'static str),
}

/// A field of a body, a parameter of a query, or a field of an answer.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// Whether it has to be there.
    pub(super) required: bool,
    /// What it means.
    pub(super) what: &'static str,
}

/// What a field holds. Bodies and queries are read leniently, as pydantic reads them: numbers and
/// booleans may be text.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A date or a moment in ISO 8601.
    Moment,
    /// A whole number, zero or more.
    Whole,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of anything.
    List,
    /// A list of objects with these fields.
    Rows(&'static [Field]),
    /// An object with these fields.
    Fields(&'static [Field]),
    /// An object.
    Object,
    /// An object of texts.
    TextMap,
    /// Anything.
    Any,
}

impl Field {
    const fn new(name: &'static str, kind: Kind, what: &'static str) -> Self {
        Self {
            name,
            kind,
            required: false,
            what,
        }
    }

    /// The same, and it has to be there.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Its JSON Schema.
    fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        if let (Value::Object(schema), false) = (&mut schema, self.what.is_empty()) {
            schema.insert("description".to_owned(), json!(self.what));
        }
        schema
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {
        $(
            $(#[$doc])*
            pub(super) const fn $name(name: &'static str, what: &'static str) -> Field {
                Field::new(name, Kind::$kind, what)
            }
        )*
    };
}

kinds! {
    /// Text.
    text: Text;
    /// A date or a moment.
    moment: Moment;
    /// A whole number.
    whole: Whole;
    /// A number.
    number: Number;
    /// `true` or `false`.
    flag: Flag;
    /// A list of texts.
    texts: Texts;
    /// A list of anything.
    list: List;
    /// An object.
    object: Object;
    /// An object of texts.
    text_map: TextMap;
    /// Anything.
    any: Any;
}

/// One of some words.
pub(super) const fn word(
    name: &'static str,
    words: &'static [&'static str],
    what: &'static str,
) -> Field {
    Field::new(name, Kind::Word(words), what)
}

/// A list of objects.
pub(super) const fn rows(
    name: &'static str,
    fields: &'static [Field],
    what: &'static str,
) -> Field {
    Field::new(name, Kind::Rows(fields), what)
}

/// An object with known fields.
pub(super) const fn fields(
    name: &'static str,
    fields: &'static [Field],
    what: &'static str,
) -> Field {
    Field::new(name, Kind::Fields(fields), what)
}

impl Kind {
    /// Its JSON Schema.
    fn schema(self) -> Value {
        let nullable = |kind: &str| json!({"type": [kind, "null"]});
        match self {
            Self::Text => nullable("string"),
            Self::Moment => json!({"type": ["string", "null"], "format": "date-time"}),
            Self::Whole => json!({"type": ["integer", "null"], "minimum": 0}),
            Self::Number => nullable("number"),
            Self::Flag => nullable("boolean"),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Texts => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            Self::List => nullable("array"),
            Self::Rows(fields) => json!({"type": "array", "items": object_schema(&[fields], true)}),
            Self::Fields(fields) => object_schema(&[fields], true),
            Self::Object => nullable("object"),
            Self::TextMap => json!({
                "type": ["object", "null"], "additionalProperties": {"type": "string"},
            }),
            Self::Any => json!({}),
        }
    }
}

/// JSON Schema of an object with the fields of these tables.
pub(super) fn object_schema(tables: &[&[Field]], open: bool) -> Value {
    let every = || tables.iter().copied().flatten();
    let properties: Map<String, Value> = every()
        .map(|field| (field.name.to_owned(), field.schema()))
        .collect();
    let required: Vec<&str> = every()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !open {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

impl Body {
    /// Its tables; empty where it is not read as fields.
    pub(super) fn tables(&self) -> &[&'static [Field]] {
        match self {
            Self::Fields(fields) => std::slice::from_ref(fields),
            Self::Joined(tables) => tables,
            Self::Written(own, _) => std::slice::from_ref(own),
            Self::None | Self::Free(_) => &[],
        }
    }

    /// Whether it may hold a field.
    fn takes(&self, name: &str) -> bool {
        let own = self.tables().iter().copied().flatten();
        let written = match self {
            Self::Written(_, tables) => *tables,
            _ => &[],
        };
        let written = written.iter().copied().flatten();
        own.map(|field| field.name)
            .chain(written.map(|field| field.name))
            .any(|known| known == name)
    }

    /// JSON Schema of the object.
    pub(super) fn schema(&self) -> Value {
        let mut schema = object_schema(self.tables(), true);
        if let (Self::Written(_, tables), Some(Value::Object(known))) =
            (self, schema.get_mut("properties"))
        {
            for field in tables.iter().copied().flatten() {
                known.insert(field.name.to_owned(), field.kind.schema());
            }
        }
        schema
    }
}

impl Operation {
    const fn get(summary: &'static str, query: &'static [Field], answer: Answer) -> Self {
        Self {
            summary,
            query,
            body: Body::None,
            answer,
        }
    }

    const fn post(summary: &'static str, body: &'static [Field], answer: Answer) -> Self {
        Self {
            summary,
            query: &[],
            body: Body::Fields(body),
            answer,
        }
    }

    const fn written(
        summary: &'static str,
        own: &'static [Field],
        tables: &'static [&'static [schema::Field]],
        answer: Answer,
    ) -> Self {
        Self::with(summary, Body::Written(own, tables), answer)
    }

    const fn with(summary: &'static str, body: Body, answer: Answer) -> Self {
        Self {
            summary,
            query: &[],
            body,
            answer,
        }
    }

    /// Keeps the declared fields of an object.
    pub(super) fn keep_fields(&self, object: &mut Map<String, Value>) {
        if matches!(self.body, Body::Free(_)) {
            return;
        }
        object.retain(|name, _| self.body.takes(name));
    }

    /// Whether a parameter of the query is declared.
    pub(super) fn takes(&self, parameter: &str) -> bool {
        self.query.iter().any(|field| field.name == parameter)
    }
}

/// What the route of a request declares; `None` where no route was found.
pub(super) fn of_request(extensions: &Extensions) -> Option<&'static Operation> {
    extensions.get::<Route>().map(|route| operation(*route))
}

#[cfg(test)]
pub(super) mod tests;
