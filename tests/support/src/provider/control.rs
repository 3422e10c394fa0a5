//! The provider's own paths: scripts, modes and counts over HTTP, for the standalone binary.

use serde::Deserialize;
use serde_json::json;

use super::{Mode, Script, Shared};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptOrder {
    model: String,
    scripts: Vec<Script>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeOrder {
    mode: Mode,
}

/// Answers `/__meter[?rows=1]`, `/__script`, `/__mode` and `/__reset`. After any mode but `serve`
/// only a connection that was kept open can still ask.
pub(crate) fn answer(shared: &Shared, method: &str, target: &str, body: &[u8]) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let done = || Ok::<_, serde_json::Error>(json!({"ok": true}));
    let result = match (method, path) {
        ("GET", "/__meter") => Ok(shared.meter.json(query.contains("rows=1"))),
        ("POST", "/__script") => serde_json::from_slice(body).and_then(|order: ScriptOrder| {
            shared.set_scripts(&order.model, order.scripts);
            done()
        }),
        ("POST", "/__mode") => serde_json::from_slice(body).and_then(|order: ModeOrder| {
            shared.mode.send_replace(order.mode);
            done()
        }),
        ("POST", "/__reset") => {
            shared.reset();
            done()
        }
        _ => return (404, json!({"error": "no such control path"}).to_string()),
    };
    match result {
        Ok(value) => (200, value.to_string()),
        Err(error) => (400, json!({"error": error.to_string()}).to_string()),
    }
}
