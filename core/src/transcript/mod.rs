//! What was asked and what was answered, shortened: what the ledger keeps of texts where it is
//! told to (`general_settings.store_prompts_in_spend_logs`).

mod answer;
mod choices;
mod events;
mod excerpt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use answer::Answer;
pub use excerpt::excerpt;

/// Longest kept JSON of a request, and of an answer: with both a record still fits into one frame
/// of the journal.
pub const EXCERPT_BYTES_MAX: usize = 24 * 1024;
/// Characters that are kept of a text where nothing else is set: LiteLLM's figure.
pub const TEXT_CHARS: usize = 2_048;
/// Most characters that may be asked for.
pub const TEXT_CHARS_MAX: usize = 8_192;

/// A JSON document as text. Made here, so that it is valid, and has neither NUL nor half of a
/// surrogate pair nor endless numbers, which databases refuse.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// The document.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// Texts of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Texts {
    /// The body that the client sent; `None` where it was no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<JsonText>,
    /// The answer that it got, a stream as the whole answer that it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<JsonText>,
}

impl Texts {
    /// Bytes of both.
    pub fn bytes(&self) -> usize {
        let length = |text: &Option<JsonText>| text.as_ref().map_or(0, |text| text.as_str().len());
        length(&self.request) + length(&self.response)
    }
}

/// Whether the metadata of a key, a team or an organization says that no texts are kept: by
/// `turn_off_message_logging`, or by the same in the variables of a callback, as LiteLLM has it.
pub fn redacts(metadata: &Map<String, Value>) -> bool {
    const SWITCH: &str = "turn_off_message_logging";
    let on = |value: &Value| match value {
        Value::Bool(on) => *on,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    let callbacks = metadata.get("logging").and_then(Value::as_array);
    let mut callbacks = callbacks.into_iter().flatten();
    metadata.get(SWITCH).is_some_and(on) || callbacks.any(|one| on(&one["callback_vars"][SWITCH]))
}

/// Listens to an answer on its way to the client.
#[derive(Debug)]
pub struct Transcript {
    answer: Answer,
    chars_max: usize,
}

impl Transcript {
    /// Of an answer of this endpoint. Of each text `chars_max` characters are kept.
    pub fn new(endpoint: Endpoint, chars_max: usize) -> Self {
        Self {
            answer: Answer::new(endpoint, chars_max),
            chars_max,
        }
    }

    /// Takes bytes of an event stream, cut anywhere.
    pub fn stream(&mut self, bytes: &[u8]) {
        self.answer.stream(bytes);
    }

    /// Takes a whole body.
    pub fn whole(&mut self, body: &[u8]) {
        self.answer.whole(excerpt(body, self.chars_max));
    }

    /// What is kept of the request with this JSON body, if it had one, and of its answer.
    pub fn finish(self, request: Option<&[u8]>) -> Texts {
        Texts {
            request: request.and_then(|body| excerpt(body, self.chars_max)),
            response: self.answer.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
