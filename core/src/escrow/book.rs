//! What was decided about a period: its rights as they were made and taken away, in numbered
//! entries that are only added. The region that is home of the scope keeps it.

use serde::{Deserialize, Serialize};

use super::ids::{Actor, Pid};
use super::message::Event;
use super::row::Rights;

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookEntry {
    /// Rights that `by` makes; below zero, rights that it destroys.
    pub amount: Rights,
    /// Who.
    pub by: Actor,
}

/// All decisions about one period, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Which.
    pub pid: Pid,
    /// Spent before the first entry: that part of the budget was never made into rights.
    pub base: Rights,
    /// Numbered from 0.
    pub entries: Vec<BookEntry>,
}

impl Book {
    /// The next entry for a limit, if rights and limit differ.
    pub fn due(&self, limit: Rights) -> Option<Rights> {
        let made = self.entries.iter().map(|entry| entry.amount);
        let made = made.fold(0, Rights::saturating_add);
        let due = limit.saturating_sub(self.base).max(0).saturating_sub(made);
        (due != 0).then_some(due)
    }

    /// The budget as it was decided: what was made, and what was spent before.
    pub fn limit(&self) -> Rights {
        let made = self.entries.iter().map(|entry| entry.amount);
        made.fold(self.base, Rights::saturating_add)
    }

    /// What an actor is to destroy, in all.
    pub fn ordered_from(&self, by: Actor) -> Rights {
        let of = self.entries.iter().filter(|entry| entry.by == by);
        of.fold(0, |sum: Rights, entry| {
            sum.saturating_sub(entry.amount.min(0))
        })
    }

    /// What a node is told of it. All of it may be told again.
    pub fn events(&self, me: Actor) -> Vec<Event> {
        let mut events = Vec::new();
        let mut to_burn: Rights = 0;
        // Whoever began it is home, whatever a record says since.
        let home = self.entries.first().map(|entry| entry.by.region);
        if home == Some(me.region) {
            events.push(Event::AtHome(self.pid));
        }
        for (number, entry) in (0..).zip(&self.entries) {
            let BookEntry { amount, by } = *entry;
            let pid = self.pid;
            if amount >= 0 {
                let claim = number;
                events.push(Event::Claimed {
                    pid,
                    claim,
                    amount,
                    by,
                });
                continue;
            }
            let lowering = number;
            events.push(Event::Lowered {
                pid,
                lowering,
                by: -amount,
                to: by,
            });
            if by == me {
                to_burn = to_burn.saturating_sub(amount);
            }
        }
        if to_burn > 0 {
            let (pid, total) = (self.pid, to_burn);
            events.push(Event::BurnOrdered { pid, total });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::ScopeId;
    use super::*;

    const ME: Actor = Actor {
        region: 1,
        node: 1,
        incarnation: 0,
    };

    fn book(amounts: &[Rights]) -> Book {
        let entry = |amount: &Rights| BookEntry {
            amount: *amount,
            by: ME,
        };
        Book {
            pid: Pid {
                scope: ScopeId::from_bits(1),
                index: 0,
                generation: 0,
            },
            base: 30,
            entries: amounts.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_book_follows_the_limit_up_and_down_and_never_below_what_was_spent() {
        assert_eq!(book(&[70]).due(100), None);
        assert_eq!(book(&[70]).due(250), Some(150));
        assert_eq!(book(&[70, 150, -100]).due(120), Some(-30));
        assert_eq!(book(&[70]).due(10), Some(-70));
        assert_eq!(book(&[70, -70]).due(10), None);
        assert_eq!(book(&[70, 150]).limit(), 250);
    }

    #[test]
    fn whoever_lowered_destroys_the_sum_of_its_lowerings() {
        let events = book(&[70, -20, -10]).events(ME);
        let burn = events.iter().find_map(|event| match event {
            Event::BurnOrdered { total, .. } => Some(*total),
            _ => None,
        });
        assert_eq!((events.len(), burn), (5, Some(30)));
    }
}
