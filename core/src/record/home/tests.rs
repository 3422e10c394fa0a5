//! Who may write what.

use serde_json::json;

use super::*;
use crate::record::Team;
use crate::time::WallMs;

const NOW: WallMs = WallMs(1_795_003_200_000);

fn team(home: &str, body: &Value) -> Record {
    let mut record = Record::new("t1".into(), &Team::default(), NOW);
    record.home = home.to_owned();
    record.body = body.as_object().unwrap().clone();
    record
}

fn restriction(restricts: Restricts) -> Restriction {
    Restriction {
        target_kind: RecordKind::Team,
        target_id: "t1".into(),
        generation: 0,
        restricts,
    }
}

#[test]
fn home_writes_everything_and_others_take_away_only() {
    let before = team("eu", &json!({"team_alias": "a", "max_budget": 10}));
    let judge = |own: &str, body: Value| judge(own, Some(&before), &team("eu", &body));
    let restricts = |list: &[Restricts]| Verdict::Restrict(list.to_vec());
    let raised = json!({"team_alias": "a", "max_budget": 11});
    assert_eq!(judge("eu", raised.clone()), Verdict::Here);
    assert_eq!(judge("", raised.clone()), Verdict::Here);
    assert_eq!(judge("us", raised), Verdict::Elsewhere);
    for (body, verdict) in [
        (
            json!({"team_alias": "a", "max_budget": 10, "blocked": true, "updated_by": "x"}),
            restricts(&[Restricts::Blocked]),
        ),
        (
            json!({"team_alias": "a", "max_budget": 9}),
            restricts(&[Restricts::Lowered(NanoUsd(9))]),
        ),
        (
            json!({"team_alias": "a", "max_budget": 0, "blocked": true}),
            restricts(&[Restricts::Blocked, Restricts::Lowered(NanoUsd(0))]),
        ),
        // Nothing more than before, something else besides, no limit at all.
        (
            json!({"team_alias": "a", "max_budget": 10}),
            Verdict::Elsewhere,
        ),
        (
            json!({"team_alias": "b", "max_budget": 9}),
            Verdict::Elsewhere,
        ),
        (
            json!({"team_alias": "a", "blocked": true}),
            Verdict::Elsewhere,
        ),
    ] {
        assert_eq!(judge("us", body.clone()), verdict, "{body}");
    }
}

#[test]
fn a_deletion_is_taken_anywhere_where_it_gives_nobody_more() {
    let mut before = team("eu", &json!({}));
    let mut after = before.clone();
    after.deleted = true;
    let revoked = Verdict::Restrict(vec![Restricts::Revoked]);
    assert_eq!(judge("us", Some(&before), &after), revoked);
    (before.kind, after.kind) = (RecordKind::Budget, RecordKind::Budget);
    assert_eq!(judge("us", Some(&before), &after), Verdict::Elsewhere);
    // Made anew only where it was made.
    assert_eq!(judge("us", Some(&after), &before), Verdict::Elsewhere);
    assert_eq!(judge("eu", Some(&after), &before), Verdict::Here);
    assert_eq!(judge("us", None, &before), Verdict::Here);
    before.home.clear();
    assert_eq!(judge("us", Some(&before), &after), Verdict::Here);
}

#[test]
fn home_lifts_what_it_has_seen_and_nothing_else() {
    let standing = [
        restriction(Restricts::Blocked),
        restriction(Restricts::Lowered(NanoUsd(5))),
    ];
    // Not in the record yet: whoever wrote this did not know.
    let before = team("eu", &json!({"max_budget": 10}));
    let mut after = team("eu", &json!({"max_budget": 20, "team_alias": "new"}));
    assert!(lift(Some(&before), &mut after, &standing).is_empty());
    let kept = json!({"max_budget": 5, "team_alias": "new", "blocked": true});
    assert_eq!(Value::Object(after.body.clone()), kept);
    // Unblocked on purpose; the lower budget stays.
    let before = after.clone();
    let mut unblocked = team("eu", &json!({"max_budget": 5, "blocked": false}));
    assert_eq!(lift(Some(&before), &mut unblocked, &standing), [0]);
    let kept = json!({"max_budget": 5, "blocked": false});
    assert_eq!(Value::Object(unblocked.body.clone()), kept);
    // Raised on purpose; the block stays.
    let mut raised = team("eu", &json!({"blocked": true}));
    assert_eq!(lift(Some(&before), &mut raised, &standing), [1]);
    assert_eq!(Value::Object(raised.body.clone()), json!({"blocked": true}));
}

#[test]
fn nothing_lifts_a_revocation() {
    let standing = [restriction(Restricts::Revoked)];
    let mut before = team("eu", &json!({}));
    before.deleted = true;
    let mut again = team("eu", &json!({}));
    assert!(lift(Some(&before), &mut again, &standing).is_empty());
    assert!(again.deleted);
    let denied = Denied::of(7, &standing);
    assert!(denied.revoked && !denied.is_nothing());
}
