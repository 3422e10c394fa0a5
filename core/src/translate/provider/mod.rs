//! The provider's side: writes a prompt as its request, reads its answers and streams.

pub(crate) mod chat;
pub(crate) mod cohere;
pub(crate) mod converse;
pub(crate) mod gemini;
pub(crate) mod messages;
pub(crate) mod responses;

pub(crate) use messages::weight_of_param;

mod names;
mod schema;
mod turns;

use crate::translate::context::{Context, Memo, Operation, Request};
use crate::translate::dialect::ProviderDialect;
use crate::translate::event::Sink;
use crate::translate::loss::{Losses, Refusal};
use crate::translate::prompt::Prompt;
use crate::wire::json::JsonError;
use crate::wire::sse::Event;

/// A request that is written but whose losses are not judged yet.
pub(crate) type Written = Result<Request, Refusal>;

/// One body and its operation as a request.
fn written(
    body: Vec<u8>,
    operation: Operation,
    headers: Vec<(&'static str, String)>,
    stream: bool,
    memo: Memo,
) -> Request {
    Request {
        body,
        more: Vec::new(),
        operation,
        headers,
        stream,
        losses: Vec::new(),
        memo,
    }
}

/// Writes a prompt in the provider's dialect. `None`: the dialect does not generate text.
pub(crate) fn write(
    to: ProviderDialect,
    prompt: Prompt<'_>,
    context: &Context<'_>,
    losses: &mut Losses<'_>,
) -> Option<Written> {
    Some(match to {
        ProviderDialect::Chat => chat::request::write(prompt, context, losses),
        ProviderDialect::Messages => messages::request::write(prompt, context, losses),
        ProviderDialect::Responses => responses::request::write(prompt, context, losses),
        ProviderDialect::Converse => converse::request::write(prompt, context, losses),
        ProviderDialect::Gemini => gemini::request::write(prompt, context, losses),
        ProviderDialect::Cohere => cohere::request::write(prompt, context, losses),
        _ => return None,
    })
}

/// Reads the answers of one provider dialect; one for each answer.
#[derive(Debug)]
pub(crate) enum Reader {
    Chat(chat::Reader),
    Messages(messages::Reader),
    Responses(responses::Reader),
    Converse(converse::Reader),
    Gemini(gemini::Reader),
    Cohere(cohere::Reader),
}

impl Reader {
    pub(crate) fn new(from: ProviderDialect) -> Option<Self> {
        Some(match from {
            ProviderDialect::Chat => Self::Chat(chat::Reader::default()),
            ProviderDialect::Messages => Self::Messages(messages::Reader::default()),
            ProviderDialect::Responses => Self::Responses(responses::Reader::default()),
            ProviderDialect::Converse => Self::Converse(converse::Reader::default()),
            ProviderDialect::Gemini => Self::Gemini(gemini::Reader::default()),
            ProviderDialect::Cohere => Self::Cohere(cohere::Reader::default()),
            _ => return None,
        })
    }

    /// Reads a whole answer.
    pub(crate) fn body(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        match self {
            Self::Chat(reader) => reader.body(body, sink),
            Self::Messages(reader) => reader.body(body, sink),
            Self::Responses(reader) => reader.body(body, sink),
            Self::Converse(reader) => reader.body(body, sink),
            Self::Gemini(reader) => reader.body(body, sink),
            Self::Cohere(reader) => reader.body(body, sink),
        }
    }

    /// Reads one event of a stream.
    pub(crate) fn event(
        &mut self,
        event: &Event<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), JsonError> {
        let Some(data) = event.data.as_deref() else {
            return Ok(());
        };
        match self {
            Self::Chat(reader) => reader.event(data, sink),
            Self::Messages(reader) => reader.event(data, sink),
            Self::Responses(reader) => reader.event(data, sink),
            Self::Converse(reader) => {
                let name = event.name.unwrap_or_default();
                reader.event(name, data, sink)
            }
            Self::Gemini(reader) => reader.event(data, sink),
            Self::Cohere(reader) => reader.event(data, sink),
        }
    }

    /// The stream is over: tells what only its end tells, [`crate::translate::Piece::End`] where
    /// the dialect has no terminal event of its own.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) {
        match self {
            Self::Chat(reader) => reader.finish(sink),
            Self::Converse(reader) => reader.finish(sink),
            Self::Gemini(reader) => reader.finish(sink),
            Self::Cohere(reader) => reader.finish(sink),
            Self::Messages(_) | Self::Responses(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
