//! One consumption in the words of each provider costs the same: LiteLLM's vectors, read from
//! answers of Bedrock and Gemini.

use super::*;

use meridian_core::price::{BillingPlace, PriceBook};
use meridian_core::translate::response;
use meridian_core::usage::Usage;

const VECTORS: &str = include_str!("../data/cost_vectors_litellm_1.109.1.json");

struct Counts {
    prompt: u64,
    read: u64,
    written: u64,
    completion: u64,
    reasoning: u64,
}

impl Counts {
    fn of(usage: &Value) -> Self {
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        Self {
            prompt: count("/prompt_tokens"),
            read: count("/prompt_tokens_details/cached_tokens"),
            written: count("/prompt_tokens_details/cache_creation_tokens"),
            completion: count("/completion_tokens"),
            reasoning: count("/completion_tokens_details/reasoning_tokens"),
        }
    }

    /// Converse leaves what it cached out of the input.
    fn converse(&self) -> Value {
        json!({"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": "end_turn",
            "additionalModelResponseFields":
                {"usage": {"output_tokens_details": {"thinking_tokens": self.reasoning}}},
            "usage": {"inputTokens": self.prompt - self.read - self.written,
                "cacheReadInputTokens": self.read, "cacheWriteInputTokens": self.written,
                "outputTokens": self.completion}})
    }

    /// Gemini counts it in, and thoughts beside the answer.
    fn gemini(&self) -> Value {
        json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": self.prompt,
                "cachedContentTokenCount": self.read,
                "candidatesTokenCount": self.completion - self.reasoning,
                "thoughtsTokenCount": self.reasoning}})
    }
}

fn usage(provider: ProviderDialect, body: &Value) -> Usage {
    let body = body.to_string();
    let answer = response(pair(Chat, provider), body.as_bytes(), reply()).unwrap();
    answer.usage.unwrap()
}

#[test]
fn inclusive_and_exclusive_counts_cost_the_same_to_the_nano_dollar() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let mut checked = 0;
    for vector in &vectors {
        let plain = vector["options"].as_object().unwrap().is_empty()
            && vector["usage"].get("inference_geo").is_none()
            && vector["usage"]
                .pointer("/prompt_tokens_details/audio_tokens")
                .is_none();
        let Some(expected) = vector["expect"]["total"].as_f64().filter(|_| plain) else {
            continue;
        };
        let name = vector["model"].as_str().unwrap();
        let mut map = serde_json::Map::new();
        map.insert(name.to_owned(), vector["price_entry"].clone());
        let book = PriceBook::from_json(Value::Object(map).to_string().as_bytes()).unwrap();
        let price = book.iter().next().unwrap().1;
        let place = BillingPlace::of(vector["provider"].as_str().unwrap(), "", None);
        let counts = Counts::of(&vector["usage"]);
        let mut told = vec![usage(Converse, &counts.converse())];
        if counts.written == 0 {
            told.push(usage(Gemini, &counts.gemini()));
        }
        for usage in told {
            let cost = price.cost(&usage, &place).total.0 as f64;
            assert!(
                (cost - expected * 1e9).abs() <= 0.5,
                "{name}: {cost} but {expected}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 12, "{checked}");
}
