//! Records of every kind: versions, tombstones, lists, the audit log, what their scopes spend.

use std::sync::Arc;

use meridian::store::{
    Actor, AuditAction, AuditQuery, NextReset, RecordQuery, RecordSort, RecordWrite, Store,
    StoreError,
};
use meridian_core::money::NanoUsd;
use meridian_core::record::{Bounds, Facet, Record, RecordKind, Team, User};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use crate::support::{DAY, HOUR, NOON, apply, conflict_in, on_every_store, record};

fn team(id: &str, alias: &str) -> Record {
    let team = Team {
        team_alias: Some(alias.to_owned()),
        organization_id: Some("o1".to_owned()),
        ..Team::default()
    };
    Record::new(id.to_owned(), &team, NOON)
}

fn user(id: &str, email: &str) -> Record {
    let user = User {
        user_email: Some(email.to_owned()),
        ..User::default()
    };
    Record::new(id.to_owned(), &user, NOON)
}

fn admin() -> Option<Actor> {
    Some(Actor {
        changed_by: "ops".to_owned(),
        key: None,
    })
}

on_every_store! {
    async fn a_record_is_replaced_by_who_read_it_last_and_a_tombstone_by_a_new_one(store: Store) {
        let create = || vec![RecordWrite::create(team("t1", "Search"))];
        let first = store.write_records(create(), admin()).await.unwrap();
        let again = store.write_records(create(), admin()).await;
        assert_eq!(conflict_in(again), "id");
        let replace = RecordWrite::replace(first[0].clone());
        let second = store
            .write_records(vec![replace.clone()], None)
            .await
            .unwrap();
        assert!(second[0].version > first[0].version);
        let late = store.write_records(vec![replace], None).await;
        assert_eq!(conflict_in(late), "version");
        let delete = RecordWrite::delete(second[0].clone(), NOON);
        let gone = store
            .write_records(vec![delete.clone()], None)
            .await
            .unwrap();
        assert!(gone[0].deleted && gone[0].version > second[0].version);
        let twice = store.write_records(vec![delete], None).await;
        assert!(matches!(twice, Err(StoreError::NotFound)), "{twice:?}");
        let stored = store.get_record(RecordKind::Team, "t1").await.unwrap();
        assert_eq!(stored.unwrap().record, gone[0]);
        let reborn = store.write_records(create(), None).await.unwrap();
        assert!(reborn[0].version > gone[0].version);
    }
}

on_every_store! {
    async fn several_writes_are_stored_together_or_not_at_all(store: Store) {
        let writes = vec![
            RecordWrite::create(user("u1", "a@example.com")),
            RecordWrite::create(user("u2", "a@example.com")),
        ];
        let outcome = store.write_records(writes, admin()).await;
        assert_eq!(conflict_in(outcome), "email");
        let none = store.get_record(RecordKind::User, "u1").await.unwrap();
        assert_eq!(none, None);
        let audit = store.audit_log(AuditQuery::default()).await.unwrap();
        assert_eq!(audit.total, 0);
    }
}

on_every_store! {
    async fn a_copy_from_elsewhere_counts_only_when_it_is_newer(store: Store) {
        let write = RecordWrite::create(team("t1", "Search"));
        let stored = store.write_records(vec![write], None).await.unwrap();
        let mut stale = stored[0].clone();
        stale.version -= 1;
        stale.deleted = true;
        assert_eq!(store.merge_records(vec![stale]).await.unwrap(), []);
        let mut newer = stored[0].clone();
        newer.version += 256;
        newer.home = "eu-west-1".to_owned();
        let merged = store.merge_records(vec![newer.clone()]).await.unwrap();
        assert_eq!(merged, std::slice::from_ref(&newer));
        let kept = store.get_record(RecordKind::Team, "t1").await.unwrap();
        assert_eq!(kept.unwrap().record, newer);
        assert_eq!(store.merge_records(vec![newer]).await.unwrap(), []);
    }
}

on_every_store! {
    async fn records_are_found_by_facet_id_and_part_of_a_name(store: Store) {
        let writes = (0..12).map(|n| team(&format!("t{n:02}"), &format!("Team {n:02}")));
        let writes = writes.map(RecordWrite::create).collect();
        store.write_records(writes, None).await.unwrap();
        let ids = |query: RecordQuery| {
            let store = store.clone();
            async move {
                let page = store.list_records(query).await.unwrap();
                let ids: Vec<_> = page.records.into_iter().map(|one| one.record.id).collect();
                (page.total, ids)
            }
        };
        let all = RecordQuery::all(RecordKind::Team);
        let mut page = all.clone().with(Facet::OrganizationId, "o1");
        (page.page, page.size, page.descending) = (2, 5, true);
        page.sort_by = RecordSort::Facet(Facet::Alias);
        let (total, found) = ids(page).await;
        assert_eq!(
            (total, found.join(" ")),
            (12, "t06 t05 t04 t03 t02".to_owned())
        );
        let mut search = all.clone();
        search.search = Some("TEAM 1".to_owned());
        assert_eq!(
            ids(search).await,
            (2, vec!["t10".to_owned(), "t11".to_owned()])
        );
        let mut by_id = all.clone();
        by_id.ids = vec!["t03".to_owned(), "nobody".to_owned()];
        assert_eq!(ids(by_id).await, (1, vec!["t03".to_owned()]));
        assert_eq!(ids(all.with(Facet::Alias, "Team")).await, (0, Vec::new()));
    }
}

on_every_store! {
    async fn every_change_by_somebody_is_in_the_audit_log(store: Store) {
        let write = RecordWrite::create(team("t1", "Search"));
        let stored = store.write_records(vec![write], admin()).await.unwrap();
        let delete = RecordWrite::delete(stored[0].clone(), NOON);
        store.write_records(vec![delete], admin()).await.unwrap();
        let query = AuditQuery {
            kind: Some(RecordKind::Team),
            changed_by: Some("ops".to_owned()),
            ascending: true,
            ..AuditQuery::default()
        };
        let page = store.audit_log(query.clone()).await.unwrap();
        let actions: Vec<_> = page.entries.iter().map(|entry| entry.action).collect();
        assert_eq!(actions, [AuditAction::Created, AuditAction::Deleted]);
        let [created, deleted] = &page.entries[..] else {
            panic!("{page:?}")
        };
        assert_eq!((&created.before, &deleted.after), (&None, &None));
        let alias = created
            .after
            .as_ref()
            .and_then(|body| body["team_alias"].as_str());
        assert_eq!(alias, Some("Search"));
        let one = AuditQuery {
            id: Some(deleted.id.clone()),
            ..query
        };
        let page = store.audit_log(one).await.unwrap();
        assert_eq!(page.entries, std::slice::from_ref(deleted));
    }
}

on_every_store! {
    async fn every_scope_of_a_request_pays_in_its_own_period(store: Store) {
        let midnight = WallMs(1_795_046_400_000);
        let bounds = Bounds {
            budget_duration: Some("1d".to_owned()),
            budget_reset_at: Some(midnight),
            ..Bounds::default()
        };
        let body = Team {
            bounds,
            ..Team::default()
        };
        let write = RecordWrite::create(Record::new("t1".to_owned(), &body, NOON));
        store.write_records(vec![write], None).await.unwrap();
        let before = midnight.plus_ms(-HOUR);
        let after = midnight.plus_ms(HOUR);
        let both = vec![record(1, "a", before, 500), record(2, "a", after, 40)];
        apply(&store, both).await;
        let scopes = vec![
            Scope::new(ScopeKind::Team, "t1"),
            Scope::new(ScopeKind::User, "u1"),
            Scope::team_member("t1", "u1"),
            Scope::new(ScopeKind::EndUser, "customer-7"),
            Scope::new(ScopeKind::Tag, "prod"),
            Scope::new(ScopeKind::Organization, "nobody"),
        ];
        let spends = store.scope_spends(scopes.clone()).await.unwrap();
        assert_eq!(spends.len(), 5);
        assert!(spends.iter().all(|one| one.spend == NanoUsd(540)));
        let next: NextReset = Arc::new(|_, at| Some(WallMs(at.0 + DAY)));
        let now = midnight.plus_ms(2 * HOUR);
        let rolled = store.roll_budget_periods(now, next).await.unwrap();
        assert_eq!(rolled.len(), 1);
        assert_eq!(rolled[0].scope, scopes[0]);
        assert_eq!(rolled[0].spend, NanoUsd(40));
        let team = store.get_record(RecordKind::Team, "t1").await.unwrap();
        let team = team.unwrap();
        assert_eq!(
            (team.spend, team.resets_at),
            (NanoUsd(40), Some(midnight.plus_ms(DAY)))
        );
    }
}
