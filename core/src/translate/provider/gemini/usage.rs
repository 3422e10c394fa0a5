//! Gemini's `usageMetadata`.

use crate::usage::{ServiceTier, Units, Usage};
use crate::wire::json::{JsonError, Reader, Value};

/// Tokens by modality.
#[derive(Clone, Copy, Default)]
struct Media {
    audio: u64,
    image: u64,
}

/// Reads it: prompts include what came from the cache, and thoughts are not in the candidates.
pub(super) fn read(json: &mut Reader<'_>) -> Result<Option<Usage>, JsonError> {
    let mut usage = Usage::default();
    let (mut candidates, mut tool_use) = (0_u64, 0_u64);
    let mut tier = ServiceTier::Standard;
    let is_there = json.members(|json, name| {
        let value = json.value()?;
        let count = value.count().unwrap_or(0);
        match name {
            b"promptTokenCount" => usage.prompt = count,
            b"toolUsePromptTokenCount" => tool_use = count,
            b"candidatesTokenCount" => candidates = count,
            b"thoughtsTokenCount" => usage.reasoning = count,
            b"cachedContentTokenCount" => usage.cache_read = count,
            b"promptTokensDetails" => {
                let media = media(value);
                usage.prompt_audio = media.audio;
                usage.prompt_image = media.image;
            }
            b"cacheTokensDetails" => usage.cache_read_audio = media(value).audio,
            b"candidatesTokensDetails" => {
                let media = media(value);
                usage.completion_audio = media.audio;
                usage.completion_image = media.image;
            }
            b"trafficType" | b"serviceTier" => {
                let label = value.text().unwrap_or_default();
                let found = ServiceTier::from_label(&label);
                if found != ServiceTier::Standard {
                    tier = found;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    usage.tier = tier;
    usage.prompt = usage.prompt.saturating_add(tool_use);
    usage.completion = candidates.saturating_add(usage.reasoning);
    usage.units = Units::default();
    Ok(is_there.then_some(usage))
}

fn media(details: Value<'_>) -> Media {
    let mut found = Media::default();
    for detail in details.items() {
        let count = detail.field(b"tokenCount").and_then(Value::count);
        let slot = match detail.field(b"modality").and_then(Value::inner) {
            Some(b"AUDIO") => &mut found.audio,
            Some(b"IMAGE") => &mut found.image,
            _ => continue,
        };
        *slot = slot.saturating_add(count.unwrap_or(0));
    }
    found
}
