//! Compares what is written with the table of keys: unknown, mistyped, without effect.

use super::keys::{BODY_FIELDS, Effect, Key, Kind, MISTAKEN, Mistaken, Section, edit_distance};
use super::period;
use super::problem::Problems;
use super::tree::{Entry, Node, Value};

/// Reports every key of a mapping and of the mappings below it.
pub(super) fn section(section: Section, node: &Node, path: &str, problems: &mut Problems) {
    for entry in node.entries() {
        let path = match path.is_empty() {
            true => entry.key.clone(),
            false => format!("{path}.{}", entry.key),
        };
        let is_mistake = |row: &&Mistaken| row.section == section && row.name == entry.key;
        if let Some(row) = MISTAKEN.iter().find(is_mistake) {
            problems.warning(&entry.key_at, &path, row.instead);
            value(row.kind, &entry.value, &path, problems);
        } else if let Some(row) = section.find(&entry.key) {
            known(row, entry, &path, problems);
        } else {
            unknown(section, entry, &path, problems);
        }
    }
}

fn known(row: &Key, entry: &Entry, path: &str, problems: &mut Problems) {
    if entry.value.is_null() {
        return;
    }
    if !says_nothing(&entry.value) {
        match row.effect {
            Effect::Effective(_) => {}
            Effect::NotYet(instead) => {
                let message = format!("not in this version yet: {instead}");
                problems.warning(&entry.key_at, path, message);
            }
            Effect::Ignored(why) => problems.notice(&entry.key_at, path, format!("ignored: {why}")),
        }
    }
    value(row.kind, &entry.value, path, problems);
}

/// `false` and empty lists ask for nothing, so nothing is missed.
fn says_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => scalar.as_bool() == Some(false),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

fn unknown(section: Section, entry: &Entry, path: &str, problems: &mut Problems) {
    if problems.is_full() {
        return;
    }
    let name = entry.key.as_str();
    let near = section.nearest(name);
    let at = &entry.key_at;
    match section {
        Section::Params if BODY_FIELDS.binary_search(&name).is_ok() => {}
        Section::Params => match near.or_else(|| nearest_field(name)) {
            Some(near) => {
                let sent = "it is sent to the provider in every request body";
                problems.warning(
                    at,
                    path,
                    format!("unknown; did you mean `{near}`? As it is, {sent}"),
                );
            }
            None => {
                let sent = "sent to the provider in every request body";
                problems.notice(at, path, format!("not a known setting: {sent}"));
            }
        },
        Section::ModelInfo => {
            if let Some(near) = near {
                let free = "as it is, it is only returned by `/model/info`";
                problems.warning(at, path, format!("unknown; did you mean `{near}`? {free}"));
            }
        }
        _ => {
            let message = match (near, elsewhere(section, name)) {
                (_, Some(other)) => {
                    format!("has no effect here; write it under `{}`", other.path())
                }
                (Some(near), None) => format!("unknown, no effect; did you mean `{near}`?"),
                (None, None) => "unknown, no effect; remove it".to_owned(),
            };
            problems.warning(at, path, message);
        }
    }
}

/// Another section in which exactly this key is known.
fn elsewhere(section: Section, name: &str) -> Option<Section> {
    let here = [
        Section::Settings,
        Section::General,
        Section::Router,
        Section::Meridian,
        Section::Top,
    ];
    let knows = |other: &Section| other.keys().iter().any(|row| row.name == name);
    here.into_iter()
        .filter(|other| *other != section)
        .find(knows)
}

fn nearest_field(name: &str) -> Option<&'static str> {
    let allowed = (name.len() / 4).min(2);
    let distances = BODY_FIELDS
        .iter()
        .map(|field| (edit_distance(name, field), *field));
    let nearest = distances.filter(|&(distance, _)| distance <= allowed).min();
    nearest.map(|(_, field)| field)
}

/// Reports a value that a key of this kind cannot hold.
fn value(kind: Kind, node: &Node, path: &str, problems: &mut Problems) {
    if node.is_null() {
        return;
    }
    match (kind, &node.value) {
        (Kind::Section(below), Value::Map(_)) => section(below, node, path, problems),
        (Kind::Sections(below), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                value(
                    Kind::Section(below),
                    item,
                    &format!("{path}[{index}]"),
                    problems,
                );
            }
        }
        (Kind::Price, Value::List(_) | Value::Map(_)) => prices(node, path, problems),
        (Kind::Texts, Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                value(Kind::Text, item, &format!("{path}[{index}]"), problems);
            }
        }
        _ if fits(kind, &node.value) => {}
        _ => {
            let (expected, got) = (kind.expected(), describe(kind, &node.value));
            problems.error(&node.at, path, format!("expected {expected}, got {got}"));
        }
    }
}

fn prices(node: &Node, path: &str, problems: &mut Problems) {
    for (index, item) in node.items().iter().enumerate() {
        value(Kind::Price, item, &format!("{path}[{index}]"), problems);
    }
    for entry in node.entries() {
        value(
            Kind::Price,
            &entry.value,
            &format!("{path}.{}", entry.key),
            problems,
        );
    }
}

fn fits(kind: Kind, value: &Value) -> bool {
    let scalar = match value {
        Value::List(_) => return matches!(kind, Kind::List | Kind::Any),
        Value::Map(_) => return matches!(kind, Kind::Map | Kind::Any),
        Value::Scalar(scalar) => scalar,
    };
    match kind {
        Kind::Any | Kind::Text | Kind::Secret | Kind::Texts => true,
        Kind::Bool => scalar.as_bool().is_some(),
        Kind::Whole(min, max) => scalar.as_i64().is_some_and(|n| (min..=max).contains(&n)),
        Kind::Number | Kind::Seconds | Kind::Price => scalar.as_f64().is_some_and(|n| n >= 0.0),
        Kind::Share => scalar.as_f64().is_some_and(|n| (0.0..=1.0).contains(&n)),
        Kind::Duration => period::parse(scalar.text()).is_some(),
        Kind::Word(words) => words.contains(&scalar.text()),
        Kind::List | Kind::Map | Kind::Section(_) | Kind::Sections(_) => false,
    }
}

/// What was found, without showing what may be a secret.
fn describe(kind: Kind, value: &Value) -> String {
    match value {
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
        Value::Scalar(_) if kind == Kind::Secret => "something else".into(),
        Value::Scalar(scalar) => match scalar.quotable() {
            Some(text) => format!("`{text}`"),
            None => "another text".into(),
        },
    }
}
