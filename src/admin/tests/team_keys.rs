//! Keys of users and teams: who makes them, and with how much.

use super::*;

#[tokio::test]
async fn what_a_key_names_has_to_be_there() {
    let admin = admin().await;
    let text = admin
        .refused("/key/generate", json!({"team_id": "t"}), 404)
        .await;
    assert!(text.contains("Create team via `/team/new` call."), "{text}");
    let body = json!({"organization_id": "o"});
    let text = admin.refused("/key/generate", body, 404).await;
    assert!(text.contains("Organization not found"), "{text}");
    let text = admin
        .refused("/key/generate", json!({"budget_id": "b"}), 404)
        .await;
    assert!(
        text.contains("Budget not found, passed budget_id=b"),
        "{text}"
    );
    let key = admin.key(json!({})).await;
    let body = json!({"key": key, "team_id": "t"});
    admin.refused("/key/update", body, 404).await;
    admin.done("/team/new", json!({"team_id": "t"})).await;
    admin
        .done("/key/update", json!({"key": key, "team_id": "t"}))
        .await;
}

#[tokio::test]
async fn users_make_keys_for_themselves_within_the_key_they_call_with() {
    let admin = admin().await;
    let own = admin
        .user(json!({"user_id": "u1", "models": ["gpt-4o"], "duration": "1d"}))
        .await;
    let made = admin.post_as(&own, "/key/generate", json!({})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let made = made.json();
    assert_eq!(
        (&made["user_id"], &made["models"]),
        (&json!("u1"), &json!(["gpt-4o"]))
    );
    assert!(
        made["expires"].is_string(),
        "it ends with the key that made it: {made}"
    );
    let second = made["key"].as_str().unwrap();
    for (body, field) in [
        (json!({"models": ["claude"]}), "models is more"),
        (json!({"models": ["*"]}), "models is more"),
        (json!({"aliases": {"gpt-4o": "claude"}}), "aliases is more"),
        (json!({"duration": "2d"}), "duration is more"),
        (json!({"spend": 0}), "can set: spend"),
        (
            json!({"metadata": {"temp_budget_increase": 9}}),
            "metadata.temp_budget_increase",
        ),
        (
            json!({"temp_budget_increase": 9}),
            "can set: temp_budget_increase",
        ),
        (json!({"permissions": {"x": true}}), "can set: permissions"),
    ] {
        let (status, text) = admin.refuses(&own, "/key/generate", body).await;
        assert_eq!(status, 403, "{text}");
        assert!(text.contains(field), "{text}");
    }
    let (status, text) = admin
        .refuses(&own, "/key/generate", json!({"user_id": "u2"}))
        .await;
    assert_eq!(status, 403);
    assert!(
        text.contains("User can only create keys for themselves"),
        "{text}"
    );
    // Its own key it changes, renews and deletes; it gives it no more.
    let body = json!({"key": second, "key_alias": "mine"});
    assert_eq!(admin.post_as(&own, "/key/update", body).await.status, 200);
    let more = json!({"key": second, "models": []});
    assert_eq!(admin.refuses(&own, "/key/update", more).await.0, 403);
    let unblock = json!({"key": second});
    assert_eq!(
        admin.refuses(&own, "/key/unblock", unblock.clone()).await.0,
        403
    );
    let renewed = admin.post_as(&own, "/key/regenerate", unblock).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    let third = renewed.json()["key"].as_str().unwrap().to_owned();
    let other = admin.user(json!({"user_id": "u2"})).await;
    let keys = json!({"keys": [third]});
    assert_eq!(
        admin.refuses(&other, "/key/delete", keys.clone()).await.0,
        403
    );
    assert_eq!(admin.post_as(&own, "/key/delete", keys).await.status, 200);
    // Who is not there looks like who is not yours.
    let keys = json!({"keys": ["sk-nobody"]});
    assert_eq!(admin.refuses(&own, "/key/delete", keys).await.0, 403);
}

/// A team of one model with a member and an admin, and the keys of both.
async fn with_team(admin: &Admin) -> (String, String) {
    let own = admin.user(json!({"user_id": "u1"})).await;
    let boss = admin.user(json!({"user_id": "boss"})).await;
    let members = json!([{"role": "user", "user_id": "u1"}, {"role": "admin", "user_id": "boss"}]);
    let body = json!({"team_id": "t", "models": ["gpt-4o"], "members_with_roles": members});
    admin.done("/team/new", body).await;
    (own, boss)
}

#[tokio::test]
async fn members_do_in_a_team_what_it_lets_them() {
    let admin = admin().await;
    let (own, boss) = with_team(&admin).await;
    let mine = json!({"team_id": "t"});
    let answer = admin.post_as(&own, "/key/generate", mine.clone()).await;
    assert_eq!(answer.status, 401, "{}", answer.text);
    let told = answer.json();
    assert_eq!(told["error"]["type"], "team_member_permission_error");
    let body = json!({"team_id": "t", "team_member_permissions": ["/key/generate"]});
    let answer = admin
        .post_as(&boss, "/team/permissions_update", body.clone())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        admin
            .refuses(&own, "/team/permissions_update", body)
            .await
            .0,
        403
    );
    let answer = admin.post_as(&own, "/key/generate", mine.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let key = answer.json()["key"].as_str().unwrap().to_owned();
    // A key of the team makes no key that is free of the team's limits.
    let answer = admin.post_as(&key, "/key/generate", json!({})).await;
    assert_eq!(
        answer.json()["models"],
        json!(["gpt-4o"]),
        "{}",
        answer.text
    );
    let free = json!({"models": ["claude"]});
    let (status, text) = admin.refuses(&key, "/key/generate", free).await;
    assert_eq!(status, 403);
    assert!(text.contains("the team of the calling key"), "{text}");
    // What it may make it may not change; the team's admin may.
    let body = json!({"key": key, "key_alias": "x"});
    assert_eq!(
        admin.refuses(&own, "/key/update", body.clone()).await.0,
        401
    );
    assert_eq!(admin.post_as(&boss, "/key/update", body).await.status, 200);
    let blocked = json!({"key": key});
    assert_eq!(
        admin.post_as(&boss, "/key/block", blocked).await.status,
        200
    );
    // Who leads a team lists its keys, a member its own.
    let listed = admin.get_as(&boss, "/key/list?team_id=t").await.json();
    assert_eq!(listed["total_count"], 1, "{listed}");
    let others = "/key/list?team_id=t&user_id=boss";
    assert_eq!(admin.get_as(&own, others).await.status, 403);
    let foreign = json!({"team_id": "t", "user_id": "stranger"});
    let (status, text) = admin.refuses(&boss, "/key/generate", foreign).await;
    assert_eq!(
        (status, text.as_str()),
        (400, "{'error': 'User=stranger not assigned to team=t'}")
    );
    let update = json!({"team_id": "t", "all_keys_in_team": true,
        "update_fields": {"rpm_limit": 3}});
    let told = admin
        .post_as(&boss, "/team/key/bulk_update", update)
        .await
        .json();
    assert_eq!(
        told["successful_updates"][0]["key_info"]["rpm_limit"], 3,
        "{told}"
    );
}

#[tokio::test]
async fn guaranteed_rates_of_keys_fit_into_their_team() {
    let admin = admin().await;
    admin
        .done("/team/new", json!({"team_id": "t", "tpm_limit": 10}))
        .await;
    let body = |limit: u64| json!({"team_id": "t", "tpm_limit": limit, "tpm_limit_type": "guaranteed_throughput"});
    let first = admin.key(body(6)).await;
    let text = admin.refused("/key/generate", body(5), 400).await;
    let wanted = "Allocated TPM limit=6 + Key TPM limit=5 is greater than team TPM limit=10";
    assert!(text.contains(wanted), "{text}");
    admin.key(body(4)).await;
    let more = json!({"key": first, "tpm_limit": 7});
    admin.refused("/key/update", more, 400).await;
    admin.key(json!({"team_id": "t", "tpm_limit": 100})).await;
}

#[tokio::test]
async fn an_administrator_with_few_routes_makes_none_with_more() {
    let admin = admin().await;
    admin
        .done(
            "/user/new",
            json!({"user_id": "root", "user_role": "proxy_admin"}),
        )
        .await;
    let few = json!({"user_id": "root", "allowed_routes": ["/key/generate"]});
    let few = admin.key(few).await;
    for body in [
        json!({"user_id": "root"}),
        json!({"user_id": "root", "allowed_routes": ["/key/delete"]}),
    ] {
        let (status, text) = admin.refuses(&few, "/key/generate", body).await;
        assert_eq!(status, 403, "{text}");
    }
    for body in [
        json!({"user_id": "root", "allowed_routes": ["llm_api_routes"]}),
        json!({"user_id": "somebody"}),
    ] {
        let answer = admin.post_as(&few, "/key/generate", body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}
