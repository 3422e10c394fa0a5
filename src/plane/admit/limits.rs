//! Response headers that tell a key what it has left.

use http::{HeaderName, HeaderValue};
use meridian_core::auth::KeyView;
use meridian_core::limit::Dimension;
use meridian_core::time::WallMs;

/// LiteLLM's headers for the key's spend, and its budget and limits where they are set.
pub(crate) fn headers(key: Option<&KeyView>, now: WallMs) -> Vec<(HeaderName, HeaderValue)> {
    let Some(key) = key else { return Vec::new() };
    let mut headers = Vec::with_capacity(8);
    let mut add = |name: &'static str, value: HeaderValue| {
        headers.push((HeaderName::from_static(name), value));
    };
    if let Ok(value) = HeaderValue::try_from(key.meters().spent(now).to_string()) {
        add("x-litellm-key-spend", value);
    }
    let budget = key.meters().budget().limit(now);
    let budget = budget.map(|limit| HeaderValue::try_from(limit.to_string()));
    if let Some(Ok(value)) = budget {
        add("x-litellm-key-max-budget", value);
    }
    for level in key.meters().rates().levels(now) {
        let (limit, remaining) = level.key_headers();
        add(limit, HeaderValue::from(level.limit));
        add(remaining, HeaderValue::from(level.remaining));
        match level.dimension {
            Dimension::Requests => add("x-litellm-key-rpm-limit", HeaderValue::from(level.limit)),
            Dimension::Tokens => add("x-litellm-key-tpm-limit", HeaderValue::from(level.limit)),
            Dimension::Parallel => {}
        }
    }
    headers
}
