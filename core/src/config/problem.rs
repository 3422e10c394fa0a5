//! What is wrong or noteworthy in a configuration, where it is, and what would be right.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Path as it was given or included.
    pub file: Arc<str>,
    /// From 1; 0 for a record.
    pub line: u32,
    /// From 1, in characters; 0 for a record.
    pub column: u32,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration does not start.
    Error,
    /// It starts, but something that was written has not the effect that was meant.
    Warning,
    /// It starts and does what was meant; something is worth knowing.
    Notice,
}

impl Severity {
    /// Lower-case word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// One finding. Shown as `file:line:column: error: path: message`; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// Path of the file.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// `model_list[0].litellm_params.api_key`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (severity, at) = (self.severity.label(), (self.line, self.column));
        match at.0 {
            0 => write!(f, "{}: {severity}: ", self.file)?,
            line => write!(f, "{}:{line}:{}: {severity}: ", self.file, at.1)?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Most problems that are kept of one configuration; the rest would bury the first ones.
const PROBLEMS_MAX: usize = 1_000;

/// Problems found so far, in the order of discovery.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn error(&mut self, at: &Position, path: &str, message: impl Into<String>) {
        self.push(Severity::Error, at, path, message.into());
    }

    pub(super) fn warning(&mut self, at: &Position, path: &str, message: impl Into<String>) {
        self.push(Severity::Warning, at, path, message.into());
    }

    pub(super) fn notice(&mut self, at: &Position, path: &str, message: impl Into<String>) {
        self.push(Severity::Notice, at, path, message.into());
    }

    /// Whether only errors are still taken.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= PROBLEMS_MAX
    }

    fn push(&mut self, severity: Severity, at: &Position, path: &str, message: String) {
        if self.is_full() && severity != Severity::Error {
            return;
        }
        let Position { file, line, column } = at;
        let problem = Problem {
            severity,
            file: file.to_string(),
            line: *line,
            column: *column,
            path: path.to_owned(),
            message,
        };
        if self.0.len() < 2 * PROBLEMS_MAX && !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    pub(super) fn any_error(&self) -> bool {
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        self.0.iter().any(is_error)
    }

    /// All of them by file (in the order of loading), line and column.
    pub(super) fn sorted(self, files: &[std::path::PathBuf]) -> Vec<Problem> {
        let mut problems = self.0;
        let rank = |file: &str| {
            files
                .iter()
                .position(|known| known.to_string_lossy() == file)
        };
        problems.sort_by_cached_key(|problem| {
            let Problem {
                file,
                line,
                column,
                severity,
                ..
            } = problem;
            (rank(file).unwrap_or(usize::MAX), *line, *column, *severity)
        });
        problems
    }
}
