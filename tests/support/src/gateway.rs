//! Runs the real gateway binary: start, ready, stop, kill, start again on the same directory.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::{Config, MASTER_KEY};
use crate::deadline::{SOON, eventually, now};
use crate::raw::{Conn, Request, Response, free_port};

/// How long a gateway may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a management call may take: it waits for the store, on a machine that may be busy.
const MANAGED_WITHIN: Duration = Duration::from_secs(60);
/// Between two tries of a report.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How a gateway is started. Built with [`Setup::new`] and the binary's path, which only an
/// integration test of the root package knows: `env!("CARGO_BIN_EXE_meridian")`.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    yaml: String,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    ca_pem: Option<String>,
}

impl Setup {
    /// A gateway with this configuration.
    pub fn new(binary: &str, config: &Config) -> Self {
        Self::with_yaml(binary, &config.yaml())
    }

    /// A gateway with this configuration text.
    pub fn with_yaml(binary: &str, yaml: &str) -> Self {
        Self {
            binary: binary.into(),
            yaml: yaml.to_owned(),
            environment: Vec::new(),
            arguments: Vec::new(),
            ca_pem: None,
        }
    }

    /// Its listener speaks TLS with a certificate that this one vouches for.
    pub fn tls(mut self, ca_pem: &str) -> Self {
        self.ca_pem = Some(ca_pem.to_owned());
        self
    }

    /// Sets an environment variable; otherwise the gateway sees only `PATH`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a command-line argument after `serve`.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it in a new directory and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut gateway = self.stopped(dir);
        gateway.start().await;
        gateway
    }

    /// Starts it in a new directory and waits for nothing.
    pub fn begin(self) -> Gateway {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut gateway = self.stopped(dir);
        gateway.spawn();
        gateway
    }

    /// Starts it in a new directory and expects it to refuse; returns how and its output.
    pub async fn refuse(self) -> (ExitStatus, String) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut gateway = self.stopped(dir);
        gateway.spawn();
        let status = gateway.exited(READY_WITHIN).await;
        (status, gateway.log())
    }

    fn stopped(self, dir: tempfile::TempDir) -> Gateway {
        let gateway = Gateway {
            port: free_port(),
            setup: self,
            dir,
            child: None,
            heir: None,
            replaced: Vec::new(),
        };
        gateway.write_config(&gateway.setup.yaml);
        gateway
    }
}

/// A gateway process and its directory. Dropping it kills the process.
#[derive(Debug)]
pub struct Gateway {
    setup: Setup,
    port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
    /// The process that took over, which is no child of ours.
    heir: Option<u32>,
    /// Processes that were replaced, and may still finish what runs.
    replaced: Vec<u32>,
}

impl Gateway {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Base URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Process id. Stops if it is not running.
    pub fn pid(&self) -> u32 {
        let child = self.child.as_ref().map(Child::id);
        self.heir.or(child).expect("the gateway runs")
    }

    /// Replaces its program while it runs (SIGUSR2) and waits until the new process serves.
    pub async fn upgrade(&mut self, within: Duration) {
        self.signal("USR2");
        self.taken_over(within).await;
    }

    /// Waits until another process serves in its place.
    pub async fn taken_over(&mut self, within: Duration) {
        let old = self.pid();
        let data_dir = self.data_dir();
        let serves = || serving(&data_dir).filter(|pid| *pid != old);
        let new = eventually(within, "a process that takes over", serves).await;
        self.replaced.push(old);
        self.heir = Some(new);
    }

    /// Waits until every process that was replaced has ended.
    pub async fn replaced_gone(&mut self, within: Duration) {
        for pid in std::mem::take(&mut self.replaced) {
            let child = self.child.take_if(|child| child.id() == pid);
            match child {
                Some(mut child) => {
                    let waited = || child.try_wait().expect("a child can be waited for");
                    let status = eventually(within, "a replaced child's exit", waited).await;
                    assert!(status.success(), "{status:?}");
                }
                None => eventually(within, "a replaced process's exit", || gone(pid)).await,
            }
        }
    }

    /// The directory given as `--data-dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// Replaces the configuration file at once (rename), as editors and Kubernetes do.
    pub fn write_config(&self, yaml: &str) {
        let fresh = self.dir.path().join("config.yaml.new");
        std::fs::write(&fresh, yaml).expect("a writable directory");
        std::fs::rename(&fresh, self.config_path()).expect("a writable directory");
    }

    /// Everything it wrote to standard output and error, over all starts.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("gateway.log")
    }

    fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("a writable directory");
        let errors = log.try_clone().expect("a file can be cloned");
        let mut command = Command::new(&self.setup.binary);
        command.arg("serve").arg("--config").arg(self.config_path());
        command
            .arg("--host")
            .arg("127.0.0.1")
            .arg("--port")
            .arg(self.port.to_string());
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(&self.setup.arguments);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // No balancer stands before it; a test of leaving sets its own.
        command.env("MERIDIAN_DRAIN_DELAY_S", "0");
        command.envs(self.setup.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().expect("the gateway's binary starts"));
    }

    /// Starts it (again) on the same directory and port, and waits until it is ready.
    pub async fn start(&mut self) {
        let runs = self.child.is_some() || self.heir.is_some();
        assert!(!runs, "the gateway runs already");
        self.spawn();
        let started = Instant::now();
        while !self.is_ready().await {
            let exited = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            let waited = started.elapsed();
            assert!(
                exited.is_none() && waited < READY_WITHIN,
                "the gateway is not ready after {waited:?} (exit: {exited:?}); its log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether `GET /health/readiness` is 200.
    pub async fn is_ready(&self) -> bool {
        let Ok(mut conn) = self.try_open().await else {
            return false;
        };
        let request = Request::get("/health/readiness").field("connection", "close");
        if conn.send(&request.bytes()).await.is_err() {
            return false;
        }
        conn.head().await.is_ok_and(|head| head.status == 200)
    }

    async fn try_open(&self) -> std::io::Result<Conn> {
        let conn = Conn::try_open(self.addr()).await?;
        match &self.setup.ca_pem {
            Some(ca_pem) => Ok(Conn::open_tls(self.addr(), ca_pem).await),
            None => Ok(conn),
        }
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> ExitStatus {
        if self.heir.is_some() {
            self.signal("KILL");
            return self.exited(SOON).await;
        }
        self.child
            .as_mut()
            .expect("the gateway runs")
            .kill()
            .expect("a child can be killed");
        self.exited(SOON).await
    }

    /// Sends a signal by name, e.g. `TERM` or `HUP`.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`: minimal systems have no program of that name.
        let kill = format!("kill -s {name} {}", self.pid());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "{kill} failed");
    }

    /// Stops it gracefully (SIGTERM) and waits until it is gone.
    pub async fn stop(&mut self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        self.exited(within).await
    }

    /// Waits until the process is gone.
    pub async fn exited(&mut self, within: Duration) -> ExitStatus {
        if let Some(heir) = self.heir.take() {
            // Nobody tells us how it ended: it is no child of ours.
            eventually(within, "the gateway's exit", || gone(heir)).await;
            return ExitStatus::default();
        }
        let mut child = self.child.take().expect("the gateway runs");
        let status = eventually(within, "the gateway's exit", || {
            child.try_wait().expect("a child can be waited for")
        });
        status.await
    }

    /// Resident memory in KiB, from /proc.
    pub fn rss_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().next());
        figure
            .and_then(|figure| figure.parse().ok())
            .expect("VmRSS in /proc")
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, request: &Request) -> Response {
        request.send(self.addr()).await
    }

    /// Sends a management request with the master key.
    pub async fn admin(&self, method: &str, target: &str, body: &Value) -> Response {
        let mut request = Request::new(method, target).bearer(MASTER_KEY);
        if !body.is_null() {
            request = request.field("content-type", "application/json");
            request.body = body.to_string().into_bytes();
        }
        let mut conn = Conn::open(self.addr()).await;
        conn.patience = MANAGED_WITHIN;
        conn.exchange(&request).await
    }

    /// Asks for a report with the master key. One that is refused for its time, as all are that
    /// take more than a second, is asked for again: the machine of a test may be busy.
    pub async fn report(&self, target: &str) -> Response {
        let began = now();
        loop {
            let answer = self.admin("GET", target, &Value::Null).await;
            let late = answer.status() == 503 && answer.text().contains("This report takes too");
            if !late || began.elapsed() > MANAGED_WITHIN {
                return answer;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Sum of a metric's samples whose labels hold `having`; 0 where there is none.
    pub async fn metric(&self, name: &str, having: &str) -> f64 {
        let page = self.admin("GET", "/metrics/", &Value::Null).await.text();
        let samples = page.lines().filter_map(|line| line.strip_prefix(name));
        let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
        let samples = samples.filter(|rest| rest.contains(having));
        let value = |rest: &str| rest.rsplit(' ').next()?.parse::<f64>().ok();
        samples.filter_map(value).sum()
    }

    /// Makes a team of which nothing but its id is known.
    pub async fn team(&self, id: &str) {
        let fields = serde_json::json!({"team_id": id});
        let answer = self.admin("POST", "/team/new", &fields).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    /// Makes a virtual key with these fields and returns it. Stops on any other answer.
    pub async fn key(&self, fields: &Value) -> String {
        let answer = self.admin("POST", "/key/generate", fields).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let key = answer.json()["key"].as_str().map(str::to_owned);
        key.expect("an answer with a key")
    }
}

/// The process that serves from a data directory: it holds a lock and does not leave.
fn serving(data_dir: &Path) -> Option<u32> {
    let later = std::fs::read_dir(data_dir).ok()?.flatten();
    let later = later.filter(|entry| entry.file_name().to_string_lossy().starts_with("life-"));
    let homes = later.map(|entry| entry.path()).chain([data_dir.to_owned()]);
    let pid = |home: PathBuf| -> Option<u32> {
        let text = std::fs::read_to_string(home.join("lock")).ok()?;
        text.trim().parse().ok()
    };
    let mut alive = homes.filter_map(pid).filter(|pid| gone(*pid).is_none());
    let first = alive.next()?;
    // While both hold a lock and the old one has not said that it leaves, nobody has taken over.
    // The new one's number is also where it took what a dead one had left.
    alive.all(|pid| pid == first).then_some(first)
}

/// `Some` when a process has ended, whether or not somebody waited for it.
fn gone(pid: u32) -> Option<()> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default();
    (state.is_empty() || state.trim_start().starts_with('Z')).then_some(())
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for pid in self.replaced.drain(..).chain(self.heir.take()) {
            let kill = format!("kill -s KILL {pid}");
            // It may be gone already.
            let _ = Command::new("sh")
                .args(["-c", &kill])
                .stderr(Stdio::null())
                .status();
        }
        if let Some(child) = &mut self.child {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = self.log();
                let tail = log.len().saturating_sub(8000);
                let tail = (tail..log.len()).find(|&at| log.is_char_boundary(at));
                eprintln!(
                    "--- end of the gateway's log\n{}",
                    &log[tail.unwrap_or(0)..]
                );
            }
        }
    }
}
