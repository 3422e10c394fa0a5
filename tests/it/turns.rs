//! Ten turns with thoughts and tools, at providers that refuse thoughts which come back altered or
//! not at all: whoever asks, and whoever answers.

mod signers;

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use self::signers::{Shape, Signers, models};
use crate::world::binary;

/// Calls of a tool in one conversation.
const TURNS: usize = 10;

async fn started() -> (Signers, Gateway) {
    let signers = Signers::start(TURNS, false).await;
    let setup = Setup::with_yaml(binary(), &models::yaml(&signers.fake.url, None));
    (signers, setup.start().await)
}

/// A client that sends back what it was told, as SDKs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Messages,
    Chat,
    Responses,
}

impl Client {
    fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
        }
    }

    fn body(self, model: &str, history: &[Value], stream: bool) -> Value {
        let schema = json!({"type": "object", "properties": {"command": {"type": "string"}}});
        let function = json!({"name": "Bash", "description": "Runs it", "parameters": schema});
        match self {
            Self::Messages => json!({"model": model, "max_tokens": 8000, "stream": stream,
                "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": history,
                "tools": [{"name": "Bash", "description": "Runs it", "input_schema": schema}]}),
            Self::Chat => json!({"model": model, "max_completion_tokens": 8000, "stream": stream,
                "reasoning_effort": "medium", "messages": history,
                "tools": [{"type": "function", "function": function}]}),
            Self::Responses => json!({"model": model, "store": false, "stream": stream,
                "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "medium"},
                "max_output_tokens": 8000, "input": history, "tools": [{"type": "function",
                    "name": "Bash", "description": "Runs it", "parameters": schema}]}),
        }
    }

    /// What it puts into its history, and the calls that it has to answer.
    fn said(self, answer: &Response, stream: bool) -> (Vec<Value>, Vec<String>) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let id = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        match self {
            Self::Messages => {
                let content = match stream {
                    true => collected(&answer.events()),
                    false => list(&answer.json()["content"]),
                };
                let calls = content.iter().filter(|one| one["type"] == "tool_use");
                let calls = calls.map(|one| id(one, "id")).collect();
                (
                    vec![json!({"role": "assistant", "content": content})],
                    calls,
                )
            }
            Self::Chat => {
                let message = match stream {
                    true => gathered(&answer.events()),
                    false => answer.json()["choices"][0]["message"].clone(),
                };
                let calls = list(&message["tool_calls"]);
                let calls = calls.iter().map(|one| id(one, "id")).collect();
                (vec![message], calls)
            }
            Self::Responses => {
                let whole = match stream {
                    true => completed(&answer.events()),
                    false => answer.json(),
                };
                let output = list(&whole["output"]);
                let calls = output.iter().filter(|one| one["type"] == "function_call");
                let calls = calls.map(|one| id(one, "call_id")).collect();
                (output, calls)
            }
        }
    }

    fn result(self, call: &str) -> Value {
        match self {
            Self::Messages => json!({"role": "user", "content": [{"type": "tool_result",
                "tool_use_id": call, "content": "from-the-tool"}]}),
            Self::Chat => json!({"role": "tool", "tool_call_id": call, "content": "from-the-tool"}),
            Self::Responses => json!({"type": "function_call_output", "call_id": call,
                "output": "from-the-tool"}),
        }
    }
}

fn data(event: &str) -> Option<Value> {
    serde_json::from_str(event).ok()
}

/// The response at the end of a stream.
fn completed(events: &[String]) -> Value {
    let mut events = events.iter().filter_map(|event| data(event));
    let last = events.find(|event| event["type"] == "response.completed");
    last.expect("response.completed")["response"].clone()
}

/// Adds a piece of text to a member.
fn add(to: &mut Value, name: &str, more: &Value) {
    if let Some(more) = more.as_str() {
        let so_far = to[name].as_str().unwrap_or_default();
        to[name] = json!(format!("{so_far}{more}"));
    }
}

/// The message of a chat stream, as LiteLLM's clients put it together.
fn gathered(events: &[String]) -> Value {
    let mut message = json!({"role": "assistant", "content": null});
    let mut calls: Vec<Value> = Vec::new();
    let mut thoughts: Vec<Value> = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for event in events.iter().filter_map(|event| data(event)) {
        let delta = &event["choices"][0]["delta"];
        add(&mut message, "content", &delta["content"]);
        add(
            &mut message,
            "reasoning_content",
            &delta["reasoning_content"],
        );
        for piece in list(&delta["thinking_blocks"]) {
            let is_open = |last: &&mut Value| {
                last["type"] == "thinking"
                    && piece["type"] == "thinking"
                    && last["signature"].is_null()
            };
            match thoughts.last_mut().filter(is_open) {
                None => thoughts.push(piece),
                Some(last) => {
                    add(last, "thinking", &piece["thinking"]);
                    add(last, "signature", &piece["signature"]);
                }
            }
        }
        for piece in list(&delta["tool_calls"]) {
            let at = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
            match calls.get_mut(at) {
                None => calls.push(piece),
                Some(call) => {
                    let more = &piece["function"]["arguments"];
                    add(&mut call["function"], "arguments", more);
                }
            }
        }
    }
    if !thoughts.is_empty() {
        message["thinking_blocks"] = json!(thoughts);
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    message
}

/// Content blocks from a stream, as Anthropic's SDK puts them together.
fn collected(events: &[String]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut arguments = String::new();
    for event in events.iter().filter_map(|event| data(event)) {
        match event["type"].as_str() {
            Some("content_block_start") => blocks.push(event["content_block"].clone()),
            Some("content_block_delta") => {
                let (delta, block) = (&event["delta"], blocks.last_mut().unwrap());
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add(block, "text", &delta["text"]),
                    "thinking_delta" => add(block, "thinking", &delta["thinking"]),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    _ => arguments.push_str(delta["partial_json"].as_str().unwrap()),
                }
            }
            Some("content_block_stop") if !arguments.is_empty() => {
                let input = serde_json::from_str(&std::mem::take(&mut arguments)).unwrap();
                blocks.last_mut().unwrap()["input"] = input;
            }
            _ => {}
        }
    }
    blocks
}

/// Talks until the model calls no tool any more; tells how often it did and what it said at last.
async fn talk(gateway: &Gateway, client: Client, model: &str, stream: bool) -> (usize, String) {
    let mut history = vec![json!({"role": "user", "content": "run the command"})];
    for turn in 0..=TURNS {
        let body = client.body(model, &history, stream);
        let request = Request::post(client.path(), &body).bearer(MASTER_KEY);
        let answer = gateway.send(&request).await;
        let what = format!("{client:?} {model} stream {stream} turn {turn}");
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text());
        let (said, calls) = client.said(&answer, stream);
        if calls.is_empty() {
            return (turn, json!(said).to_string());
        }
        history.extend(said);
        history.extend(calls.iter().map(|call| client.result(call)));
    }
    panic!("{client:?} {model}: no end of calls")
}

async fn all_turns(client: Client, models: &[&str], streams: &[bool]) {
    let (signers, gateway) = started().await;
    for model in models {
        for stream in streams {
            let (turns, last) = talk(&gateway, client, model, *stream).await;
            let what = format!("{client:?} {model} stream {stream}");
            assert_eq!(signers.refused(), Vec::<String>::new(), "{what}");
            assert_eq!(turns, TURNS, "{what}: {last}");
            assert!(last.contains("done after 10 calls"), "{what}: {last}");
        }
    }
}

#[tokio::test]
async fn a_client_of_messages_thinks_and_calls_ten_times_at_every_provider() {
    let models = [
        "anthropic",
        "bedrock",
        "converse",
        "vertex-claude",
        "vertex-gemini",
        "gemini",
        "openai",
        "chat",
    ];
    all_turns(Client::Messages, &models, &[false, true]).await;
}

#[tokio::test]
async fn a_client_of_responses_thinks_and_calls_ten_times_at_every_provider() {
    let models = [
        "openai",
        "anthropic",
        "bedrock",
        "vertex-claude",
        "gemini",
        "chat",
    ];
    all_turns(Client::Responses, &models, &[false, true]).await;
}

#[tokio::test]
async fn a_client_of_chat_thinks_and_calls_ten_times_at_every_provider() {
    let models = [
        "anthropic",
        "bedrock",
        "converse",
        "vertex-claude",
        "vertex-gemini",
        "gemini",
        "openai",
        "chat",
    ];
    all_turns(Client::Chat, &models, &[false, true]).await;
}

#[tokio::test]
async fn the_fake_refuses_thoughts_that_are_missing_or_altered() {
    let (signers, gateway) = started().await;
    let ask = json!({"role": "user", "content": "run the command"});
    let body = Client::Messages.body("anthropic", std::slice::from_ref(&ask), false);
    let request = Request::post("/v1/messages", &body).bearer(MASTER_KEY);
    let answer = gateway.send(&request).await;
    let (said, calls) = Client::Messages.said(&answer, false);
    let result = Client::Messages.result(&calls[0]);
    let mut altered = said[0].clone();
    altered["content"][0]["signature"] = json!("x");
    let mut missing = said[0].clone();
    missing["content"].as_array_mut().unwrap().remove(0);
    for wrong in [altered, missing] {
        let history = [ask.clone(), wrong, result.clone()];
        let body = Client::Messages.body("anthropic", &history, false);
        let request = Request::post("/v1/messages", &body).bearer(MASTER_KEY);
        assert_eq!(gateway.send(&request).await.status(), 400);
    }
    assert_eq!(signers.refused().len(), 2);
    assert_eq!(signers.asked(Shape::Claude).len(), 3);
}
