//! Whether the own row is what this node wrote last, or an older copy that was put back: of a disk,
//! of a machine. What such a copy says is free may be spent or given away already.

use super::account::{Account, Scene};
use super::ids::Actor;
use super::message::Effect;
use super::row::Row;

impl Account {
    /// Looks whether another actor has more from here than this row knows to have given. Transfers
    /// are on disk before anybody sees them, so a whole disk never knows less.
    pub(super) fn doubt(&mut self, cx: &mut Scene<'_>, by: Actor, theirs: &Row) {
        if theirs.received_from(cx.me) > self.row.sent_to(by) {
            self.slot.freeze();
            let pid = self.pid;
            cx.out.push(Effect::Outdated { pid, by });
        }
    }
}
