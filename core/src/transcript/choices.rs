//! The whole answer that the chunks of chat and text completions come to.

use serde_json::{Map, Value, json};

/// Most choices, tool calls or content blocks that are kept.
pub(super) const PARTS_MAX: usize = 32;

/// A text that grows; its beginning is kept.
#[derive(Debug, Default)]
pub(super) struct Written {
    kept: String,
    chars: usize,
    left_out: usize,
}

impl Written {
    /// Adds a string; anything else adds nothing.
    pub(super) fn add(&mut self, piece: &Value, chars_max: usize) {
        let Some(piece) = piece.as_str() else { return };
        let room = chars_max.saturating_sub(self.chars);
        let at = match piece.char_indices().nth(room) {
            None => piece.len(),
            Some((at, _)) => at,
        };
        self.kept.push_str(&piece[..at]);
        self.chars += piece[..at].chars().count();
        self.left_out += piece.len() - at;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.left_out == 0
    }

    pub(super) fn finish(self) -> String {
        match self.left_out {
            0 => self.kept,
            left_out => format!("{}... ({left_out} bytes left out)", self.kept),
        }
    }
}

/// An answer in choices.
#[derive(Debug, Default)]
pub(super) struct Choices {
    head: Map<String, Value>,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    finish_reason: Value,
    /// Of a text completion.
    text: Written,
    content: Written,
    reasoning: Written,
    refusal: Written,
    calls: Vec<Call>,
}

#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: Written,
    name: Written,
    arguments: Written,
}

impl Choices {
    pub(super) fn chunk(&mut self, chunk: &Value, chars_max: usize) {
        for name in ["id", "created", "model", "usage", "system_fingerprint"] {
            if !chunk[name].is_null() {
                self.head.insert(name.to_owned(), chunk[name].clone());
            }
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            if let Some(kept) = at_index(&mut self.choices, index, |one| &mut one.index) {
                kept.add(choice, chars_max);
            }
        }
    }

    pub(super) fn finish(self) -> Option<Value> {
        if self.head.is_empty() && self.choices.is_empty() {
            return None;
        }
        let is_text = |choice: &Choice| !choice.text.is_empty();
        let object = match self.choices.iter().any(is_text) {
            true => "text_completion",
            false => "chat.completion",
        };
        let mut whole = self.head;
        whole.insert("object".to_owned(), object.into());
        let choices = self.choices.into_iter().map(Choice::finish);
        whole.insert("choices".to_owned(), choices.collect());
        Some(Value::Object(whole))
    }
}

/// The part with this index, made if there is room for it.
fn at_index<T: Default>(
    parts: &mut Vec<T>,
    index: u64,
    of: fn(&mut T) -> &mut u64,
) -> Option<&mut T> {
    let found = parts.iter_mut().position(|one| *of(one) == index);
    let at = match found {
        Some(at) => at,
        None if parts.len() == PARTS_MAX => return None,
        None => {
            let mut part = T::default();
            *of(&mut part) = index;
            parts.push(part);
            parts.len() - 1
        }
    };
    parts.get_mut(at)
}

impl Choice {
    fn add(&mut self, choice: &Value, chars_max: usize) {
        if !choice["finish_reason"].is_null() {
            self.finish_reason = choice["finish_reason"].clone();
        }
        self.text.add(&choice["text"], chars_max);
        let delta = &choice["delta"];
        self.content.add(&delta["content"], chars_max);
        self.refusal.add(&delta["refusal"], chars_max);
        // Some servers send one text under both names.
        let reasoning = match delta["reasoning_content"].is_string() {
            true => &delta["reasoning_content"],
            false => &delta["reasoning"],
        };
        self.reasoning.add(reasoning, chars_max);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap_or(0);
            if let Some(kept) = at_index(&mut self.calls, index, |one| &mut one.index) {
                let function = &call["function"];
                kept.id.add(&call["id"], chars_max);
                kept.name.add(&function["name"], chars_max);
                kept.arguments.add(&function["arguments"], chars_max);
            }
        }
    }

    fn finish(self) -> Value {
        let mut choice = json!({"index": self.index, "finish_reason": self.finish_reason});
        if !self.text.is_empty() {
            choice["text"] = self.text.finish().into();
            return choice;
        }
        let mut message = json!({"role": "assistant", "content": null});
        for (name, written) in [
            ("content", self.content),
            ("refusal", self.refusal),
            ("reasoning_content", self.reasoning),
        ] {
            if !written.is_empty() {
                message[name] = written.finish().into();
            }
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into_iter().map(Call::finish).collect();
        }
        choice["message"] = message;
        choice
    }
}

impl Call {
    fn finish(self) -> Value {
        let function = json!({"name": self.name.finish(), "arguments": self.arguments.finish()});
        json!({"id": self.id.finish(), "type": "function", "function": function})
    }
}
