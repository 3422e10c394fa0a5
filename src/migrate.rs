//! `meridian migrate`: changes the schema of the configured Postgres, or shows it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use crate::config_load;
use crate::store::{Direction, Migrated, migrate};

/// Why nothing was migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateRefusal {
    /// The configuration has errors; they were printed.
    #[error("the configuration has errors")]
    Config,
    /// There is no database to migrate.
    #[error(
        "no Postgres is configured: set `general_settings.database_url` or the variable \
         DATABASE_URL (the embedded store migrates itself)"
    )]
    NoDatabase,
    /// The schema is as it was.
    #[error(transparent)]
    Migrate(#[from] crate::store::MigrateError),
    /// The system refuses.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs it and prints what was done.
pub fn run(
    config: Option<&Path>,
    env: &HashMap<String, String>,
    direction: Direction,
    out: &mut impl Write,
) -> Result<(), MigrateRefusal> {
    let loaded = config_load::load_from(config, env);
    let Some(config) = loaded.config else {
        for problem in &loaded.problems {
            writeln!(out, "{problem}")?;
        }
        return Err(MigrateRefusal::Config);
    };
    let database = config.database.ok_or(MigrateRefusal::NoDatabase)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let migrated = runtime.block_on(migrate(&database, direction))?;
    writeln!(out, "database {}", database.primary)?;
    Ok(print(&migrated, direction, out)?)
}

fn print(migrated: &Migrated, direction: Direction, out: &mut impl Write) -> io::Result<()> {
    let done = match direction {
        Direction::Down => "taken back",
        Direction::Up | Direction::Status => "applied",
    };
    for step in &migrated.steps {
        writeln!(out, "{done}: {step}")?;
    }
    for name in &migrated.taken {
        writeln!(
            out,
            "no view: {name} belongs to something else or may not be made"
        )?;
    }
    let schema = migrated.schema;
    match schema.version {
        0 => writeln!(out, "the database has no schema")?,
        version => writeln!(
            out,
            "schema version {version}; understood by programs made for {} or later; this one was \
             made for {}",
            schema.since, schema.own
        )?,
    }
    if direction == Direction::Status
        && let Err(what) = schema.fits()
    {
        writeln!(out, "{what}")?;
    }
    Ok(())
}
