//! Budgets, and the customers and tags that refer to them.

use meridian_core::scope::{Scope, ScopeKind};

use super::*;

async fn period_end(admin: &Admin, kind: ScopeKind, id: &str) -> Option<i64> {
    let spends = admin.store.scope_spends(vec![Scope::new(kind, id)]).await;
    spends.unwrap().first()?.period_end.map(|at| at.0)
}

#[tokio::test]
async fn a_budget_lives_and_what_refers_to_it_has_its_period() {
    let admin = admin().await;
    let body = json!({"budget_id": "b", "max_budget": 2.5, "rpm_limit": 3});
    let made = admin.done("/budget/new", body.clone()).await;
    assert_eq!(
        (&made["max_budget"], &made["rpm_limit"]),
        (&json!(2.5), &json!(3))
    );
    assert_eq!(made["created_by"], "default_user_id");
    let text = admin.refused("/budget/new", body, 400).await;
    assert_eq!(text, "{'error': \"Budget with id 'b' already exists.\"}");
    let customer = json!({"user_id": "c", "budget_id": "b"});
    let customer = admin.done("/customer/new", customer).await;
    assert_eq!(customer["litellm_budget_table"]["max_budget"], 2.5);
    let key = admin.key(json!({"budget_id": "b"})).await;
    let key = KeyHash::of_secret(&key).to_string();
    assert_eq!(period_end(&admin, ScopeKind::EndUser, "c").await, None);
    let body = json!({"budget_id": "b", "budget_duration": "1d"});
    let changed = admin.done("/budget/update", body).await;
    assert_eq!(changed["max_budget"], 2.5);
    assert!(period_end(&admin, ScopeKind::EndUser, "c").await.is_some());
    assert!(period_end(&admin, ScopeKind::Key, &key).await.is_some());
    let found = admin
        .done("/budget/info", json!({"budgets": ["b", "x"]}))
        .await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(admin.get("/budget/list").await.json()[0]["budget_id"], "b");
    let settings = admin.get("/budget/settings?budget_id=b").await.json();
    let most = settings.as_array().unwrap().iter();
    let most = most
        .clone()
        .find(|one| one["field_name"] == "max_budget")
        .unwrap();
    assert_eq!(most["field_value"], 2.5);
    // Without it they would have no limit at all.
    let text = admin
        .refused("/budget/delete", json!({"id": "b"}), 400)
        .await;
    assert!(text.contains("is used by 1 of kind"), "{text}");
    admin.done("/key/delete", json!({"keys": [key]})).await;
    admin
        .done("/customer/delete", json!({"user_ids": ["c"]}))
        .await;
    assert_eq!(
        admin.done("/budget/delete", json!({"id": "b"})).await["budget_id"],
        "b"
    );
    admin
        .refused("/budget/update", json!({"budget_id": "b"}), 404)
        .await;
    let answer = admin.post("/budget/update", json!({})).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn customers_are_blocked_before_they_are_known() {
    let admin = admin().await;
    let blocked = admin
        .done("/customer/block", json!({"user_ids": ["c1", "c2"]}))
        .await;
    assert_eq!(blocked["blocked_users"].as_array().unwrap().len(), 2);
    assert_eq!(blocked["blocked_users"][0]["blocked"], true);
    let free = admin
        .done("/end_user/unblock", json!({"user_ids": ["c1"]}))
        .await;
    assert_eq!(free["blocked_users"][0]["blocked"], false);
    let text = admin
        .refused("/customer/new", json!({"user_id": "c1"}), 400)
        .await;
    assert!(
        text.starts_with("Customer already exists, passed user_id=c1."),
        "{text}"
    );
    let body = json!({"user_id": "c1", "alias": "one", "allowed_model_region": "eu",
        "max_budget": 3, "budget_duration": "1d", "spend": 2});
    let row = admin.done("/customer/update", body).await;
    assert_eq!((&row["alias"], &row["spend"]), (&json!("one"), &json!(2.0)));
    let known = Scope::new(ScopeKind::EndUser, "c1");
    let known = admin.keys.spent(&known, clock::now());
    assert_eq!(known.map(|spent| spent.dollars()), Some(2.0), "in memory");
    assert_eq!(row["litellm_budget_table"]["max_budget"], 3.0);
    let info = admin.get("/end_user/info?end_user_id=c1").await.json();
    assert_eq!(info["allowed_model_region"], "eu");
    assert_eq!(
        admin
            .get("/customer/list")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let body = json!({"user_id": "c1", "allowed_model_region": "moon"});
    assert_eq!(admin.post("/customer/update", body).await.status, 422);
    let missing = admin.get("/customer/info?end_user_id=x").await;
    assert_eq!(
        (missing.status.as_u16(), missing.message().as_str()),
        (404, "{'error': 'End User Id=x does not exist in db'}")
    );
    let gone = admin
        .done("/customer/delete", json!({"user_ids": ["c1", "c2"]}))
        .await;
    assert_eq!(gone["deleted_customers"], 2);
    admin
        .refused("/customer/delete", json!({"user_ids": ["c1"]}), 404)
        .await;
    let body = json!({"user_id": "c3", "budget_id": "nowhere"});
    admin.refused("/customer/new", body, 404).await;
}

#[tokio::test]
async fn who_takes_an_id_again_begins_without_its_spend() {
    let admin = admin().await;
    admin
        .done("/customer/new", json!({"user_id": "c", "spend": 5}))
        .await;
    admin
        .done("/customer/delete", json!({"user_ids": ["c"]}))
        .await;
    let again = admin.done("/customer/new", json!({"user_id": "c"})).await;
    assert_eq!(again["spend"], 0.0);
}

#[tokio::test]
async fn tags_have_descriptions_and_budgets() {
    let admin = admin().await;
    let body = json!({"name": "prod", "description": "d", "models": ["m"], "max_budget": 1});
    let made = admin.done("/tag/new", body.clone()).await;
    assert_eq!(made["message"], "Tag prod created successfully");
    assert_eq!(made["tag"]["name"], "prod");
    assert_eq!(made["tag"]["litellm_budget_table"]["max_budget"], 1.0);
    admin.refused("/tag/new", body, 409).await;
    let body = json!({"name": "prod", "description": "e"});
    let changed = admin.done("/tag/update", body).await;
    assert_eq!(changed["tag"]["description"], "e");
    let found = admin
        .done("/tag/info", json!({"names": ["prod", "x"]}))
        .await;
    assert_eq!(found["prod"]["models"], json!(["m"]));
    assert_eq!(admin.get("/tag/list").await.json()[0]["name"], "prod");
    admin.done("/tag/delete", json!({"name": "prod"})).await;
    admin
        .refused("/tag/delete", json!({"name": "prod"}), 404)
        .await;
    admin
        .refused("/tag/info", json!({"names": ["prod"]}), 404)
        .await;
}
