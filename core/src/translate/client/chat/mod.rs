//! The client dialect `chat`: OpenAI chat completions.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod stream;

mod message;

pub(crate) use message::source_of_url;

use crate::translate::emit::Emit;
use crate::translate::event::Finish;
use crate::wire::json::Value;

/// `finish_reason`.
pub(crate) fn finish_word(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop | Finish::StopSequence => "stop",
        // A paused turn goes on nowhere: to the caller it is cut.
        Finish::Length | Finish::Context | Finish::Pause => "length",
        Finish::Tools => "tool_calls",
        Finish::Filter => "content_filter",
    }
}

/// Anthropic's citation of a web page as an annotation too.
fn citation(emit: &mut Emit<'_>, citation: Value<'_>) {
    let Some(url) = citation.field(b"url") else {
        return;
    };
    emit.name("annotations").open_list();
    annotation(emit, citation, url);
    emit.close_list();
}

fn annotation(emit: &mut Emit<'_>, citation: Value<'_>, url: Value<'_>) {
    emit.open().name("type").string("url_citation");
    emit.name("url_citation").open().name("url").raw(url.raw);
    if let Some(title) = citation.field(b"title") {
        emit.name("title").raw(title.raw);
    }
    emit.close().close();
}
