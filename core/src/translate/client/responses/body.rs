//! Whole responses: the stream's machine without its events.

use crate::translate::client::responses::stream;
use crate::translate::context::Reply;
use crate::translate::event::Piece;

/// Gathers one answer.
#[derive(Debug)]
pub(crate) struct Writer {
    inner: stream::Writer,
}

impl Writer {
    pub(crate) fn new(reply: Reply) -> Self {
        Self {
            inner: stream::Writer::quiet(reply),
        }
    }

    pub(crate) fn take(&mut self, choice: u32, piece: Piece<'_>) {
        self.inner.take(choice, piece);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let status = self.inner.settle();
        self.inner.response(status, None)
    }
}
