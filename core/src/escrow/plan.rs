//! The plan of a period: which region mints how much. Written once, by the scope's home region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::row::Rights;

/// A region's part is at least this many requests, if the budget allows.
const FIRST_NEEDS: Rights = 4;

/// Who mints how much. Never derived from the mutable record: two versions of that could sum to
/// more than one budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The budget.
    pub amount: Rights,
    /// Parts by region; their sum is `amount`.
    pub parts: BTreeMap<u8, Rights>,
}

/// A plan that must not be minted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// A negative amount.
    #[error("a budget's amount or part is negative: {0}")]
    Negative(Rights),
    /// The home region is not among the regions.
    #[error("region {0} is home of the scope and not among the regions of the plan")]
    NoHome(u8),
    /// Parts that are not the whole.
    #[error("the parts of a plan sum to {parts}, its amount is {amount}")]
    Sum {
        /// Sum of the parts.
        parts: Rights,
        /// The budget.
        amount: Rights,
    },
}

impl Plan {
    /// Every other region gets `idle_share` of the budget, four requests of `need` at least if
    /// that leaves home half of it, and nothing otherwise; home gets the rest.
    ///
    /// # Errors
    /// [`BadPlan`].
    pub fn new(
        amount: Rights,
        regions: &[u8],
        home: u8,
        idle_share: f64,
        need: Rights,
    ) -> Result<Self, BadPlan> {
        if amount < 0 {
            return Err(BadPlan::Negative(amount));
        }
        if !regions.contains(&home) {
            return Err(BadPlan::NoHome(home));
        }
        let others = regions.iter().filter(|region| **region != home);
        let count = Rights::try_from(others.clone().count()).unwrap_or(Rights::MAX);
        let share = (amount as f64 * idle_share.clamp(0.0, 1.0)) as Rights;
        let part = share.max(need.max(0).saturating_mul(FIRST_NEEDS));
        let affordable = part.saturating_mul(count) <= amount / 2;
        let part = if affordable { part } else { 0 };
        let mut parts: BTreeMap<u8, Rights> = others.map(|region| (*region, part)).collect();
        parts.insert(home, amount - parts.values().sum::<Rights>());
        Ok(Self { amount, parts })
    }

    /// What a region mints under claim 0.
    pub fn part(&self, region: u8) -> Rights {
        self.parts.get(&region).copied().unwrap_or(0)
    }

    /// Whether the parts are the whole: looked at before a plan is stored and before it is minted.
    ///
    /// # Errors
    /// [`BadPlan`].
    pub fn check(&self) -> Result<(), BadPlan> {
        let negative = self
            .parts
            .values()
            .chain([&self.amount])
            .find(|part| **part < 0);
        if let Some(part) = negative {
            return Err(BadPlan::Negative(*part));
        }
        let parts = self
            .parts
            .values()
            .fold(0, |sum: Rights, part| sum.saturating_add(*part));
        let amount = self.amount;
        (parts == amount)
            .then_some(())
            .ok_or(BadPlan::Sum { parts, amount })
    }
}
