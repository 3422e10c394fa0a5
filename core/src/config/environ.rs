//! `environment_variables` and `os.environ/NAME`.

use std::collections::HashMap;

use super::keys::UNREAD_VARIABLES;
use super::problem::Problems;
use super::scalar::{Scalar, Style};
use super::tree::{Node, Value};

/// What begins a text that stands for a variable.
pub(super) const REFERENCE: &str = "os.environ/";

/// The process environment with the file's `environment_variables` over it.
pub(super) fn exported(
    root: &Node,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> HashMap<String, String> {
    let mut exported = env.clone();
    for entry in root
        .get("environment_variables")
        .map_or(&[][..], Node::entries)
    {
        let path = format!("environment_variables.{}", entry.key);
        if UNREAD_VARIABLES.contains(&entry.key.as_str()) {
            problems.notice(&entry.key_at, &path, "ignored: nothing reads this variable");
        }
        let mut value = entry.value.clone();
        resolve(&mut value, env, &mut path.clone(), problems);
        if !value.is_null() && value.scalar().is_none() {
            problems.error(&value.at, &path, "expected text, got a list or a mapping");
        }
        if let Some(scalar) = value.scalar() {
            exported.insert(entry.key.clone(), scalar.text().to_owned());
        }
    }
    exported
}

/// Puts the values of variables where the tree names them; a variable that is not set leaves null
/// and a warning. `path` is the node's own.
pub(super) fn resolve(
    node: &mut Node,
    env: &HashMap<String, String>,
    path: &mut String,
    problems: &mut Problems,
) {
    let length = path.len();
    match &mut node.value {
        Value::Scalar(scalar) => {
            let Some(name) = scalar.text().strip_prefix(REFERENCE) else {
                return;
            };
            match env.get(name) {
                Some(value) => *scalar = Scalar::new(value, Style::Environment),
                None => {
                    let message = format!("environment variable `{name}` is not set; read as null");
                    problems.warning(&node.at, path, message);
                    *scalar = Scalar::unset_variable();
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                resolve(item, env, path, problems);
                path.truncate(length);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(&entry.key);
                resolve(&mut entry.value, env, path, problems);
                path.truncate(length);
            }
        }
    }
}

/// A variable that is set and not empty.
pub(super) fn variable<'a>(env: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name)
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}

/// The first of several variables that is set.
pub(super) fn first<'a>(env: &'a HashMap<String, String>, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| variable(env, name))
}

/// Whether a switch variable is on, as LiteLLM reads it.
pub(super) fn switch(env: &HashMap<String, String>, name: &str) -> bool {
    variable(env, name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}
