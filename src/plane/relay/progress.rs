//! How far a stream has come, on disk before the client has it: what recovery charges when this
//! process dies in the middle.

use std::time::Duration;

use meridian_core::journal::{PROGRESS_TOKENS, Progress};
use meridian_core::meter::Meter;
use tokio::time::Instant;

use crate::clock;
use crate::plane::admit::Admitted;
use crate::rules::Target;

/// A stream that grows by less than `PROGRESS_TOKENS` is noted after this time all the same.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// The journal's last word about one stream.
#[derive(Default)]
pub(super) struct Noted {
    tokens: u64,
    at: Option<Instant>,
}

impl Noted {
    /// Notes what is about to leave, unless the last note still covers it. To be called before
    /// the bytes are written: what a client has is never more than one interval past the note.
    pub(super) fn note(
        &mut self,
        admitted: &mut Admitted,
        target: &Target,
        meter: &Meter,
        first_content: Option<Instant>,
    ) {
        let facts = meter.facts();
        if !facts.content_seen {
            return;
        }
        let tokens = facts.content.tokens();
        let due = self.at.is_none_or(|at| {
            let grown = tokens.saturating_sub(self.tokens);
            grown >= PROGRESS_TOKENS || (grown > 0 && at.elapsed() >= PROGRESS_INTERVAL)
        });
        if !due {
            return;
        }
        self.tokens = tokens;
        self.at = Some(Instant::now());
        let reported = meter.usage().unwrap_or_default();
        admitted.note_progress(&Progress {
            at: clock::now(),
            completion_tokens: tokens.max(reported.completion),
            prompt_tokens: (reported.prompt > 0).then_some(reported.prompt),
            first_byte: first_content.map(|first| admitted.arrival.wall_of(first)),
            response_id: facts.response_id.clone(),
            served_by: Some(target.named()),
        });
    }
}
