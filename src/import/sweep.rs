//! Records whose rows are gone: what an earlier import made and LiteLLM has deleted since.

use meridian_core::litellm::{Decision, Known, Mark, Table, TableReport, gone};

use super::ImportError;
use super::records::{Effect, Importer, Step};
use crate::store::{ImportWrite, Imported, RecordWrite};

impl Importer<'_> {
    /// Deletes them, unless they were changed here.
    pub(super) async fn sweep(
        &mut self,
        table: Table,
        counts: &mut TableReport,
    ) -> Result<(), ImportError> {
        if table == Table::DeletedKeys {
            // Their rows say themselves that they are gone.
            return Ok(());
        }
        let kind = table.mapping().kind;
        let name = self.options.name.clone();
        let mut after = String::new();
        loop {
            let marked = self.store.import_marks_after(&name, kind, after).await?;
            let Some(last) = marked.last() else {
                return Ok(());
            };
            after = last.clone();
            let existing = self.source.existing(table, &marked).await?;
            let missing: Vec<String> = marked
                .into_iter()
                .filter(|id| !existing.contains(id))
                .collect();
            if missing.is_empty() {
                continue;
            }
            let known = self.store.imported(&name, kind, missing).await?;
            let mut steps = Vec::with_capacity(known.len());
            for known in known {
                steps.extend(self.end(table, known, counts));
            }
            self.write(steps, counts).await?;
        }
    }

    fn end(&mut self, table: Table, known: Imported, counts: &mut TableReport) -> Option<Step> {
        let kind = table.mapping().kind;
        let Imported { id, mark, stored } = known;
        let mark = mark.filter(|mark| !mark.digest.is_empty())?;
        let state = stored.as_ref().map(|stored| Known::of(&stored.record));
        let force = self.options.force_source;
        match gone(&mark, state.as_ref(), force) {
            Decision::Replace(_) => {}
            Decision::Conflict(why) => {
                counts.conflicts += 1;
                self.report.conflict(kind.as_str(), &id, why);
                return None;
            }
            Decision::Unchanged | Decision::Adopt | Decision::Create => return None,
        }
        let record = stored?.record;
        Some(Step {
            effect: Effect::Deleted,
            stores: true,
            write: ImportWrite {
                kind,
                id,
                write: Some(RecordWrite::delete(record, self.now)),
                period: None,
                add: None,
                mark: Mark {
                    digest: String::new(),
                    ..mark
                },
            },
        })
    }
}
