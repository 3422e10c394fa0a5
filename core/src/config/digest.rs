//! Identity of a deployment that names none: a digest of its entry as it was written.
//!
//! Variables count by name, not by value, so that a rotated credential keeps the identity.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::tree::{Node, Value};

/// 64 hex digits over `model_name` and `litellm_params`; the order of keys does not matter.
pub(super) fn of_entry(entry: &Node) -> String {
    let mut hasher = Sha256::new();
    for key in ["model_name", "litellm_params"] {
        match entry.get(key) {
            Some(node) => feed(&mut hasher, node, &BUDGET),
            None => hasher.update(b"-"),
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Its budget is not part of who it is: raised, it goes on with what was spent.
const BUDGET: [&str; 2] = ["budget_duration", "max_budget"];

fn feed(hasher: &mut Sha256, node: &Node, without: &[&str]) {
    match &node.value {
        Value::Scalar(scalar) => text(hasher, b's', scalar.text()),
        Value::List(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| feed(hasher, item, &[]));
            hasher.update(b"]");
        }
        Value::Map(entries) => {
            let counts = |key: &str| !without.contains(&key);
            let mut sorted: Vec<_> = entries.iter().filter(|entry| counts(&entry.key)).collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            hasher.update(b"{");
            for entry in sorted {
                text(hasher, b'k', &entry.key);
                feed(hasher, &entry.value, &[]);
            }
            hasher.update(b"}");
        }
    }
}

/// Length before content: no two different trees give the same bytes.
fn text(hasher: &mut Sha256, kind: u8, text: &str) {
    hasher.update([kind]);
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}
