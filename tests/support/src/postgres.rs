//! A real Postgres: `postgres` and `initdb` of the system, started, paused, killed by process id.
//!
//! Postgres refuses to run as root: then it runs as the user `postgres` of the system's package.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::raw::free_port;

/// Begin of the name of a shared server's directory; the process's id follows.
const SHARED_DIR: &str = "meridian-postgres-shared-";
/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Settings of a server that need not survive the machine.
const FAST: [&str; 3] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];
/// Who runs it when the tests run as root.
const SYSTEM_USER: &str = "postgres";
/// The database's own administrator.
const ADMIN: &str = "postgres";

/// A server with its own port and directory. Dropping it kills it.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    shared: bool,
}

/// The server that all tests of a process share: a database of its own is enough for most of them.
/// It ends with the process.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| on_a_lasting_thread(Postgres::start_shared))
}

/// Runs something on a thread that lives as long as the process: a child that is told to end with
/// its parent ends with the thread that started it.
pub(crate) fn on_a_lasting_thread<T: Send + 'static>(start: fn() -> T) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(start());
        loop {
            std::thread::park();
        }
    });
    receiver.recv().expect("it started")
}

impl Postgres {
    /// A running server that does not wait for its disk.
    pub fn start() -> Self {
        Self::start_with(&FAST)
    }

    /// A running server with settings of its own, such as `max_connections=5`.
    pub fn start_with(settings: &[&str]) -> Self {
        let mut postgres = Self::stopped();
        postgres.arguments = settings.iter().map(ToString::to_string).collect();
        postgres.run();
        postgres
    }

    /// A running server that speaks TLS too, with a certificate and key in PEM.
    pub fn tls(cert_pem: &str, key_pem: &str) -> Self {
        let mut postgres = Self::stopped();
        postgres.arguments = FAST.map(str::to_owned).to_vec();
        postgres.arguments.push("ssl=on".to_owned());
        let files = [
            ("ssl_cert_file", "cert.pem", cert_pem),
            ("ssl_key_file", "key.pem", key_pem),
        ];
        for (setting, name, text) in files {
            let path = postgres.dir.join(name);
            std::fs::write(&path, text).expect("a writable directory");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, private).expect("a file of ours");
            own(&path);
            let setting = format!("{setting}={}", path.display());
            postgres.arguments.push(setting);
        }
        postgres.run();
        postgres
    }

    fn start_shared() -> Self {
        clear_shared();
        let mut postgres = Self::in_dir(shared_dir(std::process::id()));
        postgres.arguments = FAST.map(str::to_owned).to_vec();
        postgres.shared = true;
        postgres.run();
        postgres
    }

    /// A server that is not started yet; its port is free.
    pub fn stopped() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::in_dir(dir.keep())
    }

    fn in_dir(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).expect("a writable directory");
        let cluster = dir.join("cluster");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(template())
            .arg(&cluster)
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the template is not copied"
        );
        own(&dir);
        Self {
            port: free_port(),
            dir,
            arguments: Vec::new(),
            child: None,
            shared: false,
        }
    }

    /// A streaming replica of this server, on a port of its own. It follows while both run.
    pub fn standby(&self) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        own(&dir);
        let copied = as_system_user(&program("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", ADMIN])
            .args(["-c", "fast", "-X", "stream", "-R", "-D"])
            .arg(dir.join("cluster"))
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the server is not copied"
        );
        let mut standby = Self {
            port: free_port(),
            dir,
            arguments: self.arguments.clone(),
            child: None,
            shared: false,
        };
        standby.run();
        standby
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{ADMIN}@{}/{database}", self.addr())
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self, name: &str) -> String {
        self.ask("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Makes an empty database that nobody else uses and gives its name.
    pub fn fresh(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.database(&name);
        name
    }

    /// Starts it (again) on the same port and waits until it answers.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "Postgres runs already");
        let mut command = match self.shared {
            true => tied_to_this_thread(&program("postgres")),
            false => as_system_user(&program("postgres")),
        };
        command.arg("-D").arg(self.dir.join("cluster"));
        command.arg("-k").arg(&self.dir);
        let port = format!("port={}", self.port);
        let settings = ["listen_addresses=127.0.0.1", &port, "max_connections=100"];
        for setting in settings {
            command.args(["-c", setting]);
        }
        for setting in &self.arguments {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a writable directory");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().expect("scripts/setup.sh test was run"));
        let started = Instant::now();
        while self.try_ask("postgres", "SELECT 1").is_err() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(
                started.elapsed() < READY_WITHIN,
                "Postgres does not answer:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs SQL on a connection of its own; one line per row, columns with `|` between them.
    pub fn ask(&self, database: &str, sql: &str) -> String {
        let asked = self.try_ask(database, sql);
        asked.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As `ask`, with what Postgres said against it.
    pub fn try_ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", ADMIN])
            .args([
                "-X",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database,
                "-c",
                sql,
            ])
            .env("PGOPTIONS", "-c default_transaction_read_only=off")
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .expect("psql is installed: scripts/setup.sh test");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Whether transactions may write from now on.
    pub fn set_read_only(&self, read_only: bool) {
        let word = if read_only { "on" } else { "off" };
        let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {word}");
        self.ask("postgres", &sql);
        self.ask("postgres", "SELECT pg_reload_conf()");
    }

    /// Kills it with everything that it was doing.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("Postgres runs");
        let workers = children(child.id());
        child.kill().expect("a child can be killed");
        for worker in workers {
            signal(worker, "KILL");
        }
        child.wait().expect("a child can be waited for");
        // Left behind by the dead: the next start would wait for it.
        let pid_file = self.dir.join("cluster/postmaster.pid");
        let _ = std::fs::remove_file(pid_file);
    }

    /// Stops all its processes without closing anything: what a black hole looks like.
    pub fn pause(&self) {
        let pid = self.pid();
        signal(pid, "STOP");
        for worker in children(pid) {
            signal(worker, "STOP");
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let pid = self.pid();
        for worker in children(pid) {
            signal(worker, "CONT");
        }
        signal(pid, "CONT");
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("Postgres runs").id()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where the shared server of a process has its files.
fn shared_dir(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{SHARED_DIR}{pid}"))
}

/// Removes what processes that have ended left behind.
fn clear_shared() {
    let entries = std::fs::read_dir(std::env::temp_dir());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(SHARED_DIR);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A program of Postgres: from the path, or from where Debian puts the newest version.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut folders: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let of_debian = folders
        .into_iter()
        .rev()
        .map(|folder| folder.join("bin").join(name));
    let found = in_path.chain(of_debian).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: scripts/setup.sh test"))
}

/// A directory as `initdb` makes it, made once per machine.
fn template() -> PathBuf {
    let made_by = Command::new(program("postgres")).arg("--version").output();
    let version = made_by.expect("postgres runs").stdout;
    let digits: String = String::from_utf8_lossy(&version)
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let root = is_root();
    let name = format!(
        "meridian-postgres-{digits}-{}",
        if root { "root" } else { "user" }
    );
    let finished = std::env::temp_dir().join(name);
    if finished.exists() {
        return finished;
    }
    let fresh = tempfile::tempdir().expect("a temporary directory");
    own(fresh.path());
    let cluster = fresh.path().join("cluster");
    let made = as_system_user(&program("initdb"))
        .args([
            "-A",
            "trust",
            "-U",
            ADMIN,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ])
        .arg(&cluster)
        .stdout(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "initdb failed");
    // Another process may have been faster; then its directory is used.
    let _ = std::fs::rename(&cluster, &finished);
    finished
}

/// The user that this process runs as is root.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout == b"0\n")
}

/// A command as the user that Postgres's programs agree to run as.
pub(crate) fn as_system_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(user_arguments()).arg(program);
    command
}

/// The same for a child that ends with the thread that started it.
pub(crate) fn tied_to_this_thread(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(user_arguments());
    }
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

fn user_arguments() -> [String; 3] {
    let (user, group) = (
        format!("--reuid={SYSTEM_USER}"),
        format!("--regid={SYSTEM_USER}"),
    );
    [user, group, "--clear-groups".to_owned()]
}

/// Gives a directory to that user.
pub(crate) fn own(dir: &Path) {
    if is_root() {
        let owner = format!("{SYSTEM_USER}:{SYSTEM_USER}");
        let given = Command::new("chown").arg(owner).arg(dir).status();
        assert!(given.is_ok_and(|status| status.success()), "chown failed");
    }
}

/// Processes that a process has started and that still run.
fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // Behind the name in parentheses: state, parent.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let of_parent = fields.split_whitespace().nth(1) == Some(&parent.to_string());
        let pid = entry.file_name().to_string_lossy().parse::<u32>();
        found.extend(pid.ok().filter(|_| of_parent));
    }
    found
}

/// A worker may have ended by itself meanwhile: failing is fine.
pub(crate) fn signal(pid: u32, name: &str) {
    let kill = format!("kill -s {name} {pid}");
    let _ = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
}
