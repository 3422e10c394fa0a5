//! Counts of every provider become totals that include their parts.

use super::*;
use crate::wire::json::whole;

fn value(text: &str) -> Value<'_> {
    whole(text.as_bytes()).unwrap()
}

#[test]
fn inclusive_counts_keep_their_total() {
    let usage = inclusive(value(
        r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
        "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":3,"cache_write_tokens":20},
        "completion_tokens_details":{"reasoning_tokens":30,"audio_tokens":4}}"#,
    ));
    assert_eq!((usage.prompt, usage.completion), (100, 50));
    assert_eq!((usage.cache_read, usage.cache_write), (60, 20));
    assert_eq!((usage.reasoning, usage.prompt_audio), (30, 3));
    assert_eq!(usage.completion_audio, 4);
    let nulls = r#"{"prompt_tokens":1,"completion_tokens":null,"prompt_tokens_details":null}"#;
    assert_eq!(inclusive(value(nulls)).total(), 1);
}

#[test]
fn counts_against_the_convention_are_repaired() {
    // Cached tokens outside of the prompt, as a gateway in front of Anthropic may send them.
    let usage = inclusive(value(
        r#"{"prompt_tokens":10,"completion_tokens":1,"cache_read_input_tokens":500,
        "cache_creation_input_tokens":7}"#,
    ));
    assert_eq!((usage.prompt, usage.cache_read), (517, 500));
    // Reasoning outside of the completion.
    let usage = inclusive(value(
        r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":31,
        "completion_tokens_details":{"reasoning_tokens":20}}"#,
    ));
    assert_eq!((usage.completion, usage.reasoning), (21, 20));
    let huge = r#"{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615,
        "prompt_tokens_details":{"cached_tokens":18446744073709551615,
        "cache_write_tokens":18446744073709551615},"total_tokens":1}"#;
    let _ = inclusive(value(huge));
}

#[test]
fn anthropic_counts_are_added_up_and_pieces_override() {
    let mut usage = AnthropicUsage::default();
    usage.merge(value(
        r#"{"input_tokens":10,"cache_read_input_tokens":100,"cache_creation_input_tokens":50,
        "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},
        "output_tokens":1,"service_tier":"batch","speed":"fast","inference_geo":"us"}"#,
    ));
    usage.merge(value(
        r#"{"input_tokens":0,"output_tokens":7,"cache_read_input_tokens":100,
        "output_tokens_details":{"thinking_tokens":5},
        "server_tool_use":{"web_search_requests":2}}"#,
    ));
    usage.merge(value(r#"{"output_tokens":9}"#));
    let usage = usage.usage();
    assert_eq!((usage.prompt, usage.completion), (160, 9));
    assert_eq!((usage.cache_write, usage.cache_write_1h), (20, 30));
    assert_eq!((usage.reasoning, usage.units.web_searches), (5, 2));
    assert_eq!(usage.tier, ServiceTier::Batch);
    assert!(usage.fast && usage.geo_us);
}

#[test]
fn anthropic_iterations_are_the_bill() {
    let mut usage = AnthropicUsage::default();
    usage.merge(value(r#"{"input_tokens":100,"output_tokens":7}"#));
    usage.merge(value(
        r#"{"input_tokens":181,"output_tokens":8,"iterations":[
        {"input_tokens":100,"output_tokens":83,"cache_read_input_tokens":55096},
        {"input_tokens":181,"output_tokens":8,"cache_read_input_tokens":0}]}"#,
    ));
    let usage = usage.usage();
    assert_eq!((usage.prompt, usage.completion), (55_377, 91));
    assert_eq!(usage.cache_read, 55_096);
}

#[test]
fn converse_counts_are_added_up() {
    let usage = converse(value(
        r#"{"inputTokens":16,"outputTokens":9,"totalTokens":2412,"cacheReadInputTokens":2300,
        "cacheWriteInputTokens":87,"cacheDetails":[{"ttl":"5m","inputTokens":80},
        {"ttl":"1h","inputTokens":7}]}"#,
    ));
    assert_eq!((usage.prompt, usage.total()), (2403, 2412));
    assert_eq!((usage.cache_write, usage.cache_write_1h), (80, 7));
}
