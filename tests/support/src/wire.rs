//! A TCP relay between a client and a server: it takes time, stalls, swallows or is cut, and counts
//! what passes. What a link between two regions does, and what a wire inside one does when it
//! breaks.

mod commands;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::raw::zero_linger;
use commands::Commands;

/// Reads that may be on their way in one direction of a connection.
const IN_FLIGHT_MAX: usize = 1024;
/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Passes everything on.
    Whole,
    /// Is cut: connections are reset, new ones too.
    Cut,
    /// Keeps everything back until it is whole again, as TCP does when packets are lost for a
    /// while.
    Stalled,
    /// Swallows everything and tells nobody. A connection that lost something is reset when the
    /// wire is whole again, because its peers could not go on.
    BlackHole,
}

/// What passed since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections taken.
    pub connections: u64,
    /// Bytes from clients to the server.
    pub bytes_up: u64,
    /// Bytes from the server to clients.
    pub bytes_down: u64,
    /// Commands from clients by name, where they speak Redis' protocol.
    pub commands: BTreeMap<String, u64>,
}

impl Traffic {
    /// Commands that carry something: none of those that only keep a connection.
    pub fn frames(&self) -> u64 {
        const KEEPING: [&str; 6] = ["PING", "HELLO", "AUTH", "CLIENT", "INFO", "SELECT"];
        let carries = |name: &&String| !KEEPING.contains(&name.as_str());
        let names = self.commands.keys().filter(carries);
        names.map(|name| self.commands[name]).sum()
    }
}

/// The wire. Dropping it cuts it.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    wire: watch::Sender<Wire>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<SocketAddr>,
    /// One way, in microseconds.
    delay_us: AtomicU64,
    traffic: Mutex<Traffic>,
}

impl Shared {
    fn count(&self, count: impl FnOnce(&mut Traffic)) {
        count(&mut self.traffic.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn server(&self) -> SocketAddr {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Relaxed))
    }
}

impl Relay {
    /// A wire to a server that takes no time, in the runtime of the caller.
    pub async fn to(server: SocketAddr) -> Self {
        Self::with_round_trip(server, Duration::ZERO).await
    }

    /// A wire to a server whose bytes are half of this time on their way, in each direction.
    pub async fn with_round_trip(server: SocketAddr, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (wire, state) = watch::channel(Wire::Whole);
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            delay_us: AtomicU64::new(0),
            traffic: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepting.count(|traffic| traffic.connections += 1);
                let line = Line {
                    state: state.clone(),
                    shared: Arc::clone(&accepting),
                    lost: Arc::default(),
                };
                tokio::spawn(line.run(client));
            }
        });
        let relay = Self {
            addr,
            wire,
            shared,
            task,
        };
        relay.take(round_trip);
        relay
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it does from now on.
    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// How long a question and its answer are on their way together, from the next bytes on.
    pub fn take(&self, round_trip: Duration) {
        let half = round_trip.as_micros() as u64 / 2;
        self.shared.delay_us.store(half, Relaxed);
    }

    /// Where new connections go from now on; open ones stay where they are.
    pub fn retarget(&self, server: SocketAddr) {
        let held = self.shared.server.lock();
        *held.unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// What has passed.
    pub fn traffic(&self) -> Traffic {
        let traffic = self.shared.traffic.lock();
        traffic.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.wire.send_replace(Wire::Cut);
    }
}

/// One connection.
#[derive(Clone)]
struct Line {
    state: watch::Receiver<Wire>,
    shared: Arc<Shared>,
    /// Something was swallowed.
    lost: Arc<AtomicBool>,
}

impl Line {
    async fn run(mut self, mut client: TcpStream) {
        let passes = |wire: &Wire| matches!(wire, Wire::Whole | Wire::Cut);
        // While nothing passes, the client is connected and hears nothing.
        match self.state.wait_for(passes).await {
            Ok(wire) if *wire == Wire::Whole => {}
            _ => return zero_linger(&client),
        }
        let server = TcpStream::connect(self.shared.server());
        let Ok(server) = tokio::time::timeout(Duration::from_secs(5), server).await else {
            return;
        };
        let Ok(mut server) = server else { return };
        for side in [&client, &server] {
            // Fails only on a socket that is gone already.
            let _ = side.set_nodelay(true);
        }
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (up, down) = (self.clone(), self.clone());
        let broken = tokio::select! {
            () = up.carry(from_client, to_server, true) => false,
            () = down.carry(from_server, to_client, false) => false,
            () = self.broken() => true,
        };
        if broken {
            // A reset is what both sides see.
            zero_linger(&client);
            zero_linger(&server);
        }
    }

    /// Returns when the connection cannot go on: cut, or whole again after something was lost.
    async fn broken(mut self) {
        loop {
            let wire = *self.state.borrow_and_update();
            let lost = self.lost.load(Relaxed);
            if wire == Wire::Cut || wire == Wire::Whole && lost {
                return;
            }
            if self.state.changed().await.is_err() {
                return;
            }
        }
    }

    /// One direction, until its reader has ended and all is delivered.
    async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>, up: bool) {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
        tokio::join!(
            self.clone().read(from, sender, up),
            self.deliver(to, receiver)
        );
    }

    async fn read(self, mut from: ReadHalf<'_>, to: mpsc::Sender<Sent>, up: bool) {
        let mut commands = Commands::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..length];
            self.shared.count(|traffic| match up {
                true => {
                    traffic.bytes_up += length as u64;
                    commands.read(bytes, &mut traffic.commands);
                }
                false => traffic.bytes_down += length as u64,
            });
            let due = Instant::now() + self.shared.delay();
            if to.send((due, bytes.to_vec())).await.is_err() {
                return;
            }
        }
    }

    async fn deliver(mut self, mut to: WriteHalf<'_>, mut from: mpsc::Receiver<Sent>) {
        while let Some((due, bytes)) = from.recv().await {
            tokio::time::sleep_until(due).await;
            let moves = |wire: &Wire| *wire != Wire::Stalled;
            let swallowed = match self.state.wait_for(moves).await {
                Ok(wire) => *wire == Wire::BlackHole,
                Err(_) => return,
            };
            if swallowed {
                self.lost.store(true, Relaxed);
            } else if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // That a side has ended does not pass either.
        let _ = self.state.wait_for(|wire| *wire == Wire::Whole).await;
    }
}

/// When bytes arrive, and the bytes.
type Sent = (Instant, Vec<u8>);
