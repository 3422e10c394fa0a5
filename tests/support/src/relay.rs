//! A TCP relay before a Postgres that cuts, refuses and swallows at will: what networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A simple query that commits, as a client sends it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// One in so many commits is cut: in turn before it reaches the server, and after, so that its
    /// answer is lost.
    CutCommits(u64),
    /// Connections are closed and refused.
    Down,
    /// Connections stay, and nothing passes.
    Hole,
}

/// A running relay. Dropping it closes everything.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    cuts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to an address, in the runtime of the caller.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (mode, seen) = watch::channel(Mode::Pass);
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        let task = tokio::spawn(async move {
            let commits = Arc::new(AtomicU64::new(0));
            while let Ok((client, _)) = listener.accept().await {
                let line = Line {
                    mode: seen.clone(),
                    commits: Arc::clone(&commits),
                    cuts: Arc::clone(&counted),
                    loses_answer: Arc::default(),
                };
                tokio::spawn(line.run(client, target));
            }
        });
        Self {
            addr,
            mode,
            cuts,
            task,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What happens from now on.
    pub fn set(&self, mode: Mode) {
        // Nobody listens when there never was a connection.
        let _ = self.mode.send(mode);
    }

    /// Commits that were cut so far.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        let _ = self.mode.send(Mode::Down);
    }
}

/// One connection.
#[derive(Clone)]
struct Line {
    mode: watch::Receiver<Mode>,
    commits: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
    loses_answer: Arc<AtomicBool>,
}

impl Line {
    async fn run(self, client: TcpStream, target: SocketAddr) {
        if *self.mode.borrow() == Mode::Down {
            return;
        }
        let Ok(server) = TcpStream::connect(target).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut down = self.mode.clone();
        // Whoever ends first ends both directions.
        tokio::select! {
            () = self.clone().copy(from_client, to_server, true) => {}
            () = self.clone().copy(from_server, to_client, false) => {}
            _ = down.wait_for(|mode| *mode == Mode::Down) => {}
        }
    }

    async fn copy(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asks: bool) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else {
                return;
            };
            let bytes = &buffer[..length];
            if self
                .mode
                .wait_for(|mode| *mode != Mode::Hole)
                .await
                .is_err()
            {
                return;
            }
            let cut = match asks {
                true => self.cuts(bytes),
                false => self.loses_answer.load(Ordering::Relaxed),
            };
            if cut || to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    /// Whether what a client sends is cut here; a commit whose answer is to be lost passes.
    fn cuts(&self, bytes: &[u8]) -> bool {
        let Mode::CutCommits(one_in) = *self.mode.borrow() else {
            return false;
        };
        if !bytes.windows(COMMIT.len()).any(|window| window == COMMIT) {
            return false;
        }
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        if !number.is_multiple_of(one_in) {
            return false;
        }
        let cut = self.cuts.fetch_add(1, Ordering::Relaxed);
        let before = cut.is_multiple_of(2);
        self.loses_answer.store(!before, Ordering::Relaxed);
        before
    }
}
