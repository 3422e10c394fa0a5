//! The command line: what a person or a unit file starts.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use meridian_core::config::REGION_VARIABLE;

use crate::store::Direction;
use crate::{check, clock, config_load, import, journal, migrate, server};

/// Meridian: a multi-region gateway for large language models.
#[derive(Debug, Parser)]
#[command(name = "meridian", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Serve(ServeArgs),
    /// Report every problem of a configuration, with file, line and column.
    Check(CheckArgs),
    /// Change the schema of the configured Postgres, or show its version.
    Migrate(MigrateArgs),
    /// Look into the spend journal of a stopped gateway.
    Journal(JournalArgs),
    /// Take over keys, teams, users, models and spend of another gateway.
    Import(ImportArgs),
}

/// What runs in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Data plane and management API.
    All,
    /// The data plane alone.
    Gateway,
    /// The management API alone (port 4001).
    Admin,
}

/// Arguments of `meridian serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Configuration file; without one the embedded defaults are used.
    #[arg(long, short, env = "CONFIG_FILE_PATH")]
    pub config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub host: String,
    /// Port to listen on: 4000, for `--role admin` 4001.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Name of the region that this node is in; default: `meridian.default_region` of the file.
    #[arg(long, env = REGION_VARIABLE)]
    pub region: Option<String>,
    /// What runs in this process.
    #[arg(long, env = "MERIDIAN_ROLE", value_enum, default_value_t = Role::All)]
    pub role: Role,
    /// Embedded store, journal and snapshot; one process per directory.
    #[arg(long, env = "MERIDIAN_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Worker threads of the data plane; one per core when absent.
    #[arg(long, env = "MERIDIAN_THREADS")]
    pub threads: Option<usize>,
    /// Seconds that new requests are served after SIGTERM; default: `meridian.drain_delay_s`.
    #[arg(long, env = "MERIDIAN_DRAIN_DELAY_S", value_parser = value_parser!(u64).range(..=600))]
    pub drain_delay: Option<u64>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration file.
    #[arg(long, short, env = "CONFIG_FILE_PATH")]
    config: PathBuf,
    /// Name of the region of the node that it is checked for.
    #[arg(long, env = REGION_VARIABLE)]
    region: Option<String>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One line per problem.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Debug, Args)]
struct MigrateArgs {
    /// Which way to go.
    #[arg(value_enum, default_value_t = MigrateWay::Up)]
    way: MigrateWay,
    /// Configuration file; without one only `DATABASE_URL` and its like are read.
    #[arg(long, short, env = "CONFIG_FILE_PATH")]
    config: Option<PathBuf>,
}

/// Which way a schema is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MigrateWay {
    /// To the version that this program was made for.
    Up,
    /// One version back; what the newer one held is lost.
    Down,
    /// Not at all: show it.
    Status,
}

#[derive(Debug, Args)]
struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
    /// The gateway's data directory.
    #[arg(
        long,
        env = "MERIDIAN_DATA_DIR",
        default_value = "./data",
        global = true
    )]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Print every frame as a line.
    Inspect,
    /// Read every frame and report damage; exit code 1 if there is any.
    Verify,
}

#[derive(Debug, Args)]
struct ImportArgs {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    /// From a LiteLLM database, which is only read; again as often as needed until cut-over. Exit
    /// code 2 if something was left out.
    Litellm(import::LitellmArgs),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let env = clock::environment();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args, &in_region(env, args.region.as_deref())),
        Command::Check(args) => check_config(&args, &in_region(env, args.region.as_deref())),
        Command::Migrate(args) => migrate_schema(&args, &env),
        Command::Journal(args) => inspect_journal(&args),
        Command::Import(args) => match args.command {
            ImportCommand::Litellm(args) => import::command(&args, &env),
        },
    }
}

fn migrate_schema(args: &MigrateArgs, env: &HashMap<String, String>) -> ExitCode {
    let direction = match args.way {
        MigrateWay::Up => Direction::Up,
        MigrateWay::Down => Direction::Down,
        MigrateWay::Status => Direction::Status,
    };
    let mut out = std::io::stdout().lock();
    match migrate::run(args.config.as_deref(), env, direction, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "meridian: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The environment with the region of the command line, which is where configurations look for it.
fn in_region(mut env: HashMap<String, String>, region: Option<&str>) -> HashMap<String, String> {
    if let Some(region) = region {
        env.insert(REGION_VARIABLE.to_owned(), region.to_owned());
    }
    env
}

fn check_config(args: &CheckArgs, env: &HashMap<String, String>) -> ExitCode {
    let mut loaded = config_load::load_from(Some(&args.config), env);
    check::credentials(&mut loaded);
    let format = match args.format {
        Format::Text => check::Format::Text,
        Format::Json => check::Format::Json,
    };
    let code = check::report(&loaded, format, &mut std::io::stdout().lock());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn inspect_journal(args: &JournalArgs) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let done = match args.command {
        JournalCommand::Inspect => {
            let options = journal::InspectOptions {
                frames: true,
                call_id: None,
            };
            journal::inspect(&args.data_dir, options, &mut out).map(|_| true)
        }
        JournalCommand::Verify => {
            journal::verify(&args.data_dir, &mut out).map(|found| found.sound())
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A closed pipe (`| head`) is not worth a message, and there is nobody to read it.
            let _ = writeln!(std::io::stderr(), "meridian: {error}");
            ExitCode::FAILURE
        }
    }
}
