//! What one request holds of all budgets that it is charged to: of all or of none.

use std::sync::Arc;

use super::row::Rights;
use super::slot::{Hold, Short, Slot};

/// The first budget that had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the list that was given.
    pub at: usize,
    /// Why.
    pub short: Short,
}

/// The holds of one request, the same amount in each slot. Give them back once.
#[must_use = "holds that are not given back block their rights"]
#[derive(Debug)]
pub struct Holds {
    held: Vec<(Arc<Slot>, Hold)>,
}

impl Holds {
    /// Holds `need` in every slot. Slots are asked in the order that is given, which should be the
    /// same for all requests: key, user, team, organization.
    ///
    /// # Errors
    /// The first slot without room; nothing is held then.
    pub fn reserve<'a>(
        slots: impl IntoIterator<Item = &'a Arc<Slot>>,
        need: Rights,
    ) -> Result<Self, Refused> {
        let mut all = Self { held: Vec::new() };
        for (at, slot) in slots.into_iter().enumerate() {
            match slot.reserve(need) {
                Ok(hold) => all.held.push((Arc::clone(slot), hold)),
                Err(short) => {
                    all.release();
                    return Err(Refused { at, short });
                }
            }
        }
        Ok(all)
    }

    /// Holds `more` in every slot.
    ///
    /// # Errors
    /// The first slot without room; all holds stay as they were.
    pub fn extend(&mut self, more: Rights) -> Result<(), Refused> {
        for at in 0..self.held.len() {
            let (slot, hold) = &mut self.held[at];
            if let Err(short) = slot.extend(hold, more) {
                for (slot, hold) in &mut self.held[..at] {
                    slot.shrink(hold, more);
                }
                return Err(Refused { at, short });
            }
        }
        Ok(())
    }

    /// What is held in each slot.
    pub fn reserved(&self) -> Rights {
        self.held.first().map_or(0, |(_, hold)| hold.reserved())
    }

    /// The request is over and cost this much, in each budget once.
    pub fn settle(self, cost: Rights) {
        for (slot, hold) in self.held {
            slot.settle(hold, cost);
        }
    }

    /// Nothing was sent: nothing counts.
    pub fn release(self) {
        for (slot, hold) in self.held {
            slot.release(hold);
        }
    }
}
