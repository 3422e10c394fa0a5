//! Memory of keys and the time to find one, from a thousand to a million of them.
//!
//! `cargo bench --bench keys` measures keys that each have an alias, a budget, models and a user,
//! and share a team by the thousand, before and after each of them was used; `-- alone` measures
//! keys without scopes, and `-- sharded` also look-ups in a `DashMap` of the same objects.
//! `-- process` fills an embedded store with a million of the former and measures the gateway that
//! starts on it; `-- process used` asks once with each of them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints what it measured and stops at the first error"
)]

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use jiff::tz::TimeZone;
use meridian::clock;
use meridian::registry::{Applied, Registry};
use meridian::store::{RecordWrite, Store};
use meridian_core::auth::KeyView;
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::meters::{Decides, Need};
use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::time::WallMs;
use meridian_testkit::config::Config;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Keys after which is measured.
const STEPS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Look-ups of a measurement, spread over all keys.
const LOOKUPS: u32 = 1_000_000;
/// Keys of a team.
const TEAM: u32 = 1_000;
/// Records of one write into a store.
const WRITES: usize = 5_000;
/// Connections that ask with every key of a gateway.
const CONNECTIONS: u32 = 32;
const BODY: &str = r#"{"model":"fake-ok","messages":[{"role":"user","content":"hi"}]}"#;

fn main() {
    let word = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    if word("process") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(process(word("used")));
    }
    in_memory(!word("alone"), word("sharded"));
}

fn in_memory(scopes: bool, sharded: bool) {
    let (before, now) = (rss_kib("self"), clock::now());
    let registry = Registry::new(TimeZone::UTC);
    println!(
        "{:>9}  {:>9}  {:>11}  {:>13}  {:>14}",
        "keys", "MiB", "bytes each", "ns to find one", "by two threads"
    );
    let mut made = 0;
    for step in STEPS {
        for number in made..step {
            let applied = registry.apply(&record(number, scopes), None, now);
            assert!(matches!(applied, Applied::Taken), "{applied:?}");
        }
        made = step;
        registry.sweep(now);
        let (mib, each) = grown(before, step);
        let look = |one: &KeyHash| registry.get(one, now).is_some();
        let [alone, beside] = [1, 2].map(|threads| find(look, step, threads));
        println!("{step:>9}  {mib:>9}  {each:>11}  {alone:>14}  {beside:>14}");
    }
    if sharded {
        find_sharded(&registry, made, now);
    }
    let began = Instant::now();
    (0..made).for_each(|number| ask(&registry, number, now));
    let nanos = began.elapsed().as_nanos() / u128::from(made);
    let (mib, each) = grown(before, made);
    println!("{made:>9}  {mib:>9}  {each:>11}  each used once, {nanos} ns to make and count");
}

fn grown(before: u64, keys: u32) -> (u64, u64) {
    let grown = rss_kib("self").saturating_sub(before);
    (grown / 1024, grown * 1024 / u64::from(keys))
}

/// Nanoseconds to find a key by its digest, in each of some threads at the same time; what the
/// digest itself costs is not part of it.
fn find(look_up: impl Fn(&KeyHash) -> bool + Sync, keys: u32, threads: u32) -> u128 {
    let place = |at: u32| (u64::from(at) * 7_919 % u64::from(keys)) as u32;
    let digests: Vec<KeyHash> = (0..LOOKUPS).map(|at| digest(place(at))).collect();
    let look = |thread: u32| {
        let (head, tail) = digests.split_at((LOOKUPS / threads * thread) as usize);
        let started = Instant::now();
        let all = tail.iter().chain(head);
        let found = all.filter(|one| look_up(one));
        assert_eq!(found.count(), digests.len());
        started.elapsed().as_nanos() / u128::from(LOOKUPS)
    };
    std::thread::scope(|scope| {
        let look = &look;
        let all: Vec<_> = (0..threads)
            .map(|at| scope.spawn(move || look(at)))
            .collect();
        let nanos = all.into_iter().map(|one| one.join().unwrap());
        nanos.sum::<u128>() / u128::from(threads)
    })
}

/// The same in a map of locked shards, with the digest's own bytes as its hash.
fn find_sharded(registry: &Registry, keys: u32, now: WallMs) {
    let map: DashMap<KeyHash, Arc<KeyView>, BuildHasherDefault<Head>> = DashMap::default();
    for number in 0..keys {
        let token = digest(number);
        map.insert(token, registry.get(&token, now).unwrap());
    }
    let look = |one: &KeyHash| map.get(one).map(|found| Arc::clone(&found)).is_some();
    let [alone, beside] = [1, 2].map(|threads| find(look, keys, threads));
    println!("{keys:>9}  in a sharded map: {alone} ns to find one, {beside} by two threads");
}

/// The first bytes of a digest.
#[derive(Default)]
struct Head(u64);

impl Hasher for Head {
    fn write(&mut self, bytes: &[u8]) {
        if let (32, Some(head)) = (bytes.len(), bytes.first_chunk()) {
            self.0 = u64::from_le_bytes(*head);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One request of a key: admitted and settled.
fn ask(registry: &Registry, number: u32, now: WallMs) {
    let view = registry.get(&digest(number), now).unwrap();
    let need = Need {
        cost: NanoUsd(1_000),
        tokens: 10,
        model: "m",
        free: false,
        key_alias: None,
        decides: Decides::Count,
        excess: NanoUsd::ZERO,
    };
    let mut dues = Vec::new();
    view.add_dues(&mut dues);
    let admitted = view.meters().admit(need, dues, now).ok();
    admitted.unwrap().settle(NanoUsd(900), 9);
}

fn digest(number: u32) -> KeyHash {
    KeyHash::of_secret(&format!("sk-{number}"))
}

fn record(number: u32, scopes: bool) -> Record {
    let mut key = json!({
        "token": digest(number), "key_name": "sk-...0000", "version": 1,
        "max_budget": 1_000_000_000, "budget_duration": "30d", "models": ["fake-ok", "claude"],
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
async fn process(used: bool) {
    let provider = Provider::start();
    let config = Config::standard(&provider);
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config);
    let mut gateway = setup.start().await;
    let empty = gateway.rss_kib();
    assert!(gateway.stop(Duration::from_secs(30)).await.success());
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
    let most = |gateway: &Gateway| kib(&gateway.pid().to_string(), "VmHWM:") / 1024;
    println!("at most: {} MiB", most(&gateway));
    if !used {
        return;
    }
    let began = Instant::now();
    let took = ask_with_each(&gateway, keys).await;
    println!("{took} keys used in {:?}", began.elapsed());
    for minute in 0..2 {
        println!(
            "resident after {minute} min: {} MiB",
            gateway.rss_kib() / 1024
        );
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    println!("at most: {} MiB", most(&gateway));
}

/// One chat with every key, over some connections that stay open. Returns how many were answered.
async fn ask_with_each(gateway: &Gateway, keys: u32) -> u32 {
    let (next, address) = (Arc::new(AtomicU32::new(0)), gateway.addr());
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let (mut answered, mut answer) = (0, vec![0; 16_384]);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= keys {
                        return answered;
                    }
                    let request = format!(
                        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\
                         authorization: Bearer sk-{number}\r\n\
                         content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
                        BODY.len()
                    );
                    stream.write_all(request.as_bytes()).await.unwrap();
                    read_answer(&mut stream, &mut answer).await;
                    answered += 1;
                }
            })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += task.await.unwrap();
    }
    answered
}

/// Reads one answer to its end and holds it to be a good one.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut length = 0;
    loop {
        length += stream.read(&mut buffer[length..]).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let whole = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map(|(_, value)| value.parse::<usize>().unwrap());
        if whole.is_some_and(|whole| body.len() >= whole) || body.ends_with("0\r\n\r\n") {
            return;
        }
    }
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
