//! The machine under the gateway fails: a full disk, a damaged file, a clock that jumps, no more
//! descriptors or memory, a frozen process. What happens then is in docs/OPERATIONS.md.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_testkit::config::Config;
use meridian_testkit::deadline::{eventually, within};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{BodyEnd, Conn, Request};
use meridian_testkit::scale::scaled;
use serde_json::{Value, json};

use crate::ledger;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
/// A busy machine takes its time.
const WITHIN: Duration = Duration::from_secs(60);
/// Seconds that a process is frozen; and with `MERIDIAN_LONG` set.
const FROZEN_S: (u64, u64) = (3, 30);

fn config(provider: &Provider) -> Config {
    let base = format!("{}/v1", provider.url());
    Config::new().model("fake-*", "openai/fake-*", &base, "")
}

fn request(script: &str, marker: &str, stream: bool, key: &str) -> Request {
    let body = json!({
        "model": format!("fake-x{script}"), "stream": stream, "user": marker,
        "messages": [{"role": "user", "content": "How do tides work?"}],
    });
    Request::post("/v1/chat/completions", &body).bearer(key)
}

/// A script that prepares something and then becomes the gateway.
fn wrapper(dir: &Path, lines: &str) -> PathBuf {
    let path = dir.join("meridian.sh");
    let text = format!("#!/bin/sh\nset -e\n{lines}\nexec {BINARY} \"$@\"\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Opens a stream and reads its head.
async fn stream(gateway: &Gateway, request: &Request) -> (Conn, meridian_testkit::raw::Head) {
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(&request.bytes()).await.unwrap();
    let head = conn.head().await.unwrap();
    assert_eq!(head.status, 200);
    (conn, head)
}

async fn status(gateway: &Gateway, request: &Request) -> u16 {
    gateway.send(request).await.status()
}

/// Asks until the answer has this status.
async fn until_status(gateway: &Gateway, wanted: u16, what: &str, key: &str) {
    let asked = async {
        for turn in 0.. {
            let request = request("", &format!("{what}-{turn}"), false, key);
            if status(gateway, &request).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(WITHIN, what, asked).await;
}

/// Mounts a disk of a few megabytes where the data directory will be.
const SMALL_DISK: &str = r#"
before=
for word in "$@"; do
  if [ "$before" = --data-dir ]; then data=$word; fi
  before=$word
done
mkdir -p "$data"
mount -t tmpfs -o size=12m none "$data""#;

/// A gateway on a small disk in a mount namespace of its own, and the disk as it is seen from here.
async fn on_small_disk(provider: &Provider, dir: &Path) -> (Gateway, PathBuf) {
    let inner = wrapper(dir, SMALL_DISK);
    let outer = dir.join("unshare.sh");
    let script = format!("#!/bin/sh\nexec unshare -rm {} \"$@\"\n", inner.display());
    std::fs::write(&outer, script).unwrap();
    std::fs::set_permissions(&outer, std::fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = Setup::new(text(&outer), &config(provider)).start().await;
    let data = gateway.data_dir();
    let seen = PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), data.display()));
    (gateway, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_requests_finishes_running_ones_and_heals() {
    let provider = Provider::start();
    let dir = tempfile::tempdir().unwrap();
    let (gateway, disk) = on_small_disk(&provider, dir.path()).await;
    let key = gateway.key(&json!({})).await;
    let slow = request("+tokens=100+chunk_ms=30", "runs", true, &key);
    let (mut conn, head) = stream(&gateway, &slow).await;
    let hog = std::fs::File::create(disk.join("hog")).unwrap();
    let block = vec![0_u8; 64 * 1024];
    let mut at = 0;
    for size in [block.len(), 4096, 1] {
        while hog.write_all_at(&block[..size], at).is_ok() {
            at += size as u64;
        }
    }
    until_status(&gateway, 503, "full", &key).await;
    assert!(
        gateway.is_ready().await,
        "other regions' disks may be no better"
    );
    let answer = conn.rest_of(head).await;
    assert_eq!(answer.end, BodyEnd::Complete, "what runs is finished");
    drop(hog);
    std::fs::remove_file(disk.join("hog")).unwrap();
    until_status(&gateway, 200, "healed", &key).await;
    let served = provider.settled().await;
    let all_there = async {
        loop {
            let rows = ledger::rows(&gateway).await;
            let billed = |row: &&Value| row["metadata"]["estimated"] == false;
            let billed = rows.iter().filter(billed).count();
            if billed >= served.len() {
                assert_eq!(billed, served.len(), "{rows:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(WITHIN, "every record", all_there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_costs_the_damaged_record_and_nothing_else() {
    let provider = Provider::start();
    let mut gateway = Setup::new(BINARY, &config(&provider)).start().await;
    let key = gateway.key(&json!({})).await;
    // Frozen with work that is not in the store: a slow stream, so that its OPEN stays.
    for number in 0..5 {
        let (conn, _head) = stream(
            &gateway,
            &request(
                "+tokens=5000+chunk_ms=50",
                &format!("open-{number}"),
                true,
                &key,
            ),
        )
        .await;
        std::mem::forget(conn);
    }
    gateway.kill().await;
    let journal = gateway.data_dir().join("journal");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&journal)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|name| name == "journal"))
        .collect();
    segments.sort();
    let last = segments.last().expect("a segment");
    let bytes = std::fs::read(last).unwrap();
    let open = b"open-2";
    let hit = bytes.windows(open.len()).position(|window| window == open);
    let file = std::fs::File::options().write(true).open(last).unwrap();
    file.write_all_at(b"\0\0\0\0", hit.expect("an OPEN") as u64)
        .unwrap();
    gateway.start().await;
    assert!(gateway.log().contains("\"damaged\":"), "{}", gateway.log());
    let rows = ledger::rows(&gateway).await;
    let crashed: Vec<&str> = rows
        .iter()
        .filter(|row| row["metadata"]["end_reason"] == "crashed")
        .filter_map(|row| row["end_user"].as_str())
        .collect();
    assert_eq!(crashed.len(), 4, "{crashed:?}");
    assert!(!crashed.contains(&"open-2"));
    assert_eq!(
        status(&gateway, &request("", "after", false, &key)).await,
        200
    );
}

/// Where Debian puts it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_an_hour_ends_no_request_and_locks_nobody_out() {
    let arm = FAKETIME.replace("x86_64", "aarch64");
    let library = [FAKETIME, &arm]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let library = library.expect("faketime: scripts/setup.sh test installs it");
    let provider = Provider::start();
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    let jump = |by: &str| {
        let fresh = dir.path().join("offset.new");
        std::fs::write(&fresh, format!("{by}\n")).unwrap();
        std::fs::rename(&fresh, &offset).unwrap();
    };
    jump("+0");
    let setup = Setup::new(BINARY, &config(&provider))
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", text(&offset))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_CACHE_DURATION", "1");
    let mut gateway = setup.start().await;
    let key = gateway
        .key(&json!({"rpm_limit": 1000, "max_budget": 5, "budget_duration": "30d"}))
        .await;
    for by in ["+3600", "-3600", "+0"] {
        let (mut conn, head) = stream(
            &gateway,
            &request("+tokens=60+chunk_ms=50", &format!("across{by}"), true, &key),
        )
        .await;
        jump(by);
        // The library looks at the file once a second: until the new time shows in an answer.
        let shown = async {
            for turn in 0.. {
                let probe = request("", &format!("at{by}-{turn}"), false, &key);
                assert_eq!(status(&gateway, &probe).await, 200, "{by}");
                if turn > 20 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        within(WITHIN, "requests after a jump", shown).await;
        let answer = conn.rest_of(head).await;
        assert_eq!(answer.end, BodyEnd::Complete, "{by}");
        assert!(gateway.is_ready().await);
    }
    let times: Vec<jiff::Timestamp> = ledger::rows(&gateway)
        .await
        .iter()
        .map(|row| row["startTime"].as_str().unwrap().parse().unwrap())
        .collect();
    let span = times
        .iter()
        .max()
        .unwrap()
        .duration_since(*times.iter().min().unwrap());
    assert!(span.as_secs() > 3600, "the clock did jump: {span:?}");
    let served = provider.settled().await;
    assert!(gateway.stop(WITHIN).await.success());
    gateway.start().await;
    assert_eq!(ledger::rows(&gateway).await.len(), served.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_who_is_connected_is_served_and_others_wait() {
    const LIMIT: usize = 120;
    let provider = Provider::start();
    let dir = tempfile::tempdir().unwrap();
    let limited = wrapper(dir.path(), &format!("ulimit -n {LIMIT}"));
    let gateway = Setup::new(text(&limited), &config(&provider)).start().await;
    let key = gateway.key(&json!({})).await;
    let mut first = Conn::open(gateway.addr()).await;
    let ask = |number: usize| request("", &format!("fd-{number}"), false, &key);
    assert_eq!(first.exchange(&ask(0)).await.status(), 200);
    // The kernel takes these for the gateway, which cannot.
    let mut idle = Vec::new();
    for _ in 0..LIMIT + 30 {
        idle.push(Conn::open(gateway.addr()).await);
    }
    let used_up = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
            .ok()?
            .count();
        (open >= LIMIT - 1).then_some(())
    };
    eventually(WITHIN, "descriptors to be used up", used_up).await;
    // It has its connection to the provider already.
    assert_eq!(first.exchange(&ask(1)).await.status(), 200);
    drop(idle);
    let mut late = Conn::open(gateway.addr()).await;
    let answered = within(WITHIN, "room", async {
        late.exchange(&ask(2)).await.status()
    });
    assert_eq!(answered.await, 200);
    assert!(!gateway.log().contains("panic"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_frozen_goes_on_where_it_was() {
    let provider = Provider::start();
    let gateway = Setup::new(BINARY, &config(&provider)).start().await;
    let key = gateway.key(&json!({})).await;
    let mut running = Vec::new();
    for number in 0..10 {
        let marker = format!("frozen-{number}");
        let slow = request("+tokens=40+chunk_ms=50", &marker, true, &key);
        running.push(stream(&gateway, &slow).await);
    }
    let frozen = scaled(FROZEN_S.0, FROZEN_S.1);
    gateway.signal("STOP");
    // Time itself is what is tested here.
    tokio::time::sleep(Duration::from_secs(frozen)).await;
    let waiting = request("", "asked-while-frozen", false, &key);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(&waiting.bytes()).await.unwrap();
    gateway.signal("CONT");
    for (mut conn, head) in running {
        let answer = conn.rest_of(head).await;
        assert_eq!(answer.end, BodyEnd::Complete);
        assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    }
    assert_eq!(conn.response().await.status(), 200);
    let served = provider.settled().await;
    let stored = async {
        while ledger::rows(&gateway).await.len() < served.len() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(WITHIN, "the ledger", stored).await;
    let rows = ledger::rows(&gateway).await;
    let whole = |row: &&Value| row["metadata"]["end_reason"] == "complete";
    assert_eq!(rows.iter().filter(whole).count(), served.len());
}

/// Memory that a capped process may have: some times what it needs when nothing happens.
const CAP_KIB: u32 = 300_000;
/// Bodies of so many bytes, of so many clients: more than the cap.
const HUGE: (usize, usize) = (30 << 20, 16);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_over_its_memory_cap_dies_and_its_next_start_has_every_row() {
    let provider = Provider::start();
    let dir = tempfile::tempdir().unwrap();
    let capped = wrapper(dir.path(), &format!("ulimit -d {CAP_KIB}"));
    let mut gateway = Setup::new(text(&capped), &config(&provider)).start().await;
    let key = gateway.key(&json!({})).await;
    for turn in 0..20 {
        let asked = request("", &format!("before-{turn}"), false, &key);
        assert_eq!(status(&gateway, &asked).await, 200);
    }
    let slow = request("+tokens=1000+chunk_ms=100", "runs", true, &key);
    let _running = stream(&gateway, &slow).await;
    let body = "x".repeat(HUGE.0);
    let huge = Request::post(
        "/v1/chat/completions",
        &json!({"model": "fake-x", "user": body}),
    );
    let huge = huge.bearer(&key).bytes();
    let mut waiting = Vec::new();
    for _ in 0..HUGE.1 {
        let Ok(mut conn) = Conn::try_open(gateway.addr()).await else {
            break;
        };
        // All but the last byte, so that it stays in memory; the process may die in between.
        let _ = conn.send(&huge[..huge.len() - 1]).await;
        waiting.push(conn);
    }
    let status = gateway.exited(WITHIN).await;
    assert!(!status.success(), "the cap is not felt");
    // What a supervisor does.
    gateway.start().await;
    let rows = ledger::rows(&gateway).await;
    let of = |reason: &str| {
        let ended = rows.iter();
        ended
            .filter(|row| row["metadata"]["end_reason"] == reason)
            .count()
    };
    assert_eq!((of("complete"), of("crashed")), (20, 1), "{rows:?}");
}
