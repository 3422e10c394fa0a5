//! Models, credentials and settings of the management API, on the running gateway.

use std::path::Path;
use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, UPSTREAM_KEY};
use meridian_testkit::raw::{Request, free_port};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
const SECRET: &str = UPSTREAM_KEY;
const SALT: &str = "sk-salt-of-the-tests-0123456789";
const STOP: Duration = Duration::from_secs(20);

fn config(provider: &Provider) -> Config {
    let url = format!("{}/v1", provider.url());
    Config::new()
        .model("file", "openai/fake-file", &url, "")
        .general("store_model_in_db: true")
}

async fn started(provider: &Provider) -> Gateway {
    let setup = Setup::new(BINARY, &config(provider)).env("LITELLM_SALT_KEY", SALT);
    setup.start().await
}

/// A management call that must succeed.
async fn done(gateway: &Gateway, method: &str, path: &str, body: Value) -> Value {
    let answer = gateway.admin(method, path, &body).await;
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

async fn report(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.report(path).await;
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

async fn chat(gateway: &Gateway, model: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    gateway.send(&request).await.status()
}

fn stored(provider: &Provider, name: &str) -> Value {
    let url = format!("{}/v1", provider.url());
    json!({
        "model_name": name, "model_info": {"id": format!("id-{name}")},
        "litellm_params": {
            "model": format!("openai/fake-{name}"), "api_key": SECRET, "api_base": url,
            "input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002,
        },
    })
}

fn files_with(secret: &str, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with(secret, &path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let secret = secret.as_bytes();
            if bytes.windows(secret.len()).any(|part| part == secret) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[tokio::test]
async fn a_stored_model_serves_at_once_after_a_restart_and_not_when_it_is_deleted() {
    let provider = Provider::start();
    let mut gateway = started(&provider).await;
    assert_eq!(chat(&gateway, "made").await, 400);
    done(&gateway, "POST", "/model/new", stored(&provider, "made")).await;
    assert_eq!(chat(&gateway, "made").await, 200);
    let sent = provider.last_request();
    let sent = sent.header("authorization").unwrap();
    assert!(sent.contains(SECRET), "the provider gets the key: {sent}");
    gateway.stop(STOP).await;
    gateway.start().await;
    assert_eq!(chat(&gateway, "made").await, 200, "after a restart");
    // A reload of the file keeps what is stored.
    let yaml = config(&provider).router("num_retries: 0").yaml();
    gateway.write_config(&yaml);
    gateway.signal("HUP");
    assert_eq!(chat(&gateway, "made").await, 200, "after a reload");
    done(&gateway, "POST", "/model/delete", json!({"id": "id-made"})).await;
    assert_eq!(chat(&gateway, "made").await, 400);
    gateway.kill().await;
    gateway.start().await;
    assert_eq!(chat(&gateway, "made").await, 400, "deleted for good");
    assert_eq!(chat(&gateway, "file").await, 200);
}

#[tokio::test]
async fn no_file_of_the_data_directory_holds_a_stored_secret_in_clear() {
    let provider = Provider::start();
    let mut gateway = started(&provider).await;
    done(&gateway, "POST", "/model/new", stored(&provider, "made")).await;
    let credential = json!({"credential_name": "c", "credential_values": {"api_key": SECRET}});
    done(&gateway, "POST", "/credentials", credential).await;
    let variables = json!({"environment_variables": {"STORED": SECRET}});
    done(&gateway, "POST", "/config/update", variables).await;
    let update = json!({"model_info": {"id": "id-made"}, "litellm_params": {"rpm": 100}});
    done(&gateway, "POST", "/model/update", update).await;
    assert_eq!(chat(&gateway, "made").await, 200);
    for path in [
        "/model/info",
        "/credentials",
        "/audit?size=100",
        "/config/list",
        "/health",
    ] {
        let answer = gateway.admin("GET", path, &Value::Null).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.text().contains(SECRET), "{path}: {}", answer.text());
    }
    gateway.stop(STOP).await;
    let mut found = Vec::new();
    files_with(SECRET, &gateway.data_dir(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(!gateway.log().contains(SECRET), "the log");
}

#[tokio::test]
async fn another_salt_key_leaves_stored_models_out_and_the_gateway_serves_the_rest() {
    const OTHER: &str = "sk-another-master-key-0123456789";
    let provider = Provider::start();
    // Without a salt key the master key is what values are sealed with.
    let mut gateway = Setup::new(BINARY, &config(&provider)).start().await;
    done(&gateway, "POST", "/model/new", stored(&provider, "made")).await;
    gateway.stop(STOP).await;
    gateway.write_config(&config(&provider).yaml().replace(MASTER_KEY, OTHER));
    gateway.start().await;
    let get = async |path: &str| gateway.send(&Request::get(path).bearer(OTHER)).await;
    let models = get("/v1/models").await.text();
    assert!(
        models.contains("\"file\"") && !models.contains("\"made\""),
        "{models}"
    );
    let details = get("/health/readiness/details").await.json();
    let shown = details["records_left_out"][0].to_string();
    assert!(
        shown.contains("model/id-made") && shown.contains("LITELLM_SALT_KEY"),
        "{shown}"
    );
    assert!(gateway.log().contains("a stored record is not in force"));
    let page = get("/metrics/").await.text();
    assert!(
        page.contains("meridian_config_records_left_out 1"),
        "{page}"
    );
}

#[tokio::test]
async fn a_stored_setting_changes_where_requests_go() {
    let provider = Provider::start();
    let gateway = started(&provider).await;
    let mut dead = stored(&provider, "dead");
    dead["litellm_params"]["api_base"] = json!(format!("http://127.0.0.1:{}/v1", free_port()));
    done(&gateway, "POST", "/model/new", dead).await;
    assert_eq!(chat(&gateway, "dead").await, 500);
    let fallback = json!({"model": "dead", "fallback_models": ["file"]});
    done(&gateway, "POST", "/fallback", fallback).await;
    assert_eq!(chat(&gateway, "dead").await, 200);
    let off = json!({"router_settings": {"fallbacks": []}});
    done(&gateway, "POST", "/config/update", off).await;
    assert_ne!(chat(&gateway, "dead").await, 200);
}

#[tokio::test]
async fn a_tested_connection_is_one_real_call_that_the_ledger_has() {
    let provider = Provider::start();
    let gateway = started(&provider).await;
    let params = stored(&provider, "tried")["litellm_params"].clone();
    let body = json!({"litellm_params": params});
    let tested = done(&gateway, "POST", "/health/test_connection", body).await;
    assert_eq!(tested["status"], "success", "{tested}");
    assert_eq!(provider.settled().await.len(), 1);
    let logs = report(&gateway, "/spend/logs/ui").await;
    assert_eq!(logs["total"], 1);
    assert!(logs["data"][0]["spend"].as_f64().unwrap() > 0.0, "{logs}");
    assert_eq!(chat(&gateway, "tried").await, 400, "nothing was stored");
    let mut nowhere = params;
    nowhere["api_base"] = json!(format!("http://127.0.0.1:{}/v1", free_port()));
    let body = json!({"litellm_params": nowhere});
    let failed = done(&gateway, "POST", "/health/test_connection", body).await;
    assert_eq!(failed["status"], "error", "{failed}");
}

#[tokio::test]
async fn daily_activity_is_the_sum_of_the_logs() {
    let provider = Provider::start();
    let gateway = started(&provider).await;
    done(&gateway, "POST", "/model/new", stored(&provider, "made")).await;
    for _ in 0..7 {
        assert_eq!(chat(&gateway, "made").await, 200);
    }
    let logs = report(&gateway, "/spend/logs/ui?page_size=100").await;
    let rows = logs["data"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    let sum = |name: &str| -> f64 { rows.iter().map(|row| row[name].as_f64().unwrap()).sum() };
    let day = rows[0]["startTime"].as_str().unwrap()[..10].to_owned();
    let last = rows[6]["startTime"].as_str().unwrap()[..10].to_owned();
    let path = format!("/user/daily/activity?start_date={last}&end_date={day}");
    let activity = report(&gateway, &path).await;
    let total = &activity["metadata"];
    assert!((total["total_spend"].as_f64().unwrap() - sum("spend")).abs() < 1e-9);
    assert_eq!(total["total_tokens"].as_f64().unwrap(), sum("total_tokens"));
    assert_eq!(total["total_api_requests"], 7);
}
