//! Memory of keys and the time to find one, from a thousand to a million of them.
//!
//! `cargo bench --bench keys` measures keys that each have an alias, a budget, models and a user,
//! and share a team by the thousand; `-- alone` measures keys without scopes. `-- process` fills an
//! embedded store with a million of the former and measures the gateway that starts on it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints what it measured and stops at the first error"
)]

use std::time::Instant;

use jiff::tz::TimeZone;
use meridian::clock;
use meridian::registry::{Applied, Registry};
use meridian::store::{RecordWrite, Store};
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::record::Record;
use meridian_core::time::WallMs;
use meridian_testkit::config::Config;
use meridian_testkit::gateway::Setup;
use meridian_testkit::provider::Provider;
use serde_json::json;

/// Keys after which is measured.
const STEPS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Look-ups of a measurement, spread over all keys.
const LOOKUPS: u32 = 1_000_000;
/// Keys of a team.
const TEAM: u32 = 1_000;
/// Records of one write into a store.
const WRITES: usize = 5_000;

fn main() {
    let word = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    if word("process") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(process());
    }
    in_memory(!word("alone"));
}

fn in_memory(scopes: bool) {
    let (before, now) = (rss_kib("self"), clock::now());
    let registry = Registry::new(TimeZone::UTC);
    println!(
        "{:>9}  {:>9}  {:>11}  {:>13}",
        "keys", "MiB", "bytes each", "ns to find one"
    );
    let mut made = 0;
    for step in STEPS {
        for number in made..step {
            let applied = registry.apply(&record(number, scopes), None, now);
            assert!(matches!(applied, Applied::Taken), "{applied:?}");
        }
        made = step;
        let grown = rss_kib("self").saturating_sub(before);
        let nanos = find(&registry, step, now);
        let (mib, each) = (grown / 1024, grown * 1024 / u64::from(step));
        println!("{step:>9}  {mib:>9}  {each:>11}  {nanos:>13}");
    }
}

/// Nanoseconds to find a key by its digest; what the digest itself costs is not part of it.
fn find(registry: &Registry, keys: u32, now: WallMs) -> u128 {
    let place = |at: u32| (u64::from(at) * 7_919 % u64::from(keys)) as u32;
    let digests: Vec<KeyHash> = (0..LOOKUPS).map(|at| digest(place(at))).collect();
    let started = Instant::now();
    let found = digests.iter().filter_map(|one| registry.get(one, now));
    assert_eq!(found.count(), digests.len());
    started.elapsed().as_nanos() / u128::from(LOOKUPS)
}

fn digest(number: u32) -> KeyHash {
    KeyHash::of_secret(&format!("sk-{number}"))
}

fn record(number: u32, scopes: bool) -> Record {
    let mut key = json!({
        "token": digest(number), "key_name": "sk-...0000", "version": 1,
        "max_budget": 1_000_000_000, "budget_duration": "30d", "models": ["gpt-4o", "claude"],
    });
    if scopes {
        key["key_alias"] = json!(format!("key of somebody {number}"));
        key["team_id"] = json!(format!("team-{}", number / TEAM));
        key["user_id"] = json!(format!("user-{number}"));
    }
    let key: KeyRecord = serde_json::from_value(key).unwrap();
    key.to_record()
}

/// A gateway that starts on a store with all the keys: what the whole process takes.
async fn process() {
    let provider = Provider::start();
    let config = Config::standard(&provider);
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config);
    let mut gateway = setup.start().await;
    let empty = gateway.rss_kib();
    assert!(
        gateway
            .stop(std::time::Duration::from_secs(30))
            .await
            .success()
    );
    let began = Instant::now();
    let store = Store::open_embedded(&gateway.data_dir()).await.unwrap();
    let keys = STEPS[STEPS.len() - 1];
    let numbers: Vec<u32> = (0..keys).collect();
    for numbers in numbers.chunks(WRITES) {
        let writes = numbers
            .iter()
            .map(|number| RecordWrite::create(record(*number, true)))
            .collect();
        store.write_records(writes, None).await.unwrap();
    }
    drop(store);
    println!("{keys} keys written in {:?}", began.elapsed());
    let began = Instant::now();
    gateway.start().await;
    println!("ready after {:?}", began.elapsed());
    println!(
        "resident: {} MiB, {} without keys",
        gateway.rss_kib() / 1024,
        empty / 1024
    );
    println!(
        "at most: {} MiB",
        kib(&gateway.pid().to_string(), "VmHWM:") / 1024
    );
}

fn rss_kib(process: &str) -> u64 {
    kib(process, "VmRSS:")
}

fn kib(process: &str, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.and_then(|figure| figure.parse().ok()).unwrap()
}
