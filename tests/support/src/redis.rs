//! A real Redis: `redis-server` from the path, started, paused and killed by its process id.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::raw::free_port;

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Server,
    Sentinel,
}

/// A server with its own port and directory. It keeps nothing on disk. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    kind: Kind,
    port: u16,
    password: Option<String>,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Redis {
    /// A running server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A running server with more of its arguments, such as `--maxclients 5`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::stopped();
        redis.arguments = arguments.iter().map(ToString::to_string).collect();
        redis.run();
        redis
    }

    /// A running server with a password.
    pub fn with_password(password: &str) -> Self {
        let mut redis = Self::stopped();
        redis.password = Some(password.to_owned());
        redis.arguments = vec!["--requirepass".to_owned(), password.to_owned()];
        redis.run();
        redis
    }

    /// A cluster of one node.
    pub fn cluster() -> Self {
        // The default, the port and 10,000, may be a port that a connection got by chance.
        let bus = free_port().to_string();
        let redis = Self::start_with(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-announce-ip",
            "127.0.0.1",
        ]);
        redis.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        let started = Instant::now();
        while !redis.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
            assert!(started.elapsed() < READY_WITHIN, "the cluster is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }

    /// A Sentinel that watches `master` under a name.
    pub fn sentinel(name: &str, master: &Self) -> Self {
        let mut redis = Self::stopped();
        redis.kind = Kind::Sentinel;
        let (host, port) = (master.addr().ip(), master.port);
        let config = format!("sentinel monitor {name} {host} {port} 1\n");
        std::fs::write(redis.config(), config).expect("a writable directory");
        redis.run();
        redis
    }

    /// A server that is not started yet; its port is free.
    pub fn stopped() -> Self {
        Self {
            kind: Kind::Server,
            port: free_port(),
            password: None,
            arguments: Vec::new(),
            dir: tempfile::tempdir().expect("a temporary directory"),
            child: None,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its URL, without a login.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Starts it (again) on the same port and waits until it answers.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "Redis runs already");
        let mut command = Command::new("redis-server");
        if self.kind == Kind::Sentinel {
            command.arg(self.config()).arg("--sentinel");
        }
        let port = self.port.to_string();
        command
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(self.dir.path());
        if !self.arguments.iter().any(|one| one == "--tls-port") {
            command.args(["--port", &port]);
        }
        if self.kind == Kind::Server {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn();
        self.child = Some(child.expect("redis-server is installed: scripts/setup.sh test"));
        let started = Instant::now();
        while TcpStream::connect(self.addr()).is_err() {
            assert!(started.elapsed() < READY_WITHIN, "Redis does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A server that speaks TLS alone, with a certificate and key in PEM.
    pub fn tls(cert_pem: &str, key_pem: &str) -> Self {
        let mut redis = Self::stopped();
        let write = |name: &str, text: &str| {
            let path = redis.dir.path().join(name);
            std::fs::write(&path, text).expect("a writable directory");
            path.display().to_string()
        };
        let (cert, key) = (write("cert.pem", cert_pem), write("key.pem", key_pem));
        let port = redis.port.to_string();
        let arguments = [
            "--tls-port",
            &port,
            "--port",
            "0",
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
        ];
        redis.arguments = arguments.map(str::to_owned).to_vec();
        redis.run();
        redis
    }

    /// Kills it at once, with all that it holds.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("Redis runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// Fails over to a replica that was so far behind: what was written in the last `lost` before
    /// this returns is gone, and so are all connections. Returns after that time.
    pub fn fail_over(&mut self, lost: Duration) {
        self.ask(&["SAVE"]);
        std::thread::sleep(lost);
        self.kill();
        self.run();
        let loaded = Instant::now();
        while self.ask(&["PING"]) != "PONG" {
            assert!(loaded.elapsed() < READY_WITHIN, "Redis does not load");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Otherwise the next start would remember it too.
        let _ = std::fs::remove_file(self.dir.path().join("dump.rdb"));
    }

    /// Stops its process without closing anything: what a black hole looks like.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("Redis runs").id();
        // The shell's own `kill`: minimal systems have no program of that name.
        let kill = format!("kill -s {name} {pid}");
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "{kill} failed");
    }

    fn config(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("redis.conf")
    }

    /// Sends one command on a connection of its own and returns the answer, lists one item a line.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(self.addr()).expect("Redis listens");
        let limit = Some(ANSWER_WITHIN);
        stream.set_read_timeout(limit).expect("a socket");
        let mut answers = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        let mut send = |words: &[&str]| {
            let mut bytes = format!("*{}\r\n", words.len());
            for word in words {
                bytes += &format!("${}\r\n{word}\r\n", word.len());
            }
            stream.write_all(bytes.as_bytes()).expect("Redis reads");
            answer(&mut answers)
        };
        if let Some(password) = &self.password {
            send(&["AUTH", password]);
        }
        send(words)
    }
}

/// Reads one answer, errors with their `-`.
fn answer(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("Redis answers");
    let line = line.trim_end().to_owned();
    let rest = line.get(1..).unwrap_or_default();
    match line.chars().next() {
        Some('$') if rest != "-1" => {
            let length: usize = rest.parse().expect("a length");
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes).expect("Redis answers");
            bytes.truncate(length);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Some('*') => {
            let count: usize = rest.parse().unwrap_or(0);
            let items: Vec<String> = (0..count).map(|_| answer(from)).collect();
            items.join("\n")
        }
        Some('+' | ':') => rest.to_owned(),
        Some('$') => String::new(),
        _ => line,
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
