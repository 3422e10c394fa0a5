//! Fields of every client dialect, each with a value that is not its default.

use meridian_core::translate::ClientDialect;
use serde_json::Value;

/// A field, and what a request with it has.
pub(crate) type Probe = (String, Value);

/// Probes of a dialect.
pub(crate) fn probes(client: ClientDialect) -> Vec<Probe> {
    let text = include_str!("../data/translate_probes.json");
    let all: Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(all[client.label()].clone()).unwrap()
}
