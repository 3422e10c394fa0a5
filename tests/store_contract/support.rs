//! Keys, records and stores that the contract's tests share.

use meridian::store::{Store, StoreError};
use meridian_core::endpoint::Endpoint;
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{EndReason, Payer, RequestContext, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;

/// 2026-11-18, 12:00 UTC.
pub(crate) const NOON: WallMs = WallMs(1_795_003_200_000);
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A store of its own in a directory of its own.
pub(crate) async fn embedded() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(dir.path()).await.unwrap();
    (dir, store)
}

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
    }
}

/// Applies records behind a cursor that moves on by itself.
pub(crate) async fn apply(store: &Store, records: Vec<SpendRecord>) -> usize {
    let before = store.journal_position("test").await.unwrap();
    let mut next = before.unwrap_or_default();
    next.offset += 1;
    let added = store.apply_spend("test", records, next).await.unwrap();
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
