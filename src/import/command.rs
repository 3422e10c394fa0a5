//! `meridian import litellm`: arguments, the store that they mean, the report.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::tz::TimeZone;
use meridian_core::config::{Config, Database, Severity};
use meridian_core::litellm::{LogChoice, Report};
use meridian_core::sealed::SealKey;

use super::{ImportError, Options, run};
use crate::config_load;
use crate::journal::{DirLock, JournalError};
use crate::store::{Store, StoreError};

/// Exit code of an import that left something out.
const INCOMPLETE: u8 = 2;
/// What seals values where no variable is named: LiteLLM's own order.
const SALT_VARIABLES: [&str; 2] = ["LITELLM_SALT_KEY", "LITELLM_MASTER_KEY"];

/// Arguments of `meridian import litellm`.
#[derive(Clone, Debug, Args)]
pub struct LitellmArgs {
    /// LiteLLM's database: postgresql://user:password@host:5432/litellm?sslmode=require. Better in
    /// the variable, where no list of processes shows it.
    #[arg(long, env = "LITELLM_DATABASE_URL", hide_env_values = true)]
    from: String,
    /// Configuration of Meridian: says in which store to write (`database_url`).
    #[arg(long, short, env = "CONFIG_FILE_PATH")]
    config: Option<PathBuf>,
    /// Data directory of the embedded store, where the configuration names no database.
    #[arg(long, env = "MERIDIAN_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Days of the spend log to take, counted with today: a number, `all` or `none`. Days before
    /// them come as daily sums.
    #[arg(long, default_value = "1", value_parser = read_logs)]
    spend_logs: LogChoice,
    /// Write the report as JSON to a file; `-` prints it instead of the text.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Take the source also for records that were changed in Meridian since the last import.
    #[arg(long)]
    force_source: bool,
    /// Variable with the key that LiteLLM sealed its values with; default: LITELLM_SALT_KEY, then
    /// the master key.
    #[arg(long)]
    salt_key_from: Option<String>,
    /// Name of this source, where several are imported.
    #[arg(long, default_value = "litellm")]
    name: String,
}

fn read_logs(text: &str) -> Result<LogChoice, String> {
    LogChoice::parse(text).ok_or_else(|| "expected a number of days, `all` or `none`".to_owned())
}

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("--from: {0}")]
    From(String),
    #[error("{0}")]
    Config(String),
    #[error("--salt-key-from: the variable {0} is not set")]
    Salt(String),
    #[error("{0} (stop the gateway: its data directory has one writer)")]
    Directory(#[from] JournalError),
    #[error("target: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("{0}: {1}")]
    Report(String, std::io::Error),
}

/// Runs the command; the exit code is 0, 2 with rows or records that were left out, else 1.
pub fn command(args: &LitellmArgs, env: &HashMap<String, String>) -> ExitCode {
    let done = prepared(args, env).and_then(|report| {
        show(args, &report)?;
        Ok(report)
    });
    match done {
        Ok(report) if report.is_complete() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(INCOMPLETE),
        Err(error) => {
            // There is nobody to tell when that fails.
            let _ = writeln!(std::io::stderr(), "meridian: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepared(args: &LitellmArgs, env: &HashMap<String, String>) -> Result<Report, CommandError> {
    let (from, _unread) = Database::of_url(&args.from).map_err(CommandError::From)?;
    let config = load(args, env)?;
    let target = match &config.database {
        Some(database) => format!("postgres {} (schema meridian)", database.primary),
        None => format!("embedded store in {}", args.data_dir.display()),
    };
    let options = Options {
        from,
        name: args.name.clone(),
        target,
        dry_run: args.dry_run,
        force_source: args.force_source,
        logs: args.spend_logs,
        salt: salt(args, env, &config)?,
        zone: TimeZone::get(&config.settings.timezone).unwrap_or(TimeZone::UTC),
        env: env.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Config(error.to_string()))?;
    runtime.block_on(async {
        match &config.database {
            Some(database) => Ok(run(&options, &Store::postgres(database)?).await?),
            None => {
                let _one_writer = DirLock::take(&args.data_dir)?;
                let store = Store::open_embedded(&args.data_dir).await?;
                Ok(run(&options, &store).await?)
            }
        }
    })
}

/// The configuration that a gateway would run with.
fn load(args: &LitellmArgs, env: &HashMap<String, String>) -> Result<Config, CommandError> {
    let loaded = config_load::load_from(args.config.as_deref(), env);
    let errors = loaded.problems.iter();
    let errors = errors.filter(|problem| problem.severity == Severity::Error);
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    loaded
        .config
        .ok_or_else(|| CommandError::Config(errors.join("\n")))
}

fn salt(
    args: &LitellmArgs,
    env: &HashMap<String, String>,
    config: &Config,
) -> Result<Option<SealKey>, CommandError> {
    let variable = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let own = variable(SALT_VARIABLES[0]).cloned();
    let master = config.general.master_key.as_ref();
    let own = own.or_else(|| master.map(|key| key.reveal().to_owned()));
    let own = own.or_else(|| variable(SALT_VARIABLES[1]).cloned());
    let Some(name) = &args.salt_key_from else {
        return Ok(own.as_deref().map(SealKey::of_salt));
    };
    let named = variable(name).ok_or_else(|| CommandError::Salt(name.clone()))?;
    if own.as_ref() != Some(named) {
        // The import is right; a gateway without that key could not use what it brings.
        let _ = writeln!(
            std::io::stderr(),
            "meridian: warning: sealed values open with the key in {name}: start the gateway with \
             LITELLM_SALT_KEY set to it"
        );
    }
    Ok(Some(SealKey::of_salt(named)))
}

fn show(args: &LitellmArgs, report: &Report) -> Result<(), CommandError> {
    let json = || serde_json::to_string_pretty(report).map_err(std::io::Error::from);
    let failed = |path: &str| {
        let path = path.to_owned();
        move |error| CommandError::Report(path, error)
    };
    let mut out = std::io::stdout().lock();
    let shown = match &args.report {
        Some(path) if path.as_os_str() == "-" => json().and_then(|json| writeln!(out, "{json}")),
        Some(path) => {
            let written = json().and_then(|json| std::fs::write(path, json + "\n"));
            written.map_err(failed(&path.to_string_lossy()))?;
            write!(out, "{}", report.to_text())
        }
        None => write!(out, "{}", report.to_text()),
    };
    shown.map_err(failed("standard output"))
}
