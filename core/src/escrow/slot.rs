//! Free rights of one period on one node: reserve, extend, settle, without locks.
//!
//! `avail` is the row's `held` less the open reservations. It is the only thing that a request
//! looks at; the rest of the row is changed off the path.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64};

use super::row::Rights;

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// This node has too few rights; more may be had elsewhere.
    Rights {
        /// How many are missing.
        missing: Rights,
    },
    /// The period takes no new requests: reset, blocked or over.
    Frozen,
}

/// What one request holds of one slot. Give it back once, to the slot that it came from.
#[must_use = "a hold that is not given back blocks its rights"]
#[derive(Debug)]
pub struct Hold {
    reserved: Rights,
    /// What the request can cost over it.
    excess: Rights,
}

impl Hold {
    /// Rights that are held.
    pub fn reserved(&self) -> Rights {
        self.reserved
    }
}

/// The hot words of one period.
#[derive(Debug, Default)]
pub struct Slot {
    avail: AtomicI64,
    reserved: AtomicI64,
    used: AtomicI64,
    /// Sum of what was asked for, refused or not: the demand.
    offered: AtomicI64,
    /// Size of the last request.
    need: AtomicI64,
    /// Sum of what requests cost over their reservations: the first term of the bound.
    overrun: AtomicI64,
    /// What running requests can cost over what they hold.
    excess: AtomicI64,
    /// How far `avail` may go below zero: granted while those who decide are out of reach.
    granted: AtomicI64,
    frozen: AtomicBool,
}

impl Slot {
    /// A slot with `avail` free rights, `used` settled before.
    pub(super) fn new(avail: Rights, used: Rights) -> Self {
        Self {
            avail: AtomicI64::new(avail),
            used: AtomicI64::new(used),
            ..Self::default()
        }
    }

    /// A slot with so many free rights, for tests of what lies above.
    #[cfg(test)]
    pub(crate) fn with_rights(avail: Rights) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::new(avail, 0))
    }

    /// Holds `need`.
    ///
    /// # Errors
    /// [`Short`]; nothing is held then.
    pub fn reserve(&self, need: Rights) -> Result<Hold, Short> {
        let need = need.max(0);
        self.offered.fetch_add(need, Relaxed);
        self.need.store(need, Relaxed);
        if self.frozen.load(Acquire) {
            return Err(Short::Frozen);
        }
        self.subtract(need)?;
        Ok(Hold {
            reserved: need,
            excess: 0,
        })
    }

    /// A hold of nothing, whatever is free: what the request costs counts. `None` where nothing new
    /// begins.
    pub fn hold_nothing(&self) -> Option<Hold> {
        let nothing = Hold {
            reserved: 0,
            excess: 0,
        };
        (!self.is_frozen()).then_some(nothing)
    }

    /// Holds `more` for a request that runs. A frozen slot extends nothing.
    ///
    /// # Errors
    /// [`Short`]; the hold stays as it was.
    pub fn extend(&self, hold: &mut Hold, more: Rights) -> Result<(), Short> {
        let more = more.max(0);
        self.offered.fetch_add(more, Relaxed);
        if self.frozen.load(Acquire) {
            return Err(Short::Frozen);
        }
        self.subtract(more)?;
        hold.reserved += more;
        Ok(())
    }

    /// Holds `more` whether or not there are rights for it, for a request that may end: `avail`
    /// goes below zero, and what comes in pays that off first.
    pub fn overdraw(&self, hold: &mut Hold, more: Rights) {
        let more = more.max(0);
        self.offered.fetch_add(more, Relaxed);
        self.avail.fetch_sub(more, AcqRel);
        self.reserved.fetch_add(more, AcqRel);
        hold.reserved += more;
    }

    /// Lets so much be held beyond the rights that are here, until it is set anew.
    pub fn set_granted(&self, granted: Rights) {
        self.granted.store(granted.max(0), Release);
    }

    /// What may be held beyond the rights that are here.
    pub fn granted(&self) -> Rights {
        self.granted.load(Acquire)
    }

    /// What could be reserved now: free rights and what is granted beyond them.
    pub fn room(&self) -> Rights {
        self.avail().saturating_add(self.granted())
    }

    /// Held or spent without rights, and what may be by what is granted; without what
    /// [`Self::overrun`] counts already.
    pub fn overdraft(&self) -> Rights {
        let past = self.avail().saturating_neg().max(self.granted());
        past.saturating_sub(self.overrun()).max(0)
    }

    /// Says what the request can cost over what it holds.
    pub fn expose(&self, hold: &mut Hold, excess: Rights) {
        self.excess.fetch_add(excess - hold.excess, AcqRel);
        hold.excess = excess;
    }

    /// Takes an extension back, as far as the hold goes.
    pub fn shrink(&self, hold: &mut Hold, less: Rights) {
        let less = less.clamp(0, hold.reserved);
        hold.reserved -= less;
        self.reserved.fetch_sub(less, AcqRel);
        self.avail.fetch_add(less, AcqRel);
    }

    /// Replaces the hold by what the request cost. The cost is a fact: where it is over the
    /// reservation, `avail` may go below zero, and [`Self::overrun`] counts it.
    pub fn settle(&self, hold: Hold, cost: Rights) {
        let cost = cost.max(0);
        self.used.fetch_add(cost, AcqRel);
        self.reserved.fetch_sub(hold.reserved, AcqRel);
        self.avail.fetch_add(hold.reserved - cost, AcqRel);
        if cost > hold.reserved {
            self.overrun.fetch_add(cost - hold.reserved, Relaxed);
        }
        self.forget(hold);
    }

    /// Gives the hold back unused.
    pub fn release(&self, hold: Hold) {
        self.reserved.fetch_sub(hold.reserved, AcqRel);
        self.avail.fetch_add(hold.reserved, AcqRel);
        self.forget(hold);
    }

    fn forget(&self, hold: Hold) {
        self.excess.fetch_sub(hold.excess, AcqRel);
    }

    /// Free rights: what could be reserved or given away now.
    pub fn avail(&self) -> Rights {
        self.avail.load(Acquire)
    }

    /// Held by requests that run.
    pub fn reserved(&self) -> Rights {
        self.reserved.load(Acquire)
    }

    /// Settled on this node in this period.
    pub fn used(&self) -> Rights {
        self.used.load(Acquire)
    }

    /// What requests of this node cost over their reservations, in all.
    pub fn overrun(&self) -> Rights {
        self.overrun.load(Relaxed)
    }

    /// What running requests can cost over what they hold.
    pub fn excess(&self) -> Rights {
        self.excess.load(Acquire)
    }

    /// Whether new requests are refused whatever is free.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Acquire)
    }

    /// Sum of all that was asked for.
    pub(super) fn offered(&self) -> Rights {
        self.offered.load(Relaxed)
    }

    /// Size of the last request, at least 1.
    pub(super) fn need(&self) -> Rights {
        self.need.load(Relaxed).max(1)
    }

    pub(super) fn freeze(&self) {
        self.frozen.store(true, Release);
    }

    /// Takes as much as is free, at most `amount`, out of the slot.
    pub(super) fn take(&self, amount: Rights) -> Rights {
        let mut taken = 0;
        let less = |avail: Rights| {
            taken = amount.min(avail).max(0);
            (taken > 0).then(|| avail - taken)
        };
        match self.avail.fetch_update(AcqRel, Acquire, less) {
            Ok(_) => taken,
            Err(_) => 0,
        }
    }

    /// Puts rights in.
    pub(crate) fn credit(&self, amount: Rights) {
        self.avail.fetch_add(amount, AcqRel);
    }

    fn subtract(&self, need: Rights) -> Result<(), Short> {
        let granted = self.granted();
        let fits = |avail: Rights| avail.saturating_add(granted) >= need;
        let less = |avail: Rights| fits(avail).then(|| avail - need);
        match self.avail.fetch_update(AcqRel, Acquire, less) {
            Ok(_) => {
                self.reserved.fetch_add(need, AcqRel);
                Ok(())
            }
            Err(avail) => {
                let missing = need.saturating_sub(avail.saturating_add(granted));
                Err(Short::Rights { missing })
            }
        }
    }
}
