//! Records and their bodies.

use serde_json::json;

use super::*;
use crate::money::NanoUsd;

const NOW: WallMs = WallMs(1_795_003_200_000);

#[test]
fn every_kind_is_read_back_by_its_word() {
    for kind in RecordKind::ALL {
        assert_eq!(RecordKind::parse(kind.as_str()), Some(kind));
        let json = serde_json::to_value(kind).unwrap();
        assert_eq!(json, kind.as_str());
    }
    let mut sorted = RecordKind::ALL;
    sorted.sort_unstable();
    assert_eq!(sorted, RecordKind::ALL, "restrictions come first");
}

#[test]
fn a_body_comes_back_as_it_was_written() {
    let team = Team {
        team_alias: Some("Search".into()),
        models: vec!["gpt-4o".into()],
        bounds: Bounds {
            max_budget: Some(NanoUsd::DOLLAR),
            budget_duration: Some("30d".into()),
            ..Bounds::default()
        },
        ..Team::default()
    };
    let record = Record::new("t1".into(), &team, NOW);
    assert_eq!(record.read::<Team>().unwrap(), team);
    assert_eq!(record.body.get("max_budget"), Some(&json!(1_000_000_000)));
    assert_eq!(record.facet(Facet::Alias), Some("Search"));
    assert_eq!(record.facet(Facet::TeamId), Some("t1"));
    assert_eq!(record.facet(Facet::UserId), None);
}

#[test]
fn a_budget_fills_what_a_record_does_not_say() {
    let own = Bounds {
        rpm_limit: Some(5),
        ..Bounds::default()
    };
    let budget = Bounds {
        max_budget: Some(NanoUsd::DOLLAR),
        budget_duration: Some("1d".into()),
        rpm_limit: Some(9),
        tpm_limit: Some(7),
        ..Bounds::default()
    };
    let both = own.or(&budget);
    assert_eq!((both.rpm_limit, both.tpm_limit), (Some(5), Some(7)));
    assert_eq!(both.budget_duration.as_deref(), Some("1d"));
    let with_money = Bounds {
        max_budget: Some(NanoUsd(1)),
        ..Bounds::default()
    };
    assert_eq!(with_money.or(&budget).budget_duration, None);
}

#[test]
fn only_a_newer_generation_lifts_a_restriction_and_nothing_a_revocation() {
    let mut restriction = Restriction {
        target_kind: RecordKind::Key,
        target_id: "ab".into(),
        generation: 3,
        restricts: Restricts::Blocked,
    };
    assert!(restriction.binds(3) && restriction.binds(2));
    assert!(!restriction.binds(4));
    assert_eq!(restriction.record_id("eu"), "key/ab/blocked/eu");
    restriction.restricts = Restricts::Lowered(NanoUsd(7));
    assert_eq!(restriction.record_id("eu"), "key/ab/lowered-7/eu");
    restriction.restricts = Restricts::Revoked;
    assert!(restriction.binds(4));
}
