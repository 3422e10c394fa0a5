//! Typed reading of one mapping. What has the wrong type reads as absent: the audit reports it.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::problem::Position;
use super::tree::{Node, Value};
use crate::ids::Secret;

/// A mapping and where it is in the configuration; absent mappings read as empty.
#[derive(Clone)]
pub(super) struct Area<'a> {
    node: Option<&'a Node>,
    at: &'a Position,
    path: String,
}

impl<'a> Area<'a> {
    /// `at` is where a missing key would belong.
    pub(super) fn new(node: Option<&'a Node>, at: &'a Position, path: impl Into<String>) -> Self {
        let at = node.map_or(at, |node| &node.at);
        let path = path.into();
        Self { node, at, path }
    }

    /// The mapping under `key`.
    pub(super) fn child(&self, key: &str) -> Area<'a> {
        Area::new(self.get(key), self.at, self.path_of(key))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// Where the value of `key` is, or where it would belong.
    pub(super) fn at(&self, key: &str) -> &'a Position {
        let written = self.node.and_then(|node| node.get(key));
        written.map_or(self.at, |node| &node.at)
    }

    /// Where the mapping begins.
    pub(super) fn start(&self) -> &'a Position {
        self.at
    }

    /// The value of `key` unless it is null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node?.get(key).filter(|node| !node.is_null())
    }

    /// Whether `key` is written, be it null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.node.is_some_and(|node| node.get(key).is_some())
    }

    /// Whether `key` names a variable that is not set.
    pub(super) fn is_unset(&self, key: &str) -> bool {
        let node = self.node.and_then(|node| node.get(key));
        node.is_some_and(|node| match &node.value {
            Value::Scalar(scalar) => scalar.is_unset_variable(),
            _ => false,
        })
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let text = self.get(key)?.scalar()?.text().trim();
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.scalar()?.as_bool()
    }

    pub(super) fn count(&self, key: &str) -> Option<u64> {
        let whole = self.get(key)?.scalar()?.as_i64()?;
        u64::try_from(whole).ok()
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let number = self.get(key)?.scalar()?.as_f64()?;
        (number >= 0.0).then_some(number)
    }

    /// Seconds as a duration; a fraction counts.
    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.number(key)?).ok()
    }

    /// A list of texts, or one text.
    pub(super) fn texts(&self, key: &str) -> Vec<(&'a str, &'a Position)> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let text = |node: &'a Node| Some((node.scalar()?.text(), &node.at));
        nodes.iter().filter_map(text).collect()
    }

    /// The mapping under `key` as JSON; empty when there is none.
    pub(super) fn json_map(&self, key: &str) -> Map<String, Json> {
        match self.get(key).map(to_json) {
            Some(Json::Object(map)) => map,
            _ => Map::new(),
        }
    }

    /// The whole mapping as JSON.
    pub(super) fn all_json(&self) -> Map<String, Json> {
        match self.node.map(to_json) {
            Some(Json::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// The JSON that a node stands for.
pub(super) fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar(scalar) => scalar.to_json(),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Map(entries) => {
            let pair = |entry: &super::tree::Entry| (entry.key.clone(), to_json(&entry.value));
            Json::Object(entries.iter().map(pair).collect())
        }
    }
}
