//! Sums by several columns at once: the question, and which roll-up can answer it.

use super::{GroupBy, SpendTotals, StoreError, TimeRange};

/// Sums by several columns at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellQuery {
    /// What a row is one of, in the order of the answer's groups. Of [`GroupBy::EndUser`] and
    /// [`GroupBy::Tag`] one at most, and with it only day, key, model group, model and provider.
    pub by: Vec<GroupBy>,
    /// UTC days that this range touches.
    pub range: Option<TimeRange>,
    /// Only rows whose group is one of these, for each pair; an empty list lets everything pass.
    /// The same columns are possible.
    pub only: Vec<(GroupBy, Vec<String>)>,
    /// No rows whose group is one of these.
    pub without: Vec<(GroupBy, Vec<String>)>,
}

/// Sums of one combination of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendCell {
    /// One for each of [`CellQuery::by`].
    pub groups: Vec<String>,
    /// The sums; `group` is empty.
    pub totals: SpendTotals,
}

impl CellQuery {
    /// Every column that is grouped or filtered by.
    pub(super) fn columns(&self) -> impl Iterator<Item = GroupBy> {
        let filters = self.only.iter().chain(&self.without);
        let filtered = filters.map(|(group, _)| *group);
        self.by.iter().copied().chain(filtered)
    }

    /// The entity whose roll-up is read; `None` is the one of payers.
    ///
    /// # Errors
    /// `TooMuch` when no roll-up has all of the columns.
    pub(super) fn entity(&self) -> Result<Option<GroupBy>, StoreError> {
        let is_entity = |group: &GroupBy| matches!(group, GroupBy::EndUser | GroupBy::Tag);
        let entity = self.columns().find(is_entity);
        let is_there = |group: GroupBy| {
            let common = matches!(
                group,
                GroupBy::Day
                    | GroupBy::Key
                    | GroupBy::ModelGroup
                    | GroupBy::Model
                    | GroupBy::Provider
            );
            entity.is_none_or(|entity| common || group == entity)
        };
        match !self.by.is_empty() && self.columns().all(is_there) {
            true => Ok(entity),
            false => Err(StoreError::TooMuch),
        }
    }
}
