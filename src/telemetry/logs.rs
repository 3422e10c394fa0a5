//! Log lines: JSON or plain, without secrets, without floods.
//!
//! Our own code logs through `tracing`, libraries through `log` or `tracing`. Libraries are never
//! shown below INFO: at TRACE they print headers, bodies and frames.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::{LogTracer, NormalizeEvent, log};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use crate::clock;
use flood::Flood;
use writer::Queue;

mod flood;
mod redact;
#[cfg(test)]
mod tests;
mod writer;

/// Longest text of a library's message about one connection, in characters.
const CONNECTION_ERROR_CHARS: usize = 200;

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// One JSON object per line instead of plain text.
    pub json: bool,
    /// Filter in the syntax of `RUST_LOG`.
    pub filter: String,
}

/// Set at start and with every new configuration.
static REDACTS_CALLERS: AtomicBool = AtomicBool::new(false);

/// From now on lines name no key, user, team or other scope, or do: see [`whose`].
pub fn redact_callers(redact: bool) {
    REDACTS_CALLERS.store(redact, Ordering::Relaxed);
}

/// A name of a key, a user, a team or another scope in a log line; `redacted` where
/// `redact_user_api_key_info` says so. Every line that names one does it through this.
pub fn whose(name: impl fmt::Display) -> impl fmt::Display {
    Whose(name, REDACTS_CALLERS.load(Ordering::Relaxed))
}

struct Whose<T>(T, bool);

impl<T: fmt::Display> fmt::Display for Whose<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            true => f.write_str("redacted"),
            false => self.0.fmt(f),
        }
    }
}

/// What these libraries say while they do what they should helps nobody.
const QUIET_LIBRARIES: &str = "info,refinery_core=warn,pingora_core=warn";

impl LogOptions {
    /// JSON if the configuration (`json_logs`) or `JSON_LOGS` says so or nobody is watching;
    /// `RUST_LOG` before `LITELLM_LOG`.
    pub fn of(env: &HashMap<String, String>, json_logs: bool, stdout_is_terminal: bool) -> Self {
        let asked = |name: &str| env.get(name).map(|text| text.trim().to_ascii_lowercase());
        let json_env = matches!(asked("JSON_LOGS").as_deref(), Some("true" | "1" | "yes"));
        let rust_log = env.get("RUST_LOG").filter(|text| !text.trim().is_empty());
        let filter = match (rust_log, asked("LITELLM_LOG").as_deref()) {
            (Some(filter), _) => filter.clone(),
            (None, Some("trace")) => "info,meridian=trace,meridian_core=trace".into(),
            (None, Some("debug")) => "info,meridian=debug,meridian_core=debug".into(),
            (None, Some("warn" | "warning")) => "warn".into(),
            (None, Some("error" | "critical")) => "error".into(),
            (None, _) => QUIET_LIBRARIES.into(),
        };
        Self {
            json: json_logs || json_env || !stdout_is_terminal,
            filter,
        }
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` cannot be read.
    #[error("log filter is not valid: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was started before.
    #[error("logging is already set up")]
    Twice,
    /// The writing thread did not start.
    #[error("log thread did not start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Keeps the log: lines that wait are written when this is dropped.
pub struct Logs {
    queue: Queue,
}

impl Logs {
    /// Waits, two seconds at most, until what was logged before is written.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Starts logging to standard output, once per process.
pub fn start(options: &LogOptions) -> Result<Logs, LogError> {
    let out = Box::new(std::io::stdout());
    let (subscriber, logs) = subscriber(options, out)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    log::set_boxed_logger(Box::new(Bridge(LogTracer::new()))).map_err(|_| LogError::Twice)?;
    // Costs a library's line below INFO no more than a comparison.
    log::set_max_level(log::LevelFilter::Info);
    Ok(logs)
}

fn subscriber(
    options: &LogOptions,
    out: Box<dyn Write + Send>,
) -> Result<(impl Subscriber + Send + Sync + use<>, Logs), LogError> {
    let filter = EnvFilter::try_new(&options.filter)?;
    let flood = Arc::new(Flood::default());
    let queue = Queue::start(out, options.json, flood.clone())?;
    let lines = lines(options.json, queue.clone());
    let gate = Gate { flood };
    let subscriber = Registry::default().with(filter).with(gate).with(lines);
    Ok((subscriber, Logs { queue }))
}

/// Colours stay off: their codes would split what the redaction looks for.
fn lines<S>(json: bool, queue: Queue) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(queue);
    if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.boxed()
    }
}

/// Decides which lines are shown, beside the filter: libraries from INFO, no floods.
struct Gate {
    flood: Arc<Flood>,
}

impl<S: Subscriber> Layer<S> for Gate {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO || is_ours(metadata.target())
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::WARN {
            return true;
        }
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut message = Message(String::new());
        event.record(&mut message);
        self.flood
            .admits(metadata.target(), &message.0, clock::mono())
    }
}

fn is_ours(target: &str) -> bool {
    let first = target.split("::").next();
    matches!(first, Some("meridian" | "meridian_core"))
}

/// The message of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Brings `log` records to `tracing`. Pingora reports at ERROR what a client does to its own
/// connection, fred at WARN each try to reach Redis, of which `src/shared` says what matters; here
/// that is DEBUG, under a target of ours so that it can be asked for.
struct Bridge(LogTracer);

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("fred") {
            tracing::debug!(target: "meridian::fred", "{}", record.args());
            return;
        }
        if !is_per_connection(record) {
            // Without module, file and line, which say no more than the target.
            let mut short = log::Record::builder();
            short.level(record.level()).target(record.target());
            return self.0.log(&short.args(*record.args()).build());
        }
        if tracing::enabled!(target: "meridian::pingora", Level::DEBUG) {
            let text = record.args().to_string();
            let text: String = text.chars().take(CONNECTION_ERROR_CHARS).collect();
            tracing::debug!(target: "meridian::pingora", from = record.target(), "{text}");
        }
    }

    fn flush(&self) {}
}

fn is_per_connection(record: &log::Record<'_>) -> bool {
    const PER_CONNECTION: [&str; 4] = [
        "pingora_core::apps",
        "pingora_core::connectors",
        "pingora_core::protocols",
        "pingora_core::upstreams",
    ];
    let target = record.target();
    if PER_CONNECTION.iter().any(|part| target.starts_with(part)) {
        // Pingora marks its own defects so.
        return !record.args().to_string().starts_with("Crit:");
    }
    target == "pingora_core::services::listening"
        && record
            .args()
            .to_string()
            .starts_with("Downstream handshake")
}
