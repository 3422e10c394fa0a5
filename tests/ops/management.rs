//! Management alone (`--role admin`) is changed under load: no call fails, none is done twice, and
//! what is done again and again is done by the process that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{eventually, now, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use meridian_testkit::run::Run;
use meridian_testkit::scale::scaled;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// How often the program is changed; and with `MERIDIAN_LONG` set.
const UPGRADES: (usize, usize) = (2, 10);
/// Clients that make one key after another on connections that they keep.
const CLIENTS: usize = 4;
/// A busy machine takes its time.
const WITHIN: Duration = Duration::from_secs(120);

fn setup(provider: &Provider, role: &str) -> Setup {
    let base = format!("{}/v1", provider.url());
    let config = Config::new().model("fake-*", "openai/fake-*", &base, "");
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config);
    setup.arg("--role").arg(role)
}

/// Clients that stop with a message when a call fails.
struct Makers {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<usize>>,
}

impl Makers {
    fn start(gateway: &Gateway) -> Self {
        let (stop, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let addr = gateway.addr();
        let client = |number: usize| {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let (mut kept, mut count) = (None, 0);
                while !stop.load(Ordering::Relaxed) {
                    let mut conn = match kept.take() {
                        Some(conn) => conn,
                        None => Conn::open(addr).await,
                    };
                    conn.patience = WITHIN;
                    let fields = json!({"key_alias": format!("made-{number}-{count}")});
                    let request = Request::post("/key/generate", &fields).bearer(MASTER_KEY);
                    let answer = conn.exchange(&request).await;
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                    assert_eq!(answer.end, BodyEnd::Complete);
                    if answer.header("connection") != Some("close") {
                        kept = Some(conn);
                    }
                    count += 1;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                count
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self {
            stop,
            made,
            clients,
        }
    }

    /// Waits until this many more keys were made.
    async fn more(&self, count: usize) {
        let target = self.made.load(Ordering::Relaxed) + count;
        let enough = || (self.made.load(Ordering::Relaxed) >= target).then_some(());
        eventually(WITHIN, "keys", enough).await;
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = 0;
        for client in self.clients {
            let count = within(WITHIN, "a client", client).await;
            total += count.expect("every call was answered");
        }
        total
    }
}

async fn keys(gateway: &Gateway) -> u64 {
    let answer = gateway.admin("GET", "/key/list?size=1", &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["total_count"].as_u64().expect("a count")
}

/// End of the running period of a key as the management API shows it, in milliseconds.
async fn resets_at(gateway: &Gateway, key: &str) -> i64 {
    let target = format!("/key/info?key={key}");
    let answer = gateway.admin("GET", &target, &Value::Null).await;
    let text = answer.json()["info"]["budget_reset_at"].clone();
    let at: jiff::Timestamp = text.as_str().expect("a time").parse().expect("a time");
    at.as_millisecond()
}

async fn changed_under_load(mut gateway: Gateway, others: u64) -> Gateway {
    let fields = json!({"max_budget": 1, "budget_duration": "1s"});
    let short = gateway.key(&fields).await;
    let makers = Makers::start(&gateway);
    makers.more(10).await;
    for _ in 0..scaled(UPGRADES.0, UPGRADES.1) {
        gateway.upgrade(WITHIN).await;
        assert!(gateway.is_ready().await);
        makers.more(10).await;
    }
    let made = makers.finish().await;
    gateway.replaced_gone(WITHIN).await;
    assert_eq!(keys(&gateway).await, made as u64 + 1 + others, "each once");
    // Nobody but the process that serves moves this on.
    let alone = jiff::Timestamp::now().as_millisecond() + 1_000;
    let began = now();
    while resets_at(&gateway, &short).await <= alone {
        assert!(began.elapsed() < WITHIN, "budget periods stand still");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn management_alone_is_changed_under_load_and_no_call_fails() {
    let provider = Provider::start();
    let gateway = setup(&provider, "admin").start().await;
    // There are no models here.
    let body = json!({"model": "fake-x", "messages": [{"role": "user", "content": "hello"}]});
    let chat = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    let refused = gateway.send(&chat).await;
    assert_eq!(refused.status(), 404, "{}", refused.text());
    let mut gateway = changed_under_load(gateway, 0).await;
    assert_eq!(gateway.send(&chat).await.status(), 404);
    gateway.stop(WITHIN).await;
    assert!(provider.rows().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_beside_it_know_what_either_process_wrote() {
    let provider = Provider::start();
    let postgres = Postgres::start();
    let url = postgres.database("managed");
    let migrate = Run::new(env!("CARGO_BIN_EXE_meridian")).arg("migrate");
    migrate.env("DATABASE_URL", &url).succeed().await;
    let plane = setup(&provider, "gateway").env("DATABASE_URL", &url);
    let plane = plane.start().await;
    let admin = setup(&provider, "admin").env("DATABASE_URL", &url);
    let admin = admin.start().await;
    let before = admin.key(&json!({"key_alias": "before"})).await;
    let refused = plane.admin("POST", "/key/generate", &json!({})).await;
    assert_eq!(refused.status(), 404);
    let admin = changed_under_load(admin, 1).await;
    let after = admin.key(&json!({"key_alias": "after"})).await;
    for key in [before, after] {
        let body = json!({"model": "fake-x", "messages": [{"role": "user", "content": "hello"}]});
        let request = Request::post("/v1/chat/completions", &body).bearer(&key);
        let answer = plane.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

/// A document with teams that have much to say, larger than what is held in memory for one call.
fn large_document() -> Value {
    let note = "tides ".repeat(9_000);
    let team = |number: u32| {
        json!({"kind": "team", "id": format!("team-{number}"),
            "body": {"team_alias": format!("Team {number}"), "metadata": {"note": note}}})
    };
    let records: Vec<Value> = (0..330).map(team).collect();
    json!({"format": "meridian-records", "version": 1, "records": records})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_document_is_imported_by_either_port_and_a_stranger_is_refused_before_its_end() {
    let provider = Provider::start();
    let document = large_document();
    let import = Request::post("/config/import", &document);
    assert!(import.body.len() > 17 << 20);
    for role in ["admin", "all"] {
        let gateway = setup(&provider, role).start().await;
        for key in ["sk-nobody", MASTER_KEY] {
            let mut conn = Conn::open(gateway.addr()).await;
            conn.patience = WITHIN;
            let answer = conn.exchange(&import.clone().bearer(key)).await;
            let (status, text) = (answer.status(), answer.text());
            match key {
                MASTER_KEY => {
                    assert_eq!(status, 200, "{role}: {text}");
                    assert_eq!(answer.json()["written"], 330, "{role}: {text}");
                }
                _ => assert_eq!(status, 401, "{role}: {text}"),
            }
        }
    }
}
