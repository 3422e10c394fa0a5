//! `/router/state` and `/router/explain`.

use std::time::Duration;

use meridian_core::routing::failure::Verdict;
use meridian_core::routing::health::{Awaited, Entry, Failed, Flight, Surroundings};
use meridian_core::routing::policy::FailureClass;

use super::*;
use crate::rules::Target;

const POOLS: &str = "
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: sk-canary-1, region_name: us-east-1, rpm: 50}
    model_info: {id: us-1}
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: sk-canary-1, region_name: us-east-1, order: 1}
    model_info: {id: us-2}
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: sk-canary-2, region_name: eu-west-1}
    model_info: {id: eu-1}
  - model_name: backup
    litellm_params: {model: openai/gpt-4o, api_key: sk-canary-2, region_name: eu-west-1}
    model_info: {id: backup-1}
  - model_name: any/*
    litellm_params: {model: 'openai/*', api_key: sk-canary-3}
    model_info: {id: any}
router_settings:
  fallbacks: [{gpt: [backup]}]
  context_window_fallbacks: [{gpt: [backup]}]
  model_group_alias: {chat: gpt}
  routing_strategy: latency-based-routing
general_settings: {master_key: sk-master-key-of-the-tests}
";

fn target(admin: &Admin, id: &str) -> Arc<Target> {
    admin.routes.rules.deployment(id, "any/x").unwrap()
}

/// One request that fails, with a time that the provider asks to wait.
fn fail(admin: &Admin, id: &str, class: FailureClass) {
    let (target, now) = (target(admin, id), admin.routes.known.now());
    let policy = &admin.routes.rules.config.routing.cooldown;
    let flight = Flight::begin(
        &target.health,
        Entry::Usual,
        crate::clock::now(),
        (10, Awaited::Whole),
        (now, policy),
    );
    let verdict: Verdict = class.verdict();
    let wait = Some(Duration::from_secs(60));
    let around = Surroundings {
        policy,
        decay: Duration::from_secs(10),
        time: None,
        others: true,
        dice: 0.0,
    };
    flight
        .unwrap()
        .failed(now, Failed { verdict, wait }, &around);
}

fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["id"].as_str().unwrap()).collect()
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

/// Why each candidate of a step was skipped.
fn skips(step: &Value) -> Vec<(&str, Option<&str>)> {
    let candidates = step["candidates"].as_array().unwrap().iter();
    candidates
        .map(|one| (one["id"].as_str().unwrap(), one["skip"]["why"].as_str()))
        .collect()
}

#[tokio::test]
async fn the_state_shows_every_deployment_and_why_it_is_left_out() {
    let admin = admin_with(POOLS).await;
    fail(&admin, "us-1", FailureClass::RateLimit);
    fail(&admin, "eu-1", FailureClass::Auth);
    let answer = admin.get("/router/state").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.contains("canary"), "{}", answer.text);
    let state = answer.json();
    let all = &state["deployments"];
    assert_eq!(ids(all), ["us-1", "us-2", "eu-1", "backup-1", "any"]);
    let one = |at: usize| &all[at];
    assert_eq!(one(0)["gate"], "cooling");
    assert_eq!(one(0)["reason"], "rate_limit");
    let left = one(0)["seconds_left"].as_f64().unwrap();
    assert!((50.0..=60.0).contains(&left), "{left}");
    let until = meridian_core::time::WallMs::parse_iso(one(0)["until"].as_str().unwrap());
    assert!(until.unwrap() > clock::now());
    assert_eq!(one(0)["limits"]["rpm"], 50);
    assert_eq!(
        (&one(0)["rpm"], &one(0)["failures"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&one(1)["gate"], &one(1)["order"]),
        (&json!("in_use"), &json!(1))
    );
    assert_eq!(one(1)["until"], Value::Null);
    assert_eq!(one(1)["ewma_ttft_s"], Value::Null);
    // A credential takes every deployment with it that uses it.
    for at in [2, 3] {
        assert_eq!(one(at)["gate"], "cooling", "{at}");
        assert_eq!(one(at)["credential"]["gate"], "cooling");
        assert_eq!(one(at)["credential"]["reason"], "auth");
    }
    assert_eq!(one(2)["credential"]["id"], one(3)["credential"]["id"]);
    assert_ne!(one(2)["credential"]["id"], one(0)["credential"]["id"]);
    assert_eq!(one(0)["credential"]["gate"], "in_use");
    let policy = &state["policy"];
    assert_eq!(policy["strategy"]["name"], "latency-based-routing");
    assert_eq!(policy["retries"]["num_retries"], 2);
    assert_eq!(policy["fallbacks"]["fallbacks"], json!({"gpt": ["backup"]}));
    assert_eq!(policy["probes"], Value::Null);
    assert_eq!(
        (&state["retry_budget_left"], &state["hedge_budget_left"]),
        (&json!(10), &json!(0))
    );
}

#[tokio::test]
async fn the_state_of_one_model_is_found_by_any_of_its_names() {
    let admin = admin_with(POOLS).await;
    for (model, expected) in [
        ("gpt", &["us-1", "us-2", "eu-1"][..]),
        ("chat", &["us-1", "us-2", "eu-1"]),
        ("backup", &["backup-1"]),
        ("any/thing", &["any"]),
    ] {
        let answer = admin.get(&format!("/router/state?model={model}")).await;
        assert_eq!(ids(&answer.json()["deployments"]), expected, "{model}");
    }
    let unknown = admin.get("/router/state?model=nothing").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["param"], "model");
}

#[tokio::test]
async fn only_administrators_look_at_routing() {
    let admin = admin_with(POOLS).await;
    let key = admin.key(json!({"user_id": "u1"})).await;
    assert_eq!(admin.get_as(&key, "/router/state").await.status, 401);
    let answer = admin.post_as(&key, "/router/explain", chat("gpt")).await;
    assert_eq!(answer.status, 401);
    assert!(!answer.text.contains("us-1"), "{}", answer.text);
    for (method, path) in [("GET", "/router/state"), ("POST", "/router/explain")] {
        let nobody = admin.send(method, path, None, Body::empty()).await;
        assert_eq!(nobody.status, 401, "{path}");
    }
}

#[tokio::test]
async fn the_plan_names_the_choice_and_what_speaks_against_the_others() {
    let admin = admin_with(POOLS).await;
    fail(&admin, "us-1", FailureClass::RateLimit);
    let plan = admin.done("/router/explain", chat("chat")).await;
    assert_eq!(
        (&plan["model"], &plan["model_group"]),
        (&json!("chat"), &json!("gpt"))
    );
    assert_eq!(plan["route"], "/chat/completions");
    let chosen = json!({"action": "send", "model_group": "gpt", "deployment": "us-2",
        "why": "strategy", "others": true});
    assert_eq!(plan["outcome"], chosen);
    let groups = plan["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|group| &group["model_group"]).collect();
    assert_eq!(names, [&json!("gpt"), &json!("backup")]);
    let expected = [
        ("us-1", Some("cooling")),
        ("us-2", None),
        ("eu-1", Some("later_order")),
    ];
    assert_eq!(skips(&groups[0]), expected);
    let cooling = &groups[0]["candidates"][0]["skip"];
    assert_eq!(cooling["reason"], "rate_limit");
    assert!(cooling["seconds_left"].as_f64().unwrap() > 50.0);
    assert!(groups[0]["candidates"][1]["score"].as_f64().unwrap() > 0.0);
    assert_eq!(groups[0]["strategy"], "latency-based-routing");
    assert_eq!(groups[1]["deployment"], "backup-1");
    assert_eq!(plan["context_window_fallbacks"], json!(["backup"]));
    assert!(plan["tokens"].as_u64() > plan["prompt_tokens"].as_u64());
    // Nothing was sent or counted.
    let state = admin.get("/router/state?model=gpt").await.json();
    assert_eq!(
        (
            &state["deployments"][1]["rpm"],
            &state["deployments"][1]["in_flight"]
        ),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_keys_regions_tags_and_fallbacks_count() {
    let admin = admin_with(POOLS).await;
    let fields = json!({"allowed_regions": ["eu-west-1"], "metadata": {"tags": ["paid"]}});
    let key = admin.key(fields).await;
    let hash = KeyHash::of_secret(&key).to_string();
    for named in [&key, &hash] {
        let question = json!({"key": named, "request": chat("gpt"), "tags": ["mine"]});
        let plan = admin.done("/router/explain", question).await;
        assert_eq!(plan["outcome"]["deployment"], "eu-1");
        assert_eq!(plan["key"], hash);
        assert_eq!(plan["allowed_regions"], json!(["eu-west-1"]));
        assert_eq!(plan["tags"], json!(["mine", "paid"]));
        let skipped = [
            ("us-1", Some("residency")),
            ("us-2", Some("residency")),
            ("eu-1", None),
        ];
        assert_eq!(skips(&plan["groups"][0]), skipped);
    }
    let far = admin
        .key(json!({"allowed_regions": ["ap-southeast-1"]}))
        .await;
    let mut request = chat("gpt");
    request["fallbacks"] = json!(["any/x"]);
    let question = json!({"key": far, "request": request});
    let plan = admin.done("/router/explain", question).await;
    assert_eq!(plan["outcome"]["action"], "refuse");
    assert_eq!(plan["outcome"]["error"]["status"], 403);
    let names: Vec<_> = plan["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["model_group"])
        .collect();
    assert_eq!(
        names,
        [&json!("gpt"), &json!("any/x")],
        "the request's own list"
    );
    let mut alone = chat("gpt");
    alone["disable_fallbacks"] = json!(true);
    let plan = admin.done("/router/explain", alone).await;
    assert_eq!(plan["groups"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn all_left_out_is_told_as_the_client_would_hear_it() {
    let refuse = format!("{POOLS}meridian: {{cooldown: {{all_cooling: refuse}}}}\n");
    let admin = admin_with(&refuse).await;
    for id in ["us-1", "us-2", "eu-1", "backup-1"] {
        fail(&admin, id, FailureClass::RateLimit);
    }
    let plan = admin.done("/router/explain", chat("gpt")).await;
    let groups = plan["groups"].as_array().unwrap();
    let last: Vec<_> = groups
        .iter()
        .map(|one| one["last_resort"].as_bool().unwrap())
        .collect();
    assert_eq!(last, [false, false, true]);
    assert_eq!(plan["outcome"]["error"]["status"], 429);
    assert!(plan["outcome"]["error"]["retry_after_s"].as_u64().unwrap() > 50);
    let lenient = admin_with(POOLS).await;
    for id in ["us-1", "us-2", "eu-1", "backup-1"] {
        fail(&lenient, id, FailureClass::RateLimit);
    }
    let plan = lenient.done("/router/explain", chat("gpt")).await;
    assert_eq!(plan["outcome"]["why"], "least_bad");
}

#[tokio::test]
async fn a_question_that_is_wrong_names_what_is() {
    let admin = admin_with(POOLS).await;
    let narrow = admin.key(json!({"models": ["backup"]})).await;
    let blocked = admin.key(json!({"blocked": true})).await;
    let of = |fields: Value| {
        let mut question = json!({"request": chat("gpt")});
        question
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        question
    };
    let with = |name: &str, value: Value| {
        let mut request = chat("gpt");
        request[name] = value;
        request
    };
    for (question, status, param) in [
        (json!({}), 400, "model"),
        (chat("nothing"), 400, "None"),
        (of(json!({"key": "sk-unknown"})), 404, "key"),
        (of(json!({"key": blocked})), 400, "key"),
        (of(json!({"key": narrow})), 403, "model"),
        (of(json!({"route": "/key/generate"})), 400, "route"),
        (of(json!({"route": "/v1/files"})), 400, "route"),
        (of(json!({"route": "/nowhere"})), 400, "route"),
        (with("fallbacks", json!(["nothing"])), 400, "fallbacks"),
        (with("fallbacks", json!("b")), 400, "fallbacks"),
        (
            with("previous_response_id", json!("resp_1")),
            400,
            "previous_response_id",
        ),
        (with("tags", json!("a")), 400, "tags"),
    ] {
        let answer = admin.post("/router/explain", question.clone()).await;
        assert_eq!(answer.status, status, "{question}: {}", answer.text);
        assert_eq!(
            answer.json()["error"]["param"],
            param,
            "{question}: {}",
            answer.text
        );
    }
    for (question, place) in [
        (of(json!({"tag": 1})), json!(["body", "tag"])),
        (of(json!({"route": 1})), json!(["body", "route"])),
        (json!({"request": "gpt"}), json!(["body", "request"])),
    ] {
        let answer = admin.post("/router/explain", question).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], place);
    }
    let broken = admin
        .send("POST", "/router/explain", Some(MASTER), Body::from("{"))
        .await;
    assert_eq!(broken.json()["error"]["param"], "request_body");
}

#[tokio::test]
async fn a_keys_own_names_lead_where_they_lead_when_it_sends() {
    let admin = admin_with(POOLS).await;
    let key = admin.key(json!({"aliases": {"spare": "backup"}})).await;
    let mut request = chat("gpt");
    request["fallbacks"] = json!(["spare"]);
    let question = json!({"key": key, "request": request});
    let plan = admin.done("/router/explain", question).await;
    assert_eq!(plan["groups"][1]["deployment"], "backup-1", "{plan:#}");
}
