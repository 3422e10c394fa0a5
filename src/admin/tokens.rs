//! Estimates of token counts, marked as such: no tokenizer is loaded for them.

use axum::Json;
use serde_json::{Value, json};

use super::access::AnyKeyAccess;
use super::body::JsonBody;
use super::fields::{Fields, Given};
use super::reply::AdminError;

/// Bytes of English text in a token, on the average of today's vocabularies.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that frame one message.
const TOKENS_PER_MESSAGE: u64 = 4;
/// Tokens that prime the answer.
const TOKENS_PER_ANSWER: u64 = 3;

/// POST /utils/token_counter
pub(super) async fn count(
    _: AnyKeyAccess,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, AdminError> {
    let model = fields.required_text("model");
    let given = Prompt::read(&mut fields);
    fields.finish()?;
    let Some(tokens) = given.tokens() else {
        let text = "prompt or messages or contents must be provided";
        return Err(AdminError::detail(
            axum::http::StatusCode::BAD_REQUEST,
            text,
        ));
    };
    Ok(Json(json!({
        "total_tokens": tokens, "request_model": model, "model_used": model,
        "tokenizer_type": "estimate", "original_response": null, "error": false,
        "error_message": null, "status_code": null,
    })))
}

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
            return Some(of_bytes(text_bytes(prompt)));
        }
        let messages = self
            .messages
            .as_value()
            .or_else(|| self.contents.as_value())?;
        let count = messages.as_array().map_or(1, Vec::len) as u64;
        let frame = TOKENS_PER_MESSAGE.saturating_mul(count);
        Some(of_bytes(text_bytes(messages)) + frame + TOKENS_PER_ANSWER)
    }
}

fn of_bytes(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// Bytes of all texts in a value; the depth is bounded by the JSON reader.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.values().map(text_bytes).sum(),
        _ => 0,
    }
}
