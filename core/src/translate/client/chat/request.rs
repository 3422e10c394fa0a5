//! Requests in the dialect `chat`.

use crate::translate::loss::{Losses, Refusal};
use crate::translate::prompt::Prompt;

pub(crate) fn read<'a>(_: &'a [u8], _: &mut Losses<'_>) -> Result<Prompt<'a>, Refusal> {
    Ok(Prompt::default())
}
