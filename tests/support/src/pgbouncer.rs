//! A real PgBouncer in transaction mode before a Postgres of the tests.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::postgres::{self, Postgres, as_system_user, on_a_lasting_thread, own};
use crate::raw::free_port;

/// How long it may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A pooler that gives a server's connection to a client for one transaction. Dropping it kills it.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    child: Child,
    _dir: tempfile::TempDir,
}

/// The pooler before the server that all tests of a process share. It ends with the process.
pub fn shared() -> &'static PgBouncer {
    static SHARED: OnceLock<PgBouncer> = OnceLock::new();
    SHARED.get_or_init(|| {
        on_a_lasting_thread(|| {
            let program = postgres::tied_to_this_thread(&program());
            PgBouncer::run(program, postgres::shared(), 4)
        })
    })
}

impl PgBouncer {
    /// A running pooler with `pool` connections to the server for each database.
    pub fn start(postgres: &Postgres, pool: usize) -> Self {
        Self::run(as_system_user(&program()), postgres, pool)
    }

    fn run(mut command: Command, postgres: &Postgres, pool: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let (server, folder) = (postgres.addr(), dir.path().display());
        let config = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {folder}/users\npool_mode = transaction\ndefault_pool_size = {pool}\n\
             max_client_conn = 500\nquery_wait_timeout = 10\n",
            server.ip(),
            server.port(),
        );
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("a writable directory");
        };
        write("pgbouncer.ini", &config);
        write("users", "\"postgres\" \"\"\n");
        own(dir.path());
        command.arg("-q").arg(dir.path().join("pgbouncer.ini"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        let bouncer = Self {
            port,
            child: child.expect("pgbouncer is installed: scripts/setup.sh test"),
            _dir: dir,
        };
        let started = Instant::now();
        while TcpStream::connect(bouncer.addr()).is_err() {
            assert!(
                started.elapsed() < READY_WITHIN,
                "PgBouncer does not listen"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        bouncer
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@{}/{database}", self.addr())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian puts it where only root's path leads.
fn program() -> std::path::PathBuf {
    let of_root = Path::new("/usr/sbin/pgbouncer");
    match of_root.exists() {
        true => of_root.to_owned(),
        false => "pgbouncer".into(),
    }
}
