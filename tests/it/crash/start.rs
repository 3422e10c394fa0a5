//! What refuses to start says why, and what cannot keep books refuses requests.

use std::time::Duration;

use meridian_testkit::gateway::Setup;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Request, free_port};
use meridian_testkit::relay::Mode;
use meridian_testkit::run::Run;
use serde_json::json;

use super::postgres::migrated;
use crate::world::scripted;

fn ask(key: &str) -> Request {
    let body = json!({
        "model": "fake-x", "messages": [{"role": "user", "content": "hello"}],
    });
    Request::post("/v1/chat/completions", &body).bearer(key)
}

#[tokio::test]
async fn a_full_journal_refuses_with_a_time_to_come_back() {
    let (_server, relay, url) = migrated().await;
    let provider = Provider::start();
    let config = scripted(&provider).raw("meridian:\n  journal_bytes_max: 1048576");
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config).env("DATABASE_URL", &url);
    let gateway = setup.start().await;
    let key = gateway.key(&json!({})).await;
    // Nothing leaves the journal from here on.
    relay.set(Mode::Down);
    let mut served = 0;
    let refused = loop {
        let answer = gateway.send(&ask(&key)).await;
        match answer.status() {
            200 => served += 1,
            _ => break answer,
        }
        assert!(served < 2_000, "1 MiB holds no two thousand records");
    };
    assert_eq!(refused.status(), 503, "{}", refused.text());
    let retry_after = refused.header("retry-after").map(str::parse::<u32>);
    assert!(
        matches!(retry_after, Some(Ok(1..=60))),
        "{:?}",
        refused.head
    );
    let error = &refused.json()["error"];
    assert_eq!(error["type"], "overloaded_error");
    assert_eq!(
        provider.rows().len(),
        served,
        "nothing is dispatched unrecorded"
    );
    let messages = json!({
        "model": "cl-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}],
    });
    let anthropic = Request::post("/v1/messages", &messages).anthropic(&key);
    let refused = gateway.send(&anthropic).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json()["type"], "error", "{}", refused.text());
}

async fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let mut run = Run::new(env!("CARGO_BIN_EXE_meridian")).arg("serve");
    for argument in arguments {
        run = run.arg(argument);
    }
    let ran = run.limit(Duration::from_secs(30)).finish().await;
    (ran.code, ran.stdout + &ran.stderr)
}

#[tokio::test]
async fn a_second_process_on_one_data_directory_refuses() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let gateway = setup.start().await;
    let config = gateway.config_path().display().to_string();
    let data = gateway.data_dir().display().to_string();
    let port = free_port().to_string();
    let arguments = ["--config", &config, "--data-dir", &data, "--port", &port];
    let (code, output) = refused(&arguments).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(&data), "names the directory: {output}");
    assert!(
        output.contains("another meridian process"),
        "says why: {output}"
    );
    assert!(gateway.is_ready().await, "the first one serves on");
    let key = gateway.key(&json!({})).await;
    assert_eq!(gateway.send(&ask(&key)).await.status(), 200);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &scripted(&provider));
    let gateway = setup.start().await;
    let config = gateway.config_path().display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("other").display().to_string();
    let port = gateway.addr().port().to_string();
    let arguments = [
        "--config",
        &config,
        "--data-dir",
        &data,
        "--host",
        "127.0.0.1",
        "--port",
        &port,
    ];
    let (code, output) = refused(&arguments).await;
    assert_eq!(code, Some(1), "{output}");
    let address = format!("cannot listen on 127.0.0.1:{port}");
    assert!(output.contains(&address), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}
