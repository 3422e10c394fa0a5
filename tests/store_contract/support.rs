//! Keys, records and stores that the contract's tests share.

use meridian::store::{Direction, SpendBatch, Store, StoreError, migrate};
use meridian_core::config::Database;
use meridian_core::endpoint::Endpoint;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::journal::Position;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{EndReason, Payer, RequestContext, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;
use meridian_testkit::{pgbouncer, postgres};

/// 2026-11-18, 12:00 UTC.
pub(crate) const NOON: WallMs = WallMs(1_795_003_200_000);
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;

/// An embedded store of its own in a directory of its own.
pub(crate) async fn embedded() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(dir.path()).await.unwrap();
    (dir, store)
}

/// A store on Postgres with a database of its own.
pub(crate) async fn on_postgres() -> Store {
    let server = postgres::shared();
    on_url(&server.url(&server.fresh())).await
}

/// The same behind PgBouncer in transaction mode.
pub(crate) async fn behind_pgbouncer() -> Store {
    let database = postgres::shared().fresh();
    on_url(&pgbouncer::shared().url(&database)).await
}

async fn on_url(url: &str) -> Store {
    let (database, _) = Database::of_url(url).unwrap();
    migrate(&database, Direction::Up).await.unwrap();
    Store::postgres(&database).unwrap()
}

/// Runs each test on every store.
macro_rules! on_every_store {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident: Store) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn check($store: Store) $body

            #[tokio::test]
            async fn embedded() {
                let (_dir, store) = $crate::support::embedded().await;
                check(store).await;
            }

            #[tokio::test]
            async fn postgres() {
                check($crate::support::on_postgres().await).await;
            }

            #[tokio::test]
            async fn pgbouncer() {
                check($crate::support::behind_pgbouncer().await).await;
            }
        }
    )*};
}
pub(crate) use on_every_store;

pub(crate) fn token(name: &str) -> KeyHash {
    KeyHash::of_secret(name)
}

pub(crate) fn key(name: &str) -> KeyRecord {
    let json = serde_json::json!({
        "token": token(name), "key_name": "sk-...abcd", "key_alias": name, "created_at": NOON,
        "models": ["gpt-4o"], "metadata": {"tags": ["a"]}, "user_id": "u1", "version": 1,
    });
    serde_json::from_value(json).unwrap()
}

pub(crate) fn call(number: u64) -> CallId {
    CallId::from_bytes((u128::from(number) << 80).to_be_bytes())
}

/// A request of key `name` that started at `started` and cost `cost`.
pub(crate) fn record(number: u64, name: &str, started: WallMs, cost: i64) -> SpendRecord {
    SpendRecord {
        call_id: call(number),
        response_id: Some(format!("resp_{number}")),
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        payer: Payer {
            key: Some(token(name)),
            key_alias: Some(name.into()),
            user_id: Some("u1".into()),
            team_id: Some("t1".into()),
            organization_id: None,
            end_user: Some("customer-7".into()),
        },
        model_group: "gpt-4o".into(),
        deployment_id: "d1".into(),
        model: "gpt-4o-2024-11-20".into(),
        provider: "openai".into(),
        api_base: "https://api.openai.com/v1".into(),
        region: None,
        started,
        ended: started.plus_ms(1_500),
        first_byte: Some(started.plus_ms(300)),
        usage: Usage {
            prompt: 100,
            cache_read: 64,
            completion: 10,
            ..Usage::default()
        },
        cost: NanoUsd(cost),
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Complete,
        status: 200,
        attempts: 1,
        context: RequestContext {
            tags: vec!["prod".into(), "prod".into(), "batch-job".into()],
            user_agent: Some("OpenAI/Python 1.99.0".into()),
            ..RequestContext::default()
        },
        error: None,
        texts: None,
    }
}

/// Records that move the cursor of the writer `test`.
pub(crate) fn batch(records: Vec<SpendRecord>, from: Position, next: Position) -> SpendBatch {
    SpendBatch {
        writer: "test".to_owned(),
        from,
        next,
        records,
        keeps_logs: true,
    }
}

/// Applies records behind a cursor that moves on by itself.
pub(crate) async fn apply(store: &Store, records: Vec<SpendRecord>) -> usize {
    let before = store.journal_position("test").await.unwrap();
    let from = before.unwrap_or_default();
    let mut next = from;
    next.offset += 1;
    let batch = batch(records, from, next);
    let added = store.apply_spend(batch).await.unwrap();
    assert_eq!(store.journal_position("test").await.unwrap(), Some(next));
    added
}

pub(crate) async fn spend_of(store: &Store, name: &str) -> i64 {
    store.get_key(token(name)).await.unwrap().unwrap().spend.0
}

pub(crate) fn conflict_in(outcome: Result<impl std::fmt::Debug, StoreError>) -> String {
    match outcome {
        Err(StoreError::Conflict { field }) => field,
        other => panic!("{other:?}"),
    }
}
