//! Providers that sign what their models think and refuse it back when it is missing or altered:
//! Claude's own API and behind Bedrock's and Vertex's doors, Converse, Gemini, OpenAI's Responses.

mod answers;
pub(crate) mod models;

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meridian_testkit::fake::{Asked, Fake, Reply};
use serde_json::{Value, json};

use self::answers::{Turn, answer, cut};

/// The shape in which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Claude,
    Converse,
    Gemini,
    Responses,
    Chat,
}

/// What one model asks for, turn after turn, and what it has found wrong.
pub(crate) struct Signers {
    /// The server.
    pub(crate) fake: Fake,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Signers {
    /// Models that call a tool `turns` times before they are done. The first stream is broken off
    /// inside its thoughts if `cuts` says so.
    pub(crate) async fn start(turns: usize, cuts: bool) -> Self {
        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, cuts) = (Arc::clone(&refused), Mutex::new(cuts));
        let fake = Fake::start(move |asked| {
            if asked.path().ends_with("/token") {
                let body = json!({"access_token": "ya29.fake", "expires_in": 3599});
                return Reply::json(200, &body);
            }
            if let Some(count) = count(asked) {
                return Reply::json(200, &count);
            }
            let Some(shape) = shape_of(asked.path()) else {
                return Reply::json(404, &json!({"error": {"message": "no such path"}}));
            };
            let body = asked.json();
            match check(shape, &body) {
                Ok(done) => {
                    let turn = Turn::of(&body, done, turns);
                    let reply = answer(shape, asked, &turn);
                    let is_first =
                        is_stream(asked, &body) && std::mem::take(&mut *cuts.lock().unwrap());
                    if is_first { cut(reply) } else { reply }
                }
                Err(why) => {
                    noted.lock().unwrap().push(format!("{shape:?}: {why}"));
                    let message = json!({"message": why, "type": "invalid_request_error"});
                    Reply::json(
                        400,
                        &json!({"type": "error", "error": message, "message": why}),
                    )
                }
            }
        })
        .await;
        Self { fake, refused }
    }

    /// Why requests were refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap().clone()
    }

    /// Requests of this shape.
    pub(crate) fn asked(&self, shape: Shape) -> Vec<Asked> {
        let all = self.fake.asked();
        let of_shape = |one: &Asked| shape_of(one.path()) == Some(shape) && count(one).is_none();
        all.into_iter().filter(of_shape).collect()
    }
}

fn shape_of(path: &str) -> Option<Shape> {
    let ends = [
        ("/converse", Shape::Converse),
        ("/converse-stream", Shape::Converse),
        ("/invoke", Shape::Claude),
        ("/invoke-with-response-stream", Shape::Claude),
        (":rawPredict", Shape::Claude),
        (":streamRawPredict", Shape::Claude),
        ("/v1/messages", Shape::Claude),
        (":generateContent", Shape::Gemini),
        (":streamGenerateContent", Shape::Gemini),
        ("/responses", Shape::Responses),
        ("/chat/completions", Shape::Chat),
    ];
    let found = ends.iter().find(|(end, _)| path.ends_with(end));
    found.map(|(_, shape)| *shape)
}

/// A count of tokens in the provider's own words.
fn count(asked: &Asked) -> Option<Value> {
    let ends = [
        ("/count-tokens", "inputTokens"),
        ("/count-tokens:rawPredict", "input_tokens"),
        ("/count_tokens", "input_tokens"),
        (":countTokens", "totalTokens"),
        ("/responses/input_tokens", "input_tokens"),
    ];
    let found = ends.iter().find(|(end, _)| asked.path().ends_with(end))?;
    Some(json!({found.1: 42}))
}

fn is_stream(asked: &Asked, body: &Value) -> bool {
    let path = asked.path();
    body["stream"] == true || path.contains("stream")
}

/// What the model thinks before its call.
fn thought(call: usize) -> String {
    format!(
        "Step {call}: \"é\"\n\tthen \\ and {}",
        "on ".repeat(call + 1)
    )
}

/// What proves that it thought so.
fn proof(call: usize) -> String {
    BASE64_STANDARD.encode(format!("{}?>~{}", thought(call), "proof".repeat(40)))
}

/// Some thoughts are shown to nobody.
fn is_redacted(call: usize) -> bool {
    call % 3 == 2
}

/// Checks all that the model has said before; tells how many calls were answered.
fn check(shape: Shape, body: &Value) -> Result<usize, String> {
    match shape {
        Shape::Claude => check_claude(body),
        Shape::Converse => check_converse(body),
        Shape::Gemini => check_gemini(body),
        Shape::Responses => check_responses(body),
        Shape::Chat => Ok(list(&body["messages"])
            .filter(|one| one["role"] == "tool")
            .count()),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn same(call: usize, there: Option<&Value>, expected: &Value) -> Result<(), String> {
    match there {
        Some(there) if there == expected => Ok(()),
        there => Err(format!("call {call}: {there:?} instead of {expected}")),
    }
}

fn number_of(id: &Value) -> Result<usize, String> {
    let digits = id
        .as_str()
        .and_then(|id| id.rsplit('_').next()?.parse().ok());
    digits.ok_or_else(|| format!("a call that nobody made: {id}"))
}

fn check_claude(body: &Value) -> Result<usize, String> {
    let mut done = 0;
    for message in list(&body["messages"]) {
        let content: Vec<&Value> = list(&message["content"]).collect();
        for (at, block) in content.iter().enumerate() {
            match block["type"].as_str() {
                Some("tool_use") => {
                    let call = number_of(&block["id"])?;
                    let before = at.checked_sub(1).map(|before| content[before]);
                    let mut before = before.cloned();
                    if let Some(Value::Object(block)) = &mut before {
                        block.remove("cache_control");
                    }
                    same(call, before.as_ref(), &claude_thought(call))?;
                }
                Some("tool_result") => done += 1,
                _ => {}
            }
        }
    }
    Ok(done)
}

fn claude_thought(call: usize) -> Value {
    match is_redacted(call) {
        true => json!({"type": "redacted_thinking", "data": proof(call)}),
        false => {
            json!({"type": "thinking", "thinking": thought(call), "signature": proof(call)})
        }
    }
}

fn check_converse(body: &Value) -> Result<usize, String> {
    let mut done = 0;
    for message in list(&body["messages"]) {
        let content: Vec<&Value> = list(&message["content"]).collect();
        for (at, block) in content.iter().enumerate() {
            if let Some(used) = block.get("toolUse") {
                let call = number_of(&used["toolUseId"])?;
                let before = at.checked_sub(1).map(|before| content[before]);
                same(call, before, &converse_thought(call))?;
            }
            done += usize::from(block.get("toolResult").is_some());
        }
    }
    Ok(done)
}

fn converse_thought(call: usize) -> Value {
    match is_redacted(call) {
        true => json!({"reasoningContent": {"redactedContent": proof(call)}}),
        false => json!({"reasoningContent": {"reasoningText":
            {"text": thought(call), "signature": proof(call)}}}),
    }
}

fn check_gemini(body: &Value) -> Result<usize, String> {
    let (mut done, mut calls) = (0, 0);
    for content in list(&body["contents"]) {
        for part in list(&content["parts"]) {
            if part.get("functionCall").is_some() {
                same(calls, part.get("thoughtSignature"), &json!(proof(calls)))?;
                calls += 1;
            }
            done += usize::from(part.get("functionResponse").is_some());
        }
    }
    Ok(done)
}

fn check_responses(body: &Value) -> Result<usize, String> {
    let items: Vec<&Value> = list(&body["input"]).collect();
    let mut done = 0;
    for (at, item) in items.iter().enumerate() {
        match item["type"].as_str() {
            Some("function_call") => {
                let call = number_of(&item["call_id"])?;
                let before = at.checked_sub(1).map(|before| items[before]);
                let before = before.map(|one| &one["encrypted_content"]);
                same(call, before, &json!(proof(call)))?;
            }
            Some("function_call_output") => done += 1,
            _ => {}
        }
    }
    let included = list(&body["include"]).any(|one| one == "reasoning.encrypted_content");
    match included || body["store"] != false {
        true => Ok(done),
        false => Err("nothing stored and no encrypted reasoning asked for".to_owned()),
    }
}
