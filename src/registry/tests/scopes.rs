//! What scopes do to the keys that name them.

use super::*;

/// What a request of a dollar's worth of `cost` nano-dollars gets.
fn ask(view: &KeyView, cost: i64) -> Result<(), String> {
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
    let admitted = view.meters().admit(need, dues, NOW);
    admitted
        .map(|admission| {
            admission.settle(NanoUsd(cost), 1);
        })
        .map_err(|error| error.to_string())
}

fn money(amount: i64) -> Bounds {
    Bounds {
        max_budget: Some(NanoUsd(amount)),
        ..Bounds::default()
    }
}

#[test]
fn keys_of_a_team_share_its_budget_whichever_came_first() {
    for team_first in [true, false] {
        let registry = registry();
        let team = Team {
            bounds: money(100),
            ..Team::default()
        };
        let team = of("t", 1, &team);
        let keys = ["sk-a", "sk-b"].map(|clear| key(clear, 1, json!({"team_id": "t"})));
        if team_first {
            registry.take(&team);
        }
        keys.iter().for_each(|key| registry.take(key));
        let [a, b] = ["sk-a", "sk-b"].map(|clear| registry.key(clear).unwrap());
        if !team_first {
            assert_eq!(ask(&a, 60), Ok(()), "nothing is known to limit it");
            registry.take(&team);
        }
        assert_eq!(ask(&a, 100), Ok(()));
        let refused = ask(&b, 1).unwrap_err();
        assert!(
            refused.starts_with("Budget has been exceeded! Team=t Current cost:"),
            "{refused}"
        );
        // A higher budget holds for views that are already in use.
        let raised = Team {
            bounds: money(1_000),
            ..Team::default()
        };
        registry.take(&of("t", 2, &raised));
        assert_eq!(ask(&b, 1), Ok(()));
        assert_eq!(
            registry.spent(&Scope::new(ScopeKind::Team, "t"), NOW),
            Some(NanoUsd(101))
        );
    }
}

#[test]
fn a_users_budget_is_for_its_own_keys_and_counts_all() {
    let registry = registry();
    let user = User {
        bounds: money(50),
        user_role: Some("proxy_admin_viewer".into()),
        ..User::default()
    };
    registry.take(&of("u", 1, &user));
    registry.take(&key("sk-own", 1, json!({"user_id": "u"})));
    registry.take(&key("sk-team", 1, json!({"user_id": "u", "team_id": "t"})));
    let [own, team] = ["sk-own", "sk-team"].map(|clear| registry.key(clear).unwrap());
    assert_eq!(own.role(), Role::ProxyAdminViewer);
    assert_eq!(ask(&team, 60), Ok(()));
    let refused = ask(&own, 1).unwrap_err();
    assert_eq!(
        refused,
        "ExceededBudget: User=u over budget. Spend=0.00000006, Budget=0.00000005"
    );
    assert_eq!(ask(&team, 60), Ok(()));
}

#[test]
fn a_budget_record_moves_everything_that_refers_to_it() {
    let registry = registry();
    let budget = |amount| Budget {
        bounds: money(amount),
        ..Budget::default()
    };
    let team = Team {
        team_member_budget_id: Some("members".into()),
        organization_id: Some("o".into()),
        ..Team::default()
    };
    let organization = Organization {
        budget_id: Some("org".into()),
        ..Organization::default()
    };
    let own = TeamMember {
        team_id: "t".into(),
        user_id: "rich".into(),
        bounds: money(1_000),
        ..TeamMember::default()
    };
    let member = Scope::team_member("t", "rich");
    registry.take_all(&[
        key("sk-rich", 1, json!({"team_id": "t", "user_id": "rich"})),
        key("sk-poor", 1, json!({"team_id": "t", "user_id": "poor"})),
        key("sk-link", 1, json!({"extra": {"budget_id": "members"}})),
        of(&member.id, 1, &own),
        of("t", 1, &team),
        of("o", 1, &organization),
        of("members", 1, &budget(10)),
        of("org", 1, &budget(200)),
    ]);
    let [rich, poor, link] =
        ["sk-rich", "sk-poor", "sk-link"].map(|clear| registry.key(clear).unwrap());
    assert_eq!(poor.organization_id(), Some("o"));
    assert_eq!(ask(&poor, 10), Ok(()));
    let refused = ask(&poor, 1).unwrap_err();
    assert!(refused.contains("User=poor in Team=t"), "{refused}");
    assert_eq!(ask(&link, 10), Ok(()));
    assert!(ask(&link, 1).is_err());
    assert_eq!(ask(&rich, 150), Ok(()));
    registry.take(&of("members", 2, &budget(50)));
    assert_eq!((ask(&poor, 40), ask(&link, 40)), (Ok(()), Ok(())));
    let refused = ask(&rich, 1).unwrap_err();
    assert!(refused.contains("Organization=o"), "{refused}");
    registry.take(&ended(of("org", 1, &budget(200)), 2));
    assert_eq!(
        ask(&rich, 1),
        Ok(()),
        "a deleted budget limits nobody any more"
    );
}

#[test]
fn what_was_deleted_or_blocked_takes_its_keys_along() {
    let registry = registry();
    let team = of("t", 1, &Team::default());
    registry.take_all(&[team.clone(), key("sk-a", 1, json!({"team_id": "t"}))]);
    let view = registry.key("sk-a").unwrap();
    assert_eq!(view.check_parties(), Ok(()));
    let blocked = Team {
        blocked: true,
        ..Team::default()
    };
    registry.take(&of("t", 2, &blocked));
    let refused = view.check_parties().unwrap_err().to_string();
    assert!(
        refused.contains("Team=t is blocked. Update via `/team/unblock`"),
        "{refused}"
    );
    registry.take(&of("t", 3, &Team::default()));
    assert_eq!(view.check_parties(), Ok(()));
    registry.take(&ended(team, 4));
    assert!(view.check_parties().is_err());
}

#[test]
fn an_unknown_team_limits_nothing_only_where_everything_is_known() {
    let registry = registry();
    registry.take(&key("sk-a", 1, json!({"team_id": "free text"})));
    let view = registry.key("sk-a").unwrap();
    assert!(registry.is_complete());
    assert_eq!(view.check_parties(), Ok(()));
    let unknown = view.check_known().unwrap_err();
    assert_eq!(unknown.reply().status, 503);
    registry.take(&of("free text", 1, &Team::default()));
    assert_eq!(view.check_known(), Ok(()));
}

#[test]
fn a_record_that_cannot_be_read_gives_no_rights() {
    let registry = registry();
    registry.take(&key("sk-a", 1, json!({"team_id": "t"})));
    let mut broken = of("t", 1, &Team::default());
    broken.body.insert("models".into(), json!("all of them"));
    let applied = registry.apply(&broken, None, NOW);
    assert!(matches!(applied, Applied::Unreadable(_)), "{applied:?}");
    assert!(registry.key("sk-a").unwrap().check_parties().is_err());
    registry.take(&of("t", 1, &Team::default()));
    assert_eq!(registry.key("sk-a").unwrap().check_parties(), Ok(()));
    broken.version = 2;
    registry.apply(&broken, None, NOW);
    assert_eq!(registry.key("sk-a").unwrap().check_parties(), Ok(()));
}

#[test]
fn restrictions_bind_until_the_home_region_lifts_them() {
    let restrict = |kind, id: &str, restricts, generation| {
        let restriction = Restriction {
            target_kind: kind,
            target_id: id.to_owned(),
            generation,
            restricts,
        };
        of(&restriction.record_id("eu"), 1, &restriction)
    };
    let registry = registry();
    let hash = digest("sk-a").to_string();
    registry.take(&key("sk-a", 1, json!({"team_id": "t", "max_budget": 100})));
    let running = registry.key("sk-a").unwrap();
    registry.take(&restrict(RecordKind::Key, &hash, Restricts::Blocked, 0));
    assert!(registry.key("sk-a").unwrap().policy.blocked);
    assert!(running.meters().has_ended());
    let newer = |version, generation| {
        let mut record = key("sk-a", version, json!({"team_id": "t", "max_budget": 100}));
        record.generation = generation;
        record
    };
    registry.take(&newer(2, 0));
    assert!(
        registry.key("sk-a").unwrap().policy.blocked,
        "an older generation"
    );
    registry.take(&newer(3, 1));
    assert!(!registry.key("sk-a").unwrap().policy.blocked);
    assert!(!running.meters().has_ended());

    let lowered = restrict(RecordKind::Key, &hash, Restricts::Lowered(NanoUsd(40)), 1);
    registry.take(&lowered);
    assert_eq!(ask(&running, 40), Ok(()));
    assert!(ask(&running, 1).is_err());
    registry.take(&ended(lowered, 2));
    assert_eq!(
        ask(&running, 60),
        Ok(()),
        "lifted without a word of the key itself"
    );
    assert!(ask(&running, 1).is_err());
    registry.take(&restrict(RecordKind::Team, "t", Restricts::Blocked, 0));
    registry.take(&of("t", 1, &Team::default()));
    assert!(
        running.check_parties().is_err(),
        "also when it came before its team"
    );
    registry.take(&restrict(RecordKind::Key, &hash, Restricts::Revoked, 0));
    assert!(registry.key("sk-a").is_none());
    registry.apply(&newer(9, 7), None, NOW);
    assert!(registry.key("sk-a").is_none(), "for good");
}

#[test]
fn models_are_checked_from_the_key_to_the_member() {
    let registry = registry();
    let list = |models: &[&str]| models.iter().map(|&name| name.to_owned()).collect();
    let team = Team {
        models: list(&["a", "b", "c"]),
        model_aliases: [("nick".to_owned(), "z".to_owned())].into(),
        organization_id: Some("o".into()),
        ..Team::default()
    };
    let organization = Organization {
        models: list(&["a", "b", "z"]),
        ..Organization::default()
    };
    let member = TeamMember {
        team_id: "t".into(),
        user_id: "u".into(),
        allowed_models: list(&["a", "z"]),
        ..TeamMember::default()
    };
    let user = User {
        models: list(&["no-default-models"]),
        ..User::default()
    };
    registry.take_all(&[
        of("t", 1, &team),
        of("o", 1, &organization),
        of(&Scope::team_member("t", "u").id, 1, &member),
        of("u", 1, &user),
        key(
            "sk-a",
            1,
            json!({"team_id": "t", "user_id": "u", "models": ["all-team-models"]}),
        ),
        key("sk-own", 1, json!({"user_id": "u"})),
    ]);
    let view = registry.key("sk-a").unwrap();
    let refusal = |view: &KeyView, asked: &str| {
        let name = view.model_for(asked).into_owned();
        let checked = view.check_model(asked, ModelFacts::named(&name));
        checked
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert_eq!(refusal(&view, "a"), "");
    assert!(refusal(&view, "d").starts_with("team not allowed to access model."));
    assert!(refusal(&view, "c").starts_with("org not allowed to access model."));
    assert!(refusal(&view, "b").starts_with("team_member not allowed to access model."));
    assert_eq!(view.model_for("nick"), "z");
    assert_eq!(
        refusal(&view, "nick"),
        "",
        "a team's alias is the team's permission"
    );
    let own = registry.key("sk-own").unwrap();
    assert_eq!(
        refusal(&own, "a"),
        "User not allowed to access model. No default model access, only team models allowed. \
         Tried to access a"
    );
}

#[test]
fn spend_of_a_store_is_where_counters_begin() {
    let registry = registry();
    let user = User {
        bounds: money(100),
        ..User::default()
    };
    let counted = Counted {
        spend: NanoUsd(90),
        resets_at: None,
    };
    registry.apply(&of("u", 1, &user), Some(counted), NOW);
    registry.apply(&key("sk-a", 1, json!({"user_id": "u"})), Some(counted), NOW);
    let view = registry.key("sk-a").unwrap();
    assert_eq!(view.meters().spent(NOW), NanoUsd(90));
    assert_eq!(ask(&view, 10), Ok(()));
    assert!(ask(&view, 1).is_err());
    assert!(registry.view(ScopeKind::EndUser, "c").is_none());
    let customer = Customer {
        bounds: money(1),
        ..Customer::default()
    };
    registry.apply(&of("c", 1, &customer), None, NOW);
    let customer = registry.view(ScopeKind::EndUser, "c").unwrap();
    let dues = [Due::of(Arc::clone(&customer.meters))];
    assert_eq!(dues.len(), 1);
}

#[test]
fn customers_without_a_budget_of_their_own_have_the_common_one() {
    let registry = registry();
    let spends = |id: &str, cost| {
        let view = registry.view(ScopeKind::EndUser, id).unwrap();
        let due = meridian_core::meters::Due::of(Arc::clone(&view.meters));
        let need = Need {
            cost: NanoUsd(cost),
            tokens: 1,
            model: "m",
            free: false,
            key_alias: None,
            decides: meridian_core::meters::Decides::Count,
            excess: NanoUsd::ZERO,
        };
        let key = registry.key("sk-a").unwrap();
        let admitted = key.meters().admit(need, vec![due], NOW);
        let settled = admitted.map(|admission| admission.settle(NanoUsd(cost), 1));
        settled.is_ok()
    };
    registry.take(&key("sk-a", 1, json!({})));
    let own = Customer {
        bounds: money(1_000),
        ..Customer::default()
    };
    registry.take(&of("own", 1, &own));
    for id in ["plain", "fresh"] {
        registry.take(&of(id, 1, &Customer::default()));
    }
    registry.note_newcomer("early");
    assert_eq!(
        registry.take_newcomers(9),
        [""; 0],
        "there is nothing to limit it"
    );
    registry.set_customer_budget(Some("common"), NOW);
    assert!(spends("plain", 500), "the budget is not written yet");
    let common = Budget {
        bounds: money(100),
        ..Budget::default()
    };
    registry.take(&of("common", 1, &common));
    assert!(!spends("plain", 1) && spends("own", 500) && spends("own", 1));
    assert!(spends("fresh", 100) && !spends("fresh", 1));
    registry.note_newcomer("one");
    registry.note_newcomer("one");
    registry.note_newcomer("two");
    assert_eq!(registry.take_newcomers(1), ["one"]);
    assert_eq!(registry.take_newcomers(9), ["two"]);
    registry.set_customer_budget(None, NOW);
    assert!(spends("plain", 1) && spends("fresh", 1));
}
