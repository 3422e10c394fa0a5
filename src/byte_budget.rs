//! All buffered bytes of the process under one cap (user-reports A4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of requests and answers that are held in memory, capped.
#[derive(Debug)]
pub struct ByteBudget {
    used: AtomicU64,
    max: AtomicU64,
}

impl ByteBudget {
    /// A budget of `max` bytes.
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            max: AtomicU64::new(max),
        })
    }

    /// Changes the cap; what is held stays held.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > max {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }
}

/// Bytes held against the budget until dropped.
#[derive(Debug)]
pub struct ByteLease {
    budget: Arc<ByteBudget>,
    bytes: u64,
}

impl ByteLease {
    /// An empty lease on `budget`.
    pub fn new(budget: &Arc<ByteBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Holds `more` bytes in addition; false when the budget is used up.
    pub fn grow(&mut self, more: u64) -> bool {
        let taken = self.budget.take(more);
        self.bytes += if taken { more } else { 0 };
        taken
    }
}

impl Drop for ByteLease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_never_exceed_the_budget_and_give_everything_back() {
        let budget = ByteBudget::new(100);
        let mut first = ByteLease::new(&budget);
        assert!(first.grow(60));
        let mut second = ByteLease::new(&budget);
        assert!(!second.grow(41) && second.grow(40));
        assert_eq!(budget.used(), 100);
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }
}
