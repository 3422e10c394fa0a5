//! Rights for the process that is about to take this one's place: it has some before the first
//! request, which otherwise waits until others have heard of it.

use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Event};
use tokio::sync::oneshot;

use super::Desk;
use crate::clock;

/// Without Redis a process that has the same address may never be heard: it is waited for as long.
const UNHEARD: Duration = Duration::from_secs(2);

/// What is owed to the one that comes.
#[derive(Debug)]
pub(super) struct HandOver {
    to: Actor,
    since: Instant,
    until: Instant,
    given: bool,
    reply: oneshot::Sender<bool>,
}

impl HandOver {
    pub(super) fn new(to: Actor, until: Instant, reply: oneshot::Sender<bool>) -> Self {
        Self {
            to,
            since: clock::mono(),
            until,
            given: false,
            reply,
        }
    }
}

impl Desk {
    /// Gives as soon as the other one is heard, and says when all of it has arrived.
    pub(super) fn tend_handover(&mut self, now: Instant) {
        let Some(mut handover) = self.handover.take() else {
            return;
        };
        let to = handover.to;
        // A copy gives nothing: it may not be there.
        let may = self.members.live().contains(&to) && !self.gone.is_disowned();
        if may && !handover.given {
            handover.given = true;
            self.step(Event::HandOver(to));
        }
        let arrived = handover.given && self.escrow.is_confirmed_by(to);
        let unheard = !handover.given && !self.mail.is_near_up();
        let waited = now.saturating_duration_since(handover.since);
        if arrived || now >= handover.until || unheard && waited >= UNHEARD {
            // Whoever asked may have given up.
            let _ = handover.reply.send(arrived);
            return;
        }
        self.handover = Some(handover);
    }
}
