//! Whole answers in the dialect `responses`.

use crate::translate::context::Reply;
use crate::translate::event::Piece;

#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(_: Reply) -> Self {
        Self { out: Vec::new() }
    }

    pub(crate) fn take(&mut self, _: u32, _: Piece<'_>) {}

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}
