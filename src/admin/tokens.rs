//! Tokens of a prompt whose cost is asked for, estimated: no tokenizer is loaded for them.

use meridian_core::usage::{text_weight, tokens_of_weight};
use serde_json::Value;

use super::fields::{Fields, Given};

/// Tokens that frame one message.
const TOKENS_PER_MESSAGE: u64 = 4;
/// Tokens that prime the answer.
const TOKENS_PER_ANSWER: u64 = 3;

/// What a client would send to a model.
pub(super) struct Prompt {
    prompt: Given<Value>,
    messages: Given<Value>,
    contents: Given<Value>,
}

impl Prompt {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            prompt: fields.any("prompt"),
            messages: fields.any("messages"),
            contents: fields.any("contents"),
        }
    }

    /// Estimated tokens; `None` if nothing was given.
    pub(super) fn tokens(&self) -> Option<u64> {
        if let Some(prompt) = self.prompt.as_value() {
            return Some(tokens_of_weight(weight(prompt)));
        }
        let messages = self
            .messages
            .as_value()
            .or_else(|| self.contents.as_value())?;
        let count = messages.as_array().map_or(1, Vec::len) as u64;
        let frame = TOKENS_PER_MESSAGE.saturating_mul(count);
        Some(tokens_of_weight(weight(messages)) + frame + TOKENS_PER_ANSWER)
    }
}

/// Weight of all texts in a value; the depth is bounded by the JSON reader.
fn weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => text_weight(text.as_bytes()),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.values().map(weight).sum(),
        _ => 0,
    }
}
