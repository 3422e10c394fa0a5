//! Runs the command, and looks into the store that it wrote.

use std::path::Path;
use std::process::{Command, Output};

use meridian::store::{AuditQuery, Direction, Store, StoredRecord, migrate};
use meridian_core::config::Database;
use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use meridian_core::record::RecordKind;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_testkit::postgres;
use serde_json::Value;

use crate::litellm::{LiteLlm, SALT, fresh_name};

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) report: Value,
    pub(crate) errors: String,
}

/// Where an import goes.
pub(crate) enum Target {
    Embedded(tempfile::TempDir),
    Postgres(String),
}

impl Target {
    pub(crate) fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        let name = fresh_name("target");
        let url = postgres::shared().database(&name);
        let (database, _) = Database::of_url(&url).unwrap();
        migrate(&database, Direction::Up).await.unwrap();
        Self::Postgres(url)
    }

    /// The store, opened for a look.
    pub(crate) async fn store(&self) -> Store {
        match self {
            Self::Embedded(dir) => Store::open_embedded(dir.path()).await.unwrap(),
            Self::Postgres(url) => Store::postgres(&Database::of_url(url).unwrap().0).unwrap(),
        }
    }

    fn command(&self) -> Command {
        let mut command = meridian();
        match self {
            Self::Embedded(dir) => command.arg("--data-dir").arg(dir.path()),
            Self::Postgres(url) => command.env("DATABASE_URL", url),
        };
        command
    }

    /// Imports from a URL with more arguments.
    pub(crate) fn import_url(&self, url: &str, arguments: &[&str]) -> Run {
        run_of(&self.command_with(url).args(arguments).output().unwrap())
    }

    fn command_with(&self, url: &str) -> Command {
        let mut command = self.command();
        command.args(["--from", url, "--report", "-"]);
        command.env("LITELLM_SALT_KEY", SALT);
        command
    }

    /// The command that imports, to be run by the caller.
    pub(crate) fn command_from(&self, litellm: &LiteLlm) -> Command {
        self.command_with(&litellm.url())
    }

    /// The name of its database.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Embedded(_) => panic!("the embedded store is no database of a server"),
            Self::Postgres(url) => {
                let path = url.split('?').next().unwrap_or_default();
                path.rsplit('/').next().unwrap_or_default()
            }
        }
    }

    /// Imports with more arguments.
    pub(crate) fn import(&self, litellm: &LiteLlm, arguments: &[&str]) -> Run {
        self.import_url(&litellm.url(), arguments)
    }
}

/// The command with nothing in its environment.
pub(crate) fn meridian() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.env_clear().args(["import", "litellm"]);
    command
}

pub(crate) fn run_of(output: &Output) -> Run {
    let text = String::from_utf8_lossy(&output.stdout);
    Run {
        code: output.status.code().unwrap(),
        report: serde_json::from_str(&text).unwrap_or(Value::Null),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Run {
    /// What became of the rows of a table.
    pub(crate) fn table(&self, name: &str) -> &Value {
        let tables = self.report["tables"].as_array().unwrap();
        let name = format!("LiteLLM_{name}");
        tables.iter().find(|table| table["table"] == *name).unwrap()
    }

    /// A sum over all tables.
    pub(crate) fn sum(&self, field: &str) -> u64 {
        let tables = self.report["tables"].as_array().unwrap();
        tables
            .iter()
            .map(|table| table[field].as_u64().unwrap())
            .sum()
    }

    /// `table.column` of everything in a list of the report.
    pub(crate) fn places(&self, list: &str) -> Vec<String> {
        let items = self.report[list].as_array().unwrap();
        let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let place = |item: &Value| {
            let (table, column) = (text(item, "table"), text(item, "column"));
            format!("{}.{column}", table.trim_start_matches("LiteLLM_"))
        };
        items.iter().map(place).collect()
    }

    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{:#}", self.errors, self.report);
        self
    }
}

/// Every record of a store.
pub(crate) async fn everything(store: &Store) -> Vec<StoredRecord> {
    let mut found: Vec<StoredRecord> = Vec::new();
    loop {
        let last = found
            .last()
            .map(|last| (last.record.kind, last.record.id.clone()));
        let step = store.records_after(last, 1_000).await.unwrap();
        if step.is_empty() {
            return found;
        }
        found.extend(step);
    }
}

/// Lines of the audit log.
pub(crate) async fn audit_lines(store: &Store) -> u64 {
    store.audit_log(AuditQuery::default()).await.unwrap().total
}

/// The id of a clear key.
pub(crate) fn id_of(clear: &str) -> String {
    KeyHash::of_secret(clear).to_string()
}

pub(crate) async fn record(store: &Store, kind: RecordKind, id: &str) -> StoredRecord {
    store.get_record(kind, id).await.unwrap().unwrap()
}

/// What a scope has spent, in dollars.
pub(crate) async fn spent(store: &Store, kind: ScopeKind, id: &str) -> f64 {
    let spends = store
        .scope_spends(vec![Scope::new(kind, id)])
        .await
        .unwrap();
    spends
        .first()
        .map_or(NanoUsd::ZERO, |one| one.spend)
        .dollars()
}

/// A directory's gateway data.
pub(crate) fn in_directory(path: &Path, litellm: &LiteLlm, arguments: &[&str]) -> Run {
    let mut command = meridian();
    command
        .arg("--data-dir")
        .arg(path)
        .args(["--from", &litellm.url(), "--report", "-"]);
    run_of(
        &command
            .args(arguments)
            .env("LITELLM_SALT_KEY", SALT)
            .output()
            .unwrap(),
    )
}
