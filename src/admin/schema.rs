//! What a route takes, as tables of fields: read, checked and written by the tables, and shown by
//! them to those who document the routes.
//!
//! The tables are allow-lists: a field that is in none cannot be written, whoever asks.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use meridian_core::budget::policy::{DEGRADED, Degraded, ON_EXHAUSTED, OVERDRAFT, OnExhausted};
use meridian_core::money::NanoUsd;
use meridian_core::record::Bounds;
use serde_json::{Map, Value, json};

use super::checks::{amount_fault, check_limits, check_model_budgets};
use super::checks::{check_policy, check_regions, period};
use super::fields::{Fields, Given};
use super::keys::{Moment, budget_reset_at};
use super::reply::{AdminError, python_float};

/// A field of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// Where it is kept.
    pub(super) place: Place,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// The id of something.
    Id,
    /// Dollars, not negative.
    Money,
    /// A whole number, not negative.
    Whole,
    /// A boolean.
    Flag,
    /// A list of texts.
    Texts,
    /// An object.
    Object,
    /// An object of texts.
    TextMap,
    /// An object of whole numbers, per model.
    Counts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A budget period.
    Period,
    /// A date or a moment.
    Moment,
    /// Names of regions.
    Regions,
    /// Money per model.
    ModelBudgets,
    /// Budgets with periods of their own.
    BudgetLimits,
    /// Whatever it is, it is only stored, or read by the route itself.
    Any,
}

impl Kind {
    /// Its JSON Schema.
    pub(super) fn schema(self) -> Value {
        let nullable = |kind: &str| json!({"type": [kind, "null"]});
        let map =
            |of: &str| json!({"type": ["object", "null"], "additionalProperties": {"type": of}});
        match self {
            Self::Text | Self::Id => nullable("string"),
            Self::Money => json!({"type": ["number", "null"], "minimum": 0}),
            Self::Whole => json!({"type": ["integer", "null"], "minimum": 0}),
            Self::Flag => nullable("boolean"),
            Self::Texts | Self::Regions => {
                json!({"type": ["array", "null"], "items": {"type": "string"}})
            }
            Self::Object => nullable("object"),
            Self::TextMap => map("string"),
            Self::Counts => map("integer"),
            Self::ModelBudgets => map("object"),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Period => json!({
                "type": ["string", "null"], "pattern": "^[0-9]+(s|m|h|d|w|mo)$",
            }),
            Self::Moment => json!({"type": ["string", "null"], "format": "date-time"}),
            Self::BudgetLimits => json!({"type": ["array", "null"], "items": {"type": "object"}}),
            Self::Any => json!({}),
        }
    }
}

/// Where a field is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the record's body, under its name.
    Column,
    /// In `metadata`, where LiteLLM folds it.
    Metadata,
    /// Among the columns that decide nothing.
    Extra,
    /// Nowhere: the route does something with it.
    Route,
}

/// A field of the record.
pub(super) const fn column(name: &'static str, kind: Kind) -> Field {
    let place = Place::Column;
    Field { name, kind, place }
}

/// A field that is folded into `metadata`.
pub(super) const fn folded(name: &'static str, kind: Kind) -> Field {
    let place = Place::Metadata;
    Field { name, kind, place }
}

/// A field that is only stored and shown.
pub(super) const fn extra(name: &'static str, kind: Kind) -> Field {
    let place = Place::Extra;
    Field { name, kind, place }
}

/// A field that the route itself reads.
pub(super) const fn of_route(name: &'static str, kind: Kind) -> Field {
    let place = Place::Route;
    Field { name, kind, place }
}

/// Money and rates, as every table of LiteLLM's has them.
pub(super) const BOUNDS: &[Field] = &[
    column("max_budget", Kind::Money),
    column("soft_budget", Kind::Money),
    column("budget_duration", Kind::Period),
    column("tpm_limit", Kind::Whole),
    column("rpm_limit", Kind::Whole),
    column("max_parallel_requests", Kind::Whole),
    column("model_max_budget", Kind::ModelBudgets),
];

/// Limits per model and everything else that lies in `metadata`.
pub(super) const FOLDED: &[Field] = &[
    column("metadata", Kind::Object),
    folded("model_rpm_limit", Kind::Counts),
    folded("model_tpm_limit", Kind::Counts),
    folded("rpm_limit_type", Kind::Word(LIMIT_TYPES)),
    folded("tpm_limit_type", Kind::Word(LIMIT_TYPES)),
    folded(ON_EXHAUSTED, Kind::Word(&OnExhausted::WORDS)),
    folded(DEGRADED, Kind::Word(&Degraded::WORDS)),
    folded(OVERDRAFT, Kind::Whole),
    folded("tags", Kind::Texts),
    folded("guardrails", Kind::Texts),
    folded("policies", Kind::Texts),
    folded("prompts", Kind::Texts),
    folded("allowed_passthrough_routes", Kind::Texts),
    folded("allowed_vector_store_indexes", Kind::Any),
    folded("enforced_batch_output_expires_after", Kind::Object),
    folded("enforced_file_expires_after", Kind::Object),
    folded("secret_manager_settings", Kind::Object),
    folded("team_member_key_duration", Kind::Text),
];

const LIMIT_TYPES: &[&str] = &["guaranteed_throughput", "best_effort_throughput", "dynamic"];

/// What a request says about a record.
#[derive(Clone, Debug, Default)]
pub(super) struct Patch {
    given: BTreeMap<&'static str, (Place, Given<Value>)>,
    faults: Vec<String>,
}

impl Patch {
    /// Takes the fields of the tables out of a body. What has the wrong type stays in `fields`.
    pub(super) fn read(fields: &mut Fields, tables: &[&'static [Field]]) -> Self {
        let mut patch = Self::default();
        for field in tables.iter().copied().flatten() {
            let value = value_of(fields, *field);
            let value = match value {
                Given::Value(value) => patch.checked(*field, value),
                other => other,
            };
            patch.given.insert(field.name, (field.place, value));
        }
        patch
    }

    /// The checks beyond types, every fault at once.
    pub(super) fn check(&self) -> Result<(), AdminError> {
        match self.faults.as_slice() {
            [] => Ok(()),
            faults => Err(AdminError::detail(
                StatusCode::BAD_REQUEST,
                faults.join("; "),
            )),
        }
    }

    /// Fields that were given, `null` included.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let given = self.given.iter();
        given
            .filter(|(_, (_, value))| *value != Given::Absent)
            .map(|(name, _)| *name)
    }

    /// A field as it was given. Money is in nano-dollars, moments in milliseconds.
    pub(super) fn get(&self, name: &str) -> Given<&Value> {
        match self.given.get(name) {
            None | Some((_, Given::Absent)) => Given::Absent,
            Some((_, Given::Null)) => Given::Null,
            Some((_, Given::Value(value))) => Given::Value(value),
        }
    }

    /// A text that was given.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name).value()?.as_str();
        text.map(str::to_owned)
    }

    /// A flag that was given.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).value()?.as_bool()
    }

    /// A list of texts that was given.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let list = self.get(name).value()?.as_array()?;
        let texts = list.iter().filter_map(Value::as_str);
        Some(texts.map(str::to_owned).collect())
    }

    /// Money that was given.
    pub(super) fn money(&self, name: &str) -> Given<NanoUsd> {
        match self.get(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(nano) => Given::Value(NanoUsd(nano.as_i64().unwrap_or(0))),
        }
    }

    /// A whole number that was given.
    pub(super) fn whole(&self, name: &str) -> Given<u64> {
        match self.get(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(count) => Given::Value(count.as_u64().unwrap_or(0)),
        }
    }

    /// Sets a field as if it had been given.
    pub(super) fn set(&mut self, name: &'static str, place: Place, value: Value) {
        self.given.insert(name, (place, Given::Value(value)));
    }

    /// Uses what `defaults` says for fields that are absent, null or an empty list.
    pub(super) fn fill(&mut self, defaults: &Self) {
        let empty = |value: &Given<Value>| match value {
            Given::Absent | Given::Null => true,
            Given::Value(value) => value.as_array().is_some_and(Vec::is_empty),
        };
        for (name, (place, value)) in &defaults.given {
            let said = self.given.get(name).is_some_and(|(_, own)| !empty(own));
            if !said && matches!(value, Given::Value(_)) {
                self.given.insert(name, (*place, value.clone()));
            }
        }
    }

    /// Writes what was given into a record's body. A new period counts from `at`; one that stays
    /// what it was goes on.
    pub(super) fn apply(
        &self,
        body: &mut Map<String, Value>,
        at: &Moment,
    ) -> Result<(), AdminError> {
        let period_before = body.get("budget_duration").cloned();
        for (name, value) in self.of(Place::Column) {
            put(body, name, value);
        }
        for (place, part) in [(Place::Metadata, "metadata"), (Place::Extra, "extra")] {
            let mut kept = match body.remove(part) {
                Some(Value::Object(kept)) => kept,
                _ => Map::new(),
            };
            for (name, value) in self.of(place) {
                put(&mut kept, name, value);
            }
            at.end_limits(&mut kept);
            check_policy(&kept)?;
            if !kept.is_empty() {
                body.insert(part.to_owned(), Value::Object(kept));
            }
        }
        let said_when = matches!(self.get("budget_reset_at"), Given::Value(_));
        match body.get("budget_duration").and_then(Value::as_str) {
            None if !said_when => {
                body.remove("budget_reset_at");
            }
            Some(duration)
                if !said_when && body.get("budget_duration") != period_before.as_ref() =>
            {
                let ends = budget_reset_at(duration, at)?;
                body.insert("budget_reset_at".to_owned(), json!(ends));
            }
            _ => {}
        }
        Ok(())
    }

    /// The body of a record that is exactly what was given. A period that stays what it was in
    /// `before` goes on.
    pub(super) fn whole_body(
        &self,
        before: &Bounds,
        at: &Moment,
    ) -> Result<Map<String, Value>, AdminError> {
        let mut body = Map::new();
        let wanted = self.text("budget_duration");
        if let (Some(ends), true) = (before.budget_reset_at, wanted == before.budget_duration) {
            body.insert("budget_duration".to_owned(), json!(wanted));
            body.insert("budget_reset_at".to_owned(), json!(ends));
        }
        self.apply(&mut body, at)?;
        Ok(body)
    }

    fn of(&self, place: Place) -> impl Iterator<Item = (&'static str, &Given<Value>)> {
        let given = self.given.iter();
        given.filter_map(move |(name, (at, value))| (*at == place).then_some((*name, value)))
    }

    /// What cannot be meant is noted; what can is kept as records keep it.
    fn checked(&mut self, field: Field, value: Value) -> Given<Value> {
        let fault = match (field.kind, &value) {
            (Kind::Money, Value::Number(dollars)) => {
                let dollars = dollars.as_f64().unwrap_or(f64::NAN);
                if let Some(fault) = amount_fault(field.name, dollars) {
                    Some(fault)
                } else {
                    let nano = NanoUsd::from_dollars(dollars).unwrap_or_default();
                    return Given::Value(json!(nano));
                }
            }
            (Kind::Money, Value::String(text)) => {
                let name = field.name;
                let wanted = "must be a non-negative finite number";
                Some(format!("{name} {wanted}. Received: {text}"))
            }
            (Kind::Period, Value::String(text)) => said(period(text).map(|_| ())),
            (Kind::ModelBudgets, Value::Object(budgets)) => said(check_model_budgets(budgets)),
            (Kind::BudgetLimits, limits) => said(check_limits(limits)),
            (Kind::Regions, Value::Array(names)) => {
                let names: Vec<String> = names
                    .iter()
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect();
                said(check_regions(names.iter()))
            }
            _ => None,
        };
        match fault {
            None => Given::Value(value),
            Some(fault) => {
                self.faults.push(fault);
                Given::Absent
            }
        }
    }
}

/// The words of a refusal, without Python's wrapping.
fn said(checked: Result<(), AdminError>) -> Option<String> {
    let text = checked.err()?.text();
    let inner = text
        .strip_prefix("{'error': ")
        .and_then(|text| text.strip_suffix('}'));
    let inner = inner.map(|text| text.trim_matches(['\'', '"']).to_owned());
    Some(inner.unwrap_or(text))
}

fn put(body: &mut Map<String, Value>, name: &str, value: &Given<Value>) {
    match value {
        Given::Absent => {}
        Given::Null => {
            body.remove(name);
        }
        Given::Value(value) => {
            body.insert(name.to_owned(), value.clone());
        }
    }
}

fn value_of(fields: &mut Fields, field: Field) -> Given<Value> {
    fn json_of<T: Into<Value>>(given: Given<T>) -> Given<Value> {
        match given {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => Given::Value(value.into()),
        }
    }
    let name = field.name;
    match field.kind {
        Kind::Text | Kind::Period => json_of(fields.text(name)),
        Kind::Id => json_of(fields.id(name)),
        Kind::Money => match fields.number(name) {
            // JSON has no number for them; the amount is refused all the same.
            Given::Value(dollars) if !dollars.is_finite() => {
                Given::Value(json!(python_float(dollars)))
            }
            other => json_of(other),
        },
        Kind::Whole => json_of(fields.whole(name)),
        Kind::Flag => json_of(fields.flag(name)),
        Kind::Texts | Kind::Regions => json_of(fields.texts(name)),
        Kind::Object | Kind::ModelBudgets => json_of(fields.object(name)),
        Kind::TextMap => match fields.text_map(name) {
            Given::Value(map) => Given::Value(json!(map)),
            Given::Null => Given::Null,
            Given::Absent => Given::Absent,
        },
        Kind::Counts => json_of(fields.counts(name)),
        Kind::Word(words) => json_of(fields.word(name, words)),
        Kind::Moment => match fields.moment(name) {
            Given::Value(at) => Given::Value(json!(at)),
            Given::Null => Given::Null,
            Given::Absent => Given::Absent,
        },
        Kind::BudgetLimits | Kind::Any => fields.any(name),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use meridian_core::time::WallMs;

    use super::*;

    fn at(now: i64) -> Moment {
        Moment {
            now: WallMs(now),
            zone: TimeZone::UTC,
        }
    }

    fn patch(body: Value) -> Patch {
        let Value::Object(body) = body else {
            panic!("an object")
        };
        let mut fields = Fields::of_object(body);
        let patch = Patch::read(&mut fields, &[BOUNDS, FOLDED]);
        fields.finish().unwrap();
        patch
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let body = json!({"max_budget": -1, "soft_budget": "inf", "budget_duration": "1y",
            "model_max_budget": {"m": 3}});
        let text = patch(body).check().unwrap_err().text();
        for part in [
            "max_budget must be a non-negative finite number. Received: -1.0",
            "soft_budget must be a non-negative finite number. Received: inf",
            "Unsupported duration unit, passed duration: 1y",
            "Invalid model_max_budget",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn folded_fields_are_merged_and_a_period_that_stays_goes_on() {
        let mut body = Map::new();
        let first = json!({"max_budget": 1.5, "budget_duration": "1d", "tags": ["a"],
            "metadata": {"mine": 1}});
        patch(first.clone()).apply(&mut body, &at(0)).unwrap();
        assert_eq!(body["max_budget"], 1_500_000_000);
        assert_eq!(body["metadata"], json!({"mine": 1, "tags": ["a"]}));
        assert_eq!(body["budget_reset_at"], 86_400_000);
        let before = body.clone();
        patch(first).apply(&mut body, &at(5 * 86_400_000)).unwrap();
        assert_eq!(body, before);
        let cleared = json!({"budget_duration": null, "tags": null});
        patch(cleared).apply(&mut body, &at(0)).unwrap();
        assert!(!body.contains_key("budget_reset_at"));
        assert_eq!(body["metadata"], json!({"mine": 1}));
    }
}
