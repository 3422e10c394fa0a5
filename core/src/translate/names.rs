//! Names of fields that the dialects know, as words that outlive a request.

use std::borrow::Cow;

/// Sorted. A metric has a series for each of them, and one for all names of the caller's own.
const KNOWN: [&str; 51] = [
    "audio",
    "background",
    "cache_control",
    "client_metadata",
    "container",
    "context_management",
    "frequency_penalty",
    "function_call",
    "functions",
    "include",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "mcp_servers",
    "metadata",
    "min_p",
    "modalities",
    "moderation",
    "n",
    "output_config",
    "output_format",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "speed",
    "stop",
    "stop_sequences",
    "store",
    "temperature",
    "text",
    "thinking",
    "tool_choice",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "web_search_options",
];

/// A name without a borrow of the request.
pub(crate) fn owned(name: &str) -> Cow<'static, str> {
    match KNOWN.binary_search(&name) {
        Ok(at) => KNOWN.get(at).copied().unwrap_or_default().into(),
        Err(_) => Cow::Owned(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_borrowed_for_ever_and_a_callers_own_is_not() {
        assert!(KNOWN.is_sorted());
        assert!(
            KNOWN
                .iter()
                .all(|name| matches!(owned(name), Cow::Borrowed(_)))
        );
        assert!(matches!(owned("seed_of_mine"), Cow::Owned(name) if name == "seed_of_mine"));
    }
}
