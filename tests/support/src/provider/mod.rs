//! The fake provider: an OpenAI, Azure and Anthropic server that does what a script says.
//!
//! It runs on threads of its own, so a test may block or run any runtime it likes.

mod answer;
mod ask;
mod body;
mod chat;
mod control;
mod errors;
mod exchange;
mod h1;
mod h2;
mod listen;
mod messages;
mod meter;
mod other;
mod responses;
mod script;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use answer::Usage;
pub use meter::{End, Meter, Recorded, Row, Totals};
pub use script::{Act, Early, Fault, Framing, Kind, Point, Script, ToolMode, UsageMode};

/// The credential that the provider accepts unless told otherwise.
pub const UPSTREAM_KEY: &str = "sk-upstream-0123456789abcdef";
/// A credential that is always answered 429, as a customer without budget would be.
pub const POOR_KEY: &str = "sk-poor";

/// How the provider is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub addr: SocketAddr,
    /// Credentials that are accepted.
    pub keys: Vec<String>,
    /// Threads; each has its own listener on the port.
    pub threads: usize,
    /// Speak TLS (h2 and http/1.1 by ALPN) with a certificate for `localhost` and `127.0.0.1`.
    pub tls: bool,
    /// Keep the exact request bytes of every row.
    pub record: bool,
    /// Rows kept; 0 counts totals only.
    pub rows_max: usize,
    /// Where `replay` finds recorded bodies.
    pub fixtures: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            keys: vec![UPSTREAM_KEY.to_owned()],
            threads: 1,
            tls: false,
            record: true,
            rows_max: 100_000,
            fixtures: None,
        }
    }
}

/// How connections are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As a server should.
    #[default]
    Serve,
    /// Nobody listens: connections are refused. Open ones go on.
    Refuse,
    /// Each connection is reset once accepted.
    Reset,
    /// Connections are accepted and never read.
    Hang,
    /// As a host that is gone: nobody listens, and open connections are reset.
    Dead,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    options: Options,
    meter: Meter,
    scripts: Mutex<HashMap<String, VecDeque<Script>>>,
    scripted: AtomicBool,
    mode: watch::Sender<Mode>,
    stopping: watch::Sender<bool>,
}

impl Shared {
    /// The script for a model: the next of its queue, else of `*`, else what its name says.
    fn script(&self, model: &str) -> Result<Script, String> {
        if self.scripted.load(Relaxed) {
            let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
            for name in [model, "*"] {
                if let Some(queue) = scripts.get_mut(name) {
                    let next = queue.pop_front();
                    if let (true, Some(script)) = (queue.is_empty(), &next) {
                        queue.push_back(script.clone());
                    }
                    return Ok(next.unwrap_or_default());
                }
            }
        }
        Script::from_model(model)
    }

    /// What to do before the body is read: only a script for `*` or the path's model can say.
    fn early(&self, model: Option<&str>) -> Early {
        if !self.scripted.load(Relaxed) {
            return Early::No;
        }
        let scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = model
            .and_then(|model| scripts.get(model))
            .or(scripts.get("*"));
        queue
            .and_then(VecDeque::front)
            .map_or(Early::No, |script| script.early)
    }

    fn set_scripts(&self, model: &str, list: Vec<Script>) {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        match list.is_empty() {
            true => scripts.remove(model),
            false => scripts.insert(model.to_owned(), list.into()),
        };
        self.scripted.store(!scripts.is_empty(), Relaxed);
    }

    fn reset(&self) {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.clear();
        self.scripted.store(false, Relaxed);
        drop(scripts);
        self.mode.send_replace(Mode::Serve);
        self.meter.reset();
    }
}

/// A running fake provider; dropping it ends its threads and connections.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    addr: SocketAddr,
    ca_pem: Option<String>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Provider {
    /// Starts on a free port with the defaults.
    pub fn start() -> Self {
        Self::start_with(Options::default()).expect("the fake provider starts on a free port")
    }

    /// Starts on a free port with TLS.
    pub fn start_tls() -> Self {
        let options = Options {
            tls: true,
            ..Options::default()
        };
        Self::start_with(options).expect("the fake provider starts on a free port")
    }

    /// Starts as told; fails if the address cannot be had.
    pub fn start_with(options: Options) -> std::io::Result<Self> {
        let (tls, ca_pem) = match options.tls {
            true => {
                let (acceptor, pem) = listen::certificate()?;
                (Some(acceptor), Some(pem))
            }
            false => (None, None),
        };
        let shared = Arc::new(Shared {
            meter: Meter::new(options.rows_max),
            scripts: Mutex::default(),
            scripted: AtomicBool::new(false),
            mode: watch::Sender::new(Mode::Serve),
            stopping: watch::Sender::new(false),
            options,
        });
        let threads = shared.options.threads.max(1);
        let (addr, threads) = listen::start(&shared, tls.as_ref(), threads)?;
        Ok(Self {
            shared,
            addr,
            ca_pem,
            threads,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL without a path, e.g. `http://127.0.0.1:4711`.
    pub fn url(&self) -> String {
        let scheme = if self.shared.options.tls {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.addr)
    }

    /// Its certificate, to be trusted by clients, when it speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Scripts for the next requests of a model, in order; the last one stays. `*` is any model;
    /// no script at all takes the model's scripts away.
    pub fn script(&self, model: &str, scripts: impl IntoIterator<Item = Script>) {
        self.shared
            .set_scripts(model, scripts.into_iter().collect());
    }

    /// How connections are taken from now on. Returns once it is so.
    pub fn mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        let wanted = !matches!(mode, Mode::Refuse | Mode::Dead);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(self.addr).is_ok() != wanted {
            assert!(
                std::time::Instant::now() < deadline,
                "the listener did not obey {mode:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Counts and rows.
    pub fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    /// All rows, oldest first. A client may see the end of its answer a moment before the row
    /// says so: to look at how requests ended, use [`Provider::settled`].
    pub fn rows(&self) -> Vec<Row> {
        self.shared.meter.rows()
    }

    /// Rows with this marker, oldest first: the attempts of one client request.
    pub fn attempts(&self, marker: &str) -> Vec<Row> {
        let mut rows = self.rows();
        rows.retain(|row| row.marker.as_deref() == Some(marker));
        rows
    }

    /// The newest row. Stops if there is none.
    pub fn last(&self) -> Row {
        self.rows().pop().expect("the provider got a request")
    }

    /// The newest request as received. Stops if there is none or recording is off.
    pub fn last_request(&self) -> Recorded {
        self.last().request.expect("recording is on")
    }

    /// Waits until the rows are as wanted and returns them; stops after `limit`.
    pub async fn wait(&self, limit: Duration, wanted: impl Fn(&[Row]) -> bool) -> Vec<Row> {
        crate::deadline::eventually(limit, "the provider's rows", || {
            let rows = self.rows();
            wanted(&rows).then_some(rows)
        })
        .await
    }

    /// Waits until no request is running and returns all rows.
    pub async fn settled(&self) -> Vec<Row> {
        let ended = |row: &Row| row.end != End::Running;
        self.wait(crate::deadline::SOON, |rows| rows.iter().all(ended))
            .await
    }

    /// Forgets scripts, rows and sums, and serves again.
    pub fn reset(&self) {
        self.shared.reset();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.stopping.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed why.
            let _ = thread.join();
        }
    }
}
