//! Writes in a region: home writes its records, others leave restrictions in their place.

use std::sync::Arc;

use meridian_core::record::home::{self, Plan, Standing};
use meridian_core::record::{Record, RecordKind, Restriction};
use meridian_core::scope::Scope;

use super::{Actor, RecordWrite, ScopeChange, Store, StoreError, StoredRecord};
use crate::clock;

/// Most restrictions of one record that are read: one of each kind and region, and some amounts.
const RESTRICTIONS_MAX: u32 = 1_000;

impl Store {
    /// The same store, written in a region. Without one every record is written where it is.
    #[must_use]
    pub fn in_region(mut self, name: Option<&str>) -> Self {
        *self.region_mut() = Arc::from(name.unwrap_or_default());
        self
    }

    /// Stores all of them in their order, or none. Each gets its next version; `Conflict` and
    /// `NotFound` say which expectation did not hold, `Elsewhere` that another region's record
    /// would get more than it had. With an actor, every change is in the audit log.
    ///
    /// Returns them as stored, in their order. Behind them are restrictions that were made or
    /// lifted with them; a record of another region that was restricted is returned as it counts.
    pub async fn write_records(
        &self,
        writes: Vec<RecordWrite>,
        actor: Option<Actor>,
    ) -> Result<Vec<Record>, StoreError> {
        self.write_records_with(writes, Vec::new(), actor).await
    }

    /// As [`Self::write_records`], with changes to what is counted: all of it or nothing.
    ///
    /// # Errors
    /// As [`Self::write_records`].
    pub async fn write_records_with(
        &self,
        writes: Vec<RecordWrite>,
        changes: Vec<(Scope, ScopeChange)>,
        actor: Option<Actor>,
    ) -> Result<Vec<Record>, StoreError> {
        if self.region().is_empty() {
            return self.write_as_is(writes, changes, actor).await;
        }
        let mut planned = Planned::default();
        for write in writes {
            self.plan(write, &mut planned).await?;
        }
        let Planned { shown, own, more } = planned;
        let count = own.len();
        let writes: Vec<RecordWrite> = own.into_iter().chain(more).collect();
        let mut stored = match writes.is_empty() && changes.is_empty() {
            true => Vec::new(),
            false => self.write_as_is(writes, changes, actor).await?,
        };
        let more = stored.split_off(count.min(stored.len()));
        let mut stored = stored.into_iter();
        let in_place = |shown: Option<Record>| shown.or_else(|| stored.next());
        let mut answer: Vec<Record> = shown.into_iter().filter_map(in_place).collect();
        answer.extend(more);
        Ok(answer)
    }

    async fn plan(&self, write: RecordWrite, planned: &mut Planned) -> Result<(), StoreError> {
        let RecordWrite {
            record,
            replaces,
            spend,
        } = write;
        let now = clock::now();
        let before = self.get_record(record.kind, record.id.as_str()).await?;
        let before = before.map(|stored| stored.record);
        let standing = self.standing(record.kind, &record.id).await?;
        let revoked = |one: &Standing| one.record.id.contains("/revoked/");
        let anew = !record.deleted && before.as_ref().is_none_or(|before| before.deleted);
        if anew && standing.iter().any(revoked) {
            let field = "id".to_owned();
            return Err(StoreError::Conflict { field });
        }
        match home::plan(self.region(), before.as_ref(), record, &standing, now) {
            Plan::Elsewhere { home } => return Err(StoreError::Elsewhere { home }),
            Plan::Here { record, lifted } => {
                planned.shown.push(None);
                planned.own.push(RecordWrite {
                    record,
                    replaces,
                    spend,
                });
                let ends = lifted.into_iter().map(|one| RecordWrite::delete(one, now));
                planned.more.extend(ends);
            }
            Plan::Restrict { shown, made } => {
                check_version(before.as_ref(), replaces)?;
                planned.shown.push(Some(shown));
                planned
                    .more
                    .extend(made.into_iter().map(RecordWrite::create));
            }
        }
        Ok(())
    }

    /// What restricts a record now.
    pub async fn standing(&self, kind: RecordKind, id: &str) -> Result<Vec<Standing>, StoreError> {
        let prefix = Restriction::id_prefix(kind, id);
        let place = (RecordKind::Restriction, prefix.clone());
        let found = self.records_after(Some(place), RESTRICTIONS_MAX).await?;
        let records = found.into_iter().map(|stored| stored.record);
        let theirs = |record: &Record| {
            record.kind == RecordKind::Restriction && record.id.starts_with(&prefix)
        };
        let records = records.take_while(theirs);
        Ok(Standing::of_records((kind, id), records)?)
    }

    /// Takes into a record of this region what others took from it, so that it is seen here and
    /// can be given back. Returns what was written:
    /// nothing when there is nothing to take, or the record is not ours.
    pub async fn absorb(&self, kind: RecordKind, id: &str) -> Result<Vec<Record>, StoreError> {
        let stored = self.get_record(kind, id).await?;
        let ours = |stored: &StoredRecord| stored.record.home == self.region();
        let Some(stored) = stored.filter(ours).filter(|one| !one.record.deleted) else {
            return Ok(Vec::new());
        };
        let standing = self.standing(kind, id).await?;
        let Some(mut record) = home::absorb(&stored.record, &standing) else {
            return Ok(Vec::new());
        };
        record.updated_at = clock::now();
        let write = RecordWrite::replace(record);
        let actor = Actor {
            changed_by: format!("region {}", origins(&standing)),
            key: None,
        };
        self.write_as_is(vec![write], Vec::new(), Some(actor)).await
    }
}

/// Writes that are carried out together.
#[derive(Default)]
struct Planned {
    /// One for each write that was asked for: what is shown for it, or nothing where it is stored.
    shown: Vec<Option<Record>>,
    own: Vec<RecordWrite>,
    more: Vec<RecordWrite>,
}

fn check_version(before: Option<&Record>, replaces: Option<u64>) -> Result<(), StoreError> {
    match (before.map(|before| before.version), replaces) {
        (Some(version), Some(replaces)) if version == replaces => Ok(()),
        (None, _) => Err(StoreError::NotFound),
        (Some(_), replaces) => {
            let field = if replaces.is_some() { "version" } else { "id" };
            Err(StoreError::Conflict {
                field: field.to_owned(),
            })
        }
    }
}

fn origins(standing: &[Standing]) -> String {
    let mut homes: Vec<&str> = standing
        .iter()
        .map(|one| one.record.home.as_str())
        .collect();
    homes.sort_unstable();
    homes.dedup();
    homes.join(", ")
}
