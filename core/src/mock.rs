//! Canned answers (`mock_response`): what a provider would say, in every dialect that has text.

use serde_json::{Value, json};

use crate::endpoint::Endpoint;

/// What the answer is made of.
#[derive(Clone, Copy, Debug)]
pub struct MockAsk<'a> {
    /// What was asked for.
    pub endpoint: Endpoint,
    /// Whether as a stream.
    pub stream: bool,
    /// Whether a chat stream ends with its usage.
    pub usage_chunk: bool,
    /// Model name to show.
    pub model: &'a str,
    /// The text.
    pub text: &'a str,
    /// Bytes of the request, for an honest prompt count.
    pub prompt_bytes: usize,
    /// Unique part of the answer's id.
    pub id: &'a str,
    /// Unix seconds.
    pub created: i64,
}

/// A canned answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MockAnswer {
    /// `application/json` or `text/event-stream`.
    pub content_type: &'static str,
    /// Its body.
    pub body: Vec<u8>,
}

/// Numbers in a canned embedding.
const EMBEDDING_LENGTH: usize = 8;

/// The canned answer; `None` for endpoints whose answers are not text.
pub fn answer(ask: &MockAsk<'_>) -> Option<MockAnswer> {
    if ask.stream {
        let body = match ask.endpoint {
            Endpoint::ChatCompletions => chat_stream(ask),
            Endpoint::Messages => messages_stream(ask),
            Endpoint::Responses => responses_stream(ask),
            _ => return None,
        };
        return Some(MockAnswer {
            content_type: "text/event-stream",
            body: body.into_bytes(),
        });
    }
    let body = match ask.endpoint {
        Endpoint::ChatCompletions => chat(ask),
        Endpoint::Completions => completion(ask),
        Endpoint::Messages => message(ask),
        Endpoint::Responses => response(ask, "completed"),
        Endpoint::Embeddings => embedding(ask),
        Endpoint::CountTokens => json!({"input_tokens": ask.prompt_tokens()}),
        Endpoint::InputTokens => json!({
            "object": "response.input_tokens", "input_tokens": ask.prompt_tokens(),
        }),
        Endpoint::TokenCounter => json!({
            "total_tokens": ask.prompt_tokens(), "request_model": ask.model,
            "model_used": ask.model, "tokenizer_type": "estimate",
        }),
        _ => return None,
    };
    Some(MockAnswer {
        content_type: "application/json",
        body: body.to_string().into_bytes(),
    })
}

impl MockAsk<'_> {
    fn prompt_tokens(&self) -> u64 {
        quarter(self.prompt_bytes)
    }

    fn completion_tokens(&self) -> u64 {
        quarter(self.text.len())
    }

    fn openai_usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens(), self.completion_tokens());
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        })
    }

    fn native_usage(&self) -> Value {
        json!({
            "input_tokens": self.prompt_tokens(),
            "output_tokens": self.completion_tokens(),
        })
    }
}

/// Tokens that a canned answer says it had: nobody has counted, so a round rule will do.
fn quarter(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

fn chat(ask: &MockAsk<'_>) -> Value {
    json!({
        "id": format!("chatcmpl-{}", ask.id),
        "object": "chat.completion",
        "created": ask.created,
        "model": ask.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": ask.text},
            "finish_reason": "stop",
        }],
        "usage": ask.openai_usage(),
    })
}

fn completion(ask: &MockAsk<'_>) -> Value {
    json!({
        "id": format!("cmpl-{}", ask.id),
        "object": "text_completion",
        "created": ask.created,
        "model": ask.model,
        "choices": [{"index": 0, "text": ask.text, "logprobs": null, "finish_reason": "stop"}],
        "usage": ask.openai_usage(),
    })
}

fn embedding(ask: &MockAsk<'_>) -> Value {
    let tokens = ask.prompt_tokens();
    json!({
        "object": "list",
        "model": ask.model,
        "data": [{"object": "embedding", "index": 0, "embedding": vec![0.25; EMBEDDING_LENGTH]}],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

fn message(ask: &MockAsk<'_>) -> Value {
    json!({
        "id": format!("msg_{}", ask.id),
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [{"type": "text", "text": ask.text}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": ask.native_usage(),
    })
}

fn response(ask: &MockAsk<'_>, status: &str) -> Value {
    let mut usage = ask.native_usage();
    usage["total_tokens"] = json!(ask.prompt_tokens() + ask.completion_tokens());
    let done = status == "completed";
    let output = json!([{
        "id": format!("msg_{}", ask.id),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": ask.text, "annotations": []}],
    }]);
    json!({
        "id": format!("resp_{}", ask.id),
        "object": "response",
        "created_at": ask.created,
        "status": status,
        "model": ask.model,
        "output": if done { output } else { json!([]) },
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": if done { usage } else { Value::Null },
    })
}

/// The text in pieces of about one word, as a stream brings it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn chat_stream(ask: &MockAsk<'_>) -> String {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": format!("chatcmpl-{}", ask.id),
            "object": "chat.completion.chunk",
            "created": ask.created,
            "model": ask.model,
            "choices": choices,
            "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
            Value::Null,
        )
    };
    let mut stream = delta(json!({"role": "assistant", "content": ""}), Value::Null);
    for piece in pieces(ask.text) {
        stream.push_str(&delta(json!({"content": piece}), Value::Null));
    }
    stream.push_str(&delta(json!({}), json!("stop")));
    if ask.usage_chunk {
        stream.push_str(&chunk(json!([]), ask.openai_usage()));
    }
    stream.push_str("data: [DONE]\n\n");
    stream
}

/// One event with its `event:` line, as Anthropic and Responses have it.
fn event(data: &Value) -> String {
    format!(
        "event: {}\ndata: {data}\n\n",
        data["type"].as_str().unwrap_or_default()
    )
}

fn messages_stream(ask: &MockAsk<'_>) -> String {
    let mut start = message(ask);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = json!(1);
    let block = json!({"type": "text", "text": ""});
    let mut stream = event(&json!({"type": "message_start", "message": start}));
    stream += &event(&json!({"type": "content_block_start", "index": 0, "content_block": block}));
    for piece in pieces(ask.text) {
        let delta = json!({"type": "text_delta", "text": piece});
        stream += &event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    }
    stream += &event(&json!({"type": "content_block_stop", "index": 0}));
    stream += &event(&json!({
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": ask.completion_tokens()},
    }));
    stream += &event(&json!({"type": "message_stop"}));
    stream
}

fn responses_stream(ask: &MockAsk<'_>) -> String {
    let item_id = format!("msg_{}", ask.id);
    let done = response(ask, "completed");
    let part = json!({"type": "output_text", "text": "", "annotations": []});
    let item = json!({
        "id": item_id, "type": "message", "status": "in_progress", "role": "assistant",
        "content": [],
    });
    let at = json!({"item_id": item_id, "output_index": 0, "content_index": 0});
    let mut events = vec![
        json!({"type": "response.created", "response": response(ask, "in_progress")}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        merged(
            &at,
            json!({"type": "response.content_part.added", "part": part}),
        ),
    ];
    for piece in pieces(ask.text) {
        let delta = json!({"type": "response.output_text.delta", "delta": piece});
        events.push(merged(&at, delta));
    }
    let text = json!({"type": "response.output_text.done", "text": ask.text});
    let part = json!({
        "type": "response.content_part.done", "part": done["output"][0]["content"][0],
    });
    events.extend([
        merged(&at, text),
        merged(&at, part),
        json!({
            "type": "response.output_item.done", "output_index": 0, "item": done["output"][0],
        }),
        json!({"type": "response.completed", "response": done}),
    ]);
    let numbered = events.into_iter().enumerate().map(|(number, mut one)| {
        one["sequence_number"] = json!(number);
        event(&one)
    });
    numbered.collect()
}

fn merged(base: &Value, mut with: Value) -> Value {
    let fields = base.as_object().into_iter().flatten();
    for (name, value) in fields {
        with[name] = value.clone();
    }
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(endpoint: Endpoint, stream: bool) -> MockAsk<'static> {
        MockAsk {
            endpoint,
            stream,
            usage_chunk: true,
            model: "demo",
            text: "Hello there, friend.",
            prompt_bytes: 40,
            id: "1",
            created: 1_700_000_000,
        }
    }

    #[test]
    fn a_streamed_answer_says_the_same_as_a_whole_one() {
        let whole = answer(&ask(Endpoint::ChatCompletions, false)).unwrap();
        let whole: Value = serde_json::from_slice(&whole.body).unwrap();
        let streamed = answer(&ask(Endpoint::ChatCompletions, true)).unwrap();
        let streamed = String::from_utf8(streamed.body).unwrap();
        let chunks: Vec<Value> = streamed
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, whole["choices"][0]["message"]["content"]);
        assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
        assert!(streamed.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn every_event_of_a_native_stream_has_its_line() {
        for endpoint in [Endpoint::Messages, Endpoint::Responses] {
            let body = String::from_utf8(answer(&ask(endpoint, true)).unwrap().body).unwrap();
            for one in body.trim_end().split("\n\n") {
                let (name, data) = one.split_once('\n').unwrap();
                let data: Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
                assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
            }
        }
        assert_eq!(answer(&ask(Endpoint::AudioSpeech, false)), None);
    }
}
