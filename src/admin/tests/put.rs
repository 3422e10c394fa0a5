//! `PUT`: the same body twice is one change.

use super::*;

/// One of each kind, in an order in which each finds what it names.
fn bodies(key: &str) -> [(String, Value); 8] {
    [
        (
            "/budget/b".to_owned(),
            json!({"max_budget": 5, "budget_duration": "1d"}),
        ),
        (
            "/organization/o".to_owned(),
            json!({"organization_alias": "acme", "max_budget": 7,
            "budget_duration": "30d", "model_rpm_limit": {"m": 1}}),
        ),
        (
            "/team/t".to_owned(),
            json!({"team_alias": "a", "organization_id": "o",
            "max_budget": 2, "budget_duration": "30d", "tags": ["x"],
            "team_member_budget": 1, "team_member_budget_duration": "1d",
            "members_with_roles": [{"role": "admin", "user_id": "u1"},
                {"role": "user", "user_id": "u2"}]}),
        ),
        (
            "/user/u1".to_owned(),
            json!({"user_email": "u1@x.org", "models": ["gpt-4o"]}),
        ),
        (
            "/customer/c".to_owned(),
            json!({"budget_id": "b", "alias": "c"}),
        ),
        (
            "/end_user/d".to_owned(),
            json!({"max_budget": 1, "budget_duration": "1d"}),
        ),
        (
            "/tag/x".to_owned(),
            json!({"description": "d", "models": ["gpt-4o"]}),
        ),
        (
            format!("/key/{key}"),
            json!({"key_alias": "k", "team_id": "t", "user_id": "u1",
            "duration": "30d", "max_budget": 1, "budget_duration": "1d"}),
        ),
    ]
}

#[tokio::test]
async fn the_same_body_twice_changes_nothing() {
    let admin = admin().await;
    let key = KeyHash::of_secret("sk-of-terraform-0001").to_string();
    let bodies = bodies(&key);
    let mut first = Vec::new();
    for (path, body) in &bodies {
        first.push(admin.did("PUT", path, body.clone()).await);
    }
    let (lines, export) = (
        admin.audit_lines().await,
        admin.get("/config/export").await.text,
    );
    for ((path, body), before) in bodies.iter().zip(&first).filter(|((path, _), _)| {
        // A lifetime counts from the call that names it.
        !path.starts_with("/key/")
    }) {
        let again = admin.did("PUT", path, body.clone()).await;
        // A team that was joined later is on the user's own page.
        if path != "/user/u1" {
            assert_eq!(&again, before, "{path}");
        }
    }
    assert_eq!(admin.audit_lines().await, lines);
    assert_eq!(admin.get("/config/export").await.text, export);
    let without = json!({"key_alias": "k", "team_id": "t", "user_id": "u1", "max_budget": 1,
        "budget_duration": "1d"});
    let path = format!("/key/{key}");
    let kept = admin.did("PUT", &path, without.clone()).await;
    assert_eq!(kept["expires"], first[7]["expires"]);
    assert_eq!(admin.audit_lines().await, lines);
    // By its alias it is the same key, and works as the clear one does.
    admin.did("PUT", "/key/k", without).await;
    assert_eq!(admin.audit_lines().await, lines);
    let works = admin.get_as("sk-of-terraform-0001", "/key/info").await;
    assert_eq!(works.json()["info"]["key_alias"], "k", "{}", works.text);
}

#[tokio::test]
async fn what_a_body_does_not_say_is_not_there_afterwards() {
    let admin = admin().await;
    let body = json!({"team_alias": "a", "max_budget": 2, "budget_duration": "1d",
        "router_settings": {"num_retries": 1}, "metadata": {"x": 1},
        "members_with_roles": [{"role": "user", "user_id": "u1"}]});
    admin.did("PUT", "/team/t", body).await;
    let key = admin.key(json!({"team_id": "t", "user_id": "u1"})).await;
    let body = json!({"team_alias": "b",
        "members_with_roles": [{"role": "admin", "user_id": "u2"}]});
    let row = admin.did("PUT", "/team/t", body).await;
    for name in [
        "max_budget",
        "budget_duration",
        "budget_reset_at",
        "router_settings",
    ] {
        assert_eq!(row[name], Value::Null, "{name}");
    }
    assert_eq!(row["metadata"], json!({}));
    assert_eq!(row["members_with_roles"][0]["user_id"], "u2");
    // Who is not named any more has left, with its keys.
    assert_eq!(admin.get_as(&key, "/key/info").await.status, 401);
    let user = admin.get("/v2/user/info?user_id=u1").await.json();
    assert_eq!(user["teams"], json!([]));
}

#[tokio::test]
async fn a_clear_key_does_not_belong_into_a_path() {
    let admin = admin().await;
    for (path, status) in [("/key/sk-clear-1234", 400), ("/key/no-such-alias", 404)] {
        let answer = admin
            .send("PUT", path, Some(MASTER), Body::from("{}"))
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(!answer.text.contains("sk-clear"), "{}", answer.text);
    }
    for path in ["/team/t", "/tag/t", "/budget/b"] {
        let body = Body::from(json!({"max_budget": -1}).to_string());
        let answer = admin.send("PUT", path, Some(MASTER), body).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_period_that_runs_goes_on_whatever_else_changes() {
    use meridian_core::scope::{Scope, ScopeKind};
    let admin = admin().await;
    let body = |alias: &str| json!({"team_alias": alias, "max_budget": 2, "budget_duration": "1d"});
    admin.did("PUT", "/team/t", body("a")).await;
    let scope = || Scope::new(ScopeKind::Team, "t");
    // The store has begun the next period since.
    let ends = clock::now().plus_ms(100 * 86_400_000);
    let period = crate::store::ScopePeriod {
        duration: "1d".to_owned(),
        ends: Some(ends),
    };
    let set = vec![(scope(), Some(period))];
    admin.store.set_scope_periods(set).await.unwrap();
    let lines = admin.audit_lines().await;
    admin.did("PUT", "/team/t", body("a")).await;
    assert_eq!(admin.audit_lines().await, lines);
    admin.did("PUT", "/team/t", body("b")).await;
    assert_eq!(admin.audit_lines().await, lines + 1);
    let spends = admin.store.scope_spends(vec![scope()]).await.unwrap();
    assert_eq!(spends[0].period_end, Some(ends));
}
