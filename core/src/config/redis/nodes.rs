//! Lists of nodes: `[[host, port]]`, `[{host, port}]` or `["host:port"]`.

use serde_json::Value;

use super::Node;
use crate::config::problem::{Position, Problems};
use crate::config::section::{Area, to_json};

/// Nodes in the order in which they are tried.
pub(super) type Nodes = Vec<Node>;

/// A list that is not in the file: its name, and where problems with it are shown.
pub(super) struct Written<'a> {
    pub(super) name: &'static str,
    pub(super) at: &'a Position,
}

/// The list under a key; each node that cannot be read is a problem.
pub(super) fn of_list(area: &Area<'_>, key: &str, port: u16, problems: &mut Problems) -> Nodes {
    let Some(list) = area.get(key) else {
        return Nodes::new();
    };
    let mut nodes = Nodes::new();
    for (index, item) in list.items().iter().enumerate() {
        match of_value(&to_json(item), port) {
            Some(node) => nodes.push(node),
            None => {
                let path = format!("{}[{index}]", area.path_of(key));
                problems.error(&item.at, &path, EXPECTED);
            }
        }
    }
    nodes
}

/// The JSON list in a variable.
pub(super) fn of_variable(
    written: &Written<'_>,
    text: Option<&str>,
    port: u16,
    problems: &mut Problems,
) -> Nodes {
    let Some(text) = text else {
        return Nodes::new();
    };
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let list = json.as_array().map_or(&[][..], Vec::as_slice);
    let nodes: Option<Nodes> = list.iter().map(|item| of_value(item, port)).collect();
    match nodes.filter(|nodes| !nodes.is_empty()) {
        Some(nodes) => nodes,
        None => {
            let message = format!("expected a JSON list; of each node: {EXPECTED}");
            problems.error(written.at, written.name, message);
            Nodes::new()
        }
    }
}

const EXPECTED: &str = "expected `[host, port]`, `{host: .., port: ..}` or `host:port`";

fn of_value(json: &Value, default_port: u16) -> Option<Node> {
    let (host, port) = match json {
        Value::Array(pair) => (pair.first()?.as_str()?, pair.get(1)),
        Value::Object(fields) => (fields.get("host")?.as_str()?, fields.get("port")),
        Value::String(text) => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let port = match port {
                "" => default_port,
                _ => port.parse().ok()?,
            };
            return (!host.is_empty()).then(|| (host.to_owned(), port));
        }
        _ => return None,
    };
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let port = match port {
        None | Some(Value::Null) => default_port,
        Some(value) => u16::try_from(number(value)?).ok()?,
    };
    let host = host.trim();
    (!host.is_empty() && port > 0).then(|| (host.to_owned(), port))
}
