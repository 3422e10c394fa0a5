//! Message Batches of Anthropic's: made, read, listed, cancelled and deleted through the gateway by
//! who made them, and billed once.

use std::sync::{Arc, Mutex};

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::fake::{Asked, Fake};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::bills::billed;
use crate::world::binary;

mod account;

use account::{Account, answer};

const PATH: &str = "/v1/messages/batches";

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

    /// A batch is over, with these results.
    fn ends(&self, id: &str, results: &[Value]) {
        let mut account = self.account.lock().unwrap();
        let lines: Vec<String> = results.iter().map(Value::to_string).collect();
        account.results = lines.join("\n");
        account.end(id, results.len());
    }

    fn config(&self) -> Config {
        let own = "input_cost_per_token_batches: 0.0000003\n\
            output_cost_per_token_batches: 0.0000007";
        Config::new()
            .model("claude", "anthropic/claude-x", &self.fake.url, "")
            .model("own", "anthropic/claude-own", &self.fake.url, own)
    }

    fn asked_for(&self, method: &str, path: &str) -> Vec<Asked> {
        let mut asked = self.fake.asked();
        asked.retain(|one| one.method() == method && one.path() == path);
        asked
    }
}

fn request(id: &str, model: &str) -> Value {
    json!({"custom_id": id, "params": {"model": model, "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}]}})
}

fn creation(models: &[&str]) -> Value {
    let requests: Vec<Value> = models.iter().map(|model| request("r", model)).collect();
    json!({"requests": requests})
}

fn succeeded(model: &str, usage: &Value) -> Value {
    json!({"custom_id": "r", "result": {"type": "succeeded", "message": {"id": "m",
        "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "words"}], "usage": usage}}})
}

async fn ask(gateway: &Gateway, key: &str, method: &str, target: &str, body: &Value) -> Response {
    let request = match body {
        Value::Null => Request::new(method, target),
        body => Request::post(target, body),
    };
    gateway.send(&request.bearer(key)).await
}

/// Makes a batch and returns its id.
async fn make(gateway: &Gateway, key: &str, models: &[&str]) -> String {
    let made = ask(gateway, key, "POST", PATH, &creation(models)).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_owned()
}

fn nano(dollars: &Value) -> i64 {
    (dollars.as_f64().unwrap() * 1e9).round() as i64
}

#[tokio::test]
async fn a_batch_goes_to_its_account_by_the_providers_names() {
    let provider = Provider::start().await;
    let gateway = Setup::new(binary(), &provider.config()).start().await;
    let key = gateway.key(&json!({"max_budget": 1.0})).await;
    let batch = make(&gateway, &key, &["claude", "own", "claude"]).await;
    let sent = provider.asked_for("POST", PATH)[0].json();
    let requests = sent["requests"].as_array().unwrap().iter();
    let names: Vec<&Value> = requests.map(|one| &one["params"]["model"]).collect();
    assert_eq!(names, ["claude-x", "claude-own", "claude-x"]);
    assert_eq!(sent["requests"][2]["params"]["max_tokens"], 9);
    let target = format!("{PATH}/{batch}");
    let running = ask(&gateway, &key, "GET", &target, &Value::Null).await;
    let status = running.json()["processing_status"].clone();
    assert_eq!(status, "in_progress", "{}", running.text());
    let early = ask(&gateway, &key, "DELETE", &target, &Value::Null).await;
    assert_eq!(early.status(), 409, "{}", early.text());
    let error = early.json();
    assert_eq!(error["type"], "error");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains(&batch), "{message}");
}

#[tokio::test]
async fn the_copy_of_a_batch_with_other_names_counts_as_held() {
    let provider = Provider::start().await;
    let held = "meridian:\n  body_bytes_max: 2000000\n  buffered_bytes_max: 2000000\n";
    let config = provider.config().raw(held);
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let with = |bytes: usize| {
        let mut body = creation(&["claude", "claude"]);
        body["requests"][0]["params"]["messages"][0]["content"] = json!("x".repeat(bytes));
        body
    };
    // Once as it came, once with the provider's names.
    let made = ask(&gateway, &key, "POST", PATH, &with(900_000)).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    let full = ask(&gateway, &key, "POST", PATH, &with(1_100_000)).await;
    assert_eq!(full.status(), 503, "{}", full.text());
    assert!(full.header("retry-after").is_some());
    assert_eq!(full.json()["type"], "error", "{}", full.text());
    let sent = provider.asked_for("POST", PATH);
    assert_eq!(sent.len(), 1, "the second did not leave");
    assert_eq!(sent[0].json()["requests"][1]["params"]["model"], "claude-x");
}

#[tokio::test]
async fn a_batch_is_billed_once_by_its_results_and_may_be_deleted_then() {
    let provider = Provider::start().await;
    let mut gateway = Setup::new(binary(), &provider.config()).start().await;
    let key = gateway.key(&json!({"max_budget": 1.0})).await;
    let batch = make(&gateway, &key, &["claude", "own", "claude"]).await;
    let target = format!("{PATH}/{batch}");
    let plain = json!({"input_tokens": 1_000, "output_tokens": 10, "service_tier": "batch"});
    let other = json!({"input_tokens": 1, "output_tokens": 2});
    let failed = json!({"custom_id": "r", "result": {"type": "errored", "error": {}}});
    let results = [
        succeeded("claude-x", &plain),
        failed,
        succeeded("claude-x", &other),
        succeeded("claude-own", &plain),
    ];
    provider.ends(&batch, &results);
    let over = ask(&gateway, &key, "GET", &target, &Value::Null).await;
    // SDKs get results from where this says, with the gateway's key.
    let results_of = format!("{target}/results");
    assert_eq!(over.json()["results_url"], results_of, "{}", over.text());
    let rows = billed(&gateway, &batch, 2).await;
    let expected = [
        ("claude-own", "own", 1_000, 1_000 * 300 + 10 * 700),
        ("claude-x", "claude", 1_001, 1_001 * 500 + 12 * 1_000),
    ];
    for (row, (model, group, prompt, cost)) in rows.iter().zip(expected) {
        assert_eq!(
            (&row["model"], &row["model_group"]),
            (&json!(model), &json!(group))
        );
        assert_eq!(row["prompt_tokens"], prompt, "{row:#}");
        assert_eq!(nano(&row["spend"]), cost, "{row:#}");
    }
    let read = ask(&gateway, &key, "GET", &results_of, &Value::Null).await;
    assert_eq!(read.text(), provider.account.lock().unwrap().results);
    gateway.kill().await;
    gateway.start().await;
    for _ in 0..3 {
        ask(&gateway, &key, "GET", &target, &Value::Null).await;
    }
    assert_eq!(billed(&gateway, &batch, 2).await, rows);
    // Once for the bill, once for the caller.
    assert_eq!(provider.asked_for("GET", &results_of).len(), 2);
    let deleted = ask(&gateway, &key, "DELETE", &target, &Value::Null).await;
    assert_eq!(deleted.status(), 200, "{}", deleted.text());
    let gone = ask(&gateway, &key, "GET", &target, &Value::Null).await;
    assert_eq!(gone.status(), 404, "{}", gone.text());
}

#[tokio::test]
async fn a_batch_is_its_makers_alone_and_lists_show_each_its_own() {
    let provider = Provider::start().await;
    let gateway = Setup::new(binary(), &provider.config()).start().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let first = make(&gateway, &ours, &["claude"]).await;
    let other = make(&gateway, &theirs, &["claude"]).await;
    let second = make(&gateway, &ours, &["claude"]).await;
    let before = provider.fake.asked().len();
    for (method, tail) in [
        ("GET", ""),
        ("GET", "/results"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ] {
        let target = format!("{PATH}/{first}{tail}");
        let hidden = ask(&gateway, &theirs, method, &target, &Value::Null).await;
        assert_eq!(hidden.status(), 404, "{method} {tail}: {}", hidden.text());
        assert_eq!(hidden.json()["type"], "error");
    }
    let stranger = ask(
        &gateway,
        &ours,
        "GET",
        &format!("{PATH}/msgbatch_x"),
        &Value::Null,
    )
    .await;
    assert_eq!(stranger.status(), 404);
    assert_eq!(
        provider.fake.asked().len(),
        before,
        "the provider hears nothing of it"
    );
    let listed = |answer: &Response| -> Vec<String> {
        let data = answer.json()["data"].as_array().unwrap().clone();
        data.iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    for (key, query, expected) in [
        (ours.as_str(), "", vec![&second, &first]),
        (&ours, "?limit=1", vec![&second]),
        (&ours, "?after_id=msgbatch_3", vec![&first]),
        (&theirs, "", vec![&other]),
        (MASTER_KEY, "", vec![&second, &other, &first]),
    ] {
        let target = format!("{PATH}{query}");
        let answer = ask(&gateway, key, "GET", &target, &Value::Null).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(
            listed(&answer).iter().collect::<Vec<_>>(),
            expected,
            "{query}"
        );
    }
    let cancelled = format!("{PATH}/{first}/cancel");
    let cancelled = ask(&gateway, &ours, "POST", &cancelled, &Value::Null).await;
    assert_eq!(
        cancelled.json()["processing_status"],
        "canceling",
        "{}",
        cancelled.text()
    );
}

#[tokio::test]
async fn each_request_of_a_batch_must_be_one_that_its_caller_may_make() {
    let provider = Provider::start().await;
    let elsewhere = Provider::start().await;
    let aws = "aws_region_name: eu-west-1\naws_access_key_id: AKIAFAKE\naws_secret_access_key: s";
    let far = &elsewhere.fake.url;
    let config = provider
        .config()
        .model("far", "anthropic/claude-far", far, "")
        .model("cloud", "bedrock/eu.anthropic.claude-x-v1:0", far, aws)
        .model("gpt", "openai/gpt-x", &format!("{far}/v1"), "");
    let gateway = Setup::new(binary(), &config).start().await;
    let own = json!({"models": ["claude", "far", "cloud", "gpt"], "model_max_budget":
        {"far": {"budget_limit": 0.0, "time_period": "1d"}}});
    let key = gateway.key(&own).await;
    let poor = gateway.key(&json!({"max_budget": 0.0})).await;
    for (key, body, status, says) in [
        (&key, creation(&["claude", "own"]), 403, "own"),
        (&key, creation(&["claude", "nothing"]), 403, "nothing"),
        (
            &poor,
            creation(&["claude"]),
            429,
            "Budget has been exceeded",
        ),
        (&key, creation(&["claude", "far"]), 400, "one account"),
        (
            &key,
            creation(&["far"]),
            429,
            "exceeded budget for model=far",
        ),
        (&key, creation(&["cloud"]), 400, "CreateModelInvocationJob"),
        (&key, creation(&["gpt"]), 400, "/v1/batches"),
        (&key, json!({"requests": []}), 400, "'requests' is empty"),
        (&key, json!({"requests": {}}), 400, "'requests' must be"),
        (
            &key,
            json!({"requests": [{"params": {}}]}),
            400,
            "'requests[0].params.model'",
        ),
        (&key, json!({}), 400, "'requests' must be"),
    ] {
        let refused = ask(&gateway, key, "POST", PATH, &body).await;
        assert_eq!(refused.status(), status, "{body}: {}", refused.text());
        assert_eq!(refused.json()["type"], "error");
        let message = refused.json()["error"]["message"].clone();
        assert!(
            message.as_str().unwrap().contains(says),
            "{says}: {message}"
        );
    }
    assert!(provider.fake.asked().is_empty() && elsewhere.fake.asked().is_empty());
    make(&gateway, &key, &["claude"]).await;
}

#[tokio::test]
async fn what_makes_no_batch_here_is_said_in_words() {
    let provider = Provider::start().await;
    let aws = "aws_region_name: eu-west-1\naws_access_key_id: AKIAFAKE\naws_secret_access_key: s";
    let cloud = "bedrock/eu.anthropic.claude-x-v1:0";
    let config = provider.config();
    let config = config.model("cloud", cloud, &provider.fake.url, aws);
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let mut twice = Request::post(PATH, &json!({})).bearer(&key);
    twice.body = creation_with_two_models();
    let refused = gateway.send(&twice).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    let says = "requests[0].params.model";
    assert!(refused.text().contains(says), "{}", refused.text());
    // OpenAI's batches name what to use as well.
    let form = Request::new("POST", "/v1/files?model=cloud").bearer(&key);
    let mut form = form.field("content-type", "multipart/form-data; boundary=b");
    form.body =
        b"--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nx\r\n--b--\r\n".to_vec();
    let refused = gateway.send(&form).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(
        refused.text().contains("CreateModelInvocationJob"),
        "{}",
        refused.text()
    );
    assert!(provider.fake.asked().is_empty());
}

/// Readers differ in which of two members they take.
fn creation_with_two_models() -> Vec<u8> {
    let text = creation(&["claude"]).to_string();
    let two = "\"model\":\"claude\",\"mod\\u0065l\":\"own\"";
    text.replace("\"model\":\"claude\"", two).into_bytes()
}
