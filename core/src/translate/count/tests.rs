//! Questions that providers count by, for every caller.

use serde_json::{Value, json};

use super::*;
use crate::translate::capability::Capabilities;

fn asked(client: CountClient, counter: Counter, platform: Platform, body: &Value) -> Value {
    let capabilities = Capabilities::default();
    let policy = Policy {
        strict: true,
        ..Policy::default()
    };
    let context = Context {
        model: "m-1",
        provider: "p",
        platform,
        capabilities: &capabilities,
        policy: &policy,
        betas: None,
        anthropic_version: None,
    };
    let asked = client.ask(counter, body.to_string().as_bytes(), &context);
    serde_json::from_slice(&asked.unwrap().body).unwrap()
}

fn messages() -> Value {
    json!({
        "model": "mine", "system": "Be brief.", "max_tokens": 64_000, "stream": true,
        "temperature": 0.5, "metadata": {"user_id": "u"},
        "messages": [{"role": "user", "content": "tides?"}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object",
            "properties": {"a": {"type": "string"}}}}],
    })
}

#[test]
fn a_question_has_what_is_counted_and_nothing_that_the_provider_refuses_there() {
    let text = json!([{"text": "tides?"}]);
    let studio = asked(
        CountClient::Messages,
        Counter::Gemini,
        Platform::AiStudio,
        &messages(),
    );
    let inner = &studio["generateContentRequest"];
    assert_eq!(inner["model"], "models/m-1");
    assert_eq!(inner["contents"][0]["parts"], text);
    assert_eq!(inner["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(inner["tools"][0]["functionDeclarations"][0]["name"], "f");
    let vertex = asked(
        CountClient::Messages,
        Counter::Gemini,
        Platform::Vertex,
        &messages(),
    );
    let names: Vec<&String> = vertex.as_object().unwrap().keys().collect();
    assert!(names.iter().all(|name| OF_VERTEX.contains(&name.as_str())));
    assert_eq!(vertex["contents"][0]["parts"], text);
    let bedrock = asked(
        CountClient::Messages,
        Counter::Converse,
        Platform::BedrockConverse,
        &messages(),
    );
    let inner = &bedrock["input"]["converse"];
    assert_eq!(inner["messages"][0]["content"], text);
    assert_eq!(inner["system"], json!([{"text": "Be brief."}]));
    assert_eq!(inner["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
    assert!(inner.get("inferenceConfig").is_none());
    let openai = asked(
        CountClient::Messages,
        Counter::Responses,
        Platform::OpenAi,
        &messages(),
    );
    assert_eq!(openai["model"], "m-1");
    assert_eq!(openai["tools"][0]["name"], "f");
    for absent in ["stream", "max_output_tokens", "temperature", "store"] {
        assert!(openai.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn every_caller_is_told_to_every_counter() {
    let responses = json!({"model": "mine", "input": "tides?", "instructions": "Be brief."});
    let chat = json!({"model": "mine", "messages": [{"role": "user", "content": "tides?"}]});
    let prompt = json!({"model": "mine", "prompt": ["tides?"], "messages": null});
    let contents = json!({"model": "mine", "contents": [{"parts": [{"text": "tides?"}]}]});
    for (counter, platform) in [
        (Counter::Messages, Platform::Anthropic),
        (Counter::Responses, Platform::OpenAi),
        (Counter::Converse, Platform::BedrockConverse),
        (Counter::Gemini, Platform::AiStudio),
    ] {
        for (client, body) in [
            (CountClient::Messages, &messages()),
            (CountClient::Responses, &responses),
            (CountClient::TokenCounter, &chat),
            (CountClient::TokenCounter, &prompt),
            (CountClient::TokenCounter, &contents),
        ] {
            let question = asked(client, counter, platform, body).to_string();
            assert!(question.contains("tides?"), "{client:?} {counter:?}");
            assert!(
                !question.contains("mine"),
                "{client:?} {counter:?} {question}"
            );
        }
    }
    let claude = asked(
        CountClient::TokenCounter,
        Counter::Messages,
        Platform::Anthropic,
        &prompt,
    );
    let content = json!([{"type": "text", "text": "tides?"}]);
    assert_eq!(
        claude,
        json!({"model": "m-1", "messages": [{"role": "user", "content": content}]})
    );
}

#[test]
fn numbers_are_read_and_told_in_each_ones_words() {
    for (counter, answer) in [
        (Counter::Messages, r#"{"input_tokens":7}"#),
        (
            Counter::Responses,
            r#"{"object":"response.input_tokens","input_tokens":7}"#,
        ),
        (Counter::Converse, r#"{"inputTokens":7}"#),
        (
            Counter::Gemini,
            r#"{"totalTokens":7,"promptTokensDetails":[]}"#,
        ),
    ] {
        assert_eq!(counter.read(answer.as_bytes()), Some(7));
        assert_eq!(counter.read(b"{}"), None);
        assert_eq!(counter.read(b"<html>"), None);
    }
    let told = |client: CountClient, native| {
        let count = Count {
            tokens: 7,
            requested: "mine",
            used: "m-1",
            native,
        };
        serde_json::from_slice::<Value>(&client.answer(count)).unwrap()
    };
    assert_eq!(
        told(CountClient::Messages, None),
        json!({"input_tokens": 7})
    );
    assert_eq!(
        told(CountClient::Responses, None),
        json!({"object": "response.input_tokens", "input_tokens": 7})
    );
    let native = told(
        CountClient::TokenCounter,
        Some(("gemini", br#"{"totalTokens":7}"#)),
    );
    assert_eq!(native["tokenizer_type"], "gemini_api");
    assert_eq!(native["original_response"], json!({"totalTokens": 7}));
    assert_eq!(native["model_used"], "m-1");
    let estimate = told(CountClient::TokenCounter, None);
    assert_eq!(estimate["tokenizer_type"], "estimate");
    assert_eq!(estimate["total_tokens"], 7);
}

#[test]
fn what_cannot_be_counted_is_said_by_its_field() {
    for (body, field) in [
        (json!({"model": "m"}), "messages"),
        (json!({"model": "m", "prompt": 7}), "prompt"),
        (json!({"model": "m", "contents": "x"}), "contents"),
        (
            json!({"model": "m", "contents": [{"parts": [{}]}]}),
            "contents",
        ),
    ] {
        let refused = CountClient::TokenCounter.estimate(body.to_string().as_bytes());
        assert_eq!(refused.unwrap_err().field, field);
    }
    let counted = CountClient::TokenCounter.estimate(br#"{"prompt":"a few plain words"}"#);
    assert!((4..20).contains(&counted.unwrap()));
}
