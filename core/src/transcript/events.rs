//! The whole answer that the events of `/v1/messages` and `/v1/responses` come to.

use serde_json::{Map, Value, json};

use super::choices::{PARTS_MAX, Written};

/// An answer of `/v1/messages`.
#[derive(Debug, Default)]
pub(super) struct Message {
    head: Map<String, Value>,
    blocks: Vec<Block>,
}

/// One part of its content: what it began with, and what was added.
#[derive(Debug)]
struct Block {
    begun: Map<String, Value>,
    text: Written,
    thinking: Written,
    input: Written,
}

impl Message {
    pub(super) fn event(&mut self, event: &Value, chars_max: usize) {
        match event["type"].as_str() {
            Some("message_start") => {
                if let Value::Object(head) = &event["message"] {
                    self.head.clone_from(head);
                }
            }
            Some("content_block_start") if self.blocks.len() < PARTS_MAX => {
                let begun = event["content_block"].as_object().cloned();
                self.blocks.push(Block {
                    begun: begun.unwrap_or_default(),
                    text: Written::default(),
                    thinking: Written::default(),
                    input: Written::default(),
                });
            }
            Some("content_block_delta") => {
                let index = event["index"]
                    .as_u64()
                    .and_then(|at| usize::try_from(at).ok());
                if let Some(block) = index.and_then(|at| self.blocks.get_mut(at)) {
                    let delta = &event["delta"];
                    block.text.add(&delta["text"], chars_max);
                    block.thinking.add(&delta["thinking"], chars_max);
                    block.input.add(&delta["partial_json"], chars_max);
                }
            }
            Some("message_delta") => {
                if let Value::Object(fields) = &event["delta"] {
                    self.head.extend(fields.clone());
                }
                let usage = self.head.entry("usage").or_insert_with(|| json!({}));
                if let (Value::Object(usage), Value::Object(fields)) = (usage, &event["usage"]) {
                    usage.extend(fields.clone());
                }
            }
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Option<Value> {
        let mut whole = self.head;
        let blocks = self.blocks.into_iter().map(Block::finish);
        let blocks: Vec<Value> = blocks.collect();
        if whole.is_empty() && blocks.is_empty() {
            return None;
        }
        whole.insert("content".to_owned(), Value::Array(blocks));
        Some(Value::Object(whole))
    }
}

impl Block {
    fn finish(self) -> Value {
        let mut block = self.begun;
        if !self.input.is_empty() {
            let input = self.input.finish();
            // Arguments that were cut are no JSON any more.
            let parsed = serde_json::from_str(&input).unwrap_or(Value::String(input));
            block.insert("input".to_owned(), parsed);
        }
        for (name, written) in [("text", self.text), ("thinking", self.thinking)] {
            if !written.is_empty() {
                block.insert(name.to_owned(), written.finish().into());
            }
        }
        Value::Object(block)
    }
}

/// An answer of `/v1/responses`: its last event has all of it; one that broke off has its text.
#[derive(Debug, Default)]
pub(super) struct Response {
    last: Option<Value>,
    text: Written,
}

impl Response {
    pub(super) fn event(&mut self, event: &mut Value, chars_max: usize) {
        match event["type"].as_str() {
            Some("response.completed" | "response.incomplete" | "response.failed") => {
                self.last = Some(event["response"].take());
            }
            Some("response.output_text.delta") => self.text.add(&event["delta"], chars_max),
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Option<Value> {
        if self.last.is_some() || self.text.is_empty() {
            return self.last;
        }
        let content = json!([{"type": "output_text", "text": self.text.finish()}]);
        let output = json!([{"type": "message", "role": "assistant", "content": content}]);
        Some(json!({"object": "response", "status": "incomplete", "output": output}))
    }
}
