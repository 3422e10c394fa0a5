//! Prompts as requests in the dialect `messages`.

use crate::translate::context::Context;
use crate::translate::loss::{Losses, Refusal};
use crate::translate::prompt::Prompt;
use crate::translate::provider::Written;

pub(crate) fn write(_: Prompt<'_>, _: &Context<'_>, _: &mut Losses<'_>) -> Written {
    Err(Refusal::new("model", "not written yet"))
}
