//! Members of teams and organizations: most keys name one, and of most nothing is known.

use super::*;

fn refusal(view: &KeyView, cost: i64) -> Option<String> {
    let mut dues = Vec::new();
    view.add_dues(&mut dues);
    let need = Need {
        cost: NanoUsd(cost),
        tokens: 1,
        model: "m",
        free: false,
        key_alias: None,
        decides: meridian_core::meters::Decides::Count,
        excess: NanoUsd::ZERO,
    };
    match view.meters().admit(need, dues, NOW) {
        Ok(admission) => {
            admission.settle(NanoUsd(cost), 1);
            None
        }
        Err(denied) => Some(denied.error.to_string()),
    }
}

fn budget(amount: i64) -> Bounds {
    Bounds {
        max_budget: Some(NanoUsd(amount)),
        ..Bounds::default()
    }
}

fn member(team: &str, user: &str, amount: i64) -> Record {
    let body = TeamMember {
        team_id: team.into(),
        user_id: user.into(),
        bounds: budget(amount),
        ..TeamMember::default()
    };
    of(&Scope::team_member(team, user).id, 1, &body)
}

#[test]
fn a_members_record_reaches_keys_that_are_in_force_and_no_others() {
    let registry = registry();
    for (clear, team, user) in [
        ("sk-a", "t", "u"),
        ("sk-b", "t", "v"),
        ("sk-c", "other", "u"),
    ] {
        registry.take(&key(clear, 1, json!({"team_id": team, "user_id": user})));
    }
    let [a, b, c] = ["sk-a", "sk-b", "sk-c"].map(|clear| registry.key(clear).unwrap());
    assert_eq!(registry.parties.count_of(ScopeKind::TeamMember), 0);
    registry.take(&member("t", "u", 10));
    assert_eq!(refusal(&a, 10), None);
    let refused = refusal(&a, 1).unwrap();
    assert!(refused.contains("User=u in Team=t"), "{refused}");
    assert_eq!((refusal(&b, 99), refusal(&c, 99)), (None, None));
    // In an organization, by the key's own word or by the team's.
    let of_organization = meridian_core::record::OrganizationMember {
        organization_id: "o".into(),
        user_id: "v".into(),
        budget_id: Some("five".into()),
        ..Default::default()
    };
    let five = Budget {
        bounds: budget(5),
        ..Budget::default()
    };
    let id = Scope::organization_member("o", "v").id;
    registry.take_all(&[of("five", 1, &five), of(&id, 1, &of_organization)]);
    assert_eq!(refusal(&b, 99), None, "its team is of no organization yet");
    let team = Team {
        organization_id: Some("o".into()),
        ..Team::default()
    };
    registry.take(&of("t", 1, &team));
    let b = registry.key("sk-b").unwrap();
    assert_eq!(refusal(&b, 5), None);
    let refused = refusal(&b, 1).unwrap();
    assert!(refused.contains('v') && refused.contains('o'), "{refused}");
    assert_eq!(refusal(&c, 99), None);
}

#[test]
fn a_budget_for_members_reaches_those_of_whom_nothing_is_known() {
    let registry = registry();
    let ten = Budget {
        bounds: budget(10),
        ..Budget::default()
    };
    let with = |budget_id: Option<&str>| Team {
        team_member_budget_id: budget_id.map(str::to_owned),
        ..Team::default()
    };
    registry.take_all(&[
        of("ten", 1, &ten),
        of("t", 1, &with(None)),
        key("sk-a", 1, json!({"team_id": "t", "user_id": "u"})),
    ]);
    let a = registry.key("sk-a").unwrap();
    assert_eq!(refusal(&a, 50), None);
    registry.take(&of("t", 2, &with(Some("ten"))));
    registry.take(&key("sk-b", 1, json!({"team_id": "t", "user_id": "v"})));
    let b = registry.key("sk-b").unwrap();
    for view in [&a, &b] {
        assert_eq!(refusal(view, 10), None);
        assert!(refusal(view, 1).is_some(), "each has its own");
    }
    registry.sweep(NOW.plus_ms(2 * REMOVED_MS));
    assert!(refusal(&a, 1).is_some());
    registry.take(&of("t", 3, &with(None)));
    assert_eq!((refusal(&a, 9), refusal(&b, 9)), (None, None));
    // Taken back, it goes on where it was.
    registry.sweep(NOW.plus_ms(2 * REMOVED_MS));
    registry.take(&of("t", 4, &with(Some("ten"))));
    assert!(refusal(&a, 1).is_some());
}

#[test]
fn scopes_are_forgotten_with_those_who_name_them() {
    let registry = registry();
    let record = key("sk-a", 1, json!({"team_id": "t", "user_id": "u"}));
    let of_u = member("t", "u", 10);
    registry.take_all(&[record.clone(), of_u.clone()]);
    let later = |registry: &Registry| {
        registry.sweep(NOW.plus_ms(2 * REMOVED_MS));
        let kinds = [ScopeKind::Team, ScopeKind::User, ScopeKind::TeamMember];
        kinds.map(|kind| registry.parties.count_of(kind))
    };
    assert_eq!(later(&registry), [1, 1, 1]);
    registry.take(&ended(record, 2));
    assert_eq!(later(&registry), [0, 1, 1], "a member has its user");
    registry.take(&ended(of_u, 2));
    assert_eq!(later(&registry), [0, 0, 0]);
    assert!(registry.key("sk-a").is_none());
}
