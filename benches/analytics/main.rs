//! How long reports take over a full ledger, and how long it takes to drop a day of it.
//!
//! `cargo bench --bench analytics [-- ROWS [DAYS]]` fills a Postgres of its own (10,000,000 rows in
//! 30 days unless told otherwise; some 8 GB) and prints a line for each call, then what requests
//! cost a gateway while reports and retention run. `FILLED=URL` measures a database that was filled
//! in the same way and starts nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints what it measured and stops at the first error"
)]

mod beside;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use meridian::store::{
    CellQuery, Direction, GroupBy, PaceQuery, ReportQuery, SpendPageAt, SpendQuery, SpendSort,
    Store, StoreError, TimeRange, migrate,
};
use meridian_core::config::Database;
use meridian_core::ids::KeyHash;
use meridian_core::time::WallMs;
use meridian_testkit::postgres::Postgres;

/// 2026-11-01, 00:00 UTC.
pub(crate) const FIRST: WallMs = WallMs(1_793_491_200_000);
pub(crate) const DAY_MS: i64 = 24 * 3_600_000;
/// Keys that pay, as in `benches/drain.rs`.
const KEYS: u64 = 1_000;

/// Rows of one day, as a gateway would have written them.
const FILL: &str = "INSERT INTO meridian.spend_log (started, ended, first_byte, prompt, \
    completion, cache_read, cache_write, cost, call_id, writer, status, attempts, stream, \
    price_unknown, \
    estimated, failed, api_key, response_id, endpoint, end_reason, key_alias, user_id, team_id, \
    organization_id, end_user, model_group, deployment_id, model, provider, api_base, region, \
    context) \
    SELECT t, t + interval '1500 ms', t + interval '300 ms', 812, 205, 512, 0, 3170000, \
    (lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || \
        '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid, \
    1, 200, 1, true, false, false, n % 50 = 0, sha256((n % KEYS)::text::bytea), \
    'chatcmpl-' || md5(n::text), 'acompletion', 'complete', 'key ' || n % KEYS, \
    'user-' || n % KEYS / 10, 'team-' || n % KEYS / 100, 'org-1', 'customer-' || n % 500, \
    'model-' || n % 7, 'd' || n % 8, 'model-' || n % 7, 'openai', 'https://api.openai.com/v1', \
    'eu-west-1', '{\"tags\": [\"prod\"]}' \
    FROM (SELECT n, to_timestamp(START / 1000.0) + n * (interval '1 day' / COUNT) AS t \
        FROM generate_series(0, COUNT - 1) AS n) AS rows";

/// Roll-ups of one day.
const ROLL_UP: &str = "INSERT INTO meridian.daily_spend SELECT day, \
    md5(api_key::text || model || deployment_id)::uuid, sum(cost), sum(prompt), sum(completion), \
    sum(cache_read), sum(cache_write), count(*), sum(failed::int), api_key, user_id, team_id, \
    organization_id, model_group, model, provider, deployment_id, endpoint, region \
    FROM (SELECT (started AT TIME ZONE 'UTC')::date AS day, * FROM meridian.spend_log \
        WHERE started >= to_timestamp(START / 1000.0)) AS rows \
    GROUP BY day, api_key, user_id, team_id, organization_id, model_group, model, provider, \
    deployment_id, endpoint, region; \
    INSERT INTO meridian.daily_entity_spend SELECT day, \
    md5(end_user || api_key::text || model)::uuid, sum(cost), sum(prompt), sum(completion), \
    sum(cache_read), sum(cache_write), count(*), sum(failed::int), \
    'end_user', end_user, api_key, model_group, model, provider, endpoint, region \
    FROM (SELECT (started AT TIME ZONE 'UTC')::date AS day, * FROM meridian.spend_log \
        WHERE started >= to_timestamp(START / 1000.0)) AS rows \
    GROUP BY day, end_user, api_key, model_group, model, provider, endpoint, region";

/// A server that fills fast, and in which nobody but this program holds a day.
const SETTINGS: [&str; 5] = [
    "autovacuum=off",
    "fsync=off",
    "full_page_writes=off",
    "max_wal_size=8GB",
    "shared_buffers=512MB",
];

#[tokio::main]
async fn main() {
    let arguments: Vec<i64> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let rows = arguments.first().copied().unwrap_or(10_000_000);
    let days = arguments.get(1).copied().unwrap_or(30);
    let filled = std::env::var("FILLED").ok();
    let server = match &filled {
        Some(_) => None,
        None => Some(Postgres::start_with(&SETTINGS)),
    };
    let url = match &server {
        Some(server) => server.database("bench"),
        None => filled.unwrap_or_default(),
    };
    let (database, _) = Database::of_url(&url).unwrap();
    migrate(&database, Direction::Up).await.unwrap();
    let store = Store::postgres(&database).unwrap();
    if let Some(server) = &server {
        fill(server, &store, rows, days).await;
    }
    reports(&store, days).await;
    paces(&store, days).await;
    pages(&store, days).await;
    let before = FIRST.plus_ms(DAY_MS);
    timed("drop a day", drop_before(&store, before)).await;
    beside::measure(&url, &store, days).await;
}

async fn fill(server: &Postgres, store: &Store, rows: i64, days: i64) {
    let began = Instant::now();
    for day in 0..days {
        let start = FIRST.plus_ms(day * DAY_MS);
        store.prepare(start).await.unwrap();
        for sql in [FILL, ROLL_UP] {
            let sql = sql
                .replace("KEYS", &KEYS.to_string())
                .replace("START", &start.0.to_string())
                .replace("COUNT", &(rows / days).to_string());
            server.ask("bench", &sql);
        }
    }
    server.ask("bench", "ANALYZE");
    println!("filled {rows} rows in {:?}", began.elapsed());
    let cells = "SELECT (SELECT count(*) FROM meridian.daily_spend), \
        (SELECT count(*) FROM meridian.daily_entity_spend), \
        pg_size_pretty(pg_database_size('bench'))";
    println!(
        "cells|cells of entities|size: {}",
        server.ask("bench", cells)
    );
}

async fn reports(store: &Store, days: i64) {
    let range = Some(TimeRange {
        from: FIRST,
        to: FIRST.plus_ms(days * DAY_MS),
    });
    let all = ReportQuery {
        range,
        ..ReportQuery::default()
    };
    for group in [
        GroupBy::Day,
        GroupBy::Key,
        GroupBy::User,
        GroupBy::Team,
        GroupBy::Organization,
        GroupBy::ModelGroup,
        GroupBy::Model,
        GroupBy::Provider,
        GroupBy::Deployment,
        GroupBy::Endpoint,
        GroupBy::EndUser,
        GroupBy::Tag,
    ] {
        let name = format!("spend by {group:?}");
        timed(&name, store.spend_by(group, all.clone())).await;
    }
    let of_user = ReportQuery {
        user_id: Some("user-7".to_owned()),
        ..all.clone()
    };
    timed("days of a user", store.spend_by(GroupBy::Day, of_user)).await;
    timed("days with users and models", store.spend_by_day(all)).await;
    timed("global spend", store.global_spend(range)).await;
}

/// What `/model/metrics*` and the reports over several groups ask for.
async fn paces(store: &Store, days: i64) {
    let range = |days| TimeRange {
        from: FIRST,
        to: FIRST.plus_ms(days * DAY_MS),
    };
    for by in [
        vec![GroupBy::Day, GroupBy::Key, GroupBy::Model],
        vec![GroupBy::Day, GroupBy::Tag],
        vec![GroupBy::Team, GroupBy::ModelGroup, GroupBy::Provider],
    ] {
        let name = format!("cells of {by:?}");
        let cells = CellQuery {
            by,
            range: Some(range(days)),
            ..CellQuery::default()
        };
        timed(&name, store.spend_cells(cells)).await;
    }
    for length in [days, 1] {
        let all = PaceQuery {
            range: range(length),
            model_group: None,
            api_key: None,
            end_user: None,
            slow: Duration::from_secs(300),
        };
        let of_key = PaceQuery {
            api_key: Some(KeyHash::of_secret("7")),
            ..all.clone()
        };
        let name = |what| format!("{what} of {length} days");
        timed(&name("paces"), store.paces(all.clone())).await;
        timed(&name("paces of a key"), store.paces(of_key)).await;
        timed(&name("failures"), store.failures(all)).await;
    }
}

async fn pages(store: &Store, days: i64) {
    let all = SpendQuery {
        range: Some(TimeRange {
            from: FIRST,
            to: FIRST.plus_ms(days * DAY_MS),
        }),
        size: 50,
        ..SpendQuery::default()
    };
    timed("first page", store.spend_logs(all.clone())).await;
    let last = store.spend_logs(all.clone()).await.unwrap().next.unwrap();
    let deep = SpendQuery {
        page: SpendPageAt::After(meridian::store::SpendCursor {
            started: FIRST.plus_ms(DAY_MS),
            ..last
        }),
        ..all.clone()
    };
    timed("page in the depth", store.spend_logs(deep)).await;
    let of_key = SpendQuery {
        api_key: Some(KeyHash::of_secret("7")),
        ..all.clone()
    };
    timed("page of a key", store.spend_logs(of_key)).await;
    let of_customer = SpendQuery {
        end_user: Some("customer-7".to_owned()),
        ..all.clone()
    };
    timed("page of a customer", store.spend_logs(of_customer)).await;
    let of_nobody = SpendQuery {
        key_alias: Some("nobody".to_owned()),
        ..all.clone()
    };
    timed("page of an unknown alias", store.spend_logs(of_nobody)).await;
    let costly = SpendQuery {
        sort_by: SpendSort::Spend,
        ..all
    };
    timed("most expensive of all", store.spend_logs(costly)).await;
    let response = format!("chatcmpl-{}", "0".repeat(32));
    timed("response id", store.find_owners(vec![response])).await;
}

/// Drops days as a gateway does: what somebody else is at now is dropped a moment later.
pub(crate) async fn drop_before(store: &Store, before: WallMs) -> Result<u64, StoreError> {
    loop {
        match store.drop_logs_before(before).await {
            Err(StoreError::Busy) => println!("    a day is busy"),
            other => return other,
        }
    }
}

/// Prints how long a call took.
async fn timed<T: Debug>(name: &str, call: impl Future<Output = Result<T, StoreError>>) {
    let began = Instant::now();
    let outcome = call.await;
    let took = began.elapsed();
    let what = match outcome {
        Ok(_) => "answered",
        Err(StoreError::TooMuch | StoreError::Late) => "refused",
        Err(error) => panic!("{name}: {error}"),
    };
    let late = if took > Duration::from_secs(1) {
        "  LATE"
    } else {
        ""
    };
    println!("{:>8.1} ms  {what}  {name}{late}", took.as_secs_f64() * 1e3);
}
