//! Answers in the dialect `responses`.

use crate::translate::event::Sink;
use crate::wire::json::JsonError;

#[derive(Debug, Default)]
pub(crate) struct Reader {}

impl Reader {
    pub(crate) fn body(&mut self, _: &[u8], _: &mut dyn Sink) -> Result<(), JsonError> {
        Ok(())
    }

    pub(crate) fn event(&mut self, _: &[u8], _: &mut dyn Sink) -> Result<(), JsonError> {
        Ok(())
    }

    pub(crate) fn finish(&mut self, _: &mut dyn Sink) {}
}
