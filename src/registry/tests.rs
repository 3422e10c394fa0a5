//! The registry under stale writers, rotation, deletion, restrictions and records in any order.

use std::sync::Arc;

use jiff::tz::TimeZone;
use meridian_core::access::ModelFacts;
use meridian_core::auth::{KeyView, Role};
use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::meters::{Due, Need, Window};
use meridian_core::money::NanoUsd;
use meridian_core::record::{
    Bounds, Budget, Customer, Organization, Record, Restriction, Restricts, Team, TeamMember, User,
};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::*;

mod first_use;
mod members;
mod routed;
mod scopes;
mod spend;

const NOW: WallMs = WallMs(1_795_000_000_000);

fn registry() -> Registry {
    Registry::new(TimeZone::UTC)
}

fn digest(clear: &str) -> KeyHash {
    KeyHash::of_secret(clear)
}

fn key(clear: &str, version: u64, fields: Value) -> Record {
    let mut all = json!({"token": digest(clear), "key_name": "sk-...", "version": version});
    let fields = fields.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(fields);
    let key: KeyRecord = serde_json::from_value(all).unwrap();
    key.to_record()
}

fn ended(mut record: Record, version: u64) -> Record {
    record.deleted = true;
    record.version = version;
    record
}

fn of<B: meridian_core::record::Body>(id: &str, version: u64, body: &B) -> Record {
    let mut record = Record::new(id.to_owned(), body, NOW);
    record.version = version;
    record
}

fn rotated(old: &str, new: &str, version: u64, revoke_at: WallMs) -> Record {
    let active = digest(new);
    of(
        &digest(old).to_string(),
        version,
        &RotatedKey { active, revoke_at },
    )
}

impl Registry {
    fn take(&self, record: &Record) {
        assert_eq!(self.apply(record, None, NOW), Applied::Taken, "{record:?}");
    }

    fn take_all(&self, records: &[Record]) {
        let none = records.iter().map(|record| (record, None));
        assert_eq!(self.apply_all(none, NOW), Vec::new());
    }

    fn key(&self, clear: &str) -> Option<Arc<KeyView>> {
        self.get(&digest(clear), NOW)
    }

    fn charge_key(&self, clear: &str, spent: i64) {
        let scope = Scope::new(ScopeKind::Key, digest(clear).to_string());
        self.set_spent(&scope, NanoUsd(spent), NOW);
    }
}

#[test]
fn a_stale_writer_cannot_undo_a_block() {
    let registry = registry();
    let first = key("sk-a", 1, json!({}));
    registry.take(&first);
    registry.take(&key("sk-a", 2, json!({"blocked": true})));
    assert_eq!(registry.apply(&first, None, NOW), Applied::Stale);
    let same = key("sk-a", 2, json!({}));
    assert_eq!(registry.apply(&same, None, NOW), Applied::Stale);
    assert!(registry.key("sk-a").unwrap().policy.blocked);
}

#[test]
fn a_deleted_record_stays_deleted_until_it_is_made_anew() {
    let registry = registry();
    let first = key("sk-a", 1, json!({}));
    registry.take(&first);
    registry.take(&ended(first.clone(), 5));
    assert_eq!(
        registry.apply(&key("sk-a", 4, json!({})), None, NOW),
        Applied::Stale
    );
    assert!(registry.key("sk-a").is_none() && registry.is_empty());
    registry.take(&key("sk-a", 6, json!({})));
    assert_eq!(registry.len(), 1);
    let team = of("t", 3, &Team::default());
    registry.take(&team);
    registry.take(&ended(team.clone(), 4));
    assert_eq!(registry.apply(&team, None, NOW), Applied::Stale);
    registry.take(&of("t", 5, &Team::default()));
}

#[test]
fn nodes_that_have_heard_of_a_rotation_and_those_that_have_not_share_its_limits() {
    let first = key("sk-a", 1, json!({"rpm_limit": 3}));
    let lineage = json!({"rpm_limit": 3, "lineage": digest("sk-a")});
    let next = key("sk-b", 3, lineage);
    let limits = |registry: &Registry, clear: &str| {
        let view = registry.key(clear).unwrap();
        Window::whole(view.meters()).rates_id()
    };
    let (deaf, here, young) = (registry(), registry(), registry());
    deaf.take(&first);
    here.take(&first);
    here.take_all(&[
        ended(first, 3),
        next.clone(),
        rotated("sk-a", "sk-b", 3, NOW.plus_ms(1000)),
    ]);
    young.take(&next);
    for registry in [&here, &young] {
        assert_eq!(limits(registry, "sk-b"), limits(&deaf, "sk-a"));
    }
    young.take(&key("sk-a", 4, json!({"lineage": digest("sk-x")})));
    assert_ne!(limits(&young, "sk-a"), limits(&deaf, "sk-a"), "made anew");
}

#[test]
fn counters_survive_changes_and_rotation() {
    let registry = registry();
    let first = key("sk-a", 1, json!({}));
    registry.take(&first);
    registry.charge_key("sk-a", 77);
    registry.take(&key("sk-a", 2, json!({"key_alias": "x"})));
    assert_eq!(
        registry.spent_by_key(&digest("sk-a"), NOW),
        Some(NanoUsd(77))
    );
    let running = registry.key("sk-a").unwrap();
    let mut dues = vec![];
    running.add_dues(&mut dues);
    // As the store writes it: the old end first, what it became last.
    registry.take_all(&[
        ended(first, 3),
        key("sk-b", 3, json!({})),
        rotated("sk-a", "sk-b", 3, NOW.plus_ms(1000)),
    ]);
    let now_at = |ms: i64| registry.get(&digest("sk-a"), NOW.plus_ms(ms));
    assert_eq!(
        registry.spent_by_key(&digest("sk-b"), NOW),
        Some(NanoUsd(77))
    );
    assert_eq!(now_at(999).unwrap().policy.token, digest("sk-b"));
    assert!(now_at(1000).is_none());
    assert!(
        !running.meters().has_ended(),
        "what runs under the old digest goes on"
    );
    assert_eq!(registry.len(), 1);
    registry.reset_all_spent(NOW);
    assert_eq!(
        registry.spent_by_key(&digest("sk-b"), NOW),
        Some(NanoUsd::ZERO)
    );
}

#[test]
fn a_rotation_keeps_what_was_spent_in_whatever_order_it_arrives() {
    let parts = [
        ended(key("sk-a", 1, json!({})), 3),
        key("sk-b", 3, json!({})),
        rotated("sk-a", "sk-b", 3, NOW.plus_ms(1000)),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let registry = registry();
        registry.take(&key("sk-a", 1, json!({})));
        registry.charge_key("sk-a", 77);
        for at in order {
            registry.apply(&parts[at], None, NOW);
        }
        let spent = registry.spent_by_key(&digest("sk-b"), NOW);
        assert_eq!(spent, Some(NanoUsd(77)), "{order:?}");
        assert!(registry.key("sk-a").is_some(), "{order:?}");
    }
}

#[test]
fn a_rotated_key_follows_the_key_that_replaced_it() {
    let registry = registry();
    let (a, b) = (key("sk-a", 1, json!({})), key("sk-b", 2, json!({})));
    registry.take(&a);
    let until = NOW.plus_ms(1000);
    registry.take_all(&[
        ended(a.clone(), 2),
        b.clone(),
        rotated("sk-a", "sk-b", 2, until),
    ]);
    // Rotated again at once: the second digest dies, the first goes on standing for the third.
    registry.take_all(&[
        ended(b, 3),
        key("sk-c", 3, json!({})),
        rotated("sk-a", "sk-c", 3, until),
        rotated("sk-b", "sk-c", 3, NOW),
    ]);
    assert!(registry.key("sk-b").is_none());
    assert_eq!(registry.key("sk-a").unwrap().policy.token, digest("sk-c"));
    // A change of the key is a change for its old digest too; so is its deletion.
    let blocked = key("sk-c", 4, json!({"blocked": true}));
    registry.take(&blocked);
    assert!(registry.key("sk-a").unwrap().policy.blocked);
    let old = key("sk-a", 2, json!({}));
    assert_eq!(registry.apply(&old, None, NOW), Applied::Stale);
    registry.take(&ended(blocked, 5));
    assert!(registry.key("sk-a").is_none() && registry.is_empty());
}

#[test]
fn notes_of_the_dead_are_swept_and_bounded() {
    let registry = registry();
    let a = key("sk-a", 1, json!({}));
    registry.take(&a);
    registry.take_all(&[
        ended(a, 2),
        key("sk-b", 2, json!({})),
        rotated("sk-a", "sk-b", 2, NOW.plus_ms(1000)),
    ]);
    assert_eq!(registry.keys.notes(), (1, 1, 0, 1));
    registry.sweep(NOW.plus_ms(REMOVED_MS + 1000));
    assert_eq!(registry.keys.notes(), (0, 0, 0, 1));
    for version in 0..REMOVED_MAX as u64 + 10 {
        registry
            .keys
            .remove(&digest(&version.to_string()), version, NOW);
    }
    assert!(registry.keys.notes().0 <= REMOVED_MAX);
    assert_eq!(registry.keys.version(&digest("100009")), Some(100_009));
}

#[test]
fn a_deleted_key_is_gone_until_it_is_forgotten_or_made_again() {
    let registry = registry();
    let gone = |at: WallMs| {
        registry.sweep(at);
        registry.gone_since(&digest("sk-a"))
    };
    assert_eq!(gone(NOW), None, "nobody knows it");
    registry.take(&key("sk-a", 1, json!({})));
    assert_eq!(gone(NOW), None);
    registry.take(&ended(key("sk-a", 1, json!({})), 2));
    assert_eq!(gone(NOW.plus_ms(1_000)), Some(NOW));
    assert_eq!(gone(NOW.plus_ms(REMOVED_MS)), None);
    registry.take(&ended(key("sk-a", 1, json!({})), 3));
    registry.take(&key("sk-a", 4, json!({})));
    assert_eq!(gone(NOW), None, "it is there again");
}

#[test]
fn many_writers_leave_the_newest_version() {
    let registry = registry();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let registry = &registry;
            scope.spawn(move || {
                for turn in 0..500 {
                    let version = 1 + turn * 4 + thread;
                    let alias = json!({"key_alias": version.to_string()});
                    registry.apply(&key("sk-a", version, alias), None, NOW);
                }
            });
        }
    });
    let view = registry.key("sk-a").unwrap();
    assert_eq!(view.policy.alias.as_deref(), Some("2000"));
}

#[test]
fn equal_model_lists_are_held_once() {
    let registry = registry();
    for clear in ["sk-a", "sk-b", "sk-c"] {
        let record = key(clear, 1, json!({"models": ["gpt-4o", "claude"]}));
        registry.take(&record);
        assert_eq!(registry.keys.notes().2, 1);
        registry.take(&ended(record, 2));
    }
    registry.sweep(NOW.plus_ms(REMOVED_MS));
    assert_eq!(registry.keys.notes().2, 0);
}
