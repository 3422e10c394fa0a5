//! New configuration for a running gateway, and `meridian check`.

use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, insist};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use meridian_testkit::run::{Ran, Run};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");

fn config(provider: &Provider, names: &[&str]) -> Config {
    let url = format!("{}/v1", provider.url());
    names.iter().fold(Config::new(), |config, name| {
        config.model(name, "openai/fake-x+tokens=40+chunk_ms=40", &url, "")
    })
}

async fn status(gateway: &Gateway, model: &str, key: &str) -> u16 {
    // A known caller is refused for the field, before a provider is asked.
    let body = json!({"model": model, "messages": [], "api_base": "probe"});
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    let answer = gateway.send(&request).await;
    answer.status()
}

async fn lists(gateway: &Gateway, model: &str, key: &str) -> bool {
    let answer = gateway.send(&Request::get("/v1/models").bearer(key)).await;
    answer.status() == 200 && answer.text().contains(&format!("\"{model}\""))
}

async fn until_listed(gateway: &Gateway, model: &str, key: &str) {
    insist(SOON, async || match lists(gateway, model, key).await {
        true => Ok(()),
        false => Err(format!("{model} is not listed")),
    })
    .await;
}

/// A metric by its name and label.
type Named = (&'static str, &'static str);

async fn metric(gateway: &Gateway, (name, label): Named) -> f64 {
    gateway.metric(name, label).await
}

async fn until_metric(gateway: &Gateway, name: Named, wanted: f64) {
    insist(SOON, async || match metric(gateway, name).await {
        value if value == wanted => Ok(()),
        value => Err(format!("{name:?} is {value} instead of {wanted}")),
    })
    .await;
}

const OK: Named = ("meridian_config_reload_total", "result=\"ok\"");
const ERROR: Named = ("meridian_config_reload_total", "result=\"error\"");
const LAST: Named = ("meridian_config_last_reload_success", "");

#[tokio::test]
async fn a_signal_or_a_changed_file_puts_new_rules_in_force() {
    let provider = Provider::start();
    let gateway = Setup::new(BINARY, &config(&provider, &["one"]))
        .start()
        .await;
    assert!(lists(&gateway, "one", MASTER_KEY).await);
    gateway.write_config(&config(&provider, &["one", "two"]).yaml());
    gateway.signal("HUP");
    until_listed(&gateway, "two", MASTER_KEY).await;
    gateway.write_config(&config(&provider, &["two", "three"]).yaml());
    until_listed(&gateway, "three", MASTER_KEY).await;
    assert!(!lists(&gateway, "one", MASTER_KEY).await);
    assert_eq!(metric(&gateway, ERROR).await, 0.0);
    assert_eq!(metric(&gateway, LAST).await, 1.0);
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_raises_the_metric() {
    let provider = Provider::start();
    let gateway = Setup::new(BINARY, &config(&provider, &["one"]))
        .start()
        .await;
    let before = metric(&gateway, OK).await;
    // A good new model beside an error: nothing of it may take effect.
    let half = config(&provider, &["one", "two"]).router("num_retries: many");
    for (count, bad) in [half.yaml(), "model_list: [".to_owned()].iter().enumerate() {
        gateway.write_config(bad);
        gateway.signal("HUP");
        until_metric(&gateway, ERROR, count as f64 + 1.0).await;
        assert_eq!(metric(&gateway, LAST).await, 0.0);
        assert!(lists(&gateway, "one", MASTER_KEY).await);
        assert!(!lists(&gateway, "two", MASTER_KEY).await);
    }
    assert!(
        gateway.log().contains("config.yaml:"),
        "the log names the place"
    );
    gateway.write_config(&config(&provider, &["three"]).yaml());
    gateway.signal("HUP");
    until_listed(&gateway, "three", MASTER_KEY).await;
    assert_eq!(metric(&gateway, LAST).await, 1.0);
    assert_eq!(metric(&gateway, OK).await, before + 1.0);
}

#[tokio::test]
async fn a_running_stream_keeps_its_rules() {
    let provider = Provider::start();
    let gateway = Setup::new(BINARY, &config(&provider, &["one"]))
        .start()
        .await;
    let key = gateway.key(&json!({})).await;
    let body = json!({
        "model": "one", "stream": true, "user": "stream",
        "messages": [{"role": "user", "content": "hello"}],
    });
    let mut conn = Conn::open(gateway.addr()).await;
    let request = Request::post("/v1/chat/completions", &body).bearer(&key);
    conn.send(&request.bytes()).await.unwrap();
    let head = conn.head().await.unwrap();
    assert_eq!(head.status, 200);
    gateway.write_config(&config(&provider, &["two"]).yaml());
    gateway.signal("HUP");
    until_listed(&gateway, "two", &key).await;
    assert!(!lists(&gateway, "one", &key).await, "gone for new requests");
    let answer = conn.rest_of(head).await;
    assert_eq!(answer.end, BodyEnd::Complete);
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    let rows = crate::ledger::rows(&gateway).await;
    assert_eq!(rows[0]["completion_tokens"], 40, "{}", rows[0]);
    assert_eq!(rows[0]["model_group"], "one");
    assert!(rows[0]["spend"].as_f64() > Some(0.0));
}

#[tokio::test]
async fn a_new_master_key_counts_for_models_and_management_alike() {
    let provider = Provider::start();
    let gateway = Setup::new(BINARY, &config(&provider, &["one"]))
        .start()
        .await;
    let fresh = "sk-master-fresh-0123456789";
    let yaml = config(&provider, &["two"])
        .yaml()
        .replace(MASTER_KEY, fresh);
    gateway.write_config(&yaml);
    gateway.signal("HUP");
    until_listed(&gateway, "two", fresh).await;
    for (key, expected) in [(fresh, 400), (MASTER_KEY, 401)] {
        assert_eq!(status(&gateway, "two", key).await, expected, "{key}");
        let list = gateway.send(&Request::get("/key/list").bearer(key)).await;
        assert_eq!(
            list.status() == 200,
            expected == 400,
            "{key}: {}",
            list.text()
        );
    }
}

async fn check(path: &str) -> Ran {
    check_for(path, &[]).await
}

/// With more arguments.
async fn check_for(path: &str, more: &[&str]) -> Ran {
    let run = Run::new(BINARY).arg("check").arg("--config").arg(path);
    let run = more.iter().fold(run, |run, argument| run.arg(argument));
    let run = run
        .env("OPENAI_API_KEY", "sk-x")
        .env("ANTHROPIC_API_KEY", "sk-x")
        .env("AZURE_API_KEY", "sk-x")
        .env("LITELLM_MASTER_KEY", "sk-x-0123456789");
    run.limit(Duration::from_secs(30)).finish().await
}

#[tokio::test]
async fn check_accepts_every_configuration_that_is_shipped() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/conf");
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let ran = check(&path.display().to_string()).await;
            assert_eq!(
                ran.code,
                Some(0),
                "{}: {}{}",
                path.display(),
                ran.stdout,
                ran.stderr
            );
            files += 1;
        }
    }
    assert!(files > 3, "{files} files");
}

#[tokio::test]
async fn check_looks_at_a_region_from_the_node_that_is_named() {
    let regions = concat!(env!("CARGO_MANIFEST_DIR"), "/regions");
    for own in ["us-east-1", "eu-west-1", "ap-southeast-1"] {
        let path = format!("{regions}/{own}.yaml");
        for node in [&[][..], &["--region", own], &["--region", "nowhere-1"]] {
            let ran = check_for(&path, node).await;
            assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
            let far = ran.stdout.contains("in this node's region `nowhere-1`");
            assert_eq!(far, node.contains(&"nowhere-1"), "{}", ran.stdout);
        }
        let ran = check_for(&path, &["--region", "no where"]).await;
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn check_names_file_line_and_column_of_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.yaml");
    let yaml = "model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/a\n      \
                api_base: http://127.0.0.1:1\n      rpm: many\nrouter_settings:\n  \
                num_retries: never\ngeneral_settings:\n  master_key: sk-0123456789abcdef\n  \
                mastr_key: x\n";
    std::fs::write(&path, yaml).unwrap();
    let path = path.display().to_string();
    let ran = check(&path).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    for (place, about) in [
        ("6:12", "rpm"),
        ("8:16", "num_retries"),
        ("11:3", "mastr_key"),
    ] {
        let start = format!("{path}:{place}: ");
        let line = ran.stdout.lines().find(|line| line.starts_with(&start));
        assert!(
            line.is_some_and(|line| line.contains(about)),
            "{place}: {}",
            ran.stdout
        );
    }
    std::fs::write(&path, "model_list:\n  - model_name: \"a\n").unwrap();
    let ran = check(&path).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("{path}:")), "{}", ran.stdout);
    let missing = dir.path().join("missing.yaml").display().to_string();
    let ran = check(&missing).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(&missing),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}
