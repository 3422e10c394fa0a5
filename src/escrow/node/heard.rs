//! What other nodes say.

use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Event, Message, Pid};
use meridian_core::meters::{Routed, RoutedKind, Window, WindowName};
use meridian_core::rate::Life;
use meridian_core::scope::{Scope, ScopeKind};

use super::{Desk, rounds};
use crate::clock;
use crate::escrow::frames::{Frame, Says};
use crate::escrow::members::Heard;

/// A region is told a book again after this, if it shows that it uses the budget.
const TELL: Duration = Duration::from_secs(30);
/// The same if it shows that it does not know the last one.
const TELL_ANEW: Duration = Duration::from_secs(1);

impl Desk {
    pub(super) fn hear(&mut self, text: &[u8]) {
        let Some(frame) = Frame::read(&self.signer, text) else {
            self.tally.forged += 1;
            return;
        };
        let from = frame.from;
        let life = Life {
            actor: from,
            boot: frame.boot,
        };
        if life == self.life {
            return;
        }
        // Another process of this node counts too, while one takes over from the other.
        self.limits.hear(life, frame.rates, self.clocks());
        if frame.leaves {
            self.limits.leave(life);
        }
        if from == self.me {
            self.hear_twin(frame.boot, frame.leaves);
            return;
        }
        if self.gone.is_disowned() {
            return;
        }
        if !frame.leaves {
            self.gone.lives(from);
        }
        for actor in frame.gone {
            self.hear_gone(actor);
        }
        if frame.leaves {
            self.members.leave(from);
            self.tell_members();
            return;
        }
        let now = clock::mono();
        let offset_ms = frame.at.0 - clock::now().0;
        let heard = Heard {
            at: now,
            offset_ms,
            deaf: frame.deaf,
        };
        self.members.hear(from, heard);
        self.tell_members();
        self.fences.hear(from, frame.ceilings);
        if let Some(fencing) = frame.fencing {
            self.hear_fencing(from, fencing);
        }
        if let Some(region) = frame.lost {
            self.hear_lost(region, offset_ms);
        }
        for item in frame.items {
            if item.to.is_some_and(|to| to != self.me) {
                continue;
            }
            match item.says {
                Says::Message(message) => self.receive(from, message),
                Says::Book(book) => self.learn(book),
                Says::Opened { name, pid } => self.open_for(&name, pid),
            }
        }
    }

    fn receive(&mut self, from: Actor, message: Message) {
        if let Some(pid) = pid_of(&message) {
            // What comes late for a period that is over would begin it anew.
            if rounds::is_over(pid, clock::now()) {
                return;
            }
            self.tell_book(from, pid);
        }
        let scope = pid_of(&message).map(|pid| pid.scope);
        self.step(Event::Received { from, message });
        if let Some(scope) = scope {
            self.count_elsewhere(scope);
        }
    }

    /// Whoever uses a budget from afar, or an older generation of it, is told what was decided.
    fn tell_book(&mut self, to: Actor, pid: Pid) {
        let Some(book) = self.books.get(&pid.scope) else {
            return;
        };
        let older = book.pid.index == pid.index && book.pid.generation > pid.generation;
        let afar = to.region != self.me.region;
        let pause = if older { TELL_ANEW } else { TELL };
        let place = (pid.scope, to.region);
        let now = clock::mono();
        let lately = |at: &Instant| now.saturating_duration_since(*at) < pause;
        if !(older || afar) || self.told.get(&place).is_some_and(lately) {
            return;
        }
        self.told.insert(place, now);
        let says = Says::Book(book.clone());
        match afar {
            true => self.mail.tell_region_of(to.region, says),
            false => self.mail.tell_region(says),
        }
    }

    /// A budget that is at home here is used elsewhere: its rights are made if nobody has.
    fn open_for(&mut self, name: &WindowName, pid: Pid) {
        if rounds::is_over(pid, clock::now()) {
            return;
        }
        // One node of the region is enough.
        let vault = self.escrow.vault(pid.scope);
        if vault.is_some_and(|vault| vault != self.me) && !self.windows.contains_key(&pid.scope) {
            return;
        }
        match self.find(name) {
            Some(window) if window.scope_id() == pid.scope => {
                self.open(&window, pid.scope);
                self.follow_limit(pid.scope, clock::mono());
            }
            _ => self.is_unlike(name),
        }
    }

    /// A budget by its name.
    pub(super) fn find(&self, name: &WindowName) -> Option<Window> {
        if name.kind.is_empty() {
            let due = self.shared.first()?;
            return Window::find(&due.meters, name);
        }
        if let Some(kind) = RoutedKind::of_label(&name.kind) {
            let routed = self.registry.routed();
            let of = Routed::new(kind, name.id.as_str());
            return Window::find(routed.get(&of)?, name);
        }
        let scope = Scope::new(ScopeKind::of_label(&name.kind)?, name.id.as_str());
        let meters = self.registry.meters_of(&scope, clock::now())?;
        Window::find(&meters, name)
    }
}

fn pid_of(message: &Message) -> Option<Pid> {
    match message {
        Message::Row { pid, .. }
        | Message::Need { pid, .. }
        | Message::View { pid, .. }
        | Message::Fence { pid, .. } => Some(*pid),
        Message::Digest { .. } => None,
    }
}
