//! Excerpts and answers as the ledger keeps them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn kept(json: &str) -> Value {
    serde_json::from_str(excerpt(json.as_bytes(), 10).unwrap().as_str()).unwrap()
}

fn heard(endpoint: Endpoint, stream: &str, piece: usize) -> Value {
    let mut transcript = Transcript::new(endpoint, 20);
    for bytes in stream.as_bytes().chunks(piece) {
        transcript.stream(bytes);
    }
    let texts = transcript.finish(None);
    serde_json::from_str(texts.response.unwrap().as_str()).unwrap()
}

#[test]
fn long_texts_are_cut_and_say_how_much_is_missing() {
    let body = r#"{ "model": "m", "messages": [ {"role":"user","content":"0123456789äbc"} ] }"#;
    let wanted = json!({"model": "m", "messages": [
        {"role": "user", "content": "0123456789... (4 bytes left out)"}]});
    assert_eq!(kept(body), wanted);
    assert_eq!(kept(r#"["0123456789"]"#), json!(["0123456789"]));
    assert_eq!(
        kept(r#"["\n\"\\\t\u00e9\u6f22\ud83d\ude00xyz"]"#),
        json!(["\n\"\\\té漢😀xyz"])
    );
}

#[test]
fn what_databases_refuse_is_replaced() {
    let found = excerpt(br#"["a\u0000b\ud800c\udc00\ud800\u0041"]"#, 100).unwrap();
    assert_eq!(found.as_str(), r#"["a\ufffdb\ufffdc\ufffd\ufffd\u0041"]"#);
    let found = excerpt(
        b"[1e400, -2E-99999999999, 3.5e+7, 0e0, true, false, \"1e999\"]",
        100,
    );
    let wanted = r#"[1e300,-2e-300,3.5e+7,0e0,true,false,"1e999"]"#;
    assert_eq!(found.unwrap().as_str(), wanted);
}

#[test]
fn a_document_of_many_texts_is_bounded() {
    let texts: Vec<String> = (0..100).map(|_| "x".repeat(1_000)).collect();
    let body = json!({ "input": texts }).to_string();
    let found = excerpt(body.as_bytes(), TEXT_CHARS).unwrap();
    assert!(found.as_str().len() <= EXCERPT_BYTES_MAX);
    assert!(found.as_str().contains("left out"));
    let numbers = format!("[{}1]", "0.123456,".repeat(10_000));
    let found = excerpt(numbers.as_bytes(), TEXT_CHARS).unwrap();
    assert_eq!(found.as_str(), r#"{"left_out_bytes":90003}"#);
    for broken in ["", "{", "[1,]", "\"", "{\"a\":\u{1}}"] {
        assert!(excerpt(broken.as_bytes(), 10).is_none(), "{broken:?}");
    }
    assert!(excerpt(b"[\"\xff\"]", 10).is_none());
}

#[test]
fn chunks_of_chat_come_together() {
    let stream = concat!(
        ": silence\n\n",
        "data: {\"id\":\"c1\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":",
        "{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\n",
        "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",",
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,",
        "\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n",
    );
    let call = json!({"id": "t", "type": "function",
        "function": {"name": "f", "arguments": "{}"}});
    let wanted = json!({
        "id": "c1", "created": 1, "model": "m", "object": "chat.completion",
        "usage": {"total_tokens": 3},
        "choices": [
            {"index": 0, "finish_reason": null,
                "message": {"role": "assistant", "content": "Hello"}},
            {"index": 1, "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": null, "tool_calls": [call]}},
        ],
    });
    for piece in [1, 7, 4096] {
        assert_eq!(heard(Endpoint::ChatCompletions, stream, piece), wanted);
    }
    let long = "data: {\"choices\":[{\"index\":0,\"text\":\"0123456789abcde\"}]}\n\n".repeat(3);
    let text = heard(Endpoint::Completions, &long, 5);
    assert_eq!(
        text["choices"][0]["text"],
        "0123456789abcde01234... (25 bytes left out)"
    );
}

#[test]
fn events_of_messages_and_responses_come_together() {
    let stream = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",",
        "\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":5}}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":",
        "{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"hi\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":",
        "{\"type\":\"tool_use\",\"name\":\"f\",\"input\":{}}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":",
        "{\"partial_json\":\"{\\\"a\\\":1}\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},",
        "\"usage\":{\"output_tokens\":2}}\n\n",
    );
    let wanted = json!({
        "id": "m1", "role": "assistant", "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 2},
        "content": [{"type": "text", "text": "hi"},
            {"type": "tool_use", "name": "f", "input": {"a": 1}}],
    });
    assert_eq!(heard(Endpoint::Messages, stream, 9), wanted);
    let cut = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hal\"}\n\n";
    let found = heard(Endpoint::Responses, cut, 9);
    assert_eq!(found["output"][0]["content"][0]["text"], "hal");
    let end = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\"}}\n\n";
    let whole = format!("{cut}{end}");
    assert_eq!(heard(Endpoint::Responses, &whole, 9), json!({"id": "r"}));
}

#[test]
fn the_bodies_of_endpoints_without_streams_are_kept_whole() {
    let mut transcript = Transcript::new(Endpoint::Embeddings, 5);
    transcript.whole(br#"{"data": "1234567"}"#);
    let texts = transcript.finish(Some(br#"{"input": "x"}"#));
    assert_eq!(texts.request.unwrap().as_str(), r#"{"input":"x"}"#);
    let response = texts.response.unwrap();
    assert_eq!(
        response.as_str(),
        r#"{"data":"12345... (2 bytes left out)"}"#
    );
}

proptest! {
    #[test]
    fn whatever_comes_in_what_is_kept_is_json(bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "\\PC*", chars in 0usize..40) {
        let _ = excerpt(&bytes, chars);
        let body = json!([text, {text.clone(): [1, text.clone()]}]).to_string();
        let found = excerpt(body.as_bytes(), chars).unwrap();
        prop_assert!(serde_json::from_str::<Value>(found.as_str()).is_ok());
        if chars >= text.chars().count() * 2 {
            let same: Value = serde_json::from_str(found.as_str()).unwrap();
            prop_assert_eq!(same, serde_json::from_str::<Value>(&body).unwrap());
        }
        let mut transcript = Transcript::new(Endpoint::Messages, chars);
        transcript.stream(&bytes);
        transcript.stream(format!("data: {body}\n\n").as_bytes());
        let _ = transcript.finish(Some(&bytes));
    }
}
