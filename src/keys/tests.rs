//! The registry under stale writers, rotation and deletion.

use super::*;
use serde_json::json;

fn record(clear: &str, version: u64) -> KeyRecord {
    let token = KeyHash::of_secret(clear);
    let record = json!({"token": token, "key_name": "sk-...", "version": version});
    serde_json::from_value(record).unwrap()
}

fn keys() -> Keys {
    Keys::new(TimeZone::UTC)
}

const NOW: WallMs = WallMs(1_795_000_000_000);

#[test]
fn a_stale_writer_cannot_undo_a_block() {
    let keys = keys();
    let first = record("sk-a", 1);
    keys.insert(&first, NOW);
    let mut blocked = record("sk-a", 2);
    blocked.blocked = true;
    assert!(keys.put(&blocked, NOW));
    assert!(!keys.put(&first, NOW));
    assert!(!keys.put(&record("sk-a", 2), NOW));
    assert!(keys.get(&first.token, NOW).unwrap().policy.blocked);
}

#[test]
fn a_deleted_key_stays_deleted_until_it_is_made_anew() {
    let keys = keys();
    let mut first = record("sk-a", 1);
    first.created_at = NOW;
    keys.insert(&first, NOW);
    keys.remove(&first.token, NOW.plus_ms(5));
    let mut late = record("sk-a", 7);
    late.created_at = NOW;
    assert!(!keys.put(&late, NOW.plus_ms(9)));
    assert!(keys.get(&first.token, NOW.plus_ms(9)).is_none());
    keys.insert(&first, NOW.plus_ms(9));
    assert_eq!(keys.len(), 1);
}

#[test]
fn counters_survive_changes_and_rotation() {
    let keys = keys();
    let first = record("sk-a", 1);
    keys.insert(&first, NOW);
    keys.set_spent(&first.token, NanoUsd(77), NOW);
    keys.put(&record("sk-a", 2), NOW);
    assert_eq!(keys.spent(&first.token, NOW), Some(NanoUsd(77)));
    let second = record("sk-b", 3);
    keys.rotate(&first.token, &second, NOW.plus_ms(1000), NOW);
    assert_eq!(keys.spent(&second.token, NOW), Some(NanoUsd(77)));
    assert_eq!(keys.len(), 1);
    keys.reset_all_spent(NOW);
    assert_eq!(keys.spent(&second.token, NOW), Some(NanoUsd::ZERO));
}

#[test]
fn a_rotated_key_works_to_the_end_of_its_grace_period_and_not_longer() {
    let keys = keys();
    let (a, b, c) = (record("sk-a", 1), record("sk-b", 2), record("sk-c", 3));
    keys.insert(&a, NOW);
    keys.rotate(&a.token, &b, NOW.plus_ms(1000), NOW);
    let found = keys.get(&a.token, NOW.plus_ms(999)).unwrap();
    assert_eq!(found.policy.token, b.token);
    assert!(keys.get(&a.token, NOW.plus_ms(1000)).is_none());
    // Rotated again at once: the second digest dies, the first goes on standing for the third.
    keys.rotate(&b.token, &c, NOW, NOW);
    assert!(keys.get(&b.token, NOW).is_none());
    assert_eq!(keys.get(&a.token, NOW).unwrap().policy.token, c.token);
    // A change of the key is a change for its old digest too; so is its deletion.
    let mut blocked = record("sk-c", 4);
    blocked.blocked = true;
    keys.put(&blocked, NOW);
    assert!(keys.get(&a.token, NOW).unwrap().policy.blocked);
    // Whoever read the first key before the rotation cannot bring it back.
    assert!(!keys.put(&record("sk-a", 9), NOW));
    keys.remove(&c.token, NOW);
    assert!(keys.get(&a.token, NOW).is_none() && keys.is_empty());
}

#[test]
fn notes_of_the_dead_are_swept() {
    let keys = keys();
    let (a, b) = (record("sk-a", 1), record("sk-b", 2));
    keys.insert(&a, NOW);
    keys.rotate(&a.token, &b, NOW.plus_ms(1000), NOW);
    keys.sweep(NOW.plus_ms(REMOVED_MS));
    assert!(keys.removed.is_empty() && keys.deprecated.is_empty());
    assert_eq!(keys.len(), 1);
}

#[test]
fn many_writers_leave_the_newest_version() {
    let keys = keys();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let keys = &keys;
            scope.spawn(move || {
                for turn in 0..500 {
                    let version = 1 + turn * 4 + thread;
                    let mut newer = record("sk-a", version);
                    newer.key_alias = Some(version.to_string());
                    keys.put(&newer, NOW);
                }
            });
        }
    });
    let view = keys.get(&KeyHash::of_secret("sk-a"), NOW).unwrap();
    assert_eq!(view.policy.alias.as_deref(), Some("2000"));
}

#[test]
fn equal_model_lists_are_held_once() {
    let keys = keys();
    for clear in ["sk-a", "sk-b", "sk-c"] {
        let mut key = record(clear, 1);
        key.models = vec!["gpt-4o".into(), "claude".into()];
        keys.insert(&key, NOW);
        assert_eq!(keys.lists.lock().unwrap().len(), 1);
        keys.remove(&key.token, NOW);
    }
    keys.sweep(NOW);
    assert!(keys.lists.lock().unwrap().is_empty());
}
