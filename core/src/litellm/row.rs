//! One row: its columns are taken out one by one, and what nobody took is told.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::money::NanoUsd;
use crate::time::WallMs;

/// Why a row is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table} {id}: {column}: {reason}")]
pub struct Refused {
    /// The table.
    pub table: &'static str,
    /// Columns of the primary key.
    pub id: String,
    /// The column, or the path of a field inside of it.
    pub column: String,
    /// What is wrong.
    pub reason: String,
}

/// Something of a row that is not taken, or that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The column.
    pub column: String,
    /// What it means for the user.
    pub meaning: String,
}

/// A row that is being read.
pub(super) struct Row {
    table: &'static str,
    id: String,
    fields: Map<String, Value>,
    notes: Vec<Note>,
}

const UNKNOWN: &str = "a column that this version of Meridian does not know; it is not imported";

/// Nothing that a user would miss.
pub(super) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "{}" || text == "[]",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    }
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        // The value may be secret.
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

impl Row {
    pub(super) fn new(table: &'static str, id: &str, fields: Map<String, Value>) -> Self {
        Self {
            table,
            id: id.to_owned(),
            fields,
            notes: Vec::new(),
        }
    }

    pub(super) fn refuse(&self, column: impl Into<String>, reason: impl Into<String>) -> Refused {
        Refused {
            table: self.table,
            id: self.id.clone(),
            column: column.into(),
            reason: reason.into(),
        }
    }

    fn expected(&self, column: &str, wanted: &str, found: &Value) -> Refused {
        let found = kind_of(found);
        self.refuse(column, format!("expected {wanted}, found {found}"))
    }

    /// A column that is there and not null.
    pub(super) fn value(&mut self, column: &str) -> Option<Value> {
        self.fields.remove(column).filter(|value| !value.is_null())
    }

    /// A text; an empty one is none.
    pub(super) fn text(&mut self, column: &str) -> Result<Option<String>, Refused> {
        match self.value(column) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.expected(column, "a text", &other)),
        }
    }

    pub(super) fn required(&mut self, column: &str) -> Result<String, Refused> {
        let text = self.text(column)?;
        text.ok_or_else(|| self.refuse(column, "is empty"))
    }

    pub(super) fn flag(&mut self, column: &str) -> Result<bool, Refused> {
        match self.value(column) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.expected(column, "true or false", &other)),
        }
    }

    /// A count. JSON of Postgres writes whole numbers of any type as such.
    pub(super) fn count(&mut self, column: &str) -> Result<Option<u64>, Refused> {
        match self.value(column) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.expected(column, "a whole number that is not negative", &value)),
            },
        }
    }

    /// Dollars that a budget allows.
    pub(super) fn money(&mut self, column: &str) -> Result<Option<NanoUsd>, Refused> {
        let wanted = "a number of dollars that is not negative";
        match self.value(column) {
            None => Ok(None),
            Some(value) => match value.as_f64().and_then(NanoUsd::from_dollars) {
                Some(amount) if amount >= NanoUsd::ZERO => Ok(Some(amount)),
                _ => Err(self.expected(column, wanted, &value)),
            },
        }
    }

    /// Dollars that were spent. LiteLLM's corrections can leave a sum below nothing.
    pub(super) fn spent(&mut self, column: &str) -> Result<NanoUsd, Refused> {
        match self.value(column) {
            None => Ok(NanoUsd::ZERO),
            Some(value) => match value.as_f64().and_then(NanoUsd::from_dollars) {
                Some(amount) => Ok(amount.max(NanoUsd::ZERO)),
                None => Err(self.expected(column, "a number of dollars", &value)),
            },
        }
    }

    pub(super) fn moment(&mut self, column: &str) -> Result<Option<WallMs>, Refused> {
        match self.value(column) {
            None => Ok(None),
            Some(value) => match value.as_str().and_then(WallMs::parse_iso) {
                Some(moment) => Ok(Some(moment)),
                None => Err(self.expected(column, "a date and time", &value)),
            },
        }
    }

    pub(super) fn texts(&mut self, column: &str) -> Result<Vec<String>, Refused> {
        let items = match self.structured(column)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.expected(column, "a list of texts", &other)),
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::String(text) => texts.push(text),
                other => return Err(self.expected(column, "a list of texts", &other)),
            }
        }
        Ok(texts)
    }

    pub(super) fn object(&mut self, column: &str) -> Result<Map<String, Value>, Refused> {
        match self.structured(column)? {
            None => Ok(Map::new()),
            Some(Value::Object(fields)) => Ok(fields),
            // The default of some list columns is an object, and the other way round.
            Some(Value::Array(items)) if items.is_empty() => Ok(Map::new()),
            Some(other) => Err(self.expected(column, "an object", &other)),
        }
    }

    pub(super) fn text_map(&mut self, column: &str) -> Result<BTreeMap<String, String>, Refused> {
        let mut map = BTreeMap::new();
        for (name, value) in self.object(column)? {
            match value {
                Value::String(text) => {
                    map.insert(name, text);
                }
                other => {
                    let path = format!("{column}.{name}");
                    return Err(self.expected(&path, "a text", &other));
                }
            }
        }
        Ok(map)
    }

    /// A JSON column. Some of LiteLLM's writers put JSON into a JSON text.
    pub(super) fn structured(&mut self, column: &str) -> Result<Option<Value>, Refused> {
        let Some(value) = self.value(column) else {
            return Ok(None);
        };
        let Value::String(text) = &value else {
            return Ok(Some(value));
        };
        if text.is_empty() {
            return Ok(None);
        }
        match serde_json::from_str(text) {
            Ok(Value::Null) => Ok(None),
            Ok(inner) => Ok(Some(inner)),
            Err(_) => Err(self.expected(column, "JSON", &value)),
        }
    }

    /// Tells something about a column.
    pub(super) fn note(&mut self, column: &str, meaning: impl Into<String>) {
        self.notes.push(Note {
            column: column.to_owned(),
            meaning: meaning.into(),
        });
    }

    /// Columns that are kept beside the record and shown again; those of which the meaning is
    /// given are told, because something of what LiteLLM did with them is missing.
    pub(super) fn keep(
        &mut self,
        columns: &[(&str, Option<&str>)],
        extra: &mut Map<String, Value>,
    ) -> Result<(), Refused> {
        for (column, meaning) in columns {
            let kept = match self.fields.get(*column) {
                Some(Value::String(text)) if text.starts_with(['{', '[']) => {
                    self.structured(column)?
                }
                _ => self.value(column),
            };
            let Some(value) = kept.filter(|value| !says_nothing(value)) else {
                continue;
            };
            if let Some(meaning) = meaning {
                self.note(column, *meaning);
            }
            extra.insert((*column).to_owned(), value);
        }
        Ok(())
    }

    /// Columns that mean nothing outside of LiteLLM, or that change with every request.
    pub(super) fn drop_columns(&mut self, columns: &[&str]) {
        for column in columns {
            self.fields.remove(*column);
        }
    }

    /// Columns that are dropped although they say something.
    pub(super) fn drop_told(&mut self, columns: &[(&str, &str)]) {
        for (column, meaning) in columns {
            let value = self.value(column);
            if value.is_some_and(|value| !says_nothing(&value)) {
                self.note(column, *meaning);
            }
        }
    }

    /// What was noted, with the columns that nobody took.
    pub(super) fn finish(mut self) -> Vec<Note> {
        let left: Vec<String> = self
            .fields
            .iter()
            .filter(|(_, value)| !says_nothing(value))
            .map(|(column, _)| column.clone())
            .collect();
        for column in left {
            self.note(&column, UNKNOWN);
        }
        self.notes
    }
}
