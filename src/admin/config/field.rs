//! `/config/list` and `/config/field/*`: one key at a time.

use axum::Json;
use axum::extract::State;
use meridian_core::config::keys::{Effect, Key, Kind};
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, ViewerAccess};
use super::super::body::JsonBody;
use super::super::fields::Given;
use super::super::mask;
use super::super::query::Query;
use super::super::state::AdminState;
use super::super::stored;
use super::section::StoredSection;
use super::{Answer, bad, change, in_force, stored_values};

/// Section of a call that names none.
const GENERAL: &str = "general_settings";

/// GET /config/list: every known key of a section.
pub(in crate::admin) async fn list(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let section = section_of(query.text("config_type"))?;
    let stored = stored_values(&state, section);
    let keys = section.section().map(|section| section.keys());
    let rows = keys.unwrap_or_default().iter();
    let named = rows.filter(|row| !row.name.contains('*'));
    let shown = named.map(|row| shown(&state, section, row, &stored));
    Ok(Json(shown.collect()))
}

fn shown(
    state: &AdminState,
    section: StoredSection,
    row: &Key,
    stored: &Map<String, Value>,
) -> Value {
    let written = state.merged().written(section.as_str(), row.name);
    let stored_in_db = match (stored.contains_key(row.name), &written) {
        (true, _) => json!(true),
        (false, Some(_)) => json!(false),
        (false, None) => Value::Null,
    };
    let value = stored.get(row.name).cloned().or(written);
    let text = match row.effect {
        Effect::Effective(text) => text.to_owned(),
        Effect::NotYet(text) => format!("not in this version yet: {text}"),
        Effect::Ignored(text) => format!("no effect: {text}"),
    };
    json!({
        "field_name": row.name,
        "field_type": python_type(row.kind),
        "field_description": text,
        "field_value": value.map(|value| hidden(row, value)),
        "stored_in_db": stored_in_db,
        "field_default_value": null,
        "premium_field": false,
        "nested_fields": null,
    })
}

/// A value without its secrets.
fn hidden(row: &Key, value: Value) -> Value {
    if row.kind == Kind::Secret {
        return mask::masked(&value);
    }
    one_shown(row.name, value)
}

fn one_shown(name: &str, value: Value) -> Value {
    let alone = Map::from_iter([(name.to_owned(), value)]);
    mask::settings(&alone).remove(name).unwrap_or_default()
}

/// LiteLLM's names of types, which are Python's.
pub(in crate::admin) fn python_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Any => "Any",
        Kind::Bool => "Boolean",
        Kind::Text | Kind::Secret | Kind::Duration => "String",
        Kind::Word(_) => "Literal",
        Kind::Whole(..) => "Integer",
        Kind::Number | Kind::Share | Kind::Seconds | Kind::Price => "Float",
        Kind::Texts | Kind::List | Kind::Sections(_) => "List",
        Kind::Map | Kind::Section(_) => "Dict",
    }
}

/// GET /config/field/info
pub(in crate::admin) async fn one(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let name = query.text("field_name").unwrap_or_default();
    let section = section_of(query.text("config_type"))?;
    let row = section.section().and_then(|section| section.find(&name));
    let value = row.and_then(|row| Some((row, in_force(&state, section, &name)?)));
    let Some((row, value)) = value else {
        return Err(bad(&format!("Field name={name} not in DB")));
    };
    let value = match row.kind {
        Kind::Secret => mask::masked(&value),
        _ => one_shown(&name, value),
    };
    Ok(Json(json!({"field_name": name, "field_value": value})))
}

/// POST /config/field/update
pub(in crate::admin) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = fields.required_text("field_name");
    let value = fields.any("field_value");
    let section = fields.text("config_type").value();
    fields.finish()?;
    stored::check_on(&state)?;
    let section = section_of(section)?;
    let value = match value {
        Given::Value(value) => value,
        Given::Null | Given::Absent => return Err(bad("field_value is required")),
    };
    let changes = Map::from_iter([(name, value)]);
    section.check(&changes)?;
    change(&state, &caller, section, changes).await.map(Json)
}

/// POST /config/field/delete: the key is what the files say again.
pub(in crate::admin) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = fields.required_text("field_name");
    let section = fields.text("config_type").value();
    fields.finish()?;
    stored::check_on(&state)?;
    let section = section_of(section)?;
    if !stored_values(&state, section).contains_key(&name) {
        return Err(bad(&format!("Field name={name} not in config")));
    }
    let changes = Map::from_iter([(name, Value::Null)]);
    change(&state, &caller, section, changes).await.map(Json)
}

fn section_of(name: Option<String>) -> Result<StoredSection, super::AdminError> {
    StoredSection::of_type(name.as_deref().unwrap_or(GENERAL))
}
