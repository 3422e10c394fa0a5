//! What batches at a provider used is billed to who made them, once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::fake::{Asked, Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::raw::{Conn, Request};
use meridian_testkit::run::Run;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bills::{AGAIN_AFTER, BILLED_WITHIN, billed};
use crate::dice::Dice;
use crate::objects::upload;
use crate::world::binary;

/// What shows that a bill comes once: it is looked for again behind so many further reads.
const READS: usize = 5;

/// The provider's side of the only batch there is.
#[derive(Default)]
struct Account {
    batch: Value,
    output: Vec<u8>,
    made: usize,
}

/// A provider with one batch, whose state a test sets.
struct Provider {
    fake: Fake,
    account: Arc<Mutex<Account>>,
}

impl Provider {
    async fn start() -> Self {
        let account = Arc::new(Mutex::new(Account::default()));
        let told = Arc::clone(&account);
        let fake = Fake::start(move |asked| answer(&mut told.lock().unwrap(), asked)).await;
        Self { fake, account }
    }

    /// The batch is like this from now on, and has written these lines.
    fn becomes(&self, fields: Value, lines: &[String]) {
        let mut account = self.account.lock().unwrap();
        let fields = fields.as_object().unwrap().clone();
        account.batch.as_object_mut().unwrap().extend(fields);
        account.output = lines.join("\n").into_bytes();
        if !lines.is_empty() {
            account.batch["output_file_id"] = json!("file-output");
        }
    }

    fn asked_for(&self, path: &str) -> usize {
        let asked = self.fake.asked();
        asked.iter().filter(|one| one.path() == path).count()
    }

    /// `own` has batch prices, the others cost half.
    fn config(&self, general: &str) -> Config {
        let url = format!("{}/v1", self.fake.url);
        let own = "input_cost_per_token_batches: 0.0000003\n\
            output_cost_per_token_batches: 0.0000007";
        Config::new()
            .model("gpt", "openai/gpt-x", &url, "")
            .model("own", "openai/own-x", &url, own)
            .general(general)
    }
}

fn answer(account: &mut Account, asked: &Asked) -> Reply {
    let parts: Vec<&str> = asked.path().trim_matches('/').split('/').collect();
    let body = match (asked.method(), &parts[1..]) {
        ("POST", ["files"]) => json!({"id": "file-input", "object": "file"}),
        ("POST", ["batches"]) => {
            account.made += 1;
            let id = format!("batch_{}", account.made);
            account.batch = json!({"id": id, "object": "batch", "status": "validating",
                "endpoint": "/v1/chat/completions", "input_file_id": "file-input",
                "output_file_id": null, "error_file_id": null});
            account.batch.clone()
        }
        ("GET", ["batches"]) => json!({"object": "list", "data": [account.batch],
            "first_id": account.batch["id"], "last_id": account.batch["id"], "has_more": false}),
        ("GET", ["files", "file-output" | "file%2Boutput%3D", "content"]) => {
            // In pieces that end in the middle of lines.
            let parts = account.output.chunks(700).map(<[u8]>::to_vec).collect();
            return Reply::stream("application/octet-stream", parts);
        }
        ("DELETE", ["files", id]) => json!({"id": id, "object": "file", "deleted": true}),
        (_, ["batches", id, ..]) if account.batch["id"] == *id => account.batch.clone(),
        ("POST", ["chat", "completions"]) => json!({"id": "c", "object": "chat.completion",
            "model": "gpt-x", "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
        _ => return Reply::json(404, &json!({"error": {"message": "what?"}})),
    };
    Reply::json(200, &body)
}

fn line(model: &str, prompt: u64, completion: u64) -> String {
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion,
        "total_tokens": prompt + completion});
    let body = json!({"id": "c", "object": "chat.completion", "model": model, "usage": usage,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "words"}}]});
    json!({"id": "r", "response": {"status_code": 200, "body": body}, "error": null}).to_string()
}

fn failed_line() -> String {
    let error = json!({"code": "batch_expired", "message": "too late"});
    json!({"id": "r", "response": null, "error": error}).to_string()
}

/// Makes a batch and returns its id.
async fn make(gateway: &Gateway, key: &str) -> String {
    upload(gateway, key).await;
    let made = gateway.send(&creation(key)).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_owned()
}

fn creation(key: &str) -> Request {
    let body = json!({"input_file_id": "file-input", "endpoint": "/v1/chat/completions",
        "completion_window": "24h"});
    Request::post("/v1/batches", &body).bearer(key)
}

async fn read(gateway: &Gateway, key: &str, batch: &str) {
    let target = format!("/v1/batches/{batch}");
    let answer = gateway
        .send(&Request::new("GET", &target).bearer(key))
        .await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

fn nano(row: &Value) -> i64 {
    (row["spend"].as_f64().unwrap() * 1e9).round() as i64
}

async fn spend(gateway: &Gateway, target: &str, pointer: &str) -> i64 {
    let answer = gateway.admin("GET", target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let spend = answer.json().pointer(pointer).and_then(Value::as_f64);
    (spend.unwrap_or_else(|| panic!("{}", answer.text())) * 1e9).round() as i64
}

#[tokio::test]
async fn a_batch_that_somebody_reads_is_billed_by_its_lines_once() {
    let provider = Provider::start().await;
    let setup = Setup::new(binary(), &provider.config(""));
    let mut gateway = setup.start().await;
    gateway.team("crew").await;
    let fields = json!({"team_id": "crew", "max_budget": 1.0, "metadata": {"tags": ["nightly"]}});
    let key = gateway.key(&fields).await;
    let batch = make(&gateway, &key).await;
    provider.becomes(json!({"status": "in_progress"}), &[]);
    read(&gateway, &key, &batch).await;
    let info = format!("/key/info?key={key}");
    assert_eq!(spend(&gateway, &info, "/info/spend").await, 0);

    let lines = [
        line("gpt-x-2026-01-31", 1_001, 10),
        failed_line(),
        line("own-x", 100, 20),
        line("gpt-x-2026-01-31", 2, 0),
        line("own-x", 1, 1),
    ];
    provider.becomes(json!({"status": "completed"}), &lines);
    read(&gateway, &key, &batch).await;
    let rows = billed(&gateway, &batch, 2).await;
    // Half of 1,000 and 2,000; its own 300 and 700 nano-dollars.
    let expected = [
        (
            "gpt-x-2026-01-31",
            "gpt",
            1_003,
            10,
            1_003 * 500 + 10 * 1_000,
        ),
        ("own-x", "own", 101, 21, 101 * 300 + 21 * 700),
    ];
    for (row, (model, group, prompt, completion, cost)) in rows.iter().zip(expected) {
        assert_eq!(
            (&row["model"], &row["model_group"]),
            (&json!(model), &json!(group))
        );
        assert_eq!(row["prompt_tokens"], prompt, "{row:#}");
        assert_eq!(row["completion_tokens"], completion, "{row:#}");
        assert_eq!(nano(row), cost, "{row:#}");
        assert_eq!(row["team_id"], "crew");
        assert!(
            row["request_tags"].to_string().contains("nightly"),
            "{row:#}"
        );
    }
    let cost: i64 = expected.iter().map(|(.., cost)| cost).sum();
    assert_eq!(spend(&gateway, &info, "/info/spend").await, cost);

    for _ in 0..READS {
        read(&gateway, &key, &batch).await;
    }
    gateway.kill().await;
    gateway.start().await;
    read(&gateway, &key, &batch).await;
    assert_eq!(billed(&gateway, &batch, 2).await, rows);
    assert_eq!(spend(&gateway, &info, "/info/spend").await, cost);
    let team = spend(&gateway, "/team/info?team_id=crew", "/team_info/spend").await;
    assert_eq!(team, cost);
    assert_eq!(provider.asked_for("/v1/files/file-output/content"), 1);
}

#[tokio::test]
async fn a_batch_that_somebody_lists_is_billed_also_by_an_output_with_an_odd_id() {
    let provider = Provider::start().await;
    let gateway = Setup::new(binary(), &provider.config("")).start().await;
    let key = gateway.key(&json!({})).await;
    let batch = make(&gateway, &key).await;
    provider.becomes(json!({"status": "completed"}), &[line("gpt-x", 8, 2)]);
    provider.account.lock().unwrap().batch["output_file_id"] = json!("file+output=");
    let list = Request::new("GET", "/v1/batches").bearer(&key);
    let listed = gateway.send(&list).await;
    assert_eq!(listed.json()["data"][0]["id"], *batch, "{}", listed.text());
    let rows = billed(&gateway, &batch, 1).await;
    assert_eq!(nano(&rows[0]), 8 * 500 + 2 * 1_000);
}

#[tokio::test]
async fn an_output_stays_until_it_is_billed_and_may_be_deleted_then() {
    let provider = Provider::start().await;
    let mut gateway = Setup::new(binary(), &provider.config("")).start().await;
    let key = gateway.key(&json!({})).await;
    let batch = make(&gateway, &key).await;
    let delete =
        |key: &str, file: &str| Request::new("DELETE", &format!("/v1/files/{file}")).bearer(key);
    // Written while it still runs; the input tells nothing.
    provider.becomes(json!({"status": "in_progress"}), &[line("gpt-x", 8, 2)]);
    read(&gateway, &key, &batch).await;
    gateway.kill().await;
    gateway.start().await;
    for caller in [&key, &MASTER_KEY.to_owned()] {
        let refused = gateway.send(&delete(caller, "file-output")).await;
        assert_eq!(refused.status(), 409, "{}", refused.text());
        let error = refused.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("file-output") && message.contains(&batch),
            "{message}"
        );
        assert!(refused.header("retry-after").is_some());
    }
    let deleted = gateway.send(&delete(&key, "file-input")).await;
    assert_eq!(deleted.status(), 200, "{}", deleted.text());
    let others = gateway.key(&json!({})).await;
    let hidden = gateway.send(&delete(&others, "file-output")).await;
    assert_eq!(hidden.status(), 404, "{}", hidden.text());
    assert_eq!(provider.asked_for("/v1/files/file-output"), 0);

    provider.becomes(json!({"status": "completed"}), &[line("gpt-x", 8, 2)]);
    // Whoever wants it away makes that it is billed.
    let until = Instant::now() + BILLED_WITHIN;
    while gateway.send(&delete(&key, "file-output")).await.status() == 409 {
        assert!(Instant::now() < until, "{batch} is not billed");
        sleep(AGAIN_AFTER).await;
    }
    assert_eq!(provider.asked_for("/v1/files/file-output"), 1);
    let rows = billed(&gateway, &batch, 1).await;
    assert_eq!(nano(&rows[0]), 8 * 500 + 2 * 1_000);
}

#[tokio::test]
async fn a_batch_that_nobody_reads_is_billed_by_what_it_says_itself() {
    let provider = Provider::start().await;
    let config = provider.config("proxy_batch_polling_interval: 1");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let batch = make(&gateway, &key).await;
    let usage = json!({"input_tokens": 1_000, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 1_050});
    let over = json!({"status": "completed", "model": "own-x", "usage": usage});
    provider.becomes(over, &[line("own-x", 1_000, 50)]);
    let rows = billed(&gateway, &batch, 1).await;
    assert_eq!(nano(&rows[0]), 1_000 * 300 + 50 * 700);
    assert_eq!(provider.asked_for("/v1/files/file-output/content"), 0);
    let metrics = gateway.admin("GET", "/metrics/", &Value::Null).await.text();
    let counted =
        "litellm_check_batch_cost_jobs_processed_total{api_provider=\"openai\",model=\"own\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    // What was done before it was cancelled costs, also of a key that is gone.
    let batch = make(&gateway, &key).await;
    let gone = gateway
        .admin("POST", "/key/delete", &json!({"keys": [key]}))
        .await;
    assert_eq!(gone.status(), 200, "{}", gone.text());
    provider.becomes(
        json!({"status": "cancelled"}),
        &[line("gpt-x", 7, 3), failed_line()],
    );
    let rows = billed(&gateway, &batch, 1).await;
    assert_eq!(nano(&rows[0]), 7 * 500 + 3 * 1_000);
}

#[tokio::test]
async fn a_key_without_money_makes_no_batch_and_a_bill_takes_what_is_left() {
    let provider = Provider::start().await;
    let gateway = Setup::new(binary(), &provider.config("")).start().await;
    let key = gateway.key(&json!({"max_budget": 0.001})).await;
    let batch = make(&gateway, &key).await;
    provider.becomes(json!({"status": "expired"}), &[line("gpt-x", 4_000, 0)]);
    read(&gateway, &key, &batch).await;
    let rows = billed(&gateway, &batch, 1).await;
    assert_eq!(
        nano(&rows[0]),
        2_000_000,
        "more than the budget: it was used"
    );
    let chat = json!({"model": "gpt", "messages": [{"role": "user", "content": "x"}]});
    let chat = Request::post("/v1/chat/completions", &chat).bearer(&key);
    for request in [creation(&key), chat] {
        let refused = gateway.send(&request).await;
        let error = refused.json()["error"]["type"].clone();
        assert_eq!(error, "budget_exceeded", "{}", refused.text());
    }
    assert_eq!(provider.asked_for("/v1/batches"), 1);
}

#[tokio::test]
async fn a_gateway_that_is_killed_at_any_moment_bills_a_batch_once() {
    const KILLS: usize = 8;
    let provider = Provider::start().await;
    let config = provider.config("proxy_batch_polling_interval: 1");
    let mut gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let mut dice = Dice::new(0xba7c);
    let mut sum = 0;
    for round in 1..=KILLS {
        let batch = make(&gateway, &key).await;
        let tokens = 10 * round as u64;
        provider.becomes(json!({"status": "completed"}), &[line("gpt-x", tokens, 0)]);
        read(&gateway, &key, &batch).await;
        sleep(Duration::from_millis(dice.within(0..120))).await;
        gateway.kill().await;
        gateway.start().await;
        let rows = billed(&gateway, &batch, 1).await;
        assert_eq!(nano(&rows[0]), tokens as i64 * 500);
        sum += nano(&rows[0]);
    }
    let info = format!("/key/info?key={key}");
    assert_eq!(spend(&gateway, &info, "/info/spend").await, sum);
}

#[tokio::test]
async fn a_batch_is_billed_whose_maker_was_killed_before_its_request_was_settled() {
    let provider = Provider::start().await;
    let config = provider.config("proxy_batch_polling_interval: 1");
    let mut gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    upload(&gateway, &key).await;
    // Whose it is cannot be kept while another writes, and the request is settled behind that.
    let store = rusqlite::Connection::open(gateway.data_dir().join("meridian.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(&creation(&key).bytes()).await.unwrap();
    let journal = gateway.data_dir().join("journal");
    let is_noted = || {
        let files = std::fs::read_dir(&journal).unwrap();
        let mut texts = files.map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default());
        texts.any(|text| memchr::memmem::find(&text, b"\"batch_1\"").is_some())
    };
    eventually(SOON, "the batch in the journal", || {
        is_noted().then_some(())
    })
    .await;
    gateway.kill().await;
    drop((conn, store));
    gateway.start().await;
    provider.becomes(json!({"status": "completed"}), &[line("gpt-x", 8, 2)]);
    let rows = billed(&gateway, "batch_1", 1).await;
    assert_eq!(nano(&rows[0]), 8 * 500 + 2 * 1_000);
    read(&gateway, &key, "batch_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_read_a_batch_at_once_bill_it_once_and_all_know_it() {
    let server = Postgres::start();
    let url = server.database("app");
    let migrate = Run::new(binary()).arg("migrate");
    migrate.env("DATABASE_URL", &url).succeed().await;
    let provider = Provider::start().await;
    let setup = || {
        let config = provider.config("proxy_batch_polling_interval: 1");
        Setup::new(binary(), &config).env("DATABASE_URL", &url)
    };
    let mut nodes = [setup().start().await, setup().start().await];
    let key = nodes[0].key(&json!({"max_budget": 1.0})).await;
    let chat = json!({"model": "gpt", "messages": [{"role": "user", "content": "x"}]});
    let chat = Request::post("/v1/chat/completions", &chat).bearer(&key);
    for node in &nodes {
        let answer = node.send(&chat).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let batch = make(&nodes[0], &key).await;
    provider.becomes(
        json!({"status": "completed"}),
        &[line("gpt-x", 1_900_000, 0)],
    );
    for _ in 0..READS {
        tokio::join!(read(&nodes[0], &key, &batch), read(&nodes[1], &key, &batch));
    }
    let rows = billed(&nodes[1], &batch, 1).await;
    assert_eq!(nano(&rows[0]), 950_000_000);
    let again = make(&nodes[1], &key).await;
    provider.becomes(json!({"status": "completed"}), &[line("gpt-x", 200_000, 0)]);
    // Whichever is at it may die.
    tokio::join!(read(&nodes[0], &key, &again), read(&nodes[1], &key, &again));
    nodes[0].kill().await;
    nodes[0].start().await;
    let rows = billed(&nodes[0], &again, 1).await;
    assert_eq!(nano(&rows[0]), 100_000_000);
    let spent = server.ask(
        "app",
        "SELECT spend FROM meridian.scope_spend WHERE kind = 'key'",
    );
    let parts: i64 = spent
        .lines()
        .map(|one| one.trim().parse::<i64>().unwrap())
        .sum();
    assert_eq!(
        parts,
        1_050_000_000 + 2 * 3_000,
        "two requests of chat besides"
    );
    // $1.05 of a dollar: no node lets anything in.
    let until = Instant::now() + BILLED_WITHIN;
    for node in &nodes {
        while node.send(&chat).await.status() == 200 {
            assert!(Instant::now() < until, "a node does not know of the bill");
            sleep(AGAIN_AFTER).await;
        }
    }
}
