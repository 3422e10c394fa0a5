//! `meridian migrate`: the only thing that changes a Postgres schema.
//!
//! All steps run in one transaction under a lock, so that two of them at once, or a kill in the
//! middle, leave a whole schema. Nothing of it needs a session: it works through a pooler.

use std::time::Duration;

use async_trait::async_trait;
use meridian_core::config::Database;
use refinery::{Migration, Runner};
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};

use super::password::Passwords;
use super::pool::Pool;
use super::work::{Access, Work};
use super::{LOCK_MIGRATION, LOCK_SPACE, SCHEMA, views};
use crate::store::StoreError;

/// One step: name, the way up, the way down.
struct Step {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

impl Step {
    /// The version that it leads to.
    fn version(&self) -> i64 {
        let number = self
            .name
            .strip_prefix('V')
            .and_then(|name| name.split_once("__"));
        number
            .and_then(|(number, _)| number.parse().ok())
            .unwrap_or(0)
    }
}

macro_rules! step {
    ($name:literal) => {
        Step {
            name: $name,
            up: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
            down: include_str!(concat!("../../../migrations/postgres/down/", $name, ".sql")),
        }
    };
}

/// In order; the number in a name is the version that it leads to.
const STEPS: &[Step] = &[
    step!("V1__ledger"),
    step!("V2__records"),
    step!("V3__imports"),
    step!("V4__rights"),
    step!("V5__texts"),
    step!("V6__objects"),
    step!("V7__lineage"),
    step!("V8__batches"),
    step!("V9__batch_output"),
];

/// Connections of a migration.
const CONNECTIONS: u32 = 1;
/// Longest wait for one.
const WAIT: Duration = Duration::from_secs(5);

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the newest version that this program knows.
    Up,
    /// One version back. What the newer one held is lost.
    Down,
    /// Nowhere: only look.
    Status,
}

/// Why a schema was not changed. It is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database cannot be reached or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The migrations do not fit what is there.
    #[error("{0}")]
    Refinery(String),
    /// There is nothing to take back.
    #[error("the schema has no version to go back from")]
    AtBottom,
    /// Another program is needed for that.
    #[error("version {0} of the schema is unknown to this program: use the one that made it")]
    Unknown(i64),
}

/// What a migration found or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Steps that were made, by name.
    pub steps: Vec<String>,
    /// Names of LiteLLM's that something else has, or that may not be made: no views there.
    pub taken: Vec<String>,
    /// The schema now.
    pub schema: Schema,
}

/// Versions of a schema and of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Version of the schema; 0 for none.
    pub version: i64,
    /// Oldest version that a program may have been made for.
    pub since: i64,
    /// Version that this program was made for.
    pub own: i64,
}

impl Schema {
    /// Whether this program can work with it; an error says what to do.
    pub fn fits(self) -> Result<(), String> {
        let Self {
            version,
            since,
            own,
        } = self;
        match () {
            () if version == 0 => Err(format!(
                "the database has no schema `{SCHEMA}`: run `meridian migrate up`"
            )),
            () if version < own => Err(format!(
                "the schema is at version {version} and this program needs {own}: run \
                 `meridian migrate up`"
            )),
            () if own < since => Err(format!(
                "the schema is at version {version}, which programs made for {since} and later \
                 understand; this one was made for {own}: use a newer one"
            )),
            () => Ok(()),
        }
    }
}

/// Version that this program was made for.
fn own_version() -> i64 {
    STEPS.last().map_or(0, Step::version)
}

/// Changes or looks at the schema of a database.
pub async fn migrate(database: &Database, direction: Direction) -> Result<Migrated, MigrateError> {
    let pool = Pool::new(
        &database.primary,
        CONNECTIONS,
        WAIT,
        Passwords::of(database),
    )?;
    let work = Work::begin(&pool, Access::Migrate).await?;
    let outcome = run(&work, direction, &database.views_schema).await;
    let (outcome, failed) = match outcome {
        Ok(migrated) => (Ok(migrated), None),
        Err(MigrateError::Store(error)) => (Err(error), None),
        Err(other) => (Err(StoreError::Migration(other.to_string())), Some(other)),
    };
    match (work.finish(outcome).await, failed) {
        (_, Some(failed)) => Err(failed),
        (outcome, None) => Ok(outcome?),
    }
}

async fn run(
    work: &Work,
    direction: Direction,
    views_schema: &str,
) -> Result<Migrated, MigrateError> {
    if direction != Direction::Status {
        let lock = format!("SELECT pg_advisory_xact_lock({LOCK_SPACE}, {LOCK_MIGRATION})");
        work.batch(&lock).await?;
    }
    let steps = match direction {
        Direction::Status => Vec::new(),
        Direction::Up => up(work).await?,
        Direction::Down => {
            views::withdraw(work, views_schema).await?;
            down(work).await?
        }
    };
    let schema = schema_of(work).await?;
    // An older schema lacks what they show.
    let shows = direction == Direction::Up && schema.version == schema.own;
    let taken = match shows {
        true => views::publish(work, views_schema).await?,
        false => Vec::new(),
    };
    Ok(Migrated {
        steps,
        taken,
        schema,
    })
}

async fn up(work: &Work) -> Result<Vec<String>, MigrateError> {
    let refused = |error: refinery::Error| MigrateError::Refinery(described(&error));
    work.batch(&format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        .await?;
    let migrations = STEPS
        .iter()
        .map(|step| Migration::unapplied(step.name, step.up));
    let migrations: Vec<Migration> = migrations.collect::<Result<_, _>>().map_err(refused)?;
    let mut runner = Runner::new(&migrations)
        .set_grouped(true)
        // A newer program may have gone further: its schema may still be one that we understand.
        .set_abort_missing(false);
    runner.set_migration_table_name(table());
    let report = runner.run_async(&mut Target(work)).await.map_err(refused)?;
    let applied = report.applied_migrations().iter();
    Ok(applied.map(ToString::to_string).collect())
}

async fn down(work: &Work) -> Result<Vec<String>, MigrateError> {
    let version = schema_of(work).await?.version;
    if version == 0 {
        return Err(MigrateError::AtBottom);
    }
    let step = STEPS.iter().find(|step| step.version() == version);
    let step = step.ok_or(MigrateError::Unknown(version))?;
    work.batch(step.down).await?;
    work.batch(&format!(
        "DELETE FROM {} WHERE version = {version}",
        table()
    ))
    .await?;
    Ok(vec![step.name.to_owned()])
}

/// Table in which the steps that were made are noted.
fn table() -> String {
    format!("{SCHEMA}.schema_history")
}

/// Versions of the schema that a transaction sees.
pub(super) async fn schema_of(work: &Work) -> Result<Schema, StoreError> {
    let own = own_version();
    let none = Schema {
        version: 0,
        since: 0,
        own,
    };
    let there = format!("SELECT to_regclass('{}') IS NOT NULL", table());
    let there = work.row(&there, &[]).await?;
    if !there.is_some_and(|row| row.get(0)) {
        return Ok(none);
    }
    let newest = format!("SELECT COALESCE(MAX(version), 0)::bigint FROM {}", table());
    let version = work.row(&newest, &[]).await?.map_or(0, |row| row.get(0));
    if version == 0 {
        return Ok(none);
    }
    let since = format!("SELECT since::bigint FROM {SCHEMA}.compatibility");
    let since = work.row(&since, &[]).await?.map_or(0, |row| row.get(0));
    Ok(Schema {
        version,
        since,
        own,
    })
}

/// An error with its causes.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The transaction as refinery wants to see a database.
struct Target<'a>(&'a Work);

#[async_trait]
impl AsyncTransaction for Target<'_> {
    type Error = StoreError;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send>(
        &mut self,
        queries: T,
    ) -> Result<usize, StoreError> {
        let mut count = 0;
        for sql in queries {
            self.0.batch(sql).await?;
            count += 1;
        }
        Ok(count)
    }
}

#[async_trait]
impl AsyncQuery<Vec<Migration>> for Target<'_> {
    async fn query(&mut self, query: &str) -> Result<Vec<Migration>, StoreError> {
        let rows = self.0.rows(query, &[]).await?;
        let applied = rows.iter().map(|row| {
            let (version, name): (i32, String) = (row.get(0), row.get(1));
            let checksum: String = row.get(3);
            migration_of(version, name, &checksum)
        });
        applied.collect()
    }
}

fn migration_of(version: i32, name: String, checksum: &str) -> Result<Migration, StoreError> {
    let checksum = checksum.parse::<u64>();
    let unreadable = |_| StoreError::Migration(format!("{} holds an unknown entry", table()));
    // When it was is not asked for.
    let at = time::OffsetDateTime::UNIX_EPOCH;
    let checksum = checksum.map_err(unreadable)?;
    Ok(Migration::applied(version, name, at, checksum))
}

impl AsyncMigrate for Target<'_> {}
