//! Batches at providers: who is at one, and that its bills count once.

use meridian::store::{
    BatchClaim, BatchKey, NextLook, OldObjects, Owner, SpendBatch, SpendQuery, Store, StoreError,
    Which,
};
use meridian_core::batch::{self, Part, Step};
use meridian_core::endpoint::Endpoint;
use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_core::spend::SpendRecord;

use crate::support::{DAY, HOUR, NOON, apply, key, on_every_store, record, spend_of, token};

fn made(number: u64, region: Option<&str>) -> SpendRecord {
    let mut made = record(number, "a", NOON, 0);
    made.response_id = Some(format!("batch_{number}"));
    made.endpoint = Endpoint::Batches;
    made.region = region.map(str::to_owned);
    made.context.batch = Some(Step::Made);
    made
}

fn bills(made: &SpendRecord) -> Vec<SpendRecord> {
    let part = |(model, cost): (&str, i64)| Part {
        model: model.to_owned(),
        model_group: "gpt-4o".to_owned(),
        cost: NanoUsd(cost),
        ..Part::default()
    };
    let parts = [("m1", 700), ("m2", 11)].map(part);
    batch::bill(made, parts.to_vec(), NOON.plus_ms(HOUR))
}

fn due(by: &str, region: &str, after_ms: i64) -> BatchClaim {
    let now = NOON.plus_ms(after_ms);
    BatchClaim {
        by: by.to_owned(),
        which: Which::Due {
            region: region.to_owned(),
            elsewhere_before: now.plus_ms(-HOUR),
            most: 10,
        },
        now,
        until: now.plus_ms(HOUR),
    }
}

async fn claimed(store: &Store, claim: BatchClaim) -> Vec<String> {
    let claimed = store.claim_batches(claim).await.unwrap();
    let mut ids: Vec<String> = claimed
        .into_iter()
        .map(|open| open.made.response_id.unwrap())
        .collect();
    ids.sort();
    ids
}

/// Applies records as another node does.
async fn apply_as(
    store: &Store,
    writer: &str,
    records: Vec<SpendRecord>,
    keeps_logs: bool,
) -> usize {
    let from = store
        .journal_position(writer)
        .await
        .unwrap()
        .unwrap_or_default();
    let next = Position {
        offset: from.offset + 1,
        ..from
    };
    let batch = SpendBatch {
        writer: writer.to_owned(),
        from,
        next,
        records,
        keeps_logs,
    };
    let added: Result<usize, StoreError> = store.apply_spend(batch).await;
    added.unwrap()
}

on_every_store! {
    async fn a_batch_is_one_nodes_at_a_time_and_the_first_to_decide_decides(store: Store) {
        store.insert_key(key("a"), None).await.unwrap();
        let made = made(1, None);
        let batch = BatchKey::of(&made);
        // A request that only reads one makes none.
        let mut read = made.clone();
        read.call_id = record(7, "a", NOON, 0).call_id;
        read.response_id = Some("batch_7".to_owned());
        read.context.batch = None;
        apply(&store, vec![made.clone(), read]).await;
        assert!(claimed(&store, due("n1", "", 0)).await.is_empty(), "before it was made");
        assert_eq!(store.is_batch_open(batch.clone()).await.unwrap(), Some(true));
        let open = store.claim_batches(due("n1", "", 2_000)).await.unwrap();
        assert_eq!((open.len(), &open[0].made, open[0].tries), (1, &made, 0));
        assert!(!open[0].is_decided);
        assert!(claimed(&store, due("n2", "", 3_000)).await.is_empty(), "it is n1's");
        let one = |by: &str| BatchClaim {
            which: Which::One("batch_1".to_owned()),
            ..due(by, "", 4_000)
        };
        assert!(claimed(&store, one("n2")).await.is_empty(), "also by its name");
        assert_eq!(claimed(&store, one("n1")).await, ["batch_1"], "n1 has died meanwhile");

        let gone_since = Some(NOON);
        let next = NextLook { at: NOON.plus_ms(HOUR), failed: true, gone_since };
        store.put_off_batch(batch.clone(), next).await.unwrap();
        assert!(claimed(&store, one("n2")).await.is_empty(), "reads do not hurry what failed");
        assert!(claimed(&store, due("n2", "", HOUR - 1)).await.is_empty(), "it is put off");
        let open = store.claim_batches(due("n2", "", HOUR)).await.unwrap();
        assert_eq!(open[0].tries, 1, "looks that failed count, and only those");
        assert_eq!(open[0].gone_since, gone_since);
        let bills = bills(&made);
        assert!(store.decide_batch(batch.clone(), bills.clone()).await.unwrap());
        assert_eq!(store.is_batch_open(batch.clone()).await.unwrap(), Some(false), "it is known");
        let unknown = BatchKey { id: "batch_9".into(), ..batch.clone() };
        assert_eq!(store.is_batch_open(unknown).await.unwrap(), None);
        let mut other = bills.clone();
        other[0].cost = NanoUsd(1);
        assert!(!store.decide_batch(batch.clone(), other).await.unwrap());
        let mut expected = bills.clone();
        expected.sort_by_key(|bill| bill.call_id.to_bytes());
        assert_eq!(store.open_bills(batch.clone()).await.unwrap(), expected);
        assert!(!store.end_batch(batch.clone(), NOON).await.unwrap(), "it is not billed");
        apply(&store, bills).await;
        assert!(store.end_batch(batch, NOON).await.unwrap());
        assert!(claimed(&store, due("n1", "", 9 * HOUR)).await.is_empty());
    }

    async fn a_bill_that_several_nodes_bring_counts_once_with_logs_and_without(store: Store) {
        store.insert_key(key("a"), None).await.unwrap();
        for (number, keeps_logs) in [(1, true), (2, false)] {
            let made = made(number, None);
            let batch = BatchKey::of(&made);
            apply(&store, vec![made.clone()]).await;
            let bills = bills(&made);
            store.decide_batch(batch.clone(), bills.clone()).await.unwrap();
            let before = spend_of(&store, "a").await;
            // Twice in one batch of records, and one of the two by another node before.
            let twice = [bills.clone(), bills.clone()].concat();
            assert_eq!(apply_as(&store, "n1", vec![bills[1].clone()], keeps_logs).await, 1);
            assert_eq!(apply_as(&store, "n2", twice.clone(), keeps_logs).await, 1);
            assert_eq!(apply_as(&store, "n1", twice, keeps_logs).await, 0);
            assert_eq!(spend_of(&store, "a").await - before, 711);
            assert!(store.open_bills(batch).await.unwrap().is_empty());
        }
        let query = SpendQuery {
            request_id: Some("batch_1".to_owned()),
            ..SpendQuery::default()
        };
        let rows = store.spend_logs(query).await.unwrap().rows;
        assert_eq!(rows.len(), 3, "the request and two bills");
    }

    async fn old_objects_are_forgotten_bit_by_bit_and_stay_nobody_elses(store: Store) {
        let owner = Owner {
            key: Some(token("a")),
            lineage: None,
            model_group: String::new(),
            deployment_id: "d1".into(),
            batch: None,
        };
        let ids = |from: u64| (from..from + 3).map(|id| format!("file-{id}")).collect::<Vec<_>>();
        let old = |today, before| OldObjects { today, before, most: 2 };
        store.keep_owner(ids(1), owner.clone()).await.unwrap();
        for dated in [2, 1, 0] {
            assert_eq!(store.drop_old_objects(old(100, 90)).await.unwrap(), dated);
        }
        store.keep_owner(ids(4), owner.clone()).await.unwrap();
        for dated in [2, 1, 0] {
            assert_eq!(store.drop_old_objects(old(200, 100)).await.unwrap(), dated);
        }
        assert_eq!(store.find_owners([ids(1), ids(4)].concat()).await.unwrap().len(), 6);
        for gone in [2, 1, 0] {
            assert_eq!(store.drop_old_objects(old(201, 101)).await.unwrap(), gone);
        }
        assert!(store.find_owners(ids(1)).await.unwrap().is_empty());
        assert_eq!(store.find_owners(ids(4)).await.unwrap().len(), 3);
        store.forget_objects(vec!["file-4".to_owned()]).await.unwrap();
        assert_eq!(store.find_owners(ids(4)).await.unwrap().len(), 2);

        // A batch goes with its bills when it was done long ago; one that is open stays.
        store.insert_key(key("a"), None).await.unwrap();
        let (done, open) = (made(1, None), made(2, None));
        apply(&store, vec![done.clone(), open]).await;
        let bills = bills(&done);
        store.decide_batch(BatchKey::of(&done), bills.clone()).await.unwrap();
        apply(&store, bills.clone()).await;
        assert!(store.end_batch(BatchKey::of(&done), NOON).await.unwrap());
        let day = NOON.0 / DAY;
        assert_eq!(store.drop_old_objects(old(201, day + 1)).await.unwrap(), 3, "two owners, a batch");
        assert_eq!(store.drop_old_objects(old(201, day + 9)).await.unwrap(), 0);
        assert_eq!(claimed(&store, due("n1", "", 9 * HOUR)).await, ["batch_2"]);
    }

    async fn another_region_looks_when_its_own_has_not_for_long(store: Store) {
        apply(&store, vec![made(1, Some("eu")), made(2, Some("us"))]).await;
        assert_eq!(claimed(&store, due("n1", "eu", HOUR / 2)).await, ["batch_1"]);
        assert_eq!(claimed(&store, due("n2", "us", 2 * HOUR)).await, ["batch_1", "batch_2"]);
    }
}
