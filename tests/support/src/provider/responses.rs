//! OpenAI Responses.

use serde_json::{Value, json};

use super::answer::{Turn, Usage, fragments, word};
use super::body::Body;

fn usage_json(usage: Option<Usage>) -> Value {
    usage.map_or(Value::Null, |usage| {
        json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
        })
    })
}

fn items(turn: &Turn<'_>) -> Vec<Value> {
    let seq = turn.seq;
    let mut items = Vec::new();
    if turn.reasoning > 0 {
        items.push(
            json!({"id": format!("rs_fake{seq}"), "type": "reasoning", "summary":
            [{"type": "summary_text", "text": turn.whole_reasoning()}]}),
        );
    }
    for (index, call) in turn.calls.iter().enumerate() {
        items.push(
            json!({"id": format!("fc_fake{seq}x{index}"), "type": "function_call",
            "status": "completed", "call_id": format!("call_fake{seq}x{index}"),
            "name": call.name, "arguments": call.arguments}),
        );
    }
    if turn.calls.is_empty() {
        items.push(json!({"id": format!("msg_fake{seq}"), "type": "message",
            "status": "completed", "role": "assistant", "content": [{"type": "output_text",
            "text": turn.whole_text(), "annotations": [], "logprobs": []}]}));
    }
    items
}

fn response(turn: &Turn<'_>, status: &str, output: &[Value], usage: Option<Usage>) -> Value {
    let model: Value = serde_json::from_str(&turn.model).unwrap_or_default();
    let mut details = Value::Null;
    if status == "incomplete" {
        details = json!({"reason": "max_output_tokens"});
    }
    json!({
        "id": format!("resp_fake{}", turn.seq), "object": "response",
        "created_at": 1_700_000_000, "status": status, "error": null,
        "incomplete_details": details, "instructions": null, "max_output_tokens": null,
        "model": model, "output": output, "parallel_tool_calls": true,
        "previous_response_id": null, "reasoning": {"effort": null, "summary": null},
        "store": true, "temperature": 1.0, "text": {"format": {"type": "text"}},
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled",
        "usage": usage_json(usage), "user": null, "metadata": {},
    })
}

fn final_status(turn: &Turn<'_>) -> &'static str {
    if turn.cut_short {
        "incomplete"
    } else {
        "completed"
    }
}

pub(crate) fn json(turn: &Turn<'_>) -> Body {
    let usage = turn.reported(true);
    let value = response(turn, final_status(turn), &items(turn), usage);
    Body::whole(value.to_string().into_bytes(), turn.usage.completion as u32)
}

/// Numbers events as they are written.
struct Events {
    body: Body,
    sequence: u64,
}

impl Events {
    fn push(&mut self, tokens: u32, kind: &str, fields: Value) {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.sequence += 1;
        self.body.named(kind, tokens, format_args!("{event}"));
    }
}

pub(crate) fn stream(turn: &Turn<'_>) -> Body {
    let mut events = Events {
        body: Body::default(),
        sequence: 0,
    };
    let running = response(turn, "in_progress", &[], None);
    events.push(0, "response.created", json!({"response": running}));
    events.push(0, "response.in_progress", json!({"response": running}));
    let items = items(turn);
    for (index, item) in items.iter().enumerate() {
        let mut opened = item.clone();
        opened["status"] = json!("in_progress");
        for empty in ["content", "summary"] {
            if opened[empty].is_array() {
                opened[empty] = json!([]);
            }
        }
        if opened["arguments"].is_string() {
            opened["arguments"] = json!("");
        }
        let added = json!({"output_index": index, "item": opened});
        events.push(0, "response.output_item.added", added);
        match item["type"].as_str() {
            Some("reasoning") => reasoning(&mut events, turn, index, item),
            Some("function_call") => function_call(&mut events, index, item),
            _ => text(&mut events, turn, index, item),
        }
        let done = json!({"output_index": index, "item": item});
        events.push(0, "response.output_item.done", done);
    }
    let status = final_status(turn);
    let finished = response(turn, status, &items, turn.reported(true));
    events.push(
        0,
        &format!("response.{status}"),
        json!({"response": finished}),
    );
    events.body
}

fn reasoning(events: &mut Events, turn: &Turn<'_>, index: usize, item: &Value) {
    let part = json!({"item_id": item["id"], "output_index": index, "summary_index": 0,
        "part": {"type": "summary_text", "text": ""}});
    events.push(0, "response.reasoning_summary_part.added", part);
    for token in 0..turn.reasoning {
        let delta = json!({"item_id": item["id"], "output_index": index, "summary_index": 0,
            "delta": word(token)});
        events.push(1, "response.reasoning_summary_text.delta", delta);
    }
}

fn function_call(events: &mut Events, index: usize, item: &Value) {
    let arguments = item["arguments"].as_str().unwrap_or_default();
    for fragment in fragments(arguments) {
        let delta = json!({"item_id": item["id"], "output_index": index, "delta": fragment});
        events.push(1, "response.function_call_arguments.delta", delta);
    }
    let done = json!({"item_id": item["id"], "output_index": index, "name": item["name"],
        "arguments": arguments});
    events.push(0, "response.function_call_arguments.done", done);
}

fn text(events: &mut Events, turn: &Turn<'_>, index: usize, item: &Value) {
    let place = json!({"item_id": item["id"], "output_index": index, "content_index": 0});
    let with = |key: &str, value: Value| {
        let mut fields = place.clone();
        fields[key] = value;
        fields
    };
    let empty = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
    events.push(0, "response.content_part.added", with("part", empty));
    let padding = turn.padding();
    for token in 0..turn.text {
        let delta = format!("{}{padding}", word(token));
        let mut fields = with("delta", json!(delta));
        fields["logprobs"] = json!([]);
        events.push(1, "response.output_text.delta", fields);
    }
    let mut done = with("text", json!(turn.whole_text()));
    done["logprobs"] = json!([]);
    events.push(0, "response.output_text.done", done);
    let part = item["content"][0].clone();
    events.push(0, "response.content_part.done", with("part", part));
}
