//! Where an answer's bytes come from.

use bytes::Bytes;

use crate::upstream::{Exchange, SendError, Upstreams};

/// The rest of an answer.
pub(crate) enum Source {
    /// A provider's connection.
    Upstream(Box<Exchange>),
    /// Nothing: the answer is complete already (canned answers).
    Done,
}

impl Source {
    /// Next bytes of the body; `None` at its end.
    pub(crate) async fn read_body(&mut self) -> Result<Option<Bytes>, SendError> {
        match self {
            Self::Upstream(exchange) => exchange.read_body().await,
            Self::Done => Ok(None),
        }
    }

    /// Gives the connection back if its answer was read to the end, else cancels it.
    pub(crate) async fn finish(self, upstreams: &Upstreams) {
        if let Self::Upstream(exchange) = self {
            exchange.finish(upstreams).await;
        }
    }

    /// Cancels the request upstream at once.
    pub(crate) async fn cancel(self) {
        if let Self::Upstream(exchange) = self {
            exchange.cancel().await;
        }
    }
}
