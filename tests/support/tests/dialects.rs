//! The fake provider's answers have the shapes that clients and meters expect.

use meridian_testkit::provider::{POOR_KEY, Provider, UPSTREAM_KEY};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

fn openai_tool() -> Value {
    json!([{"type": "function", "function": {"name": "get_capital", "parameters":
        {"type": "object", "required": ["country"], "properties":
        {"country": {"type": "string"}}}}}])
}

fn ask(extra: Value) -> Value {
    let mut body = json!({"model": "fake+prompt=20", "messages":
        [{"role": "user", "content": "hi"}], "max_tokens": 100});
    let fields = extra.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

async fn openai(provider: &Provider, target: &str, body: Value) -> Response {
    Request::post(target, &body)
        .bearer(UPSTREAM_KEY)
        .send(provider.addr())
        .await
}

async fn claude(provider: &Provider, body: Value) -> Response {
    let request = Request::post("/v1/messages", &body).anthropic(UPSTREAM_KEY);
    request.send(provider.addr()).await
}

fn parsed(answer: &Response) -> Vec<Value> {
    let events = answer
        .events()
        .into_iter()
        .filter(|event| event != "[DONE]");
    events
        .map(|event| serde_json::from_str(&event).unwrap())
        .collect()
}

#[tokio::test]
async fn chat_reports_usage_in_a_stream_only_when_asked() {
    let provider = Provider::start();
    let target = "/v1/chat/completions";
    let silent = openai(&provider, target, ask(json!({"stream": true}))).await;
    assert!(!silent.text().contains("usage"));
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = parsed(&openai(&provider, target, ask(options)).await);
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        (
            &last["usage"]["prompt_tokens"],
            &last["usage"]["completion_tokens"]
        ),
        (&json!(20), &json!(5))
    );
    assert!(
        events[..events.len() - 1]
            .iter()
            .all(|event| event["usage"].is_null())
    );
    let whole = openai(&provider, target, ask(json!({}))).await.json();
    assert_eq!(whole["usage"]["total_tokens"], 25);
    let short = openai(&provider, target, ask(json!({"max_tokens": 2})))
        .await
        .json();
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn chat_calls_a_tool_and_takes_its_result() {
    let provider = Provider::start();
    let target = "/v1/chat/completions";
    let body = ask(json!({"tools": openai_tool(), "stream": true}));
    let events = parsed(&openai(&provider, target, body).await);
    let mut arguments = String::new();
    for event in &events {
        let call = &event["choices"][0]["delta"]["tool_calls"][0];
        arguments += call["function"]["arguments"].as_str().unwrap_or_default();
    }
    assert_eq!(arguments, r#"{"country":"Paris"}"#);
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
    let history = json!([{"role": "tool", "tool_call_id": "x", "content": "ok"}]);
    let body = ask(json!({"tools": openai_tool(), "messages": history}));
    let done = openai(&provider, target, body).await.json();
    assert_eq!(done["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn messages_think_call_tools_and_count_cumulatively() {
    let provider = Provider::start();
    let tool = json!([{"name": "Bash", "input_schema": {"type": "object",
        "required": ["command"], "properties": {"command": {"type": "string"}}}}]);
    let extra = json!({"stream": true, "tools": tool, "thinking": {"type": "adaptive"},
        "model": "fake+prompt=20+cached=5+cache_write=3"});
    let answer = claude(&provider, ask(extra)).await;
    let events = parsed(&answer);
    for (name, event) in answer
        .text()
        .lines()
        .filter_map(|l| l.strip_prefix("event: "))
        .zip(&events)
    {
        assert_eq!(event["type"], name);
    }
    let usage = &events[0]["message"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["cache_read_input_tokens"]),
        (&json!(12), &json!(5))
    );
    let kinds: Vec<&Value> = events
        .iter()
        .filter(|e| e["type"] == "content_block_start")
        .map(|e| &e["content_block"]["type"])
        .collect();
    assert_eq!(kinds, ["thinking", "tool_use"]);
    let delta = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "tool_use");
    assert_eq!(
        delta["usage"]["output_tokens"],
        provider.last().usage.completion
    );
    let history = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]},
        {"role": "system", "content": "reminder"}]);
    let done = claude(&provider, ask(json!({"tools": tool, "messages": history})))
        .await
        .json();
    assert_eq!(
        (&done["stop_reason"], &done["content"][0]["type"]),
        (&json!("end_turn"), &json!("text"))
    );
}

#[tokio::test]
async fn responses_stream_ends_with_usage() {
    let provider = Provider::start();
    let tool = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}]);
    for (tools, kind) in [(json!([]), "message"), (tool, "function_call")] {
        let body = json!({"model": "fake+prompt=9", "input": "hi", "stream": true, "tools": tools});
        let events = parsed(&openai(&provider, "/v1/responses", body).await);
        let numbers: Vec<u64> = events
            .iter()
            .map(|e| e["sequence_number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last["response"]["output"][0]["type"], kind);
        assert_eq!(last["response"]["usage"]["input_tokens"], 9);
    }
    for (method, target, status) in [
        ("GET", "/v1/responses/resp_1", "completed"),
        ("POST", "/v1/responses/resp_1/cancel", "cancelled"),
    ] {
        let request = Request::new(method, target).bearer(UPSTREAM_KEY);
        assert_eq!(request.send(provider.addr()).await.json()["status"], status);
    }
    let delete = Request::new("DELETE", "/v1/responses/resp_1").bearer(UPSTREAM_KEY);
    assert_eq!(delete.send(provider.addr()).await.json()["deleted"], true);
}

#[tokio::test]
async fn the_other_endpoints_answer() {
    let provider = Provider::start();
    let body = json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64"});
    let embedded = openai(&provider, "/v1/embeddings", body).await.json();
    assert_eq!(embedded["data"].as_array().unwrap().len(), 2);
    assert!(embedded["data"][0]["embedding"].is_string());
    let floats = openai(
        &provider,
        "/v1/embeddings",
        json!({"model": "m", "input": [1, 2]}),
    )
    .await;
    assert_eq!(
        floats.json()["data"][0]["embedding"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    let ranked = json!({"model": "m", "query": "q", "documents": ["a", "b", "c"]});
    let ranked = openai(&provider, "/v1/rerank", ranked).await.json();
    assert_eq!(ranked["results"].as_array().unwrap().len(), 3);
    for (target, field) in [
        ("/v1/completions", "choices"),
        ("/v1/moderations", "results"),
        ("/v1/images/generations", "data"),
        ("/v1/batches", "status"),
    ] {
        let answer = openai(&provider, target, json!({"model": "m", "prompt": "p"}))
            .await
            .json();
        assert!(!answer[field].is_null(), "{target}");
    }
    let speech = openai(
        &provider,
        "/v1/audio/speech",
        json!({"model": "m", "input": "x"}),
    )
    .await;
    assert_eq!(
        (speech.header("content-type"), speech.body.len()),
        (Some("audio/mpeg"), 4096)
    );
    let mut form = Request::new("POST", "/v1/audio/transcriptions")
        .bearer(UPSTREAM_KEY)
        .field("content-type", "multipart/form-data; boundary=b");
    form.body = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfake+status=503\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\0\r\n--b--\r\n".to_vec();
    assert_eq!(form.send(provider.addr()).await.status(), 503);
    assert_eq!(provider.last().model, "fake+status=503");
    assert_eq!(
        Request::get("/nothing")
            .bearer(UPSTREAM_KEY)
            .send(provider.addr())
            .await
            .status(),
        404
    );
    assert_eq!(
        Request::new("HEAD", "/")
            .send(provider.addr())
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn each_provider_wants_its_own_credential() {
    let provider = Provider::start();
    let body = ask(json!({}));
    let post = |target: &str| Request::post(target, &body);
    let azure = "/openai/deployments/fake%2Btokens=3/chat/completions?api-version=2024-10-21";
    let version = "anthropic-version";
    for (request, status) in [
        (post("/v1/chat/completions"), 401),
        (
            post("/v1/chat/completions").field("api-key", UPSTREAM_KEY),
            401,
        ),
        (post("/v1/chat/completions").bearer("sk-wrong"), 401),
        (post("/v1/chat/completions").bearer(POOR_KEY), 429),
        (post(azure).field("api-key", UPSTREAM_KEY), 200),
        (
            post("/openai/v1/chat/completions").bearer(UPSTREAM_KEY),
            200,
        ),
        (post("/v1/messages").field("x-api-key", UPSTREAM_KEY), 401),
        (post("/v1/messages").anthropic(UPSTREAM_KEY), 200),
        (
            post("/v1/messages")
                .bearer(UPSTREAM_KEY)
                .field(version, "2026-10-21"),
            200,
        ),
        (post("/anthropic/v1/messages").anthropic(UPSTREAM_KEY), 200),
        (
            post("/v1/messages/count_tokens").anthropic(UPSTREAM_KEY),
            200,
        ),
    ] {
        let answer = request.send(provider.addr()).await;
        assert_eq!(answer.status(), status, "{request:?}: {}", answer.text());
    }
    let rows = provider.rows();
    assert_eq!(rows[4].model, "fake+tokens=3");
    assert_eq!(provider.meter().totals().refused, 4);
}
