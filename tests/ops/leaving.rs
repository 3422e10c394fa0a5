//! Connections of every kind when the process leaves: each is told so, none is cut, and no
//! request is lost on one.

use std::net::SocketAddr;
use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{eventually, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::h2client::{H2, H2End, H2Stream};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{BodyEnd, Conn, Head, Request, Response};
use serde_json::json;

/// A busy machine takes its time.
const WITHIN: Duration = Duration::from_secs(120);
/// Clients that ask one thing after another while the process leaves.
const CLIENTS: usize = 8;

/// How clients reach the gateway.
#[derive(Clone, Debug)]
enum Way {
    Clear,
    /// Trusting this certificate.
    Tls(String),
}

impl Way {
    async fn h1(&self, addr: SocketAddr) -> Conn {
        let mut conn = match self {
            Self::Clear => Conn::open(addr).await,
            Self::Tls(ca) => Conn::open_tls(addr, ca).await,
        };
        conn.patience = WITHIN;
        conn
    }

    async fn h2(&self, addr: SocketAddr) -> H2 {
        match self {
            Self::Clear => H2::open(addr).await,
            Self::Tls(ca) => H2::open_tls(addr, ca).await,
        }
    }
}

struct World {
    provider: Provider,
    gateway: Gateway,
    way: Way,
    _files: tempfile::TempDir,
}

impl World {
    /// A gateway that serves for so many seconds after SIGTERM, and then some more for what runs.
    async fn start(tls: bool, delay_s: u64) -> Self {
        let provider = Provider::start();
        let files = tempfile::tempdir().unwrap();
        let base = format!("{}/v1", provider.url());
        let mut config = Config::new().model("fake-*", "openai/fake-*", &base, "");
        let mut way = Way::Clear;
        if tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let (cert, key) = (files.path().join("c.pem"), files.path().join("k.pem"));
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            let paths = format!("{{cert: {}, key: {}}}", cert.display(), key.display());
            config = config.raw(&format!("meridian: {{tls: {paths}}}\n"));
            way = Way::Tls(made.cert.pem());
        }
        let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config);
        let setup = setup.env("MERIDIAN_DRAIN_DELAY_S", &delay_s.to_string());
        let setup = match &way {
            Way::Clear => setup,
            Way::Tls(ca) => setup.tls(ca),
        };
        Self {
            provider,
            gateway: setup.start().await,
            way,
            _files: files,
        }
    }

    async fn h1(&self) -> Conn {
        self.way.h1(self.gateway.addr()).await
    }

    async fn h2(&self) -> H2 {
        self.way.h2(self.gateway.addr()).await
    }

    /// Waits until the process says that it leaves.
    async fn leaves(&self) {
        let said = || self.gateway.log().contains("\"draining\"").then_some(());
        eventually(WITHIN, "a word in the log", said).await;
    }
}

fn chat(script: &str, marker: &str, stream: bool) -> Request {
    let body = json!({
        "model": format!("fake-x{script}"), "stream": stream, "user": marker,
        "messages": [{"role": "user", "content": "How do tides work?"}],
    });
    Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY)
}

fn readiness() -> Request {
    Request::get("/health/readiness")
}

/// The answer is whole, and the last one of its connection.
async fn is_last(mut conn: Conn, answer: Response, status: u16) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert_eq!(answer.end, BodyEnd::Complete);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(conn.head().await, Err(BodyEnd::CutOff));
}

/// Connections as they are when a signal comes.
struct Open {
    /// It was used, and waits for the next request.
    idle: Conn,
    /// It said nothing yet.
    silent: Conn,
    /// A head came, and a part of the body.
    half: (Conn, Vec<u8>),
    /// An answer that was begun.
    stream: (Conn, Head),
    idle_h2: H2,
    stream_h2: (H2, H2Stream),
}

impl Open {
    async fn of(world: &World) -> Self {
        let silent = world.h1().await;
        let mut half = world.h1().await;
        let mut begun = chat("", "half", false).bytes();
        let rest = begun.split_off(begun.len() - 7);
        half.send(&begun).await.unwrap();
        let mut idle = world.h1().await;
        let answer = idle.exchange(&chat("", "idle", false)).await;
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        let mut idle_h2 = world.h2().await;
        let answer = idle_h2.exchange(&chat("", "idle-h2", false)).await;
        assert_eq!(answer.status, 200);
        let long = "+tokens=60+chunk_ms=50";
        let mut stream = world.h1().await;
        let request = chat(long, "stream", true);
        stream.send(&request.bytes()).await.unwrap();
        let head = stream.head().await.unwrap();
        assert_eq!(head.header("connection"), Some("keep-alive"));
        let mut h2 = world.h2().await;
        let stream_h2 = h2.start(&chat(long, "stream-h2", true)).await;
        Self {
            idle,
            silent,
            half: (half, rest),
            stream: (stream, head),
            idle_h2,
            stream_h2: (h2, stream_h2),
        }
    }

    /// Streams run to their end, and HTTP/2 says that no more are taken on this connection.
    async fn streams_finish(stream: (Conn, Head), stream_h2: (H2, H2Stream)) -> Conn {
        let (mut conn, head) = stream;
        let answer = conn.rest_of(head).await;
        assert_eq!(answer.end, BodyEnd::Complete);
        assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
        let (mut h2, stream) = stream_h2;
        let answer = within(WITHIN, "an h2 stream", stream.response()).await;
        assert_eq!((answer.status, answer.end), (200, H2End::Complete));
        assert!(answer.body.ends_with(b"data: [DONE]\n\n"));
        within(WITHIN, "GOAWAY", h2.told_to_leave()).await;
        h2.ended(WITHIN).await;
        conn
    }

    /// Each connection gets one more answer, if its client asks for one, and `Connection: close`.
    async fn all_are_served_once_more(self) {
        let Self {
            mut idle,
            mut silent,
            half: (mut half, rest),
            stream,
            idle_h2,
            stream_h2,
        } = self;
        idle_h2.ended(WITHIN).await;
        let answer = idle.exchange(&chat("", "idle", false)).await;
        is_last(idle, answer, 200).await;
        half.send(&rest).await.unwrap();
        let answer = half.response().await;
        is_last(half, answer, 200).await;
        let answer = silent.exchange(&chat("", "silent", false)).await;
        is_last(silent, answer, 200).await;
        let mut stream = Self::streams_finish(stream, stream_h2).await;
        // Its head had said that the connection stays.
        let answer = stream.exchange(&chat("", "after", false)).await;
        is_last(stream, answer, 200).await;
    }
}

async fn told_on_sigterm(tls: bool) {
    let mut world = World::start(tls, 600).await;
    let open = Open::of(&world).await;
    world.gateway.signal("TERM");
    world.leaves().await;
    let mut conn = world.h1().await;
    let answer = conn.exchange(&readiness()).await;
    is_last(conn, answer, 503).await;
    open.all_are_served_once_more().await;
    // Whoever comes by an old route is served, and told to take another one.
    let mut conn = world.h1().await;
    let answer = conn.exchange(&chat("", "new", false)).await;
    is_last(conn, answer, 200).await;
    for _ in 0..5 {
        let mut h2 = world.h2().await;
        let answer = h2.exchange(&chat("", "new-h2", false)).await;
        assert_eq!((answer.status, answer.end), (200, H2End::Complete));
        within(WITHIN, "GOAWAY", h2.told_to_leave()).await;
        h2.ended(WITHIN).await;
    }
    world.gateway.signal("INT");
    assert!(world.gateway.exited(WITHIN).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_tells_every_connection_in_clear_and_serves_meanwhile() {
    told_on_sigterm(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_tells_every_connection_over_tls_and_serves_meanwhile() {
    told_on_sigterm(true).await;
}

async fn told_on_a_change(tls: bool) {
    let mut world = World::start(tls, 0).await;
    let open = Open::of(&world).await;
    let mut checked = world.h1().await;
    let answer = checked.exchange(&readiness()).await;
    assert_eq!(answer.status(), 200);
    world.gateway.upgrade(WITHIN).await;
    // A check that keeps its connection does not take the node out.
    let answer = checked.exchange(&readiness()).await;
    is_last(checked, answer, 200).await;
    open.all_are_served_once_more().await;
    world.gateway.replaced_gone(WITHIN).await;
    assert!(world.gateway.is_ready().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_replaced_tells_every_connection_in_clear() {
    told_on_a_change(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_replaced_tells_every_connection_over_tls() {
    told_on_a_change(true).await;
}

/// The delay is over, and something runs.
async fn closes_while_something_runs(tls: bool) {
    let mut world = World::start(tls, 0).await;
    let Open {
        mut idle,
        mut silent,
        half: (mut half, rest),
        stream,
        idle_h2,
        stream_h2,
    } = Open::of(&world).await;
    world.gateway.signal("TERM");
    world.leaves().await;
    // Nobody asks for anything here: clients find out before they do.
    assert_eq!(idle.head().await, Err(BodyEnd::CutOff));
    assert_eq!(silent.head().await, Err(BodyEnd::CutOff));
    idle_h2.ended(WITHIN).await;
    // Whoever comes now is told when to come again, and what had begun is served.
    let mut late = world.h1().await;
    let answer = late.exchange(&chat("", "late", false)).await;
    assert!(answer.header("retry-after").is_some());
    is_last(late, answer, 503).await;
    let mut late = world.h2().await;
    assert_eq!(late.exchange(&chat("", "late", false)).await.status, 503);
    late.ended(WITHIN).await;
    half.send(&rest).await.unwrap();
    let answer = half.response().await;
    is_last(half, answer, 200).await;
    let mut stream = Open::streams_finish(stream, stream_h2).await;
    assert_eq!(stream.head().await, Err(BodyEnd::CutOff));
    assert!(world.gateway.exited(WITHIN).await.success());
    assert_eq!(world.provider.attempts("late").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_request_end_while_others_finish_in_clear() {
    closes_while_something_runs(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_request_end_while_others_finish_over_tls() {
    closes_while_something_runs(true).await;
}

/// Asks until nobody listens any more; the markers of requests that got no answer.
async fn ask_on(addr: SocketAddr, number: usize) -> (usize, Vec<String>) {
    let (mut answered, mut lost) = (0, Vec::new());
    let mut kept: Option<Conn> = None;
    for count in 0.. {
        let mut conn = match kept.take() {
            Some(conn) => conn,
            None => match Conn::try_open(addr).await {
                Ok(conn) => conn,
                Err(_) => break,
            },
        };
        let marker = format!("kept-{number}-{count}");
        // Some ask at once, some think.
        tokio::time::sleep(Duration::from_millis((count % 4) * 5)).await;
        let sent = conn.send(&chat("", &marker, false).bytes()).await;
        let head = match sent {
            Ok(()) => conn.head().await,
            Err(_) => Err(BodyEnd::Reset),
        };
        let Ok(head) = head else {
            lost.push(marker);
            continue;
        };
        let answer = conn.rest_of(head).await;
        assert_eq!(answer.end, BodyEnd::Complete, "{marker}");
        assert!(matches!(answer.status(), 200 | 503), "{}", answer.text());
        answered += usize::from(answer.status() == 200);
        if answer.header("connection") != Some("close") {
            kept = Some(conn);
        }
    }
    (answered, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_meets_a_closing_connection_was_not_served_and_may_be_sent_again() {
    let mut world = World::start(false, 1).await;
    let addr = world.gateway.addr();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(ask_on(addr, number)))
        .collect();
    let begun = world.provider.wait(WITHIN, |rows| rows.len() > 50).await;
    assert!(begun.len() > 50);
    world.gateway.signal("TERM");
    assert!(world.gateway.exited(WITHIN).await.success());
    let served = world.provider.settled().await.len();
    let mut answered = 0;
    for client in clients {
        let (whole, lost) = within(WITHIN, "a client", client).await.unwrap();
        answered += whole;
        for marker in lost {
            assert_eq!(world.provider.attempts(&marker).len(), 0, "{marker}");
        }
    }
    assert_eq!(answered, served, "each that was served was answered");
}

/// SIGHUP, SIGINT, SIGQUIT, SIGUSR2 and SIGTERM.
const SIGNALS: [u32; 5] = [1, 2, 3, 12, 15];

/// Who finds the port open may ask for a reload: a signal that came before it was waited for ended
/// the process.
#[tokio::test]
async fn signals_are_received_from_before_the_port_is_open() {
    let provider = Provider::start();
    let config = Config::standard(&provider);
    let gateway = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config).begin();
    within(WITHIN, "an open port", async {
        while Conn::try_open(gateway.addr()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    for signal in SIGNALS {
        assert!(caught & 1 << (signal - 1) != 0, "{signal} of {caught:x}");
    }
}
