//! Two versions of the program on one Postgres: the newest one, and the one that was made for the
//! schema before it (migrations/README.md).
//!
//! The older program is built from this repository's history, which takes minutes: with
//! `MERIDIAN_LONG=1`, or at once where `MERIDIAN_OLD_PROGRAM` names one that is built.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_testkit::config::Config;
use meridian_testkit::deadline::eventually;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;
use meridian_testkit::redis::Redis;
use meridian_testkit::run::Run;
use meridian_testkit::scale::scaled;
use serde_json::json;

use crate::ledger;

const NEW: &str = env!("CARGO_BIN_EXE_meridian");
/// Names an older program that is already built.
const OLD_PROGRAM: &str = "MERIDIAN_OLD_PROGRAM";
/// Requests of each key through each program.
const REQUESTS: usize = 40;
/// A busy machine takes its time.
const WITHIN: Duration = Duration::from_secs(60);
/// A build from nothing on such a machine.
const BUILT_WITHIN: Duration = Duration::from_secs(3_600);

/// The older program; `None` where this run has no time for it.
async fn old_program(folder: &Path) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(OLD_PROGRAM) {
        return Some(given.into());
    }
    if !scaled(false, true) {
        return None;
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| {
        let run = arguments
            .iter()
            .fold(Run::new("git").dir(root), |run, one| run.arg(*one));
        run.limit(WITHIN)
    };
    // The commit before the one that brought the newest step of the schema.
    let steps = [
        "log",
        "-1",
        "--diff-filter=A",
        "--format=%H",
        "--",
        "migrations/postgres/V*.sql",
    ];
    let newest = git(&steps).succeed().await;
    let before = format!("{}~1", newest.trim());
    let tree = folder.join("tree");
    let tree_name = tree.display().to_string();
    git(&["worktree", "add", "--detach", &tree_name, &before])
        .succeed()
        .await;
    let target = folder.join("target");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let home = std::env::var("HOME").unwrap_or_default();
    let build = Run::new(cargo).dir(&tree).env("HOME", &home);
    let build = build.env("CARGO_TARGET_DIR", &target.display().to_string());
    let build = build
        .arg("build")
        .arg("--locked")
        .arg("--bin")
        .arg("meridian");
    build.limit(BUILT_WITHIN).succeed().await;
    git(&["worktree", "remove", "--force", &tree_name])
        .succeed()
        .await;
    Some(target.join("debug/meridian"))
}

/// Runs a program's `migrate` and gives what it said, if it went well.
async fn migrate(program: &Path, url: &str, way: &str) -> String {
    let run = Run::new(program).arg("migrate").arg(way);
    run.env("DATABASE_URL", url).succeed().await
}

fn config(provider: &Provider, redis: &Redis) -> Config {
    let base = format!("{}/v1", provider.url());
    let place = format!("cache_params: {{type: redis, url: '{}'}}", redis.url());
    Config::new()
        .model("fake-*", "openai/fake-*", &base, "")
        .litellm(&place)
}

/// Sends some requests with a key that this program may never have seen; all are answered.
async fn ask(gateway: &Gateway, key: &str, marker: &str) {
    for _ in 0..REQUESTS {
        let body = json!({
            "model": "fake-x+prompt=10+tokens=5", "user": marker,
            "messages": [{"role": "user", "content": "How do tides work?"}],
        });
        let request = Request::post("/v1/chat/completions", &body).bearer(key);
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status(), 200, "{marker}: {}", answer.text());
    }
}

/// Rows, and what was spent by the log, the roll-ups and the keys, in nano-dollars.
const SUMS: &str = "SELECT (SELECT count(*) FROM meridian.spend_log), \
    (SELECT sum(cost) FROM meridian.spend_log), (SELECT sum(spend) FROM meridian.daily_spend), \
    (SELECT sum(spend) FROM meridian.scope_spend WHERE kind = 'key')";

async fn spend_is_the_same_everywhere(postgres: &Postgres, rows: usize) {
    // Ten tokens at 1e-6 and five at 2e-6 dollars each.
    let cost = rows * 20_000;
    let expected = format!("{rows}|{cost}|{cost}|{cost}");
    let there = || (postgres.ask("app", SUMS).trim() == expected).then_some(());
    eventually(WITHIN, "every request in every sum", there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_share_a_database_and_the_older_one_refuses_what_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let Some(old) = old_program(folder.path()).await else {
        return;
    };
    let (provider, postgres, redis) = (Provider::start(), Postgres::start(), Redis::start());
    let url = postgres.database("app");
    let config = config(&provider, &redis);
    let setup = |program: &Path| {
        let program = program.to_str().unwrap();
        Setup::new(program, &config).env("DATABASE_URL", &url)
    };
    let new = PathBuf::from(NEW);
    // The schema of the older program is too old for the newer one, which says what to do.
    migrate(&old, &url, "up").await;
    let (status, said) = setup(&new).refuse().await;
    assert!(
        !status.success() && said.contains("meridian migrate"),
        "{said}"
    );
    // Expanded by the newer program, it is good for both.
    migrate(&new, &url, "up").await;
    let (before, after) = (setup(&old).start().await, setup(&new).start().await);
    let of_old = before
        .key(&json!({"key_alias": "of-old", "max_budget": 5}))
        .await;
    let of_new = after
        .key(&json!({"key_alias": "of-new", "max_budget": 5}))
        .await;
    let mut rows = 0;
    for (gateway, name) in [(&before, "old"), (&after, "new")] {
        for key in [&of_old, &of_new] {
            ask(gateway, key, name).await;
            rows += REQUESTS;
        }
    }
    spend_is_the_same_everywhere(&postgres, rows).await;
    for gateway in [&before, &after] {
        for key in [&of_old, &of_new] {
            let spend = ledger::key_spend(gateway, key).await;
            assert_eq!(spend, (rows * 20_000 / 2) as i64);
        }
    }
    // What one takes away, the other does not give.
    after
        .admin("POST", "/key/block", &json!({"key": of_old}))
        .await;
    refused_soon(&before, &of_old).await;
    before
        .admin("POST", "/key/block", &json!({"key": of_new}))
        .await;
    refused_soon(&after, &of_new).await;
    drop((before, after));
    // A contraction shuts the older one out, in words.
    postgres.ask("app", "UPDATE meridian.compatibility SET since = 1000");
    let (status, said) = setup(&old).refuse().await;
    assert!(!status.success() && said.contains("newer"), "{said}");
}

async fn refused_soon(gateway: &Gateway, key: &str) {
    let began = std::time::Instant::now();
    loop {
        let body = json!({"model": "fake-x", "messages": [{"role": "user", "content": "?"}]});
        let request = Request::post("/v1/chat/completions", &body).bearer(key);
        let answer = gateway.send(&request).await;
        if answer.status() == 401 {
            return;
        }
        assert!(began.elapsed() < WITHIN, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
