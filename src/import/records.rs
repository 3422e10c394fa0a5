//! Rows into records: read, mapped, compared with what is known, written batch by batch.

use meridian_core::litellm::{
    Audit, Decision, Known, Mapped, Mark, Note, Outcome, Refused, Report, SourcePeriod, SpendMark,
    Table, TableReport, decide, digest, map, spend_to_add,
};
use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::time::WallMs;

use super::source::{Source, SourceRow};
use super::{ImportError, Options, end_of_period};
use crate::store::{
    Actor, ImportWrite, Imported, RecordWrite, ScopePeriod, Store, StoreError, StoredRecord,
};

/// One run.
pub(super) struct Importer<'a> {
    pub(super) options: &'a Options,
    pub(super) store: &'a Store,
    pub(super) source: &'a Source,
    pub(super) now: WallMs,
    pub(super) actor: Actor,
    pub(super) report: Report,
    pub(super) audit: Audit,
}

/// What a step does to its record, for the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Created,
    Changed,
    Deleted,
    Unchanged,
    Conflict,
}

/// A step and its effect.
pub(super) struct Step {
    pub(super) effect: Effect,
    pub(super) write: ImportWrite,
    /// Something is stored, if only a mark.
    pub(super) stores: bool,
}

impl Importer<'_> {
    pub(super) async fn take_tables(&mut self) -> Result<(), ImportError> {
        for table in Table::ALL {
            let mapping = table.mapping();
            if !self.source.tables().has(mapping.name) {
                continue;
            }
            let mut counts = TableReport {
                table: mapping.name,
                kind: mapping.kind.as_str(),
                ..TableReport::default()
            };
            // First, so that a name that became free can be taken.
            self.sweep(table, &mut counts).await?;
            self.source.declare(table).await?;
            loop {
                let rows = self.source.fetch().await?;
                if rows.is_empty() {
                    break;
                }
                counts.read += rows.len() as u64;
                let mapped = self.map_rows(table, rows, &mut counts);
                self.take(mapped, &mut counts).await?;
            }
            self.report.tables.push(counts);
        }
        Ok(())
    }

    fn map_rows(
        &mut self,
        table: Table,
        rows: Vec<SourceRow>,
        counts: &mut TableReport,
    ) -> Vec<Mapped> {
        let name = table.mapping().name;
        let salt = self.options.salt.as_ref();
        let mut taken: Vec<Mapped> = Vec::with_capacity(rows.len());
        for row in rows {
            match map(table, &row.id, row.fields, salt) {
                Ok(Outcome::Mapped(mapped)) => {
                    self.audit.add(&mapped.record);
                    for note in &mapped.notes {
                        self.report.note(name, Note::clone(note));
                    }
                    taken.push(*mapped);
                }
                Ok(Outcome::Left { why, tell }) => {
                    counts.left += 1;
                    if tell {
                        self.report.left(name, why);
                    }
                }
                Err(refused) => {
                    counts.skipped += 1;
                    self.report.skip(refused);
                }
            }
        }
        taken
    }

    async fn take(
        &mut self,
        mapped: Vec<Mapped>,
        counts: &mut TableReport,
    ) -> Result<(), ImportError> {
        let Some(kind) = mapped.first().map(|first| first.record.kind) else {
            return Ok(());
        };
        let ids = mapped.iter().map(|one| one.record.id.clone()).collect();
        let known = self.store.imported(&self.options.name, kind, ids).await?;
        let mut steps = Vec::with_capacity(mapped.len());
        for (mapped, known) in mapped.into_iter().zip(&known) {
            steps.push(self.step(mapped, known));
        }
        self.write(steps, counts).await
    }

    /// What is to be done about a row.
    fn step(&mut self, mapped: Mapped, known: &Imported) -> Step {
        let mark = known.mark.as_ref();
        let stands = known.stored.as_ref();
        let state = stands.map(|stored| Known::of(&stored.record));
        let force = self.options.force_source;
        let decision = decide(&mapped.record, mark, state.as_ref(), force);
        let says = digest(&mapped.record);
        let version = state.as_ref().map_or(0, |state| state.version);
        let (effect, digest, version) = match decision {
            Decision::Unchanged => {
                let version = mark.map_or(version, |mark| mark.version);
                (Effect::Unchanged, says, version)
            }
            Decision::Adopt => (Effect::Unchanged, says, version),
            Decision::Create => (Effect::Created, says, version),
            Decision::Replace(_) if mapped.record.deleted => (Effect::Deleted, says, version),
            Decision::Replace(_) => (Effect::Changed, says, version),
            Decision::Conflict(why) => {
                let (kind, id) = (mapped.record.kind.as_str(), &mapped.record.id);
                self.report.conflict(kind, id, why);
                match mark {
                    // What was spent is counted all the same.
                    Some(mark) => (Effect::Conflict, mark.digest.clone(), mark.version),
                    None => return refused(&mapped.record, Effect::Conflict),
                }
            }
        };
        let write = written(&mapped.record, decision, stands);
        let period = self.period(&mapped, write.is_some(), stands);
        let (add, spend) = self.spend(&mapped, known, write.is_some(), &period);
        let mark = Mark {
            digest,
            version,
            spend,
        };
        let stores = write.is_some()
            || add.is_some()
            || period.is_some()
            || known.mark.as_ref() != Some(&mark);
        let scope = mapped.record.scope();
        Step {
            effect,
            stores,
            write: ImportWrite {
                kind: mapped.record.kind,
                id: mapped.record.id,
                write,
                period: scope.clone().zip(period),
                add: scope.zip(add),
                mark,
            },
        }
    }

    /// The period of a scope, where the store would not take the right one from the record.
    fn period(
        &self,
        mapped: &Mapped,
        is_written: bool,
        stands: Option<&StoredRecord>,
    ) -> Option<Option<ScopePeriod>> {
        if mapped.spend.is_none() || mapped.record.deleted {
            return None;
        }
        let runs_until = stands.and_then(|stored| stored.resets_at);
        if let Some(own) = own_period(&mapped.record) {
            let running = self.running(&own);
            return (is_written && running.ends != own.ends).then_some(Some(running));
        }
        match &mapped.period {
            Some(period) => {
                let moved = period.ends.is_some_and(|ends| ends > self.now);
                let moved = moved && period.ends != runs_until;
                (is_written || moved).then(|| Some(self.running(period)))
            }
            None => runs_until.map(|_| None),
        }
    }

    /// The period that runs now: LiteLLM begins it late, and never where it has no end.
    fn running(&self, period: &SourcePeriod) -> ScopePeriod {
        let ended = period.ends.is_none_or(|ends| ends <= self.now);
        let (duration, zone) = (period.duration.as_str(), &self.options.zone);
        let next = || end_of_period(duration, zone, self.now, period.ends);
        ScopePeriod {
            duration: period.duration.clone(),
            ends: if ended { next() } else { period.ends },
        }
    }

    /// What is added to the spend of a scope, and what is counted then.
    fn spend(
        &self,
        mapped: &Mapped,
        known: &Imported,
        is_written: bool,
        period: &Option<Option<ScopePeriod>>,
    ) -> (Option<NanoUsd>, SpendMark) {
        let counted = known.mark.as_ref().map(|mark| mark.spend);
        let Some(source) = mapped.spend.filter(|_| !mapped.record.deleted) else {
            return (None, counted.unwrap_or_default());
        };
        let stands = known.stored.as_ref();
        let runs_until = stands.and_then(|stored| stored.resets_at);
        let add = spend_to_add(source, counted, runs_until, self.now);
        let spent = stands.map_or(NanoUsd::ZERO, |stored| stored.spend);
        let add = add.max(NanoUsd::ZERO.saturating_sub(spent));
        let own = own_period(&mapped.record);
        let ends = match period {
            Some(period) => period.as_ref().and_then(|period| period.ends),
            None if is_written && own.is_some() => own.and_then(|own| own.ends),
            None => runs_until,
        };
        let mark = SpendMark {
            counted: source.running(self.now),
            ends,
        };
        ((add != NanoUsd::ZERO).then_some(add), mark)
    }

    /// Stores steps, all or none; those of which a value is taken are left, alone.
    pub(super) async fn write(
        &mut self,
        steps: Vec<Step>,
        counts: &mut TableReport,
    ) -> Result<(), ImportError> {
        let writes: Vec<ImportWrite> = steps
            .iter()
            .filter(|step| step.stores)
            .map(|step| step.write.clone())
            .collect();
        match self.store_all(writes).await {
            Ok(()) => {
                steps.iter().for_each(|step| counted(counts, step));
                Ok(())
            }
            Err(StoreError::Conflict { .. }) => {
                for step in steps {
                    self.write_alone(step, counts).await?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn write_alone(
        &mut self,
        mut step: Step,
        counts: &mut TableReport,
    ) -> Result<(), ImportError> {
        let writes: Vec<ImportWrite> = match step.stores {
            true => vec![step.write.clone()],
            false => Vec::new(),
        };
        match self.store_all(writes).await {
            Ok(()) => {}
            Err(StoreError::Conflict { field }) => {
                let why = match field.as_str() {
                    "id" | "version" => "it was changed in Meridian during the import".to_owned(),
                    field => format!("its {field} belongs to another record of Meridian"),
                };
                let (kind, id) = (step.write.kind.as_str(), &step.write.id);
                self.report.conflict(kind, id, why);
                step.effect = Effect::Conflict;
                step.write.add = None;
            }
            Err(error) => return Err(error.into()),
        }
        counted(counts, &step);
        Ok(())
    }

    async fn store_all(&self, writes: Vec<ImportWrite>) -> Result<(), StoreError> {
        if self.options.dry_run || writes.is_empty() {
            return Ok(());
        }
        let (name, actor) = (&self.options.name, self.actor.clone());
        self.store.write_imports(name, writes, actor).await
    }

    /// Lists something that was refused outside of a table of records.
    pub(super) fn skip(&mut self, refused: Refused) {
        self.report.skip(refused);
    }
}

/// The period that a record names itself.
fn own_period(record: &Record) -> Option<SourcePeriod> {
    let field = |name: &str| record.body.get(name);
    let duration = field("budget_duration")?.as_str()?.to_owned();
    let ends = field("budget_reset_at").and_then(|at| at.as_i64());
    Some(SourcePeriod {
        duration,
        ends: ends.map(WallMs),
    })
}

fn counted(counts: &mut TableReport, step: &Step) {
    match step.effect {
        Effect::Created => counts.created += 1,
        Effect::Changed => counts.changed += 1,
        Effect::Deleted => counts.deleted += 1,
        Effect::Unchanged => counts.unchanged += 1,
        Effect::Conflict => counts.conflicts += 1,
    }
    counts.spend_moved += u64::from(step.write.add.is_some());
}

/// A step that stores nothing.
fn refused(record: &Record, effect: Effect) -> Step {
    Step {
        effect,
        stores: false,
        write: ImportWrite {
            kind: record.kind,
            id: record.id.clone(),
            write: None,
            period: None,
            add: None,
            mark: Mark {
                digest: String::new(),
                version: 0,
                spend: SpendMark::default(),
            },
        },
    }
}

/// How a decision is stored.
fn written(
    record: &Record,
    decision: Decision,
    stands: Option<&StoredRecord>,
) -> Option<RecordWrite> {
    let mut record = record.clone();
    if let Some(stored) = stands {
        record.home.clone_from(&stored.record.home);
        record.generation = stored.record.generation;
    }
    match decision {
        Decision::Create => Some(RecordWrite::create(record)),
        Decision::Replace(version) => {
            record.version = version;
            Some(RecordWrite::replace(record))
        }
        Decision::Unchanged | Decision::Adopt | Decision::Conflict(_) => None,
    }
}
