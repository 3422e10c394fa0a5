//! `credential_list`: values that several deployments name instead of repeating them.

use std::collections::{HashMap, HashSet};

use super::problem::Problems;
use super::tree::{Entry, Node, Value};

const NAME: &str = "litellm_credential_name";

/// Gives every deployment that names a credential the values that it does not write itself.
pub(super) fn fill(root: &mut Node, problems: &mut Problems) {
    let known = credentials(root, problems);
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let list = entries.iter_mut().find(|entry| entry.key == "model_list");
    let Some(Value::List(models)) = list.map(|entry| &mut entry.value.value) else {
        return;
    };
    for (index, model) in models.iter_mut().enumerate() {
        fill_model(model, index, &known, problems);
    }
}

/// Values by name; the first of two with the same name counts. Records come first.
fn credentials(root: &Node, problems: &mut Problems) -> HashMap<String, Vec<Entry>> {
    let mut known: HashMap<String, (bool, Vec<Entry>)> = HashMap::new();
    let list = root.get("credential_list").map_or(&[][..], Node::items);
    for (index, node) in list.iter().enumerate() {
        let path = format!("credential_list[{index}]");
        let name = node.get("credential_name").and_then(Node::scalar);
        let Some(name) = name.map(|name| name.text().to_owned()) else {
            problems.error(&node.at, &path, "`credential_name` is required");
            continue;
        };
        match known.get(&name) {
            None => {
                let values = node.get("credential_values").map_or(&[][..], Node::entries);
                let is_record = node.at.record().is_some();
                known.insert(name, (is_record, values.to_vec()));
            }
            // A record replaces the file's.
            Some((true, _)) => {}
            Some((false, _)) => {
                let message = format!("`{name}` is written before; the first one counts");
                problems.warning(&node.at, &path, message);
            }
        }
    }
    let values = |(name, (_, values))| (name, values);
    known.into_iter().map(values).collect()
}

fn fill_model(
    model: &mut Node,
    index: usize,
    known: &HashMap<String, Vec<Entry>>,
    problems: &mut Problems,
) {
    let Value::Map(entries) = &mut model.value else {
        return;
    };
    let params = entries
        .iter_mut()
        .find(|entry| entry.key == "litellm_params");
    let Some(params) = params.map(|entry| &mut entry.value) else {
        return;
    };
    let Some(named) = params.get(NAME) else {
        return;
    };
    let (at, is_record) = (named.at.clone(), named.at.record().is_some());
    let Some(name) = named.scalar().map(|name| name.text().to_owned()) else {
        return;
    };
    let path = format!("model_list[{index}].litellm_params.{NAME}");
    let Some(values) = known.get(&name) else {
        // The file may name one that is made by the management API later.
        let message = format!("no credential `{name}` is known: requests are sent without it");
        if is_record {
            problems.error(&at, &path, message);
        } else {
            problems.warning(&at, &path, message);
        }
        return;
    };
    let written: HashSet<String> = params.entries().iter().map(|one| one.key.clone()).collect();
    if let Value::Map(params) = &mut params.value {
        let missing = values.iter().filter(|value| !written.contains(&value.key));
        params.extend(missing.cloned());
    }
}
