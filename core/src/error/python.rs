//! Texts as Python prints them, because LiteLLM's messages do.

use crate::time::WallMs;

/// LiteLLM prints lists as Python does; clients match on that text.
pub(super) fn python_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// As Python prints a float or nothing.
pub(super) fn python_seconds(seconds: Option<f64>) -> String {
    seconds.map_or("None".to_owned(), |seconds| format!("{seconds:?}"))
}

/// As Python prints a moment, to the second.
pub(super) fn iso_space(at: WallMs) -> String {
    at.to_iso()
        .chars()
        .take(19)
        .collect::<String>()
        .replace('T', " ")
}
