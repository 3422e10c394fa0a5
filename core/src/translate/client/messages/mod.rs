//! The client dialect `messages`: Anthropic messages.

pub(crate) mod blocks;
pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod stream;

use crate::translate::event::Finish;

/// `stop_reason`.
pub(crate) fn stop_word(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Context => "model_context_window_exceeded",
        Finish::Tools => "tool_use",
        Finish::Filter => "refusal",
        Finish::Pause => "pause_turn",
    }
}
