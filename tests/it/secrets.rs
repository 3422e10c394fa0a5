//! Canaries: secrets that must appear in no output, at TRACE, with every error that can be induced.

use std::path::Path;
use std::time::Duration;

use meridian_testkit::deadline::{SOON, eventually, insist};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Options, Provider, Script};
use meridian_testkit::raw::{BodyEnd, Conn, Request, free_port};
use serde_json::json;

const MASTER: &str = "sk-canarymaster-7f3a9c1e5b2d8046";
const PROVIDER: &str = "sk-canaryprovider-1b9d4e7a3c6f0285";
const VIRTUAL: &str = "sk-canaryvirtual-5e2c8a0f4d7b3196";
const WRONG: &str = "sk-canarywrong-9a4f6c2e8d1b7035";
const ODD: &str = "canaryodd-3d8b5f1a7c9e2460";
const PROMPT: &str = "canaryprompt-6c0e9a4d2f8b5173";
const EXTRA: &str = "canaryextra-8f1d3b7e5a9c0264";
const COOKIE: &str = "canarycookie-2a7c4e9f1b6d8035";
const CANARIES: [&str; 8] = [MASTER, PROVIDER, VIRTUAL, WRONG, ODD, PROMPT, EXTRA, COOKIE];

fn yaml(provider: &Provider) -> String {
    let url = provider.url();
    let nowhere = free_port();
    let model = |name: &str, upstream: &str, base: &str| {
        format!(
            "  - model_name: \"{name}\"\n    litellm_params:\n      model: \"{upstream}\"\n      \
             api_base: \"{base}\"\n      api_key: {PROVIDER}\n      extra_headers:\n        \
             x-own-secret: {EXTRA}\n"
        )
    };
    [
        "model_list:\n".to_owned(),
        model("fake-*", "openai/fake-*", &format!("{url}/v1")),
        model("cl-*", "anthropic/fake-*", &url),
        model("az-*", "azure/fake-*", &url),
        model("echo", "openai/echo", &format!("{url}/v1")),
        model("echo-cl", "anthropic/echo", &url),
        model(
            "nowhere",
            "openai/x",
            &format!("http://127.0.0.1:{nowhere}/v1"),
        ),
        model(
            "no-tls",
            "openai/x",
            &format!("https://{}/v1", provider.addr()),
        ),
        "router_settings:\n  num_retries: 1\n".to_owned(),
        format!("general_settings:\n  master_key: {MASTER}\n"),
    ]
    .concat()
}

/// What came back to clients, heads and bodies.
struct Seen(Vec<u8>);

impl Seen {
    async fn send(&mut self, gateway: &Gateway, request: &Request) {
        let mut conn = Conn::open(gateway.addr()).await;
        // A server that refuses early may have closed its side; what it said still counts.
        let _ = conn.send(&request.bytes()).await;
        if let Ok(head) = conn.head().await {
            let answer = conn.rest_of(head).await;
            assert_ne!(answer.end, BodyEnd::TimedOut, "{:?}", answer.head.fields);
            self.0.extend_from_slice(&answer.head.raw);
            self.0.extend_from_slice(&answer.body);
        }
    }
}

fn chat(model: &str, stream: bool) -> Request {
    let body = json!({
        "model": model, "stream": stream, "user": "somebody",
        "messages": [{"role": "user", "content": PROMPT}],
    });
    Request::post("/v1/chat/completions", &body)
        .field("x-secret-header", EXTRA)
        .field("cookie", &format!("session={COOKIE}"))
        .field("x-litellm-timeout", "0.3")
}

fn messages(model: &str, stream: bool) -> Request {
    let body = json!({
        "model": model, "stream": stream, "max_tokens": 9,
        "messages": [{"role": "user", "content": PROMPT}],
    });
    Request {
        target: "/v1/messages".to_owned(),
        body: body.to_string().into(),
        ..chat("", false)
    }
}

const FAULTS: [&str; 14] = [
    "tokens=3",
    "status=400",
    "status=401",
    "status=429",
    "status=500",
    "reset@head",
    "reset@2",
    "stall@head",
    "close@mid2",
    "error@2",
    "malformed@2",
    "badchunk@2",
    "truncate@2",
    "empty",
];

async fn provoke_providers(gateway: &Gateway, provider: &Provider, seen: &mut Seen) {
    for fault in FAULTS {
        for stream in [false, true] {
            for model in ["fake-x", "az-x"] {
                let model = format!("{model}+{fault}");
                seen.send(gateway, &chat(&model, stream).bearer(VIRTUAL))
                    .await;
            }
            let model = format!("cl-x+{fault}");
            seen.send(gateway, &messages(&model, stream).bearer(VIRTUAL))
                .await;
        }
    }
    // Providers that repeat the credential they refuse.
    let message = format!("Incorrect API key provided: {PROVIDER}. Bearer {PROVIDER}");
    let error = json!({"type": "error", "error": {"message": message, "type": "x", "code": 1}});
    for status in [400, 401, 403, 500, 200] {
        let echo = Script {
            status,
            body: Some(error.to_string()),
            headers: vec![("x-request-key".to_owned(), PROVIDER.to_owned())],
            ..Script::default()
        };
        provider.script("echo", [echo]);
        for stream in [false, true] {
            seen.send(gateway, &chat("echo", stream).bearer(VIRTUAL))
                .await;
            seen.send(gateway, &messages("echo-cl", stream).bearer(VIRTUAL))
                .await;
        }
    }
    provider.script("echo", []);
    for model in ["nowhere", "no-tls"] {
        seen.send(gateway, &chat(model, false).bearer(VIRTUAL))
            .await;
    }
}

async fn provoke_refusals(gateway: &Gateway, seen: &mut Seen) {
    let chat = || chat("fake-x", false);
    let plain = |name: &str, value: &str| chat().field(name, value);
    let broken = format!("{{\"model\": \"fake-x\", \"messages\": [{PROMPT}");
    let banned = json!({"model": "fake-x", "messages": [], "api_key": ODD, "api_base": ODD});
    let post = |body: Vec<u8>| Request { body, ..chat() }.bearer(VIRTUAL);
    let to = |target: String| Request { target, ..chat() };
    let basic = {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(format!("user:{WRONG}"))
    };
    let requests = [
        chat().bearer(WRONG),
        chat().bearer(ODD),
        plain("authorization", WRONG),
        plain("authorization", &format!("Basic {basic}")),
        plain("authorization", &format!("Digest {ODD}")),
        plain("x-api-key", ODD),
        plain("x-goog-api-key", WRONG),
        post(broken.into_bytes()),
        post(PROMPT.as_bytes().to_vec()),
        post(banned.to_string().into_bytes()),
        post(json!({"messages": PROMPT}).to_string().into_bytes()),
        post(
            json!({"model": [PROMPT], "messages": 7})
                .to_string()
                .into_bytes(),
        ),
        to(format!(
            "/v1/chat/completions?key={WRONG}&api_key={VIRTUAL}"
        )),
        to(format!("/v1/nothing?key={MASTER}")),
        to(format!("/key/generate?x={ODD}")).bearer(VIRTUAL),
        to("/global/spend/reset".to_owned()).bearer(VIRTUAL),
        Request::get(&format!("/key/info?key={WRONG}")).bearer(MASTER),
        Request::get("/key/info").bearer(VIRTUAL),
        Request::get("/key/list?return_full_object=true").bearer(MASTER),
        Request::get("/model/info").bearer(MASTER),
        Request::get("/v1/models").bearer(VIRTUAL),
        Request::get("/spend/logs").bearer(MASTER),
        Request::get("/spend/logs/v2").bearer(MASTER),
        Request::get("/health/readiness/details").bearer(MASTER),
        Request::get("/health").bearer(MASTER),
        Request::get("/metrics/").bearer(MASTER),
        Request::post("/key/health", &json!({})).bearer(VIRTUAL),
    ];
    for request in &requests {
        seen.send(gateway, request).await;
    }
    let mut half = Conn::open(gateway.addr()).await;
    let head = chat().bearer(VIRTUAL).bytes();
    half.send(&head[..head.len() - 10]).await.unwrap();
    half.reset();
}

fn search(place: &str, bytes: &[u8]) {
    for canary in CANARIES {
        // Enough of a secret to be one, wherever it was cut.
        let body = &canary.as_bytes()[canary.len() - 12..];
        let found = bytes.windows(body.len()).position(|window| window == body);
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(300)..(at + 40).min(bytes.len())];
            panic!("{canary} in {place}: {}", String::from_utf8_lossy(around));
        }
    }
}

fn search_dir(dir: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += search_dir(&path);
        } else if path.is_file() {
            files += 1;
            search(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
    files
}

/// A provider that knows its key.
fn provider() -> Provider {
    let options = Options {
        keys: vec![PROVIDER.to_owned()],
        ..Options::default()
    };
    Provider::start_with(options).unwrap()
}

async fn nothing_leaks(variable: &str, level: &str) {
    let provider = provider();
    let setup = Setup::with_yaml(env!("CARGO_BIN_EXE_meridian"), &yaml(&provider));
    let mut gateway = setup.env(variable, level).start().await;
    let make = Request::post("/key/generate", &json!({"key": VIRTUAL})).bearer(MASTER);
    assert_eq!(gateway.send(&make).await.status(), 200);
    let mut seen = Seen(Vec::new());
    provoke_providers(&gateway, &provider, &mut seen).await;
    provoke_refusals(&gateway, &mut seen).await;
    let served = provider.rows().len();
    assert!(served > 60, "the provider was asked {served} times");
    search("answers", &seen.0);
    search_dir(&gateway.data_dir());
    gateway.write_config("general_settings: [broken");
    gateway.signal("HUP");
    let noticed = || {
        let log = gateway.log();
        log.contains("configuration has errors").then_some(())
    };
    eventually(SOON, "the broken configuration to be noticed", noticed).await;
    gateway.stop(Duration::from_secs(30)).await;
    assert!(
        search_dir(&gateway.data_dir()) > 1,
        "there is a store and a journal"
    );
    let log = gateway.log();
    assert!(log.lines().count() > 50, "there is a log");
    search("log", log.as_bytes());
}

/// A provider that quotes the prompt in its refusal.
fn quoting() -> Script {
    let message = format!("Your prompt '{PROMPT}' was flagged.");
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "code": "content_policy_violation",
    }});
    Script {
        status: 400,
        body: Some(error.to_string()),
        ..Script::default()
    }
}

/// The one row of the ledger after a refusal that quoted the prompt.
async fn quoted_row(gateway: &Gateway, provider: &Provider) -> serde_json::Value {
    provider.script("echo", [quoting()]);
    let make = Request::post("/key/generate", &json!({"key": VIRTUAL})).bearer(MASTER);
    assert_eq!(gateway.send(&make).await.status(), 200);
    let answer = gateway.send(&chat("echo", false).bearer(VIRTUAL)).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains(PROMPT), "the caller may read it");
    let ask = Request::get("/spend/logs").bearer(MASTER);
    insist(SOON, async || {
        let mut rows = gateway.send(&ask).await.json();
        let row = rows.get_mut(0).map(serde_json::Value::take);
        row.ok_or_else(|| format!("no row in the ledger: {rows}"))
    })
    .await
}

#[tokio::test]
async fn a_prompt_that_a_provider_quotes_stays_out_of_ledger_journal_and_log() {
    let provider = provider();
    let setup = Setup::with_yaml(env!("CARGO_BIN_EXE_meridian"), &yaml(&provider));
    let mut gateway = setup.env("RUST_LOG", "trace").start().await;
    let row = quoted_row(&gateway, &provider).await;
    let error = &row["metadata"]["error_information"]["error_message"];
    let expected = "OpenAIException - status=400 type=invalid_request_error \
                    code=content_policy_violation";
    assert!(error.as_str().unwrap().ends_with(expected), "{error}");
    search("ledger", row.to_string().as_bytes());
    gateway.stop(Duration::from_secs(30)).await;
    search_dir(&gateway.data_dir());
    search("log", gateway.log().as_bytes());
}

#[tokio::test]
async fn who_stores_prompts_has_the_providers_words_in_the_ledger() {
    let provider = provider();
    let general = format!("  master_key: {MASTER}\n");
    let stored = format!("{general}  store_prompts_in_spend_logs: true\n");
    let yaml = yaml(&provider).replace(&general, &stored);
    let setup = Setup::with_yaml(env!("CARGO_BIN_EXE_meridian"), &yaml);
    let gateway = setup.start().await;
    let row = quoted_row(&gateway, &provider).await;
    let error = &row["metadata"]["error_information"]["error_message"];
    assert!(error.as_str().unwrap().contains(PROMPT), "{error}");
}

#[tokio::test]
async fn no_secret_appears_anywhere_with_rust_log_trace() {
    nothing_leaks("RUST_LOG", "trace").await;
}

#[tokio::test]
async fn no_secret_appears_anywhere_with_litellm_log_trace() {
    nothing_leaks("LITELLM_LOG", "TRACE").await;
}
