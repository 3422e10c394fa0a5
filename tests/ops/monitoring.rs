//! Alerts, dashboards and runbooks, held against Prometheus itself and against a gateway that it
//! scrapes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meridian_testkit::config::Config;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Conn, Request, free_port};
use meridian_testkit::run::Run;
use serde_json::{Value, json};

/// How long Prometheus may take to have seen everything on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
/// Families that one node on one Postgres does not show.
const NOT_HERE: [&str; 1] = ["meridian_region_"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool(arguments: &[&str]) {
    let ran = Command::new("promtool")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("promtool: scripts/setup.sh test installs it");
    let said = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Values of `key:` lines.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '-']));
    lines
        .filter_map(|line| line.strip_prefix(key))
        .map(str::trim)
        .collect()
}

fn alerts() -> BTreeSet<String> {
    let rules = read("monitoring/rules/alerts.yaml");
    let names: BTreeSet<String> = values(&rules, "alert:")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 20);
    names
}

#[test]
fn prometheus_takes_the_rules_and_every_alert_fires_when_it_should() {
    promtool(&[
        "check",
        "config",
        "--syntax-only",
        "monitoring/prometheus.yaml",
    ]);
    promtool(&[
        "check",
        "rules",
        "monitoring/rules/recording.yaml",
        "monitoring/rules/alerts.yaml",
    ]);
    promtool(&["test", "rules", "monitoring/tests/alerts.yaml"]);
    let tests = read("monitoring/tests/alerts.yaml");
    let tested: BTreeSet<String> = values(&tests, "name:")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let untested: Vec<_> = alerts().difference(&tested).cloned().collect();
    assert_eq!(untested, Vec::<String>::new());
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let rules = read("monitoring/rules/alerts.yaml");
    let named: BTreeSet<String> = values(&rules, "runbook:")
        .into_iter()
        .map(|path| {
            assert!(root().join(path).is_file(), "{path}");
            path.to_owned()
        })
        .collect();
    let of_alert = |alert: &String| format!("docs/runbooks/{alert}.md");
    let wanted: BTreeSet<String> = alerts().iter().map(of_alert).collect();
    assert_eq!(named, wanted);
    let files = std::fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .flatten();
    let there: BTreeSet<String> = files
        .map(|file| format!("docs/runbooks/{}", file.file_name().to_string_lossy()))
        .collect();
    assert_eq!(there, wanted);
    for path in &wanted {
        let page = read(path);
        for link in page
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            assert!(
                root().join("docs/runbooks").join(link).exists(),
                "{path}: {link}"
            );
        }
    }
}

/// Names of our families in a text.
fn families(text: &str) -> BTreeSet<String> {
    let word = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':');
    let ours = |word: &&str| {
        let known = ["meridian_", "litellm_", "process_"];
        known.iter().any(|begin| word.starts_with(begin)) && !word.contains(':')
    };
    // Names in quotes are labels' values.
    let plain = text.split('"').step_by(2).flat_map(|part| part.split(word));
    let plain = plain
        .filter(ours)
        .filter(|word| *word != "litellm_model_name");
    plain
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn rules_and_runbooks_name_only_metrics_that_there_are() {
    let page = read("docs/METRICS.md");
    let known: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect();
    for path in [
        "monitoring/rules/alerts.yaml",
        "monitoring/rules/recording.yaml",
    ] {
        let unknown: Vec<_> = families(&read(path)).difference(&known).cloned().collect();
        assert_eq!(unknown, Vec::<String>::new(), "{path}");
    }
    for alert in alerts() {
        let path = format!("docs/runbooks/{alert}.md");
        let unknown: Vec<_> = families(&read(&path)).difference(&known).cloned().collect();
        assert_eq!(unknown, Vec::<String>::new(), "{path}");
    }
}

/// A Prometheus of our own that scrapes one gateway every second.
struct Prometheus {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start(gateway: &Gateway) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = root().join("monitoring/rules");
        let rules = rules.display();
        let target = gateway.addr();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{rules}/recording.yaml\", \"{rules}/alerts.yaml\"]\n\
             scrape_configs:\n  - job_name: meridian\n    metrics_path: /metrics/\n    \
             static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        // Recorded once a second here, not every half minute.
        let path = dir.path().join("prometheus.yaml");
        std::fs::write(&path, config).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: scripts/setup.sh test installs it");
        Self {
            child,
            port,
            _dir: dir,
        }
    }

    /// Series that a query gives, or why it gives none; `None` while nobody answers.
    async fn query(&self, text: &str) -> Option<Result<usize, String>> {
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut conn = Conn::try_open(addr).await.ok()?;
        let target = format!("/api/v1/query?query={}", encoded(text));
        let answer = conn.exchange(&Request::get(&target)).await;
        let answer: Value = serde_json::from_str(&answer.text()).ok()?;
        Some(match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.len()),
            None => Err(answer.to_string()),
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Every query of the dashboard as Grafana would send it.
fn queries() -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(&read("monitoring/grafana/meridian.json")).unwrap();
    let mut found = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().unwrap();
            let text = text
                .replace("$job", "meridian")
                .replace("$__rate_interval", "30s");
            found.push((panel["title"].as_str().unwrap().to_owned(), text));
        }
    }
    assert!(found.len() > 30);
    found
}

/// Something of everything: streams, whole answers, refusals, failures, a budget.
async fn traffic(gateway: &Gateway, key: &str, turn: usize) {
    let scripts = ["+tokens=5", "+tokens=3", "+status=500"];
    for (number, script) in scripts.iter().enumerate() {
        let body = json!({
            "model": format!("fake-m{script}"), "stream": number % 2 == 0,
            "user": format!("m-{turn}-{number}"),
            "messages": [{"role": "user", "content": "hello"}],
        });
        let request = Request::post("/v1/chat/completions", &body).bearer(key);
        gateway.send(&request).await;
    }
    let unknown = json!({"model": "nobody-has-it", "messages": []});
    let request = Request::post("/v1/chat/completions", &unknown).bearer(key);
    gateway.send(&request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboard_finds_something_in_a_live_scrape() {
    let provider = Provider::start();
    let postgres = Postgres::start();
    let url = postgres.database("watched");
    let migrate = Run::new(env!("CARGO_BIN_EXE_meridian")).arg("migrate");
    migrate.env("DATABASE_URL", &url).succeed().await;
    let config = Config::standard(&provider).litellm("require_auth_for_metrics_endpoint: false");
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config).env("DATABASE_URL", &url);
    let gateway = setup.start().await;
    let key = gateway
        .key(&json!({"key_alias": "watched", "max_budget": 5}))
        .await;
    let prometheus = Prometheus::start(&gateway);
    let mut left = queries();
    let ours = |text: &str| NOT_HERE.iter().all(|family| !text.contains(family));
    left.retain(|(_, text)| ours(text));
    let found = tokio::time::timeout(WITHIN, async {
        for turn in 0.. {
            traffic(&gateway, &key, turn).await;
            let mut empty = Vec::new();
            for (panel, text) in left.drain(..) {
                match prometheus.query(&text).await {
                    Some(Ok(series)) if series > 0 => {}
                    Some(Ok(_)) | None => empty.push((panel, text)),
                    Some(Err(why)) => panic!("{panel}: {text}: {why}"),
                }
            }
            left = empty;
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let done = found.await;
    assert!(done.is_ok(), "nothing is found by {left:#?}");
}
