//! What is counted for records that come at odd moments.

use meridian_core::spend::SpendRecord;

use super::*;

pub(super) fn request(number: u8, fields: Value) -> SpendRecord {
    let mut record = json!({
        "call_id": meridian_core::ids::CallId::from_bytes([number; 16]),
        "endpoint": "chat_completions", "model_group": "m", "started": NOW, "ended": NOW,
        "usage": {}, "cost": 60, "end_reason": "complete", "status": 200,
    });
    let fields = fields.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(record).unwrap()
}

#[test]
fn the_late_bill_of_a_rotated_key_counts_for_the_key_of_today() {
    let registry = registry();
    let first = key("sk-a", 1, json!({}));
    registry.take(&first);
    let lineage = json!({"lineage": digest("sk-a")});
    let past = NOW.plus_ms(-7_200_000);
    registry.take_all(&[
        ended(first, 3),
        key("sk-b", 3, lineage.clone()),
        rotated("sk-a", "sk-b", 3, past),
    ]);
    registry.take(&key("sk-c", 1, json!({})));
    registry.sweep(NOW);
    let payer = json!({"key": digest("sk-a")});
    let bill = request(1, json!({"payer": payer, "context": {"batch": "used"}}));
    let heir = Scope::new(ScopeKind::Key, digest("sk-b").to_string());
    let charged = registry.charged(&bill, NOW);
    assert_eq!(charged.len(), 1);
    assert_eq!(charged[0].0, heir);
    registry.charge(&bill, NOW);
    assert_eq!(
        registry.spent_by_key(&digest("sk-b"), NOW),
        Some(NanoUsd(60))
    );
    // Once more: the batch was made under the middle one of three.
    let payer = json!({"key": digest("sk-x")});
    let context = json!({"batch": "used", "lineage": digest("sk-a")});
    let bill = request(2, json!({"payer": payer, "context": context}));
    assert_eq!(registry.charged(&bill, NOW)[0].0, heir);
    // Any other request of a key that is gone is charged to nobody here.
    let late = request(3, json!({"payer": {"key": digest("sk-a")}}));
    assert!(registry.charged(&late, NOW).is_empty());
}

#[test]
fn what_a_customer_spent_before_it_had_a_record_counts_when_the_store_has_it() {
    let registry = registry();
    registry.watch();
    let scope = Scope::new(ScopeKind::EndUser, "new");
    let ended = request(1, json!({"payer": {"end_user": "new"}}));
    registry.note_uncounted(ended.call_id);
    registry.take(&of("new", 1, &Customer::default()));
    registry.mark_stored([&ended].into_iter(), NOW);
    assert!(!registry.take_uncounted(&ended.call_id), "the store has it");
    assert!(registry.active_scopes().contains(&scope));
    let stored = |spend| crate::store::ScopeSpend {
        scope: scope.clone(),
        spend: NanoUsd(spend),
        period_start: WallMs(0),
        period_end: None,
    };
    registry.take_stored(&[stored(60)], NOW);
    assert_eq!(registry.spent(&scope, NOW), Some(NanoUsd(60)));

    // One that was counted after all is found in the store and counts once.
    let counted = request(2, json!({"payer": {"end_user": "new"}}));
    registry.note_uncounted(counted.call_id);
    assert!(registry.take_uncounted(&counted.call_id));
    registry.view(ScopeKind::EndUser, "new").unwrap();
    let meters = registry.meters_of(&scope, NOW).unwrap();
    let decides = meridian_core::meters::Decides::Count;
    let _ = meters
        .count("m", Vec::new(), decides, NOW)
        .settle(NanoUsd(60), 0);
    registry.mark_stored([&counted].into_iter(), NOW);
    registry.take_stored(&[stored(120)], NOW);
    assert_eq!(registry.spent(&scope, NOW), Some(NanoUsd(120)));
}
