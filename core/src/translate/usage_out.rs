//! Usage objects written in each client's dialect.

use crate::translate::emit::Emit;
use crate::usage::Usage;

/// Tokens written to the cache, for whatever time.
fn written(usage: &Usage) -> u64 {
    let hours = usage.cache_write_1h.saturating_add(usage.cache_write_12h);
    usage.cache_write.saturating_add(hours)
}

/// Chat's usage: totals include what came from the cache. LiteLLM's two plain members are there
/// when they say something.
pub(crate) fn chat(emit: &mut Emit<'_>, usage: &Usage) {
    emit.open().name("prompt_tokens").count(usage.prompt);
    emit.name("completion_tokens").count(usage.completion);
    emit.name("total_tokens").count(usage.total());
    emit.name("prompt_tokens_details").open();
    emit.name("cached_tokens").count(usage.cache_read);
    emit.name("audio_tokens").count(usage.prompt_audio);
    let written = written(usage);
    if written > 0 {
        emit.name("cache_creation_tokens").count(written);
        emit.name("cache_creation_token_details").open();
        let short = written.saturating_sub(usage.cache_write_1h);
        emit.name("ephemeral_5m_input_tokens").count(short);
        emit.name("ephemeral_1h_input_tokens");
        emit.count(usage.cache_write_1h).close();
    }
    if usage.units.web_searches > 0 {
        let searches = u64::from(usage.units.web_searches);
        emit.name("web_search_requests").count(searches);
    }
    emit.close().name("completion_tokens_details").open();
    emit.name("reasoning_tokens").count(usage.reasoning);
    emit.name("audio_tokens").count(usage.completion_audio);
    emit.close();
    if written > 0 || usage.cache_read > 0 {
        emit.name("cache_creation_input_tokens").count(written);
        emit.name("cache_read_input_tokens").count(usage.cache_read);
    }
    emit.close();
}

/// Responses' usage: totals include what came from the cache.
pub(crate) fn responses(emit: &mut Emit<'_>, usage: &Usage) {
    emit.open().name("input_tokens").count(usage.prompt);
    emit.name("input_tokens_details").open();
    emit.name("cached_tokens").count(usage.cache_read);
    let written = written(usage);
    if written > 0 {
        emit.name("cache_write_tokens").count(written);
    }
    emit.close();
    emit.name("output_tokens").count(usage.completion);
    emit.name("output_tokens_details").open();
    emit.name("reasoning_tokens").count(usage.reasoning).close();
    emit.name("total_tokens").count(usage.total()).close();
}

/// Anthropic's usage: input leaves out what came from the cache or went into it.
pub(crate) fn messages(emit: &mut Emit<'_>, usage: &Usage) {
    let written = written(usage);
    let cached = usage.cache_read.saturating_add(written);
    emit.open().name("input_tokens");
    emit.count(usage.prompt.saturating_sub(cached));
    emit.name("cache_creation_input_tokens").count(written);
    emit.name("cache_read_input_tokens").count(usage.cache_read);
    if usage.cache_write_1h > 0 {
        emit.name("cache_creation").open();
        let short = written.saturating_sub(usage.cache_write_1h);
        emit.name("ephemeral_5m_input_tokens").count(short);
        emit.name("ephemeral_1h_input_tokens");
        emit.count(usage.cache_write_1h).close();
    }
    emit.name("output_tokens").count(usage.completion);
    if usage.reasoning > 0 {
        emit.name("output_tokens_details").open();
        emit.name("thinking_tokens").count(usage.reasoning).close();
    }
    if usage.units.web_searches > 0 {
        let searches = u64::from(usage.units.web_searches);
        emit.name("server_tool_use").open();
        emit.name("web_search_requests").count(searches).close();
    }
    emit.close();
}
