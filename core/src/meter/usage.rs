//! Usage objects of every provider read into one shape, totals always inclusive.

use crate::usage::{ServiceTier, Units, Usage};
use crate::wire::json::Value;

/// How a provider counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageStyle {
    /// `prompt_tokens` or `input_tokens` include what came from the cache: OpenAI, Azure, vLLM,
    /// Cohere, Gemini's compatible endpoint.
    Inclusive,
    /// `input_tokens` leaves cached tokens out and is reported in pieces that override each
    /// other: Anthropic and Claude on other clouds.
    Anthropic,
    /// `inputTokens` leaves cached tokens out: Bedrock Converse.
    Converse,
}

/// Reads an inclusive usage object (chat, completions, responses, embeddings, images, audio).
pub fn inclusive(object: Value<'_>) -> Usage {
    let mut usage = Usage::default();
    let mut total = None;
    // Spellings of gateways and smaller providers, used when the details say nothing.
    let (mut plain_read, mut plain_write) = (0, 0);
    for (name, value) in object.fields() {
        let count = value.count().unwrap_or(0);
        match name {
            b"prompt_tokens" | b"input_tokens" => usage.prompt = count,
            b"completion_tokens" | b"output_tokens" => usage.completion = count,
            b"total_tokens" => total = value.count(),
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                input_details(&mut usage, value);
            }
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                output_details(&mut usage, value);
            }
            b"cache_read_input_tokens" | b"prompt_cache_hit_tokens" | b"cached_tokens" => {
                plain_read = count;
            }
            b"cache_creation_input_tokens" => plain_write = count,
            b"server_tool_use" => usage.units.web_searches = web_searches(value),
            b"num_search_queries" => usage.units.web_searches = count as u32,
            b"seconds" => usage.units.audio_ms = millis(value),
            b"service_tier" => usage.tier = tier(value).unwrap_or_default(),
            _ => {}
        }
    }
    if usage.cache_read == 0 {
        usage.cache_read = plain_read;
    }
    if usage.cache_write == 0 && usage.cache_write_1h == 0 {
        usage.cache_write = plain_write;
    }
    settle_totals(&mut usage, total);
    usage
}

/// Repairs counts that a provider reported against the convention of the field's name.
fn settle_totals(usage: &mut Usage, total: Option<u64>) {
    let Usage {
        prompt,
        completion,
        reasoning,
        ..
    } = *usage;
    let written = usage
        .cache_write
        .saturating_add(usage.cache_write_1h)
        .saturating_add(usage.cache_write_12h);
    let cached = usage.cache_read.saturating_add(written);
    // More cached than there was: the counts are exclusive after all.
    if cached > prompt {
        usage.prompt = prompt.saturating_add(cached);
    }
    let Some(total) = total else {
        return;
    };
    // Embeddings and rerankers of some servers report the total alone.
    if prompt == 0 && completion == 0 {
        usage.prompt = total;
    }
    // Some providers leave reasoning out of the completion; their total tells.
    if reasoning > 0 && total == prompt.saturating_add(completion).saturating_add(reasoning) {
        usage.completion = completion.saturating_add(reasoning);
    }
}

fn input_details(usage: &mut Usage, details: Value<'_>) {
    for (name, value) in details.fields() {
        let count = value.count().unwrap_or(0);
        match name {
            b"cached_tokens" => usage.cache_read = count,
            b"cache_write_tokens" | b"cache_creation_tokens" => usage.cache_write = count,
            b"cache_write_tokens_details" => {
                let half_day = value.field(b"ttl_12h_tokens");
                usage.cache_write_12h = half_day.and_then(Value::count).unwrap_or(0);
            }
            b"audio_tokens" => usage.prompt_audio = count,
            b"image_tokens" => usage.prompt_image = count,
            b"web_search_requests" => usage.units.web_searches = count as u32,
            b"cache_creation_token_details" => {
                let hour = value.field(b"ephemeral_1h_input_tokens");
                usage.cache_write_1h = hour.and_then(Value::count).unwrap_or(0);
            }
            _ => {}
        }
    }
    let longer = usage.cache_write_1h.saturating_add(usage.cache_write_12h);
    usage.cache_write = usage.cache_write.saturating_sub(longer);
}

fn output_details(usage: &mut Usage, details: Value<'_>) {
    for (name, value) in details.fields() {
        let count = value.count().unwrap_or(0);
        match name {
            b"reasoning_tokens" => usage.reasoning = count,
            b"audio_tokens" => usage.completion_audio = count,
            b"image_tokens" => usage.completion_image = count,
            _ => {}
        }
    }
}

/// Reads a Bedrock Converse usage object.
pub fn converse(object: Value<'_>) -> Usage {
    let mut usage = Usage::default();
    let mut input = 0;
    for (name, value) in object.fields() {
        let count = value.count().unwrap_or(0);
        match name {
            b"inputTokens" => input = count,
            b"outputTokens" => usage.completion = count,
            b"cacheReadInputTokens" => usage.cache_read = count,
            b"cacheWriteInputTokens" => usage.cache_write = count,
            b"cacheDetails" => {
                let hours = value.items().filter(|detail| {
                    let ttl = detail.field(b"ttl").and_then(Value::inner);
                    ttl == Some(b"1h")
                });
                let counts = hours.filter_map(|detail| detail.field(b"inputTokens")?.count());
                usage.cache_write_1h = counts.sum();
            }
            _ => {}
        }
    }
    usage.cache_write = usage.cache_write.saturating_sub(usage.cache_write_1h);
    usage.prompt = input
        .saturating_add(usage.cache_read)
        .saturating_add(usage.cache_write)
        .saturating_add(usage.cache_write_1h);
    usage
}

/// Anthropic's counts, gathered over `message_start` and every `message_delta`: later pieces
/// override earlier ones field by field. A zero does not override a count: some servers fill
/// fields that they do not know with zeros.
#[derive(Clone, Debug, Default)]
pub struct AnthropicUsage {
    last: Counts,
    /// Sum over `iterations`, which is the bill where the top level is the last step alone.
    iterations: Option<Counts>,
    web_searches: u32,
    tier: ServiceTier,
    fast: bool,
    geo_us: bool,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    input: u64,
    output: u64,
    read: u64,
    write: u64,
    write_5m: u64,
    write_1h: u64,
    thinking: u64,
}

impl AnthropicUsage {
    /// Takes one usage object in.
    pub fn merge(&mut self, object: Value<'_>) {
        self.last.merge(object);
        for (name, value) in object.fields() {
            match name {
                b"iterations" => self.iterations = iterations(value).or(self.iterations.take()),
                b"server_tool_use" => {
                    self.web_searches = self.web_searches.max(web_searches(value));
                }
                b"service_tier" => self.tier = tier(value).unwrap_or(self.tier),
                b"speed" => self.fast = value.inner() == Some(b"fast"),
                b"inference_geo" => self.geo_us = value.inner() == Some(b"us"),
                _ => {}
            }
        }
    }

    /// The normalised counts so far.
    pub fn usage(&self) -> Usage {
        let counts = self.iterations.as_ref().unwrap_or(&self.last);
        let written = counts
            .write
            .max(counts.write_5m.saturating_add(counts.write_1h));
        let prompt = counts.input.saturating_add(counts.read);
        Usage {
            prompt: prompt.saturating_add(written),
            cache_read: counts.read,
            cache_write: written.saturating_sub(counts.write_1h),
            cache_write_1h: counts.write_1h,
            completion: counts.output,
            reasoning: counts.thinking,
            units: Units {
                web_searches: self.web_searches,
                ..Units::default()
            },
            tier: self.tier,
            fast: self.fast,
            geo_us: self.geo_us,
            ..Usage::default()
        }
    }
}

impl Counts {
    fn merge(&mut self, object: Value<'_>) {
        for (name, value) in object.fields() {
            match name {
                b"input_tokens" => replace(&mut self.input, value),
                b"output_tokens" => replace(&mut self.output, value),
                b"cache_read_input_tokens" => replace(&mut self.read, value),
                b"cache_creation_input_tokens" => replace(&mut self.write, value),
                b"cache_creation" => {
                    for (ttl, value) in value.fields() {
                        match ttl {
                            b"ephemeral_5m_input_tokens" => replace(&mut self.write_5m, value),
                            b"ephemeral_1h_input_tokens" => replace(&mut self.write_1h, value),
                            _ => {}
                        }
                    }
                }
                b"output_tokens_details" => {
                    let thinking = value.field(b"thinking_tokens");
                    let thinking = thinking.or_else(|| value.field(b"reasoning_tokens"));
                    thinking.inspect(|value| replace(&mut self.thinking, *value));
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, other: &Self) {
        let Self {
            input,
            output,
            read,
            write,
            write_5m,
            write_1h,
            thinking,
        } = other;
        self.input = self.input.saturating_add(*input);
        self.output = self.output.saturating_add(*output);
        self.read = self.read.saturating_add(*read);
        self.write = self.write.saturating_add(*write);
        self.write_5m = self.write_5m.saturating_add(*write_5m);
        self.write_1h = self.write_1h.saturating_add(*write_1h);
        self.thinking = self.thinking.saturating_add(*thinking);
    }
}

fn replace(slot: &mut u64, value: Value<'_>) {
    if let Some(count) = value.count().filter(|count| *count > 0) {
        *slot = count;
    }
}

/// Sum of all steps; `None` when there are none.
fn iterations(list: Value<'_>) -> Option<Counts> {
    let mut sum = None;
    for item in list.items() {
        let mut counts = Counts::default();
        counts.merge(item);
        sum.get_or_insert_with(Counts::default).add(&counts);
    }
    sum
}

fn web_searches(server_tool_use: Value<'_>) -> u32 {
    let count = server_tool_use.field(b"web_search_requests");
    count.and_then(Value::count).unwrap_or(0) as u32
}

/// Seconds as milliseconds.
pub(super) fn millis(seconds: Value<'_>) -> u64 {
    let millis = seconds.number().unwrap_or(0.0) * 1000.0;
    if (0.0..1e15).contains(&millis) {
        millis.round() as u64
    } else {
        0
    }
}

/// A tier that a provider says it used; `None` when it is not a string.
pub(super) fn tier(value: Value<'_>) -> Option<ServiceTier> {
    value.text().map(|label| ServiceTier::from_label(&label))
}

#[cfg(test)]
mod tests;
