//! Changes to what is counted: with records or not at all, and the periods of borrowed budgets.

use std::sync::Arc;

use meridian::store::{
    BorrowedPeriod, NextReset, RecordWrite, ScopeChange, ScopePeriod, ScopeSpend, Store,
};
use meridian_core::money::NanoUsd;
use meridian_core::record::{Record, Team};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use crate::support::{DAY, HOUR, NOON, apply, conflict_in, embedded, on_every_store, record};

fn team_write() -> RecordWrite {
    let record = Record::new("t1".to_owned(), &Team::default(), NOON);
    RecordWrite::create(record)
}

fn month(ends: WallMs) -> ScopePeriod {
    ScopePeriod {
        duration: "30d".to_owned(),
        ends: Some(ends),
    }
}

async fn of(store: &Store, scope: &Scope) -> ScopeSpend {
    let mut found = store.scope_spends(vec![scope.clone()]).await.unwrap();
    assert_eq!(found.len(), 1, "{scope:?}");
    found.remove(0)
}

on_every_store! {
    async fn what_is_counted_changes_with_the_records_or_not_at_all(store: Store) {
        let scope = Scope::new(ScopeKind::Team, "t1");
        let member = Scope::team_member("t1", "u1");
        let ends = NOON.plus_ms(DAY);
        let spend = |nano| ScopeChange::Spent { spend: NanoUsd(nano), since: NOON };
        let changes = |nano| vec![
            (scope.clone(), spend(nano)),
            (member.clone(), ScopeChange::Period(Some(month(ends)))),
        ];
        store
            .write_records_with(vec![team_write()], changes(70), None)
            .await
            .unwrap();
        let stored = of(&store, &scope).await;
        assert_eq!((stored.spend, stored.period_start), (NanoUsd(70), NOON));
        assert_eq!(of(&store, &member).await.period_end, Some(ends));
        // The team is there already: nothing of the call holds.
        let again = store.write_records_with(vec![team_write()], changes(5), None).await;
        assert_eq!(conflict_in(again), "id");
        assert_eq!(of(&store, &scope).await.spend, NanoUsd(70));
        // Without records it is a change all the same.
        let alone = vec![(scope.clone(), spend(9))];
        store.write_records_with(Vec::new(), alone, None).await.unwrap();
        assert_eq!(of(&store, &scope).await.spend, NanoUsd(9));
        // The same member's period taken away.
        let gone = vec![(member.clone(), ScopeChange::Period(None))];
        store.write_records_with(Vec::new(), gone, None).await.unwrap();
        assert_eq!(of(&store, &member).await.period_end, None);
    }
}

on_every_store! {
    async fn a_borrowed_period_counts_what_belongs_to_it_and_is_begun_once(store: Store) {
        let scope = Scope::new(ScopeKind::Team, "t1");
        let now = meridian::clock::now();
        let start = now.plus_ms(-DAY);
        let requests = vec![
            record(1, "a", now.plus_ms(-90 * DAY), 1_000),
            record(2, "a", now.plus_ms(-HOUR), 30),
        ];
        apply(&store, requests).await;
        assert_eq!(of(&store, &scope).await.spend, NanoUsd(1_030));
        let ends = now.plus_ms(20 * DAY);
        let borrowed = BorrowedPeriod {
            scope: scope.clone(),
            period: month(ends),
            start,
        };
        let begun = store.begin_borrowed_periods(vec![borrowed.clone()], true).await.unwrap();
        let wanted = ScopeSpend {
            scope: scope.clone(),
            spend: NanoUsd(30),
            period_start: start,
            period_end: Some(ends),
        };
        assert_eq!(begun, [wanted]);
        apply(&store, vec![record(3, "a", now, 7)]).await;
        let again = store.begin_borrowed_periods(vec![borrowed.clone()], true).await.unwrap();
        assert_eq!(again, []);
        assert_eq!(of(&store, &scope).await.spend, NanoUsd(37));
        // Another length is another period; without a log what was counted stays.
        let mut longer = borrowed;
        longer.period.duration = "60d".to_owned();
        longer.start = now.plus_ms(-HOUR);
        let begun = store.begin_borrowed_periods(vec![longer], false).await.unwrap();
        assert_eq!(begun[0].spend, NanoUsd(37));
        let next: NextReset = Arc::new(|_, at| Some(at.plus_ms(60 * DAY)));
        let rolled = store.roll_budget_periods(ends.plus_ms(1), next).await.unwrap();
        assert_eq!((rolled[0].spend, rolled[0].period_start), (NanoUsd::ZERO, ends));
        // Of a scope that nobody spent for there is a period as well.
        let unknown = BorrowedPeriod {
            scope: Scope::team_member("t9", "u9"),
            period: month(ends),
            start,
        };
        let begun = store.begin_borrowed_periods(vec![unknown], true).await.unwrap();
        assert_eq!(begun[0].spend, NanoUsd::ZERO);
    }
}

/// The team with a budget of a day that ends then.
fn daily(ends: WallMs) -> Record {
    let limit = serde_json::json!([
        {"budget_duration": "1d", "max_budget": 1, "reset_at": ends.to_iso()},
    ]);
    let mut team = Team::default();
    team.extra.insert("budget_limits".to_owned(), limit);
    Record::new("t1".to_owned(), &team, NOON)
}

#[tokio::test]
async fn an_update_between_the_end_of_a_period_and_its_roll_keeps_nothing_that_was_spent() {
    let (_dir, store) = embedded().await;
    let now = meridian::clock::now();
    let (ends, next) = (now.plus_ms(-HOUR), now.plus_ms(DAY));
    let told = async || {
        let mut all = store.limit_spends().await.unwrap();
        assert_eq!(all.len(), 1);
        let one = all.remove(0);
        (one.spend, one.period_end)
    };
    let create = vec![RecordWrite::create(daily(ends))];
    let mut stored = store.write_records(create, None).await.unwrap();
    apply(&store, vec![record(1, "a", now.plus_ms(-2 * HOUR), 30)]).await;
    assert_eq!(told().await, (NanoUsd(30), Some(ends)));
    let mut record = stored.remove(0);
    record.body = daily(next).body;
    let update = vec![RecordWrite::replace(record)];
    store.write_records(update, None).await.unwrap();
    assert_eq!(told().await, (NanoUsd(30), Some(ends)));
    let at: NextReset = Arc::new(move |_, _| Some(next));
    store.roll_budget_periods(now, at).await.unwrap();
    assert_eq!(told().await, (NanoUsd::ZERO, Some(next)));
}
