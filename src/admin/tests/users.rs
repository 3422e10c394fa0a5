//! Users: made with a key, changed by themselves as far as they may, listed, removed.

use super::*;

#[tokio::test]
async fn a_user_comes_with_a_key_and_goes_with_its_keys() {
    let admin = admin().await;
    admin.done("/team/new", json!({"team_id": "t"})).await;
    let body = json!({"user_id": "u", "user_email": "u@example.com", "user_role": "internal_user",
        "max_budget": 4, "models": ["gpt-4o"], "teams": ["t"], "key_alias": "first",
        "metadata": {"a": 1}});
    let made = admin.done("/user/new", body).await;
    let key = made["key"].as_str().unwrap();
    assert_eq!(
        (&made["user_id"], &made["max_budget"]),
        (&json!("u"), &json!(4.0))
    );
    assert_eq!(made["token"], json!(KeyHash::of_secret(key)));
    let own = admin.get_as(key, "/user/info").await.json();
    assert_eq!(own["user_id"], "u");
    assert_eq!(own["keys"][0]["key_alias"], "first");
    assert_eq!(
        own["keys"][0]["max_budget"],
        Value::Null,
        "the budget is the user's"
    );
    assert_eq!(own["teams"][0]["team_id"], "t");
    let alone = admin.get_as(key, "/v2/user/info").await.json();
    assert_eq!(alone["user_email"], "u@example.com");
    let team = admin.get("/team/info?team_id=t").await.json();
    assert_eq!(team["team_info"]["members_with_roles"][1]["user_id"], "u");
    for body in [
        json!({"user_id": "u"}),
        json!({"user_email": "u@example.com"}),
    ] {
        let text = admin.refused("/user/new", body, 409).await;
        assert!(text.contains("already exists"), "{text}");
    }
    let none = json!({"user_id": "v", "auto_create_key": false});
    assert_eq!(admin.done("/user/new", none).await["key"], Value::Null);
    let gone = admin
        .done("/user/delete", json!({"user_ids": ["u", "v"]}))
        .await;
    assert_eq!(gone, json!(2));
    assert!(admin.keys.is_empty());
    let team = admin.get("/team/info?team_id=t").await.json();
    assert_eq!(
        team["team_info"]["members_with_roles"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    admin
        .refused("/user/delete", json!({"user_ids": ["u"]}), 404)
        .await;
}

#[tokio::test]
async fn a_user_that_cannot_have_its_key_is_not_made() {
    let admin = admin().await;
    admin.key(json!({"key_alias": "taken"})).await;
    let body = json!({"user_id": "u", "key_alias": "taken"});
    assert_eq!(admin.post("/user/new", body).await.status, 409);
    let body = json!({"user_id": "u", "duration": "soon"});
    assert_eq!(admin.post("/user/new", body).await.status, 400);
    assert_eq!(admin.get("/v2/user/info?user_id=u").await.status, 404);
    let body = json!({"user_id": "u", "teams": ["nowhere"]});
    assert_eq!(admin.post("/user/new", body).await.status, 404);
    assert_eq!(admin.keys.len(), 1);
}

#[tokio::test]
async fn a_user_changes_its_name_and_nothing_that_counts() {
    let admin = admin().await;
    let key = admin.user(json!({"user_id": "u", "max_budget": 1})).await;
    let named = json!({"user_id": "u", "user_alias": "me"});
    let told = admin.post_as(&key, "/user/update", named).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.json()["data"]["user_alias"], "me");
    for body in [
        json!({"user_id": "u", "max_budget": 100}),
        json!({"user_id": "u", "user_role": "proxy_admin"}),
        json!({"user_id": "u", "models": []}),
        json!({"user_id": "u", "spend": 0}),
        json!({"user_id": "u", "metadata": {}}),
        json!({"user_id": "somebody", "user_alias": "x"}),
    ] {
        assert_eq!(admin.refuses(&key, "/user/update", body).await.0, 403);
    }
    assert_eq!(admin.get_as(&key, "/user/info?user_id=v").await.status, 403);
    let viewer = json!({"user_id": "v", "user_role": "internal_user_viewer"});
    let viewer = admin.user(viewer).await;
    let (status, text) = admin.refuses(&viewer, "/key/generate", json!({})).await;
    assert_eq!(status, 401);
    assert!(text.contains("Your role=internal_user_viewer"), "{text}");
}

#[tokio::test]
async fn roles_of_users_hold_for_all_their_keys() {
    let admin = admin().await;
    let root = json!({"user_id": "root", "user_role": "proxy_admin"});
    let root = admin.user(root).await;
    let made = admin
        .post_as(&root, "/team/new", json!({"team_id": "t"}))
        .await;
    assert_eq!(made.status, 200, "{}", made.text);
    let body = json!({"user_id": "root", "user_role": "proxy_admin_viewer"});
    admin.done("/user/update", body).await;
    let (status, _) = admin
        .refuses(&root, "/team/new", json!({"team_id": "t2"}))
        .await;
    assert_eq!(status, 401);
    assert_eq!(
        admin.get_as(&root, "/team/info?team_id=t").await.status,
        200
    );
    assert_eq!(admin.get_as(&root, "/budget/list").await.status, 200);
    let wrong = admin.post("/user/new", json!({"user_role": "god"})).await;
    assert_eq!(wrong.status, 422);
}

#[tokio::test]
async fn lists_filter_by_role_team_and_address() {
    let admin = admin().await;
    admin.done("/team/new", json!({"team_id": "t"})).await;
    for (id, role) in [
        ("a", "internal_user"),
        ("b", "proxy_admin"),
        ("c", "internal_user"),
    ] {
        let body = json!({"user_id": id, "user_role": role, "user_email": format!("{id}@x.org")});
        admin.done("/user/new", body).await;
    }
    let member = json!({"role": "user", "user_id": "c"});
    admin
        .done(
            "/team/member_add",
            json!({"team_id": "t", "member": member}),
        )
        .await;
    for (query, wanted) in [
        ("", vec!["c", "b", "a"]),
        (
            "?role=internal_user&sort_by=user_id&sort_order=asc",
            vec!["a", "c"],
        ),
        ("?team=t", vec!["c"]),
        ("?user_email=B@x", vec!["b"]),
        ("?user_ids=a,b&sort_order=asc", vec!["a", "b"]),
        (
            "?page=2&page_size=2&sort_by=user_id&sort_order=asc",
            vec!["c"],
        ),
    ] {
        let list = admin.get(&format!("/user/list{query}")).await.json();
        let users = list["users"].as_array().unwrap().iter();
        let found: Vec<&str> = users
            .map(|user| user["user_id"].as_str().unwrap())
            .collect();
        let sorted = |mut list: Vec<&str>| -> Vec<String> {
            list.sort_unstable();
            list.into_iter().map(str::to_owned).collect()
        };
        assert_eq!(sorted(found), sorted(wanted), "{query}");
        assert_eq!(list["users"][0]["key_count"], 1);
    }
    let filtered = admin.get("/user/filter/ui?user_email=a@").await.json();
    assert_eq!(filtered[0]["user_id"], "a");
    let key = admin.key(json!({"user_id": "c"})).await;
    let own = admin.get_as(&key, "/user/list").await.json();
    assert_eq!(own["total"], 1);
    let bulk = json!({"users": [{"user_id": "a", "tpm_limit": 3}, {"user_id": "nobody"}]});
    let told = admin.done("/user/bulk_update", bulk).await;
    assert_eq!(
        (&told["successful_updates"], &told["failed_updates"]),
        (&json!(1), &json!(1))
    );
}
