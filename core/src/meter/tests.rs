//! Whole bodies and events of every kind of answer.

use super::*;

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn body(endpoint: Endpoint, text: &str) -> (Answer, Meter) {
    let mut meter = Meter::for_endpoint(endpoint);
    (meter.body(text.as_bytes()), meter)
}

fn good(endpoint: Endpoint, name: &str) -> Meter {
    let (answer, meter) = body(endpoint, &recorded(name));
    assert_eq!(answer, Answer::Good, "{name}");
    meter
}

#[test]
fn recorded_bodies_give_their_usage_and_names() {
    let meter = good(
        Endpoint::ChatCompletions,
        "azure/chat_content_filter_results.response.json",
    );
    let usage = meter.usage().unwrap();
    assert_eq!((usage.prompt, usage.completion), (14, 9));
    let facts = meter.facts();
    assert_eq!(facts.model.as_deref(), Some("gpt-4o-2024-11-20"));
    assert_eq!(facts.finish_reason.as_deref(), Some("stop"));
    let text = "The capital of France is **Paris**.";
    assert_eq!(facts.content.text.bytes, text.len() as u64);
    let meter = good(Endpoint::ChatCompletions, "openai/chat_tool.response.json");
    assert!(meter.facts().content.tools.bytes > 0);
    let meter = good(Endpoint::Responses, "azure/responses_error.response.json");
    assert_eq!(meter.usage().unwrap().total(), 23);
    assert_eq!(meter.facts().content.text.bytes, 5);
    let meter = good(Endpoint::Messages, "anthropic/cache_usage_1.response.json");
    let usage = meter.usage().unwrap();
    assert_eq!((usage.prompt, usage.cache_read), (1114, 1111));
    assert_eq!(usage.completion, 406);
    let id = meter.facts().response_id.as_deref();
    assert_eq!(id, Some("msg_01UUPT9QdZnZSRzcQJkjG25U"));
}

#[test]
fn answers_without_tokens_count_their_own_units() {
    let meter = good(Endpoint::ImagesGenerations, "openai/vercel_image.json");
    assert_eq!(meter.usage().unwrap().units.images, 2);
    let meter = good(
        Endpoint::AudioTranscriptions,
        "openai/vercel_transcription.json",
    );
    assert_eq!(meter.usage().unwrap().units.audio_ms, 37_000);
    let meter = good(Endpoint::Rerank, "cohere/agw_rerank.json");
    assert_eq!(meter.usage().unwrap().units.queries, 1);
    let embeddings = r#"{"object":"list","data":[{"embedding":[0.1,-2e-5]}],"model":"e",
        "usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let (_, meter) = body(Endpoint::Embeddings, embeddings);
    assert_eq!(meter.usage().unwrap().prompt, 8);
    let image = r#"{"data":[{"b64_json":"x"}],"usage":{"input_tokens":50,"output_tokens":40,
        "total_tokens":90,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}"#;
    let usage = body(Endpoint::ImagesGenerations, image).1.usage().unwrap();
    assert_eq!((usage.prompt_image, usage.completion_image), (40, 40));
    let reranked = r#"{"results":[],"usage":{"total_tokens":12}}"#;
    assert_eq!(
        body(Endpoint::Rerank, reranked).1.usage().unwrap().prompt,
        12
    );
}

#[test]
fn what_is_free_has_no_usage() {
    let stored = recorded("azure/responses_error.response.json");
    let (answer, meter) = body(Endpoint::ResponsesItem, &stored);
    assert_eq!((answer, meter.usage()), (Answer::Good, None));
    let (_, meter) = body(Endpoint::CountTokens, r#"{"input_tokens":10}"#);
    assert_eq!(meter.usage(), None);
}

#[test]
fn errors_inside_a_200_are_errors() {
    use Endpoint::{ChatCompletions, Embeddings, Messages, Responses};
    let cases = [
        (ChatCompletions, r#"{"error":{"message":"m"}}"#),
        (ChatCompletions, r#"{"object":"error","message":"m"}"#),
        (ChatCompletions, "[{\n \"error\": {\"message\":\"m\"}}]"),
        (Embeddings, r#"{"error":"m"}"#),
        (Messages, r#"{"type":"error","error":{"message":"m"}}"#),
        (Messages, r#"{"error":{"message":"m"}}"#),
        (Responses, r#"{"error":{"message":"m"}}"#),
        (
            Responses,
            r#"{"object":"response","status":"failed","error":{"code":"c","message":"m"}}"#,
        ),
    ];
    for (endpoint, text) in cases {
        let (answer, meter) = body(endpoint, text);
        assert_eq!(answer, Answer::Error, "{text}");
        assert_eq!(meter.facts().error.as_ref().unwrap().message, "m");
    }
    assert_eq!(body(ChatCompletions, " \r\n").0, Answer::Empty);
    assert_eq!(body(ChatCompletions, "<html>").0, Answer::NotJson);
    assert_eq!(body(Embeddings, r#"{"data":[{"#).0, Answer::Broken);
    let fine = r#"{"error":null,"object":"response","status":"completed"}"#;
    assert_eq!(body(Responses, fine).0, Answer::Good);
}

/// Feeds `data:` values of a stream.
fn events(endpoint: Endpoint, list: &[&str]) -> Meter {
    let mut meter = Meter::for_endpoint(endpoint);
    for data in list {
        let raw = format!("data: {}\n\n", data.replace('\n', " "));
        meter.event(&Event::parse(raw.as_bytes()));
    }
    meter
}

#[test]
fn usage_on_every_chunk_is_not_added_up() {
    let chunk = |n: u32| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"x"}}}}],
            "usage":{{"prompt_tokens":5,"completion_tokens":{n},"total_tokens":0}}}}"#
        )
    };
    let (first, second) = (chunk(1), chunk(2));
    let meter = events(
        Endpoint::ChatCompletions,
        &[&first, &second, r#"{"choices":[],"usage":null}"#],
    );
    let usage = meter.usage().unwrap();
    assert_eq!((usage.prompt, usage.completion), (5, 2));
    assert_eq!(meter.facts().content.text.bytes, 2);
    // A server that did not count sends zeros: that is no report, and no correction of one.
    let zeros = r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    assert_eq!(events(Endpoint::ChatCompletions, &[zeros]).usage(), None);
    let after = events(Endpoint::ChatCompletions, &[&first, zeros]);
    assert_eq!(after.usage().unwrap().total(), 6);
    assert!(after.facts().usage_final);
}

#[test]
fn content_is_counted_by_kind_and_error_text_is_not() {
    let meter = events(
        Endpoint::ChatCompletions,
        &[
            r#"{"choices":[{"index":0,"delta":{"reasoning":"ab","reasoning_content":"ab"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,
                "function":{"name":"f","arguments":"{\"a\":"}}]}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"é"}}],"service_tier":"flex",
                "usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
            r#"{"error":{"message":"a long error text"}}"#,
        ],
    );
    let content = meter.facts().content;
    assert_eq!(content.reasoning.bytes, 2);
    assert_eq!(content.tools.bytes, 6);
    assert_eq!(content.text.bytes, 2);
    assert_eq!(meter.usage().unwrap().tier, ServiceTier::Flex);
    assert!(!meter.is_finished());
}

#[test]
fn responses_count_their_searches_once() {
    let search = r#"{"type":"response.output_item.done","item":{"type":"web_search_call"}}"#;
    let end = r#"{"type":"response.completed","response":{"service_tier":"priority",
        "output":[{"type":"web_search_call"},{"type":"message"},{"type":"web_search_call"}],
        "usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}"#;
    let meter = events(Endpoint::Responses, &[search, search, end]);
    let usage = meter.usage().unwrap();
    assert_eq!(
        (usage.units.web_searches, usage.tier),
        (2, ServiceTier::Priority)
    );
    let reason = meter.facts().finish_reason.as_deref();
    assert_eq!((meter.is_finished(), reason), (true, None));
}

#[test]
fn odd_events_are_counted_and_survived() {
    let meter = events(
        Endpoint::ChatCompletions,
        &[
            "",
            "null",
            "[]",
            "{\"choices\":",
            "{\"choices\":{}}",
            "\u{1}",
        ],
    );
    assert_eq!(meter.facts().events, 6);
    assert!(meter.facts().malformed >= 4);
    assert!(meter.facts().malformed_first);
    assert_eq!(meter.usage(), None);
    let delta = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let meter = events(Endpoint::ChatCompletions, &[delta, "{"]);
    assert_eq!(meter.facts().malformed, 1);
    assert!(!meter.facts().malformed_first);
}

#[test]
fn deltas_in_any_script_and_spelling_are_estimated_alike() {
    let tokens = |chunks: &[&str]| {
        let meter = events(Endpoint::ChatCompletions, chunks);
        meter.facts().content.tokens()
    };
    let plain = tokens(&[
        r#"{"choices":[{"index":0,"delta":{"content":"潮汐是由月球"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"引力产生的😀"}}]}"#,
    ]);
    let escaped = tokens(&[
        r#"{"choices":[{"index":0,"delta":{"content":"\u6f6e\u6c50\u662f\u7531\u6708\u7403"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"\u5f15\u529b\u4ea7\u751f\u7684\ud83d\ude00"}}]}"#,
    ]);
    // Eleven characters of about one token, and an emoji of two or three: not 37 bytes / 4.
    assert_eq!(plain, escaped);
    assert!((13..=17).contains(&plain), "{plain}");
}

#[test]
fn files_that_code_has_written_are_noted_and_no_others() {
    let result = r#"{"type":"bash_code_execution_tool_result","tool_use_id":"t","content":
        {"type":"bash_code_execution_result","stdout":"","content":[
        {"type":"bash_code_execution_output","file_id":"file_1"},
        {"type":"bash_code_execution_output","file_id":"file_2"}]}}"#;
    let cited = r#"{"type":"text","text":"a","citations":[{"file_id":"file_3"}]}"#;
    let searched = r#"{"type":"web_search_tool_result","content":{"content":[
        {"file_id":"file_4"}]}}"#;
    let whole = format!(r#"{{"id":"m","type":"message","content":[{result},{cited},{searched}]}}"#);
    let (_, meter) = body(Endpoint::Messages, &whole);
    assert_eq!(meter.facts().files, ["file_1", "file_2"]);
    let mut streamed = Meter::for_endpoint(Endpoint::Messages);
    for block in [result, cited, searched] {
        let block = block.replace('\n', " ");
        let event = format!(
            "data: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{block}}}\n\n"
        );
        streamed.event(&Event::parse(event.as_bytes()));
    }
    assert_eq!(streamed.facts().files, ["file_1", "file_2"]);
}
