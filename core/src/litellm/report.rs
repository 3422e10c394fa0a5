//! What an import did, and what it means: for people as text, for programs as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::row::{Note, Refused};

/// Single rows that are listed; the rest is only counted.
const LISTED_MAX: usize = 1_000;
/// Rows that the text lists.
const SHOWN_MAX: usize = 50;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The LiteLLM database, without credentials.
    pub source: String,
    /// Where the records went.
    pub target: String,
    /// The moment whose state was read (ISO 8601).
    pub snapshot: String,
    /// Nothing was written.
    pub dry_run: bool,
    /// The source won over changes made in Meridian.
    pub force_source: bool,
    /// Tables whose rows are records.
    pub tables: Vec<TableReport>,
    /// Rows that were not imported, at most 1,000.
    pub skipped: Vec<SkippedRow>,
    /// How many there were.
    pub skipped_total: u64,
    /// Records that were left as they are in Meridian, at most 1,000.
    pub conflicts: Vec<Conflict>,
    /// How many there were.
    pub conflicts_total: u64,
    /// Rows that were imported, but of which something is missing.
    pub warnings: Vec<Warning>,
    /// Tables without counterpart that have rows.
    pub not_imported: Vec<NotImported>,
    /// Settings and parameters of models without effect.
    pub settings: Vec<SettingRemark>,
    /// Daily sums.
    pub history: Option<HistoryReport>,
    /// The log.
    pub logs: Option<LogsReport>,
}

/// What became of the rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: &'static str,
    /// What its rows become.
    pub kind: &'static str,
    /// Rows.
    pub read: u64,
    /// New records.
    pub created: u64,
    /// Records that were replaced.
    pub changed: u64,
    /// Records that already said so.
    pub unchanged: u64,
    /// Records whose rows were deleted since the last import.
    pub deleted: u64,
    /// Records that were left as they are in Meridian.
    pub conflicts: u64,
    /// Rows that were left on purpose (see the warnings).
    pub left: u64,
    /// Rows that could not be imported.
    pub skipped: u64,
    /// Scopes whose spend was moved.
    pub spend_moved: u64,
}

/// A row that was not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedRow {
    /// The table.
    pub table: &'static str,
    /// Its primary key.
    pub id: String,
    /// The column.
    pub column: String,
    /// What is wrong.
    pub reason: String,
}

/// A record that was changed on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Kind of the record.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Why the source was not taken.
    pub reason: String,
}

/// Something that is missing of imported rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The table.
    pub table: &'static str,
    /// The column; empty where it is the whole row.
    pub column: String,
    /// Rows that it is about.
    pub rows: u64,
    /// What it means.
    pub meaning: String,
}

/// A table without counterpart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotImported {
    /// The table.
    pub table: String,
    /// Its rows; `None` where this user may not read it.
    pub rows: Option<u64>,
    /// What is missing without them.
    pub meaning: String,
}

/// A setting without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingRemark {
    /// Path in the configuration, or in the model.
    pub path: String,
    /// What `meridian check` says about it.
    pub message: String,
}

/// Daily sums that were added to the roll-ups.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HistoryReport {
    /// First day; empty for the first there is.
    pub from: String,
    /// First day that is not taken.
    pub to: String,
    /// Days with rows.
    pub days: u64,
    /// Rows.
    pub rows: u64,
    /// Cost in dollars, of all requests once.
    pub spend: f64,
}

/// Rows of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogsReport {
    /// First day.
    pub from: String,
    /// Rows that were read.
    pub read: u64,
    /// Rows that were not there yet.
    pub added: u64,
    /// Calls of kinds that Meridian does not serve: how many, and their cost in dollars.
    pub foreign: BTreeMap<String, (u64, f64)>,
}

impl Report {
    /// Counts what is missing of an imported row.
    pub fn note(&mut self, table: &'static str, note: Note) {
        let same = |known: &&mut Warning| {
            known.table == table && known.column == note.column && known.meaning == note.meaning
        };
        if let Some(known) = self.warnings.iter_mut().find(same) {
            known.rows += 1;
        } else if self.warnings.len() < LISTED_MAX {
            let Note { column, meaning } = note;
            self.warnings.push(Warning {
                table,
                column,
                rows: 1,
                meaning,
            });
        }
    }

    /// Counts a row that was left on purpose and that the user should know of.
    pub fn left(&mut self, table: &'static str, why: &str) {
        let note = Note {
            column: String::new(),
            meaning: why.to_owned(),
        };
        self.note(table, note);
    }

    /// Lists a row that was not imported.
    pub fn skip(&mut self, refused: Refused) {
        self.skipped_total += 1;
        if self.skipped.len() < LISTED_MAX {
            let Refused {
                table,
                id,
                column,
                reason,
            } = refused;
            self.skipped.push(SkippedRow {
                table,
                id: shown(&id),
                column,
                reason,
            });
        }
    }

    /// Lists a record that was changed on both sides.
    pub fn conflict(&mut self, kind: &'static str, id: &str, reason: impl Into<String>) {
        self.conflicts_total += 1;
        if self.conflicts.len() < LISTED_MAX {
            self.conflicts.push(Conflict {
                kind,
                id: shown(id),
                reason: reason.into(),
            });
        }
    }

    /// Every row was taken.
    pub fn is_complete(&self) -> bool {
        self.skipped_total == 0 && self.conflicts_total == 0
    }

    /// Records that were written.
    pub fn written(&self) -> u64 {
        let of = |table: &TableReport| table.created + table.changed + table.deleted;
        self.tables.iter().map(of).sum()
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mode = if self.dry_run { " (dry run)" } else { "" };
        // Writing into a string does not fail.
        let _ = writeln!(
            out,
            "{} -> {}{mode}, as of {}\n",
            self.source, self.target, self.snapshot
        );
        self.write_tables(&mut out);
        self.write_history(&mut out);
        self.write_rows(&mut out);
        self.write_meanings(&mut out);
        let outcome = match (self.is_complete(), self.written()) {
            (false, _) => "not complete: see the skipped rows and conflicts above",
            (true, 0) => "complete: nothing has changed since the last import",
            (true, _) => "complete",
        };
        let _ = writeln!(out, "{outcome}");
        out
    }

    fn write_tables(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "{:<36} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9} {:>6} {:>8}",
            "table",
            "read",
            "created",
            "changed",
            "unchanged",
            "deleted",
            "conflicts",
            "left",
            "skipped"
        );
        for one in &self.tables {
            let _ = writeln!(
                out,
                "{:<36} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9} {:>6} {:>8}",
                one.table,
                one.read,
                one.created,
                one.changed,
                one.unchanged,
                one.deleted,
                one.conflicts,
                one.left,
                one.skipped
            );
        }
        out.push('\n');
    }

    fn write_history(&self, out: &mut String) {
        if let Some(history) = &self.history {
            let from = match history.from.as_str() {
                "" => "the beginning",
                day => day,
            };
            let _ = writeln!(
                out,
                "history: {} rows of {} days, from {from} to before {}: ${:.6}",
                history.rows, history.days, history.to, history.spend
            );
        }
        if let Some(logs) = &self.logs {
            let _ = writeln!(
                out,
                "spend log: {} rows from {} on, {} of them new",
                logs.read, logs.from, logs.added
            );
            for (call, (rows, dollars)) in &logs.foreign {
                let _ = writeln!(
                    out,
                    "  {rows} calls of type {call} (${dollars:.6}) left: Meridian serves no such"
                );
            }
        }
        if self.history.is_some() || self.logs.is_some() {
            out.push('\n');
        }
    }

    fn write_rows(&self, out: &mut String) {
        if self.skipped_total > 0 {
            let _ = writeln!(out, "skipped rows ({}):", self.skipped_total);
            for row in self.skipped.iter().take(SHOWN_MAX) {
                let SkippedRow {
                    table,
                    id,
                    column,
                    reason,
                } = row;
                let _ = writeln!(out, "  {table} {id}: {column}: {reason}");
            }
            self.write_more(out, self.skipped_total);
        }
        if self.conflicts_total > 0 {
            let _ = writeln!(
                out,
                "conflicts ({}), left as they are in Meridian (--force-source takes the source):",
                self.conflicts_total
            );
            for Conflict { kind, id, reason } in self.conflicts.iter().take(SHOWN_MAX) {
                let _ = writeln!(out, "  {kind} {id}: {reason}");
            }
            self.write_more(out, self.conflicts_total);
        }
    }

    fn write_more(&self, out: &mut String, total: u64) {
        if total > SHOWN_MAX as u64 {
            let more = total - SHOWN_MAX as u64;
            let _ = writeln!(out, "  and {more} more: the JSON report has {LISTED_MAX}");
        }
        out.push('\n');
    }

    fn write_meanings(&self, out: &mut String) {
        if !self.warnings.is_empty() {
            let _ = writeln!(out, "imported, but:");
            for one in &self.warnings {
                let place = match one.column.as_str() {
                    "" => one.table.to_owned(),
                    column => format!("{}.{column}", one.table),
                };
                let _ = writeln!(out, "  {place} ({} rows): {}", one.rows, one.meaning);
            }
            out.push('\n');
        }
        if !self.settings.is_empty() {
            let _ = writeln!(out, "settings and models that need a look:");
            for SettingRemark { path, message } in &self.settings {
                let _ = writeln!(out, "  {path}: {message}");
            }
            out.push('\n');
        }
        if !self.not_imported.is_empty() {
            let _ = writeln!(out, "not imported:");
            for one in &self.not_imported {
                let rows = match one.rows {
                    Some(rows) => format!("{rows} rows"),
                    None => "not readable by this user".to_owned(),
                };
                let _ = writeln!(out, "  {} ({rows}): {}", one.table, one.meaning);
            }
            out.push('\n');
        }
    }
}

/// The parts of a member's id with a character between them that can be seen.
fn shown(id: &str) -> String {
    id.replace('\u{1f}', "/")
}
