//! How fast records go from the journal's format into Postgres, with roll-ups and scopes.
//!
//! `cargo bench --bench drain [-- WRITERS [SECONDS]]` starts a Postgres of its own. Prints rows per
//! second, deadlocks and bytes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints what it measured and stops at the first error"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meridian::store::{Direction, SpendBatch, Store, migrate};
use meridian_core::config::Database;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::journal::Position;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use meridian_testkit::postgres::Postgres;
use serde_json::json;

/// Records of one transaction, as the drain has them.
const BATCH: u64 = 5_000;
/// Keys that pay; each belongs to one of a tenth as many users and a hundredth as many teams.
const KEYS: u64 = 1_000;

#[tokio::main]
async fn main() {
    let arguments: Vec<u64> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let writers = arguments.first().copied().unwrap_or(1);
    let seconds = arguments.get(1).copied().unwrap_or(20);
    let server = Postgres::start_with(&SETTINGS);
    let database = database(&server.database("bench"));
    migrate(&database, Direction::Up).await.unwrap();
    let store = Store::postgres(&database).unwrap();
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let tasks = (0..writers).map(|writer| {
        let (store, counts) = (store.clone(), Arc::clone(&counts));
        tokio::spawn(async move { write(writer, &store, until, &counts).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let added = counts.added.load(Ordering::Relaxed);
    let rate = added as f64 / began.elapsed().as_secs_f64();
    println!("{writers} writers: {added} rows, {rate:.0} rows/s");
    println!(
        "batches refused: {}",
        counts.refused.load(Ordering::Relaxed)
    );
    for (what, sql) in REPORT {
        println!("{what}: {}", server.ask("bench", sql));
    }
}

/// As a server for such a load would have them; commits wait for the disk.
const SETTINGS: [&str; 2] = ["max_wal_size=4GB", "shared_buffers=256MB"];

/// What is asked at the end.
const REPORT: [(&str, &str); 3] = [
    (
        "deadlocks",
        "SELECT deadlocks FROM pg_stat_database WHERE datname = 'bench'",
    ),
    (
        "log|roll-up|keys|cells",
        "SELECT (SELECT sum(cost) FROM meridian.spend_log), \
         (SELECT sum(spend) FROM meridian.daily_spend), \
         (SELECT sum(spend) FROM meridian.scope_spend WHERE kind = 'key'), \
         (SELECT count(*) FROM meridian.daily_spend)",
    ),
    (
        "table|indexes",
        "SELECT pg_size_pretty(sum(pg_relation_size(relid))), \
         pg_size_pretty(sum(pg_indexes_size(relid))) \
         FROM pg_partition_tree('meridian.spend_log') WHERE isleaf",
    ),
];

#[derive(Default)]
struct Counts {
    added: AtomicU64,
    refused: AtomicU64,
}

/// One node's drain: batch after batch behind its own cursor.
async fn write(writer: u64, store: &Store, until: Instant, counts: &Counts) {
    let mut from = Position::default();
    while Instant::now() < until {
        let next = Position {
            offset: from.offset + 1,
            ..from
        };
        // Beside the connections, as a drain reads its journal.
        let numbers = from.offset * BATCH..next.offset * BATCH;
        let made = move || numbers.map(|number| record(writer, number)).collect();
        let records = tokio::task::spawn_blocking(made).await.unwrap();
        let batch = SpendBatch {
            writer: format!("writer {writer}"),
            from,
            next,
            records,
            keeps_logs: true,
        };
        match store.apply_spend(batch).await {
            Ok(count) => {
                counts.added.fetch_add(count as u64, Ordering::Relaxed);
                from = next;
            }
            Err(error) => {
                println!("refused: {error}");
                counts.refused.fetch_add(1, Ordering::Relaxed);
                // It may have been stored all the same.
                let name = format!("writer {writer}");
                if let Ok(stored) = store.journal_position(&name).await {
                    from = stored.unwrap_or_default();
                }
            }
        }
    }
}

fn database(url: &str) -> Database {
    let (database, _) = Database::of_url(url).unwrap();
    Database {
        pool_limit: 40,
        pool_wait: Duration::from_secs(60),
        ..database
    }
}

/// A request such as a chat client makes; spread over keys, models and a minute.
fn record(writer: u64, number: u64) -> SpendRecord {
    let key = number.wrapping_mul(7_919) % KEYS;
    let started = WallMs(1_795_003_200_000 + i64::try_from(number / 10).unwrap_or(0));
    let random = u128::from(writer) << 64 | u128::from(number);
    let call_id = CallId::new(started, random.to_be_bytes());
    let model = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "gemini-2.5-pro"][number as usize % 4];
    let record = json!({
        "call_id": call_id, "response_id": format!("chatcmpl-{writer}-{number:024}"),
        "endpoint": "chat_completions", "stream": true, "model_group": model,
        "deployment_id": format!("d{}", number % 8), "model": model, "provider": "openai",
        "api_base": "https://api.openai.com/v1", "region": "eu-west-1",
        "payer": {"key": KeyHash::of_secret(&key.to_string()), "key_alias": format!("key {key}"),
            "user_id": format!("user-{}", key / 10), "team_id": format!("team-{}", key / 100),
            "organization_id": "org-1", "end_user": format!("customer-{}", number % 500)},
        "started": started, "ended": started.plus_ms(1_500), "first_byte": started.plus_ms(300),
        "usage": {"prompt": 812, "completion": 205, "cache_read": 512}, "cost": 3_170_000,
        "end_reason": "complete", "status": 200, "attempts": 1,
        "context": {"tags": ["prod", "User-Agent: OpenAI"], "client_ip": "10.0.0.1",
            "user_agent": "OpenAI/Python 1.99.0"},
    });
    serde_json::from_value(record).unwrap()
}
