//! What a request costs the data plane while reports are asked for and days are dropped: in one
//! process with the management API, and beside it (`--role gateway`, `--role admin`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meridian::store::Store;
use meridian_testkit::config::Config;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::pace::Pace;
use meridian_testkit::provider::{Options, Provider};
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use super::{DAY_MS, FIRST, drop_before};

/// Requests a second, all the time.
const PER_S: u64 = 500;
/// Before a measurement begins.
const WARM: Duration = Duration::from_secs(3);
/// Length of a measurement.
const LENGTH: Duration = Duration::from_secs(24);
/// Between two days that are dropped.
const DROP_EVERY: Duration = Duration::from_secs(2);
/// Reports that are asked for at the same time.
const REPORTS_AT_ONCE: usize = 4;
/// Every day that the ledger has.
const REPORTS: [&str; 6] = [
    "/global/spend/report?start_date=2026-11-01&end_date=2026-11-30&group_by=team",
    "/user/daily/activity?start_date=2026-11-01&end_date=2026-11-30&page_size=1000",
    "/team/daily/activity?start_date=2026-11-01&end_date=2026-11-30&page_size=1000",
    "/spend/logs/v2?start_date=2026-11-01%2000:00:00&end_date=2026-11-30%2000:00:00&page_size=100",
    "/global/activity?start_date=2026-11-01&end_date=2026-11-30",
    "/global/spend/models",
];

/// Runs both arrangements and prints a line for each measurement.
pub(crate) async fn measure(url: &str, store: &Store, days: i64) {
    let mut day = 1;
    for split in [false, true] {
        let provider = Provider::start_with(Options {
            record: false,
            rows_max: 0,
            ..Options::default()
        });
        let provider = provider.unwrap();
        let start = |role: &str| {
            let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &Config::standard(&provider));
            let setup = setup.env("DATABASE_URL", url).arg("--role").arg(role);
            setup.start()
        };
        let gateway = start(if split { "gateway" } else { "all" }).await;
        let own_admin = match split {
            true => Some(start("admin").await),
            false => None,
        };
        let admin = own_admin.as_ref().unwrap_or(&gateway);
        let request = chat(&admin.key(&json!({})).await);
        while gateway.send(&request).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!(
            "{}",
            if split {
                "gateway beside admin"
            } else {
                "one process"
            }
        );
        for busy in [false, true, false] {
            let load = Pace::start(&[gateway.addr()], &request, PER_S);
            tokio::time::sleep(WARM).await;
            drop(load.take());
            let before = cpu(gateway.pid());
            let seen = match busy {
                true => {
                    let until = Instant::now() + LENGTH;
                    let (asked, dropped) = tokio::join!(
                        reports(admin, until),
                        retention(store, &mut day, days, until)
                    );
                    format!("{asked}; {dropped}")
                }
                false => {
                    tokio::time::sleep(LENGTH).await;
                    "nothing beside".to_owned()
                }
            };
            let (after, figures) = (cpu(gateway.pid()), load.take());
            load.finish();
            let served = figures.statuses.values().sum::<u64>().max(1);
            let each = per_request(&before, &after, served);
            println!("  {each}; {figures}; {seen}");
        }
    }
}

fn chat(key: &str) -> Request {
    let body = json!({
        "model": "fake-x", "max_tokens": 16,
        "messages": [{"role": "user", "content": "hello"}],
    });
    Request::post("/v1/chat/completions", &body).bearer(key)
}

/// Asks for reports until then; how many and how they were answered.
async fn reports(admin: &Gateway, until: Instant) -> String {
    let asking = (0..REPORTS_AT_ONCE).map(|first| async move {
        let (mut statuses, mut slowest) = (BTreeMap::<u16, u32>::new(), Duration::ZERO);
        for target in REPORTS.iter().cycle().skip(first) {
            let began = Instant::now();
            if began >= until {
                break;
            }
            let answer = admin.admin("GET", target, &Value::Null).await;
            *statuses.entry(answer.status()).or_default() += 1;
            slowest = slowest.max(began.elapsed());
        }
        (statuses, slowest)
    });
    let (mut all, mut slowest) = (BTreeMap::<u16, u32>::new(), Duration::ZERO);
    for (statuses, took) in futures::future::join_all(asking).await {
        slowest = slowest.max(took);
        for (status, count) in statuses {
            *all.entry(status).or_default() += count;
        }
    }
    format!("reports {all:?}, slowest {slowest:?}")
}

/// Drops day after day until then.
async fn retention(store: &Store, day: &mut i64, days: i64, until: Instant) -> String {
    let (mut dropped, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until {
        if *day < days {
            *day += 1;
            let began = Instant::now();
            let before = FIRST.plus_ms(*day * DAY_MS);
            drop_before(store, before).await.unwrap();
            dropped += 1;
            slowest = slowest.max(began.elapsed());
        }
        tokio::time::sleep(DROP_EVERY).await;
    }
    format!("{dropped} days dropped, slowest {slowest:?}")
}

/// Nanoseconds on a CPU by name of the thread.
fn cpu(pid: u32) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let path = task.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        let ran = read("schedstat").split(' ').next().map(str::parse::<u64>);
        if let Some(Ok(ran)) = ran {
            *found.entry(read("comm").trim().to_owned()).or_default() += ran;
        }
    }
    found
}

/// CPU of the data plane and of everything else for each request.
fn per_request(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    served: u64,
) -> String {
    let (mut plane, mut rest) = (0, Vec::new());
    for (name, ran) in after {
        let spent = ran.saturating_sub(before.get(name).copied().unwrap_or(0)) / served / 100;
        match name.contains("data plane") {
            true => plane += spent,
            false if spent > 0 => rest.push(format!("{name} {:.1}", spent as f64 / 10.0)),
            false => {}
        }
    }
    let plane = plane as f64 / 10.0;
    format!("data plane {plane:.1} us per request ({})", rest.join(", "))
}
