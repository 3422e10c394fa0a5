//! Databases and stores of these tests.

use meridian::store::{Direction, SpendBatch, Store, StoreError, migrate};
use meridian_core::config::Database;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::journal::Position;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use meridian_testkit::postgres;
use serde_json::json;

/// 2026-11-18, 12:00 UTC.
pub(crate) const NOON: WallMs = WallMs(1_795_003_200_000);
pub(crate) const DAY: i64 = 24 * 3_600_000;

/// The settings that a URL leads to.
pub(crate) fn database(url: &str) -> Database {
    Database::of_url(url).unwrap().0
}

/// A migrated database on the shared server, and a store on it.
pub(crate) async fn store() -> (String, Store) {
    let name = postgres::shared().fresh();
    let database = database(&postgres::shared().url(&name));
    migrate(&database, Direction::Up).await.unwrap();
    (name, Store::postgres(&database).unwrap())
}

pub(crate) fn record(number: u64, started: WallMs, cost: i64) -> SpendRecord {
    let call_id = CallId::new(started, (u128::from(number) << 64).to_be_bytes());
    let record = json!({
        "call_id": call_id, "response_id": format!("resp_{number}"),
        "endpoint": "chat_completions", "model_group": "gpt-4o", "deployment_id": "d1",
        "model": "gpt-4o-2024-11-20", "provider": "openai",
        "api_base": "https://api.openai.com/v1", "region": "eu-west-1",
        "payer": {"key": KeyHash::of_secret("k"), "key_alias": "k", "user_id": "u1",
            "team_id": "t1", "organization_id": "o1", "end_user": "customer-7"},
        "started": started, "ended": started.plus_ms(1_500), "first_byte": started.plus_ms(300),
        "usage": {"prompt": 100, "completion": 10}, "cost": cost, "end_reason": "complete",
        "status": 200, "attempts": 1,
        "context": {"tags": ["prod"], "user_agent": "OpenAI/Python 1.99.0"},
    });
    serde_json::from_value(record).unwrap()
}

/// Adds records behind a cursor that moves on by itself.
pub(crate) async fn apply(store: &Store, records: Vec<SpendRecord>) -> Result<usize, StoreError> {
    let from = store.journal_position("test").await?.unwrap_or_default();
    let next = Position {
        offset: from.offset + 1,
        ..from
    };
    let batch = SpendBatch {
        writer: "test".to_owned(),
        from,
        next,
        records,
        keeps_logs: true,
    };
    store.apply_spend(batch).await
}

/// The answer of the shared server.
pub(crate) fn ask(database: &str, sql: &str) -> String {
    postgres::shared().ask(database, sql)
}
