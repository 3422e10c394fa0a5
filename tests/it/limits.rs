//! `budget_limits`: several budgets of one key, team or user, each with a period of its own.

use meridian_testkit::deadline::SOON;
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::World;

/// More than nothing, less than any request costs.
const DUST: f64 = 0.000_000_001;

async fn ask(world: &World, key: &str) -> Response {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": "fake-x", "max_tokens": 16, "messages": messages});
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    world.send(&request).await
}

async fn served(world: &World, key: &str) {
    let answer = ask(world, key).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// The refusal names whose budget of which duration it is, and when it begins anew.
async fn refused(world: &World, key: &str, says: &str) {
    let answer = ask(world, key).await;
    assert_eq!(answer.status(), 429, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "budget_exceeded");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with(says), "{message}");
    assert!(
        message.contains("Limit=$") && message.contains("Resets at="),
        "{message}"
    );
}

async fn admin(world: &World, target: &str, body: &Value) -> Value {
    let answer = world.gateway.admin("POST", target, body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

async fn shown(world: &World, key: &str) -> Value {
    let target = format!("/key/info?key={key}");
    let answer = world.gateway.admin("GET", &target, &Value::Null).await;
    answer.json()["info"]["budget_limits"].clone()
}

#[tokio::test]
async fn every_budget_of_a_key_must_have_room_also_after_a_restart() {
    let mut world = World::new("").await;
    let limits = json!([
        {"budget_duration": "30d", "max_budget": 100},
        {"budget_duration": "1d", "max_budget": DUST},
    ]);
    let key = world.gateway.key(&json!({"budget_limits": limits})).await;
    served(&world, &key).await;
    refused(&world, &key, "ExceededBudget: Key over 1d budget. Spend=$").await;
    let told = shown(&world, &key).await;
    assert_eq!(told[0]["max_budget"], 100.0);
    assert_eq!(told[1]["budget_duration"], "1d");
    let resets = told[1]["reset_at"].as_str().unwrap();
    assert!(resets.ends_with("T00:00:00.000Z"), "{resets}");
    world.gateway.stop(SOON).await;
    world.gateway.start().await;
    refused(&world, &key, "ExceededBudget: Key over 1d budget.").await;
    // Raised it has room again, and what was spent before the restart counts in it.
    let raised = json!([{"budget_duration": "1d", "max_budget": 5}]);
    admin(
        &world,
        "/key/update",
        &json!({"key": key, "budget_limits": raised}),
    )
    .await;
    served(&world, &key).await;
    let none = json!({"key": key, "budget_limits": []});
    admin(&world, "/key/update", &none).await;
    served(&world, &key).await;
}

#[tokio::test]
async fn a_key_whose_spend_was_reset_works_again_also_after_a_restart() {
    let mut world = World::new("").await;
    let limits = json!([{"budget_duration": "30d", "max_budget": DUST}]);
    let key = world.gateway.key(&json!({"budget_limits": limits})).await;
    for restarts in [false, true] {
        served(&world, &key).await;
        refused(&world, &key, "ExceededBudget: Key over 30d budget.").await;
        let target = format!("/key/{key}/reset_spend");
        admin(&world, &target, &json!({"reset_to": 0})).await;
        if restarts {
            world.gateway.stop(SOON).await;
            world.gateway.start().await;
        }
    }
    served(&world, &key).await;
    refused(&world, &key, "ExceededBudget: Key over 30d budget.").await;
    admin(&world, "/global/spend/reset", &json!({})).await;
    served(&world, &key).await;
}

#[tokio::test]
async fn a_budget_of_one_model_outlives_a_restart_whatever_its_period() {
    let mut world = World::new("").await;
    let budgets = [
        json!({"budget_limit": DUST, "time_period": "30d"}),
        json!({"budget_limit": DUST, "time_period": "1h"}),
        json!({"budget_limit": DUST}),
    ];
    let mut keys = Vec::new();
    for budget in budgets {
        let fields = json!({"model_max_budget": {"fake-x": budget}});
        keys.push(world.gateway.key(&fields).await);
    }
    for key in &keys {
        served(&world, key).await;
    }
    for restarts in [false, true] {
        if restarts {
            world.gateway.stop(SOON).await;
            world.gateway.start().await;
        }
        for key in &keys {
            let answer = ask(&world, key).await;
            assert_eq!(answer.status(), 429, "{}", answer.text());
            let says = "exceeded budget for model=fake-x";
            assert!(answer.text().contains(says), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn teams_and_users_have_them_too() {
    let world = World::new("").await;
    let dust = json!([{"budget_duration": "1h", "max_budget": DUST}]);
    admin(
        &world,
        "/team/new",
        &json!({"team_id": "t", "budget_limits": dust}),
    )
    .await;
    let one = world.gateway.key(&json!({"team_id": "t"})).await;
    let other = world.gateway.key(&json!({"team_id": "t"})).await;
    served(&world, &one).await;
    refused(&world, &other, "ExceededBudget: Team=t over 1h budget.").await;
    let user = json!({"user_id": "u", "budget_limits": dust, "auto_create_key": false});
    admin(&world, "/user/new", &user).await;
    let own = world.gateway.key(&json!({"user_id": "u"})).await;
    served(&world, &own).await;
    refused(&world, &own, "ExceededBudget: User=u over 1h budget.").await;
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_by_name() {
    let world = World::new("").await;
    let bad = json!([{"budget_duration": "1y", "max_budget": 5}]);
    for (target, id) in [("/key/generate", "key_alias"), ("/team/new", "team_id")] {
        let body = json!({id: "x", "budget_limits": bad});
        let answer = world.gateway.admin("POST", target, &body).await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
        assert!(
            answer
                .text()
                .contains("budget_limits[0]: budget_duration '1y'")
        );
    }
}
