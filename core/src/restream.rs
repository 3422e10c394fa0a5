//! A whole JSON answer told as the stream that was asked for.
//!
//! Some providers answer `stream: true` with one JSON document, which streaming clients discard
//! without a word. The events carry all of it, in the order of the dialect.

use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;

/// The answer as a stream with its terminal event; `None` when it does not have the shape of the
/// endpoint's answers.
pub fn events(endpoint: Endpoint, body: &[u8]) -> Option<Vec<u8>> {
    let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
        return None;
    };
    match endpoint {
        Endpoint::ChatCompletions => chat(answer),
        Endpoint::Completions => completion(answer),
        Endpoint::Messages => messages(answer),
        Endpoint::Responses => responses(answer),
        _ => None,
    }
}

/// Events under way.
#[derive(Default)]
struct Events {
    bytes: Vec<u8>,
    sequence: u64,
}

impl Events {
    fn data(&mut self, value: &Value) {
        self.bytes.extend_from_slice(b"data: ");
        self.bytes.extend_from_slice(value.to_string().as_bytes());
        self.bytes.extend_from_slice(b"\n\n");
    }

    fn named(&mut self, name: &str, mut fields: Value) {
        fields["type"] = name.into();
        self.bytes
            .extend_from_slice(format!("event: {name}\n").as_bytes());
        self.data(&fields);
    }

    /// A named event with the sequence number of the Responses API.
    fn numbered(&mut self, name: &str, mut fields: Value) {
        fields["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        self.named(name, fields);
    }

    fn done(mut self) -> Option<Vec<u8>> {
        self.bytes.extend_from_slice(b"data: [DONE]\n\n");
        Some(self.bytes)
    }
}

fn take_array(object: &mut Map<String, Value>, name: &str) -> Option<Vec<Value>> {
    match object.remove(name)? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn chat(mut answer: Map<String, Value>) -> Option<Vec<u8>> {
    let mut choices = take_array(&mut answer, "choices")?;
    let usage = answer.remove("usage");
    answer.insert("object".to_owned(), "chat.completion.chunk".into());
    let mut events = Events::default();
    let mut chunk = Value::Object(answer);
    for (number, choice) in choices.iter_mut().enumerate() {
        let index = choice.get("index").cloned().unwrap_or(number.into());
        let mut delta = choice.get_mut("message")?.take();
        if let Some(Value::Array(calls)) = delta.get_mut("tool_calls") {
            for (number, call) in calls.iter_mut().enumerate() {
                call["index"] = number.into();
            }
        }
        let logprobs = choice.get("logprobs");
        chunk["choices"] = json!([{
            "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null,
        }]);
        events.data(&chunk);
        let reason = choice.get("finish_reason");
        chunk["choices"] = json!([{"index": index, "delta": {}, "finish_reason": reason}]);
        events.data(&chunk);
    }
    usage_chunk(&mut events, chunk, usage);
    events.done()
}

fn completion(mut answer: Map<String, Value>) -> Option<Vec<u8>> {
    let choices = take_array(&mut answer, "choices")?;
    let usage = answer.remove("usage");
    let mut events = Events::default();
    let mut chunk = Value::Object(answer);
    for choice in choices {
        chunk["choices"] = json!([choice]);
        events.data(&chunk);
    }
    usage_chunk(&mut events, chunk, usage);
    events.done()
}

fn usage_chunk(events: &mut Events, mut chunk: Value, usage: Option<Value>) {
    if let Some(usage) = usage {
        chunk["choices"] = json!([]);
        chunk["usage"] = usage;
        events.data(&chunk);
    }
}

fn messages(mut answer: Map<String, Value>) -> Option<Vec<u8>> {
    let content = take_array(&mut answer, "content")?;
    let delta = json!({
        "stop_reason": answer.get("stop_reason"), "stop_sequence": answer.get("stop_sequence"),
    });
    let usage = answer.get("usage").cloned();
    answer.insert("content".to_owned(), json!([]));
    answer.insert("stop_reason".to_owned(), Value::Null);
    answer.insert("stop_sequence".to_owned(), Value::Null);
    let mut events = Events::default();
    events.named("message_start", json!({"message": answer}));
    for (index, mut block) in content.into_iter().enumerate() {
        let deltas = block_deltas(&mut block);
        let start = json!({"index": index, "content_block": block});
        events.named("content_block_start", start);
        for delta in deltas {
            events.named(
                "content_block_delta",
                json!({"index": index, "delta": delta}),
            );
        }
        events.named("content_block_stop", json!({"index": index}));
    }
    events.named("message_delta", json!({"delta": delta, "usage": usage}));
    events.named("message_stop", json!({}));
    Some(events.bytes)
}

/// Takes out of a block what a stream tells in deltas. Kinds that are not known stay whole.
fn block_deltas(block: &mut Value) -> Vec<Value> {
    let kind = block["type"].as_str().unwrap_or_default().to_owned();
    let mut take = |name: &str, empty: Value| match block.get_mut(name) {
        Some(value) if !value.is_null() => std::mem::replace(value, empty),
        _ => Value::Null,
    };
    match kind.as_str() {
        "text" => vec![json!({"type": "text_delta", "text": take("text", "".into())})],
        "thinking" => vec![
            json!({"type": "thinking_delta", "thinking": take("thinking", "".into())}),
            json!({"type": "signature_delta", "signature": take("signature", "".into())}),
        ],
        "tool_use" | "server_tool_use" => {
            let input = take("input", json!({})).to_string();
            vec![json!({"type": "input_json_delta", "partial_json": input})]
        }
        _ => Vec::new(),
    }
}

fn responses(mut answer: Map<String, Value>) -> Option<Vec<u8>> {
    let output = answer.get("output")?.as_array()?.clone();
    let status = answer.get("status").cloned();
    let whole = Value::Object(answer.clone());
    answer.insert("output".to_owned(), json!([]));
    answer.insert("status".to_owned(), "in_progress".into());
    answer.insert("usage".to_owned(), Value::Null);
    let mut events = Events::default();
    events.numbered("response.created", json!({"response": answer}));
    for (index, item) in output.iter().enumerate() {
        output_item(&mut events, index, item);
    }
    let last = match status.as_ref().and_then(Value::as_str) {
        Some("failed") => "response.failed",
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    events.numbered(last, json!({"response": whole}));
    Some(events.bytes)
}

fn output_item(events: &mut Events, index: usize, item: &Value) {
    let mut begun = item.clone();
    let content = item.get("content").and_then(Value::as_array);
    if content.is_some() {
        begun["content"] = json!([]);
    }
    let added = json!({"output_index": index, "item": begun});
    events.numbered("response.output_item.added", added);
    for (part_index, part) in content.into_iter().flatten().enumerate() {
        let at = |name: &str, value: &Value| {
            let mut fields = json!({
                "item_id": item["id"], "output_index": index, "content_index": part_index,
            });
            fields[name] = value.clone();
            fields
        };
        let mut empty = part.clone();
        if empty.get("text").is_some() {
            empty["text"] = "".into();
        }
        events.numbered("response.content_part.added", at("part", &empty));
        if let Some(text) = part.get("text") {
            events.numbered("response.output_text.delta", at("delta", text));
            events.numbered("response.output_text.done", at("text", text));
        }
        events.numbered("response.content_part.done", at("part", part));
    }
    if let Some(arguments) = item.get("arguments") {
        let fields = |name: &str| {
            let mut fields = json!({"item_id": item["id"], "output_index": index});
            fields[name] = arguments.clone();
            fields
        };
        let (delta, done) = (fields("delta"), fields("arguments"));
        events.numbered("response.function_call_arguments.delta", delta);
        events.numbered("response.function_call_arguments.done", done);
    }
    let done = json!({"output_index": index, "item": item});
    events.numbered("response.output_item.done", done);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(endpoint: Endpoint, answer: &Value) -> String {
        let bytes = events(endpoint, answer.to_string().as_bytes()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_chat_answer_keeps_its_tool_calls_and_usage() {
        let answer = json!({
            "id": "c1", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": null,
                "tool_calls": [{"id": "a", "type": "function",
                    "function": {"name": "f", "arguments": "{}"}}],
            }}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        });
        let text = told(Endpoint::ChatCompletions, &answer);
        let events: Vec<Value> = text
            .split("\n\n")
            .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
            .collect();
        let call = &events[0]["choices"][0]["delta"]["tool_calls"][0];
        assert_eq!((&call["index"], &call["id"]), (&json!(0), &json!("a")));
        assert_eq!(events[1]["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(events[2]["usage"]["total_tokens"], 7);
        assert!(text.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn a_message_keeps_every_block() {
        let answer = json!({
            "id": "m1", "type": "message", "role": "assistant", "model": "m",
            "stop_reason": "tool_use", "stop_sequence": null,
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "yes"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                {"type": "novel", "x": 1},
            ],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        });
        let text = told(Endpoint::Messages, &answer);
        for piece in [
            r#""thinking":"hm""#,
            r#""signature":"sig""#,
            r#""text":"yes""#,
            r#""partial_json":"{\"a\":1}""#,
            r#""type":"novel""#,
            r#""stop_reason":"tool_use""#,
        ] {
            assert!(text.contains(piece), "{piece}: {text}");
        }
        assert!(text.contains("event: message_stop\n"));
    }

    #[test]
    fn a_response_ends_with_all_of_it() {
        let answer = json!({
            "id": "r1", "object": "response", "status": "incomplete",
            "output": [{"type": "message", "id": "i", "content": [
                {"type": "output_text", "text": "yes", "annotations": []},
            ]}],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        });
        let text = told(Endpoint::Responses, &answer);
        assert!(text.contains("event: response.output_text.delta\n"));
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!(last["response"], answer);
        assert_eq!(last["type"], "response.incomplete");
    }

    #[test]
    fn other_shapes_are_left_alone() {
        for body in ["", "[]", "{}", "{\"choices\":1}", "{\"choices\":[1]}"] {
            assert_eq!(events(Endpoint::ChatCompletions, body.as_bytes()), None);
        }
        assert_eq!(events(Endpoint::Embeddings, b"{\"data\":[]}"), None);
    }
}
