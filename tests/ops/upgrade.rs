//! The program is changed under load: nobody is refused, cut or billed wrongly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use meridian_testkit::config::Config;
use meridian_testkit::deadline::{eventually, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::provider::{Provider, Row};
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use meridian_testkit::redis::Redis;
use meridian_testkit::run::Run;
use meridian_testkit::scale::scaled;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ledger;

/// How often the program is changed; and with `MERIDIAN_LONG` set.
const UPGRADES: (usize, usize) = (2, 10);
/// Streams that run across every change.
const STREAMS: (usize, usize) = (20, 100);
/// Clients that ask one thing after another on connections that they keep.
const CLIENTS: usize = 6;
/// A busy machine takes its time.
const WITHIN: Duration = Duration::from_secs(120);

fn config(provider: &Provider) -> Config {
    let base = format!("{}/v1", provider.url());
    Config::new().model("fake-*", "openai/fake-*", &base, "")
}

fn body(script: &str, marker: &str, stream: bool) -> Value {
    json!({
        "model": format!("fake-x{script}"), "stream": stream, "user": marker,
        "messages": [{"role": "user", "content": "How do tides work?"}],
    })
}

/// Clients that stop with a message when anything but a whole answer comes.
struct Steady {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<usize>>,
}

impl Steady {
    fn start(addr: SocketAddr, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let client = |number: usize| {
            let (key, stop, asked) = (key.to_owned(), Arc::clone(&stop), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut conn = None;
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut open = match conn.take() {
                        Some(open) => open,
                        None => Conn::open(addr).await,
                    };
                    let marker = format!("steady-{number}-{count}");
                    let body = body("+tokens=4", &marker, count % 2 == 0);
                    let request = Request::post("/v1/chat/completions", &body).bearer(&key);
                    let answer = open.exchange(&request).await;
                    assert_eq!(answer.status(), 200, "{marker}: {}", answer.text());
                    assert_eq!(answer.end, BodyEnd::Complete, "{marker}");
                    // A client that is told so opens another connection, as every library does.
                    if answer.header("connection") != Some("close") {
                        conn = Some(open);
                    }
                    count += 1;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                count
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self {
            stop,
            asked,
            clients,
        }
    }

    /// Waits until this many more requests were answered.
    async fn answered(&self, more: usize) {
        let target = self.asked.load(Ordering::Relaxed) + more;
        let enough = || (self.asked.load(Ordering::Relaxed) >= target).then_some(());
        eventually(WITHIN, "answers under load", enough).await;
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = 0;
        for client in self.clients {
            total += client.await.expect("every request was answered whole");
        }
        total
    }
}

/// Opens streams that last longer than a change of the program.
async fn streams(addr: SocketAddr, key: &str, turn: usize, count: usize) -> Vec<JoinHandle<()>> {
    let mut running = Vec::new();
    for number in 0..count {
        let marker = format!("stream-{turn}-{number}");
        let body = body("+tokens=60+chunk_ms=50", &marker, true);
        let mut conn = Conn::open(addr).await;
        let request = Request::post("/v1/chat/completions", &body).bearer(key);
        conn.send(&request.bytes()).await.unwrap();
        let head = conn.head().await.unwrap();
        assert_eq!(head.status, 200, "{marker}");
        running.push(tokio::spawn(async move {
            let answer = conn.rest_of(head).await;
            assert_eq!(answer.end, BodyEnd::Complete, "{marker}");
            assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
        }));
    }
    running
}

/// Every request of the provider's meter is one row, with its tokens, and nothing else is.
fn compare(served: &[Row], rows: &[Value]) {
    let mut billed: HashMap<&str, &Value> = HashMap::new();
    for row in rows {
        let marker = row["end_user"].as_str().expect("a marker");
        assert!(billed.insert(marker, row).is_none(), "{marker} twice");
    }
    assert_eq!(served.len(), rows.len());
    for truth in served {
        let row = billed[truth.marker.as_deref().expect("a marker")];
        assert_eq!(row["prompt_tokens"], truth.usage.prompt, "{row}");
        assert_eq!(row["completion_tokens"], truth.usage.completion, "{row}");
        assert_eq!(row["metadata"]["estimated"], false, "{row}");
    }
}

/// The ledger, once it has so many rows.
async fn stored(gateway: &Gateway, count: usize) -> Vec<Value> {
    let reached = async {
        loop {
            let rows = ledger::rows(gateway).await;
            if rows.len() >= count {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(WITHIN, "every row", reached).await
}

async fn spend_is_right(gateway: &Gateway, key: &str, rows: &[Value]) {
    let sum = rows.iter().map(ledger::cost).sum::<i64>();
    assert!(sum > 0);
    assert_eq!(ledger::key_spend(gateway, key).await, sum);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_is_changed_under_load_and_nobody_notices() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config(&provider));
    let gateway = setup.start().await;
    changed_under_load(&provider, gateway).await;
}

/// A gateway whose budgets are shared through a Postgres and a Redis of its own.
struct Sharing {
    gateway: Gateway,
    _postgres: Postgres,
    _redis: Redis,
}

impl Sharing {
    async fn start(provider: &Provider) -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        let url = postgres.database("upgraded");
        let migrate = Run::new(env!("CARGO_BIN_EXE_meridian")).arg("migrate");
        migrate.env("DATABASE_URL", &url).succeed().await;
        let place = format!("cache_params: {{type: redis, url: '{}'}}", redis.url());
        let config = config(provider).litellm(&place);
        let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config).env("DATABASE_URL", &url);
        Self {
            gateway: setup.start().await,
            _postgres: postgres,
            _redis: redis,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_anybody_where_nodes_share_a_postgres_and_rights_to_budgets() {
    let provider = Provider::start();
    let sharing = Sharing::start(&provider).await;
    changed_under_load(&provider, sharing.gateway).await;
}

/// The first request of the new process does not wait for rights, and nobody forgets what
/// processes spent that had left before it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_has_rights_and_knows_what_all_before_it_spent() {
    let provider = Provider::start();
    let mut sharing = Sharing::start(&provider).await;
    let gateway = &mut sharing.gateway;
    let key = gateway.key(&json!({"max_budget": 5})).await;
    for turn in 0..3 {
        let body = body("+tokens=4", &format!("turn-{turn}"), false);
        let request = Request::post("/v1/chat/completions", &body).bearer(&key);
        assert_eq!(gateway.send(&request).await.status(), 200);
        gateway.upgrade(WITHIN).await;
        let target = format!("/budget/state/{key}");
        let state = gateway.admin("GET", &target, &Value::Null).await.json();
        let free = state["budgets"][0]["free_here"].as_f64();
        assert!(free > Some(0.1), "{state}");
        gateway.replaced_gone(WITHIN).await;
    }
    let rows = stored(gateway, 3).await;
    let knows = async {
        let sum = rows.iter().map(ledger::cost).sum::<i64>();
        while ledger::key_spend(gateway, &key).await != sum {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(WITHIN, "the key's spend", knows).await;
}

async fn changed_under_load(provider: &Provider, mut gateway: Gateway) {
    let fields = json!({"key_alias": "upgraded", "max_budget": 5, "budget_duration": "30d"});
    let key = gateway.key(&fields).await;
    let load = Steady::start(gateway.addr(), &key);
    load.answered(50).await;
    let mut running = Vec::new();
    let count = scaled(STREAMS.0, STREAMS.1);
    for turn in 0..scaled(UPGRADES.0, UPGRADES.1) {
        running.extend(streams(gateway.addr(), &key, turn, count).await);
        gateway.upgrade(WITHIN).await;
        // A key of the old process is known, one of the new one is, and both are counted.
        let fresh = gateway
            .key(&json!({"key_alias": format!("turn-{turn}")}))
            .await;
        let body = body("+tokens=2", &format!("fresh-{turn}"), false);
        let request = Request::post("/v1/chat/completions", &body).bearer(&fresh);
        assert_eq!(gateway.send(&request).await.status(), 200);
        load.answered(50).await;
    }
    let streams = running.len();
    for stream in running {
        within(WITHIN, "a stream", stream)
            .await
            .expect("a stream that was not cut");
    }
    let asked = within(WITHIN, "the load", load.finish()).await;
    gateway.replaced_gone(WITHIN).await;
    let served = provider.settled().await;
    let rows = stored(&gateway, served.len()).await;
    compare(&served, &rows);
    eprintln!(
        "{asked} requests and {streams} streams: none failed, none cut, {} rows",
        rows.len()
    );
    let own: Vec<Value> = rows
        .iter()
        .filter(|row| row["metadata"]["user_api_key_alias"] == "upgraded")
        .cloned()
        .collect();
    spend_is_right(&gateway, &key, &own).await;
    // After an orderly end and a plain start the same is there, once.
    gateway.stop(WITHIN).await;
    gateway.start().await;
    assert_eq!(stored(&gateway, rows.len()).await.len(), rows.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spend_of_the_process_that_leaves_counts_against_budgets_of_the_new_one() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config(&provider));
    let mut gateway = setup.start().await;
    let key = gateway.key(&json!({"max_budget": 0.0002})).await;
    let slow = body("+tokens=100+chunk_ms=20", "slow", true);
    let mut conn = Conn::open(gateway.addr()).await;
    let request = Request::post("/v1/chat/completions", &slow).bearer(&key);
    conn.send(&request.bytes()).await.unwrap();
    let head = conn.head().await.unwrap();
    gateway.upgrade(WITHIN).await;
    let answer = conn.rest_of(head).await;
    assert_eq!(answer.end, BodyEnd::Complete);
    drop(conn);
    gateway.replaced_gone(WITHIN).await;
    // The stream used the budget up; the process that serves now has only heard of it.
    let spent = tokio::time::timeout(WITHIN, async {
        loop {
            let quick = body("+tokens=1", "quick", false);
            let request = Request::post("/v1/chat/completions", &quick).bearer(&key);
            let status = gateway.send(&request).await.status();
            if status == 400 || status == 429 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    spent.await.expect("the budget holds in the new process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_program_that_does_not_start_changes_nothing() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config(&provider));
    let gateway = setup.start().await;
    let key = gateway.key(&json!({})).await;
    let load = Steady::start(gateway.addr(), &key);
    load.answered(10).await;
    gateway.write_config("model_list: [");
    gateway.signal("USR2");
    let refused = || gateway.log().contains("does not take over").then_some(());
    eventually(WITHIN, "a refusal", refused).await;
    load.answered(50).await;
    assert!(gateway.is_ready().await);
    gateway
        .key(&json!({"key_alias": "management goes on"}))
        .await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_that_was_leaving_had_open_is_settled_by_the_new_one() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config(&provider));
    let mut gateway = setup.start().await;
    let key = gateway.key(&json!({})).await;
    let old = gateway.pid();
    let slow = body("+tokens=5000+chunk_ms=50", "killed", true);
    let mut conn = Conn::open(gateway.addr()).await;
    let request = Request::post("/v1/chat/completions", &slow).bearer(&key);
    conn.send(&request.bytes()).await.unwrap();
    conn.head().await.unwrap();
    gateway.upgrade(WITHIN).await;
    let kill = std::process::Command::new("sh")
        .args(["-c", &format!("kill -s KILL {old}")])
        .status();
    assert!(kill.unwrap().success());
    let found = tokio::time::timeout(WITHIN, async {
        loop {
            let rows = ledger::rows(&gateway).await;
            if let Some(row) = rows.iter().find(|row| row["end_user"] == "killed") {
                return row.clone();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let row = found.await.expect("the stream is in the ledger");
    assert_eq!(row["metadata"]["end_reason"], "crashed", "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_hears_of_readiness_life_change_and_end() {
    let provider = Provider::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    let heard = move |what: &str| loop {
        let mut buffer = [0; 512];
        let length = socket
            .recv(&mut buffer)
            .expect("a message to the supervisor");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.contains(what) {
            return text;
        }
    };
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config(&provider))
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "1000000");
    let mut gateway = setup.start().await;
    assert!(heard("READY=1").contains(&format!("MAINPID={}\n", gateway.pid())));
    heard("WATCHDOG=1");
    gateway.upgrade(WITHIN).await;
    assert!(heard("READY=1").contains(&format!("MAINPID={}\n", gateway.pid())));
    gateway.replaced_gone(WITHIN).await;
    heard("WATCHDOG=1");
    gateway.stop(WITHIN).await;
    heard("STOPPING=1");
}
