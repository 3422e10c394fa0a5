//! Streams in the dialect `responses`.

use crate::error::ErrorReply;
use crate::translate::context::Reply;
use crate::translate::event::Piece;

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(_: Reply) -> Self {
        Self { out: Vec::new() }
    }

    pub(crate) fn take(&mut self, _: u32, _: Piece<'_>) {}

    pub(crate) fn abort(&mut self, _: &ErrorReply) {}
}
