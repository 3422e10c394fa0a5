//! What the signing providers answer, whole and in pieces.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meridian_core::wire::event_stream::write_event;
use meridian_testkit::fake::{Asked, Reply};
use serde_json::{Value, json};

use super::{Shape, claude_thought, converse_thought, is_redacted, is_stream, proof, thought};

/// What the model does now.
pub(super) struct Turn {
    pub(super) call: usize,
    /// Name and arguments of the tool; `None` when it is done.
    pub(super) tool: Option<(&'static str, Value)>,
}

impl Turn {
    pub(super) fn of(body: &Value, done: usize, turns: usize) -> Self {
        let command = format!("echo from-the-tool-{done}");
        let tools = [
            ("exec_command", json!({"cmd": command})),
            ("Bash", json!({"command": command, "description": "say it"})),
        ];
        let all = body.to_string();
        let has = |name: &&str| all.contains(&format!("\"{name}\""));
        let tool = tools.into_iter().find(|(name, _)| has(name));
        let tool = tool.filter(|_| done < turns);
        Self { call: done, tool }
    }

    fn text(&self) -> String {
        format!("done after {} calls", self.call)
    }
}

pub(super) fn answer(shape: Shape, asked: &Asked, turn: &Turn) -> Reply {
    let stream = is_stream(asked, &asked.json());
    match shape {
        Shape::Claude if asked.path().ends_with("-with-response-stream") => {
            let event = |event: &Value| {
                let bytes = BASE64_STANDARD.encode(event.to_string());
                frame("chunk", &json!({"bytes": bytes}))
            };
            let events = claude_events(turn);
            Reply::stream(FRAMES, events.iter().map(event).collect())
        }
        Shape::Claude if stream => named_events(&claude_events(turn)),
        Shape::Claude => Reply::json(200, &claude_message(turn)),
        Shape::Converse if stream => {
            let events = converse_events(turn);
            let frames = events.iter().map(|(name, event)| frame(name, event));
            Reply::stream(FRAMES, frames.collect())
        }
        Shape::Converse => Reply::json(200, &converse_message(turn)),
        Shape::Gemini if stream => {
            let chunk = |part: Value| format!("data: {}\r\n\r\n", gemini(vec![part])).into_bytes();
            Reply::stream(EVENTS, gemini_parts(turn).into_iter().map(chunk).collect())
        }
        Shape::Gemini => Reply::json(200, &gemini(gemini_parts(turn))),
        Shape::Responses if stream => named_events(&response_events(turn)),
        Shape::Responses => Reply::json(200, &response(turn, "completed")),
        Shape::Chat => chat(turn, stream),
    }
}

/// A name that no client asks for. Claude Code drops its thoughts when an answer comes from another
/// model than it asked for: it must find its own.
const CLAUDE: &str = "claude-x-of-a-cloud";
const EVENTS: &str = "text/event-stream";
const FRAMES: &str = "application/vnd.amazon.eventstream";

/// A stream that breaks off inside its first block: Claude Code asks once more for what it has
/// nothing of, and gives up where a block had come whole.
pub(super) fn cut(reply: Reply) -> Reply {
    reply.cut(4)
}

fn frame(name: &str, event: &Value) -> Vec<u8> {
    let mut frame = Vec::new();
    write_event(name, event.to_string().as_bytes(), &mut frame).unwrap();
    frame
}

fn named_events(events: &[Value]) -> Reply {
    let line = |event: &Value| {
        let name = event["type"].as_str().unwrap();
        format!("event: {name}\ndata: {event}\n\n").into_bytes()
    };
    Reply::stream(EVENTS, events.iter().map(line).collect())
}

fn claude_blocks(turn: &Turn) -> Vec<Value> {
    match &turn.tool {
        None => vec![json!({"type": "text", "text": turn.text()})],
        Some((name, input)) => vec![
            claude_thought(turn.call),
            json!({"type": "tool_use", "id": format!("toolu_{}", turn.call), "name": name,
                "input": input}),
        ],
    }
}

fn claude_reason(turn: &Turn) -> &'static str {
    if turn.tool.is_some() {
        "tool_use"
    } else {
        "end_turn"
    }
}

fn claude_message(turn: &Turn) -> Value {
    json!({"id": format!("msg_{}", turn.call), "type": "message", "role": "assistant",
        "model": CLAUDE, "content": claude_blocks(turn), "stop_reason": claude_reason(turn),
        "stop_sequence": null, "usage": {"input_tokens": 11, "output_tokens": 7}})
}

fn claude_events(turn: &Turn) -> Vec<Value> {
    let mut start = claude_message(turn);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    let mut events = vec![json!({"type": "message_start", "message": start})];
    for (index, block) in claude_blocks(turn).into_iter().enumerate() {
        let delta =
            |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        let (empty, deltas) = match block["type"].as_str() {
            Some("thinking") => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    delta(json!({"type": "thinking_delta", "thinking": block["thinking"]})),
                    delta(json!({"type": "signature_delta", "signature": block["signature"]})),
                ],
            ),
            Some("tool_use") => {
                let mut empty = block.clone();
                empty["input"] = json!({});
                let text = block["input"].to_string();
                let (head, tail) = text.split_at(5);
                let piece =
                    |text: &str| delta(json!({"type": "input_json_delta", "partial_json": text}));
                (empty, vec![piece(""), piece(head), piece(tail)])
            }
            Some("text") => (
                json!({"type": "text", "text": ""}),
                vec![delta(json!({"type": "text_delta", "text": block["text"]}))],
            ),
            _ => (block.clone(), Vec::new()),
        };
        let start = json!({"type": "content_block_start", "index": index, "content_block": empty});
        events.push(start);
        events.extend(deltas);
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(
        json!({"type": "message_delta", "usage": {"output_tokens": 7},
        "delta": {"stop_reason": claude_reason(turn), "stop_sequence": null}}),
    );
    events.push(json!({"type": "message_stop"}));
    events
}

fn converse_message(turn: &Turn) -> Value {
    let content = match &turn.tool {
        None => vec![json!({"text": turn.text()})],
        Some((name, input)) => vec![
            converse_thought(turn.call),
            json!({"toolUse": {"toolUseId": format!("tooluse_{}", turn.call), "name": name,
                "input": input}}),
        ],
    };
    json!({"output": {"message": {"role": "assistant", "content": content}},
        "stopReason": claude_reason(turn), "usage": usage_of_converse(),
        "metrics": {"latencyMs": 5}})
}

fn usage_of_converse() -> Value {
    json!({"inputTokens": 11, "outputTokens": 7, "totalTokens": 18})
}

fn converse_events(turn: &Turn) -> Vec<(&'static str, Value)> {
    let delta = |index: u8, delta: Value| {
        let body = json!({"contentBlockIndex": index, "delta": delta});
        ("contentBlockDelta", body)
    };
    let stop = |index: u8| ("contentBlockStop", json!({"contentBlockIndex": index}));
    let mut events = vec![("messageStart", json!({"role": "assistant"}))];
    match &turn.tool {
        None => events.extend([delta(0, json!({"text": turn.text()})), stop(0)]),
        Some((name, input)) => {
            let reasoning = |piece: Value| delta(0, json!({"reasoningContent": piece}));
            if is_redacted(turn.call) {
                events.push(reasoning(json!({"redactedContent": proof(turn.call)})));
            } else {
                events.push(reasoning(json!({"text": thought(turn.call)})));
                events.push(reasoning(json!({"signature": proof(turn.call)})));
            }
            let id = format!("tooluse_{}", turn.call);
            let start = json!({"toolUse": {"toolUseId": id, "name": name}});
            let input = json!({"toolUse": {"input": input.to_string()}});
            let start = json!({"contentBlockIndex": 1, "start": start});
            events.extend([
                stop(0),
                ("contentBlockStart", start),
                delta(1, input),
                stop(1),
            ]);
        }
    }
    events.push(("messageStop", json!({"stopReason": claude_reason(turn)})));
    events.push((
        "metadata",
        json!({"usage": usage_of_converse(), "metrics": {"latencyMs": 5}}),
    ));
    events
}

fn gemini_parts(turn: &Turn) -> Vec<Value> {
    match &turn.tool {
        None => vec![json!({"text": turn.text()})],
        Some((name, args)) => vec![
            json!({"text": thought(turn.call), "thought": true}),
            json!({"functionCall": {"name": name, "args": args},
                "thoughtSignature": proof(turn.call)}),
        ],
    }
}

/// Gemini says that it is done in its last chunk; every chunk may say so.
fn gemini(parts: Vec<Value>) -> Value {
    let is_last = parts.iter().all(|part| part.get("thought").is_none()) || parts.len() > 1;
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if is_last {
        candidate["finishReason"] = json!("STOP");
    }
    json!({"candidates": [candidate], "modelVersion": "gemini-3-x", "responseId": "r1",
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3, "totalTokenCount": 18}})
}

fn response_items(turn: &Turn) -> Vec<Value> {
    match &turn.tool {
        None => vec![
            json!({"id": "msg_1", "type": "message", "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": turn.text(), "annotations": []}]}),
        ],
        Some((name, arguments)) => vec![
            json!({"id": format!("rs_{}", turn.call), "type": "reasoning", "summary":
                [{"type": "summary_text", "text": thought(turn.call)}],
                "encrypted_content": proof(turn.call)}),
            json!({"id": format!("fc_{}", turn.call), "type": "function_call", "name": name,
                "call_id": format!("call_{}", turn.call), "arguments": arguments.to_string(),
                "status": "completed"}),
        ],
    }
}

fn response(turn: &Turn, status: &str) -> Value {
    let is_done = status == "completed";
    let output = if is_done {
        response_items(turn)
    } else {
        Vec::new()
    };
    let usage = json!({"input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
        "output_tokens_details": {"reasoning_tokens": 3}});
    json!({"id": format!("resp_{}", turn.call), "object": "response", "created_at": 1,
        "model": "gpt-x", "status": status, "output": output,
        "usage": if is_done { usage } else { Value::Null }})
}

fn response_events(turn: &Turn) -> Vec<Value> {
    let mut events = vec![json!({"type": "response.created",
        "response": response(turn, "in_progress")})];
    for (index, item) in response_items(turn).into_iter().enumerate() {
        let mut added = item.clone();
        let deltas = match item["type"].as_str() {
            Some("message") => {
                added["content"] = json!([]);
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                vec![
                    json!({"type": "response.content_part.added", "part": part}),
                    json!({"type": "response.output_text.delta", "delta": turn.text()}),
                    json!({"type": "response.output_text.done", "text": turn.text()}),
                    json!({"type": "response.content_part.done", "part": item["content"][0]}),
                ]
            }
            Some("function_call") => {
                added["arguments"] = json!("");
                let arguments = &item["arguments"];
                vec![
                    json!({"type": "response.function_call_arguments.delta", "delta": arguments}),
                    json!({"type": "response.function_call_arguments.done",
                        "arguments": arguments}),
                ]
            }
            _ => {
                added["summary"] = json!([]);
                let text = &item["summary"][0]["text"];
                let part = json!({"type": "summary_text", "text": ""});
                vec![
                    json!({"type": "response.reasoning_summary_part.added", "part": part}),
                    json!({"type": "response.reasoning_summary_text.delta", "delta": text}),
                    json!({"type": "response.reasoning_summary_text.done", "text": text}),
                    json!({"type": "response.reasoning_summary_part.done",
                        "part": item["summary"][0]}),
                ]
            }
        };
        events.push(json!({"type": "response.output_item.added", "item": added}));
        events.extend(deltas);
        events.push(json!({"type": "response.output_item.done", "item": item}));
        let id = item["id"].clone();
        for event in events
            .iter_mut()
            .skip(1)
            .filter(|one| one.get("output_index").is_none())
        {
            event["output_index"] = json!(index);
            event["item_id"] = id.clone();
            event["content_index"] = json!(0);
            event["summary_index"] = json!(0);
        }
    }
    events.push(json!({"type": "response.completed", "response": response(turn, "completed")}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

fn chat(turn: &Turn, stream: bool) -> Reply {
    let (reason, message) = match &turn.tool {
        None => ("stop", json!({"role": "assistant", "content": turn.text()})),
        Some((name, arguments)) => {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            let call = json!({"id": format!("call_{}", turn.call), "index": 0,
                "type": "function", "function": function});
            (
                "tool_calls",
                json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            )
        }
    };
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    let body = |object: &str, choices: Value, usage: &Value| {
        json!({"id": "chatcmpl-1", "object": object, "created": 1, "model": "gpt-x",
            "choices": choices, "usage": usage})
    };
    if !stream {
        let choices = json!([{"index": 0, "message": message, "finish_reason": reason}]);
        return Reply::json(200, &body("chat.completion", choices, &usage));
    }
    let chunk = |choices: Value, usage: &Value| {
        let chunk = body("chat.completion.chunk", choices, usage);
        format!("data: {chunk}\n\n").into_bytes()
    };
    let said = json!([{"index": 0, "delta": message, "finish_reason": null}]);
    let ended = json!([{"index": 0, "delta": {}, "finish_reason": reason}]);
    let parts = vec![
        chunk(said, &Value::Null),
        chunk(ended, &Value::Null),
        chunk(json!([]), &usage),
        b"data: [DONE]\n\n".to_vec(),
    ];
    Reply::stream(EVENTS, parts)
}
