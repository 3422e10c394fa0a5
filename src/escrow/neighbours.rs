//! Node to node, when the region's Redis is gone, there is none, or some are not heard through it:
//! frames as HTTP requests to the addresses that nodes leave in the region's Postgres, which is
//! asked for them beside the traffic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::journal::Journal;
use crate::store::{Neighbour, Store};

/// Path that frames are posted to.
const PATH: &str = "/meridian/rights";
/// Between two greetings.
const GREET: Duration = Duration::from_secs(3);
/// The same when a node is heard that is not known yet.
const GREET_ANEW: Duration = Duration::from_millis(200);
/// Longest wait for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest exchange with one node.
const POST_TIMEOUT: Duration = Duration::from_millis(500);
/// Frames that wait for one node; more are lost, and said again by the protocol.
const UNSENT_MAX: usize = 16;

/// Knows the other nodes of the region, and posts frames to them.
pub struct Neighbours {
    store: Store,
    journal: Arc<Journal>,
    /// Where others reach this node.
    address: Option<String>,
    frames: mpsc::Receiver<Arc<str>>,
    addresses: BTreeSet<String>,
    count: Arc<AtomicUsize>,
    numbers: Arc<ArcSwap<Vec<u16>>>,
    stranger: Arc<Notify>,
}

/// The sender's end.
#[derive(Clone, Debug)]
pub struct NeighboursEnd {
    frames: mpsc::Sender<Arc<str>>,
    count: Arc<AtomicUsize>,
    numbers: Arc<ArcSwap<Vec<u16>>>,
    stranger: Arc<Notify>,
}

impl NeighboursEnd {
    /// Posts a frame to every node of the region; too many at once are lost.
    pub fn send(&self, frame: &str) {
        let _ = self.frames.try_send(Arc::from(frame));
    }

    /// How many other nodes of the region there are, as far as Postgres said lately.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Numbers of the other nodes of the region, as far as Postgres said lately.
    pub(super) fn numbers(&self) -> Arc<Vec<u16>> {
        self.numbers.load_full()
    }

    /// Somebody was heard who is not among them: the store is to be asked again.
    pub fn ask(&self) {
        self.stranger.notify_one();
    }
}

impl Neighbours {
    /// Both ends.
    pub fn new(
        store: Store,
        journal: Arc<Journal>,
        address: Option<String>,
    ) -> (NeighboursEnd, Self) {
        let (sender, received) = mpsc::channel(UNSENT_MAX);
        let count = Arc::new(AtomicUsize::new(0));
        let numbers = Arc::new(ArcSwap::default());
        let stranger = Arc::new(Notify::new());
        let neighbours = Self {
            store,
            journal,
            address,
            frames: received,
            addresses: BTreeSet::new(),
            count: Arc::clone(&count),
            numbers: Arc::clone(&numbers),
            stranger: Arc::clone(&stranger),
        };
        let end = NeighboursEnd {
            frames: sender,
            count,
            numbers,
            stranger,
        };
        (end, neighbours)
    }

    /// Runs until nobody sends any more: the last words are sent after everything else.
    pub async fn run(mut self) {
        let mut number = None;
        let mut greeted = clock::mono();
        let mut turns = interval(GREET);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = self.frames.recv() => match frame {
                    Some(frame) => self.post(frame).await,
                    None => return,
                },
                _ = turns.tick() => {
                    self.greet(&mut number).await;
                    greeted = clock::mono();
                }
                () = self.stranger.notified() => {
                    let since = clock::mono().saturating_duration_since(greeted);
                    if since >= GREET_ANEW {
                        turns.reset_immediately();
                    }
                }
            }
        }
    }

    /// Says where this node is, and learns where the others are. Without the store the last
    /// answer holds.
    async fn greet(&mut self, number: &mut Option<u16>) {
        let work = async {
            let known = match *number {
                Some(number) => number,
                None => self.store.node_number(self.journal.id()).await?,
            };
            *number = Some(known);
            self.store.greet(known, self.address.as_deref()).await
        };
        match tokio::time::timeout(STORE_TIMEOUT, Box::pin(work)).await {
            Ok(Ok(others)) => self.know(others),
            Ok(Err(error)) => tracing::debug!(%error, "other nodes are not asked for"),
            Err(_) => tracing::debug!("other nodes are not asked for: the store is slow"),
        }
    }

    fn know(&mut self, others: Vec<Neighbour>) {
        let numbers = others.iter().map(|other| other.number).collect();
        self.numbers.store(Arc::new(numbers));
        self.addresses = others.into_iter().map(|other| other.address).collect();
        self.count.store(self.addresses.len(), Ordering::Relaxed);
    }

    /// To all nodes at once; one that does not answer keeps nobody waiting for long.
    async fn post(&mut self, frame: Arc<str>) {
        let posts = self.addresses.iter().map(|address| {
            let frame = Arc::clone(&frame);
            async move {
                let sent = tokio::time::timeout(POST_TIMEOUT, exchange(address, &frame)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    tracing::debug!(%address, "a node does not take what it is told");
                }
            }
        });
        futures::future::join_all(posts).await;
    }
}

/// One request. The frame is signed: nothing else tells who sends it.
async fn exchange(address: &str, frame: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let length = frame.len();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(frame.as_bytes()).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    match &status[9..10] {
        b"2" => Ok(()),
        _ => Err(std::io::Error::other("the node refuses")),
    }
}
