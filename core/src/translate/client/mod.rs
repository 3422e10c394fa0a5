//! The client's side: reads its request, writes answers and streams in its dialect.

pub(crate) mod chat;
pub(crate) mod messages;
pub(crate) mod responses;

pub(crate) use chat::request::weight_of;

use crate::error::ErrorReply;
use crate::translate::context::Reply;
use crate::translate::dialect::ClientDialect;
use crate::translate::event::{Piece, Sink};
use crate::translate::loss::{Losses, Refusal};
use crate::translate::prompt::Prompt;
use crate::wire::upstream_error::Complaint;

/// A provider's error inside an answer as the caller is told it.
pub(crate) fn error_reply(complaint: &Complaint) -> ErrorReply {
    ErrorReply {
        status: complaint.status(),
        kind: complaint.kind.clone().unwrap_or_default(),
        param: complaint.param.clone(),
        message: complaint.message.clone(),
        specific: complaint.code.clone().map(|code| ("code", code)),
        retry_after_s: complaint.retry_after_s,
    }
}

/// Reads a request. `None`: the dialect does not ask for text.
pub(crate) fn read<'a>(
    from: ClientDialect,
    body: &'a [u8],
    losses: &mut Losses<'_>,
) -> Option<Result<Prompt<'a>, Refusal>> {
    Some(match from {
        ClientDialect::Chat => chat::request::read(body, losses),
        ClientDialect::Messages => messages::request::read(body, losses),
        ClientDialect::Responses => responses::request::read(body, losses),
        ClientDialect::Embeddings | ClientDialect::Rerank => return None,
    })
}

/// Writes a stream in the client's dialect.
#[derive(Debug)]
pub(crate) enum StreamWriter {
    Chat(chat::stream::Writer),
    Messages(messages::stream::Writer),
    Responses(responses::stream::Writer),
}

impl StreamWriter {
    pub(crate) fn new(to: ClientDialect, reply: Reply) -> Option<Self> {
        Some(match to {
            ClientDialect::Chat => Self::Chat(chat::stream::Writer::new(reply)),
            ClientDialect::Messages => Self::Messages(messages::stream::Writer::new(reply)),
            ClientDialect::Responses => Self::Responses(responses::stream::Writer::new(reply)),
            ClientDialect::Embeddings | ClientDialect::Rerank => return None,
        })
    }

    /// Takes what was written out of the writer.
    pub(crate) fn take_bytes(&mut self, out: &mut Vec<u8>) {
        let written = match self {
            Self::Chat(writer) => &mut writer.out,
            Self::Messages(writer) => &mut writer.out,
            Self::Responses(writer) => &mut writer.events.out,
        };
        if out.is_empty() {
            std::mem::swap(out, written);
        } else {
            out.append(written);
        }
    }

    /// The stream ends before its time: the error in the dialect's own form.
    pub(crate) fn abort(&mut self, error: &ErrorReply) {
        match self {
            Self::Chat(writer) => writer.abort(error),
            Self::Messages(writer) => writer.abort(error),
            Self::Responses(writer) => writer.abort(error),
        }
    }
}

impl Sink for StreamWriter {
    fn take(&mut self, choice: u32, piece: Piece<'_>) {
        match self {
            Self::Chat(writer) => writer.take(choice, piece),
            Self::Messages(writer) => writer.take(choice, piece),
            Self::Responses(writer) => writer.take(choice, piece),
        }
    }
}

/// Gathers a whole answer and writes it in the client's dialect.
#[derive(Debug)]
pub(crate) enum BodyWriter {
    Chat(chat::body::Writer),
    Messages(messages::body::Writer),
    Responses(responses::body::Writer),
}

impl BodyWriter {
    pub(crate) fn new(to: ClientDialect, reply: Reply) -> Option<Self> {
        Some(match to {
            ClientDialect::Chat => Self::Chat(chat::body::Writer::new(reply)),
            ClientDialect::Messages => Self::Messages(messages::body::Writer::new(reply)),
            ClientDialect::Responses => Self::Responses(responses::body::Writer::new(reply)),
            ClientDialect::Embeddings | ClientDialect::Rerank => return None,
        })
    }

    /// The body.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Chat(writer) => writer.finish(),
            Self::Messages(writer) => writer.finish(),
            Self::Responses(writer) => writer.finish(),
        }
    }
}

impl Sink for BodyWriter {
    fn take(&mut self, choice: u32, piece: Piece<'_>) {
        match self {
            Self::Chat(writer) => writer.take(choice, piece),
            Self::Messages(writer) => writer.take(choice, piece),
            Self::Responses(writer) => writer.take(choice, piece),
        }
    }
}
