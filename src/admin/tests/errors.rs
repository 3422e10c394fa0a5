//! Every refusal in LiteLLM's words.

use super::*;

/// Bodies of `/key/generate` that get 400, and the message.
const GENERATE: &[(&str, &str)] = &[
    (
        r#"{"key_alias": "taken"}"#,
        "Key with alias 'taken' already exists. Unique key aliases across all keys are required.",
    ),
    (
        r#"{"key": "sk-first-of-all"}"#,
        "Key with this value already exists.",
    ),
    (
        r#"{"key": "sk-master-key-of-the-tests"}"#,
        "Key with this value already exists.",
    ),
    (
        r#"{"key": "my-own-secret-key"}"#,
        "{'error': \"Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: \
         my-o****-key\"}",
    ),
    (
        r#"{"key": "short"}"#,
        "{'error': \"Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: \
         ****\"}",
    ),
    (
        r#"{"max_budget": -1}"#,
        "{'error': 'max_budget must be a non-negative finite number. Received: -1.0'}",
    ),
    (
        r#"{"soft_budget": "NaN"}"#,
        "{'error': 'soft_budget must be a non-negative finite number. Received: nan'}",
    ),
    (
        r#"{"duration": "5y"}"#,
        "{'error': 'Unsupported duration unit, passed duration: 5y'}",
    ),
    (
        r#"{"budget_duration": "0d"}"#,
        "{'error': 'Unsupported duration unit, passed duration: 0d'}",
    ),
    (
        r#"{"metadata": {"model_rpm_limit": 5}}"#,
        "model_rpm_limit must be an object of model names and whole numbers",
    ),
    (
        r#"{"model_max_budget": {"gpt-4o": 5}}"#,
        "{'error': 'Invalid model_max_budget: expected an object with budget_limit and \
         time_period for model=gpt-4o'}",
    ),
];

/// Path and body of other refusals, status and message.
const OTHERS: &[(&str, &str, u16, &str)] = &[
    (
        "/key/service-account/generate",
        "{}",
        400,
        "team_id is required for service account keys. Please specify `team_id` in the request \
         body.",
    ),
    (
        "/key/delete",
        r#"{"keys": ["sk-nobody"]}"#,
        404,
        "{'error': 'No keys found'}",
    ),
    ("/key/delete", "{}", 400, "Invalid request type"),
    (
        "/key/block",
        r#"{"key": "nonsense"}"#,
        400,
        "Invalid key format.",
    ),
    (
        "/key/regenerate",
        "{}",
        400,
        "{'error': 'No key passed in.'}",
    ),
    (
        "/key/bulk_update",
        r#"{"keys": []}"#,
        400,
        "{'error': 'No keys provided for update'}",
    ),
    (
        "/key/sk-first-of-all/reset_spend",
        r#"{"reset_to": "x"}"#,
        400,
        "{'error': 'reset_to must be a float'}",
    ),
    (
        "/key/sk-first-of-all/reset_spend",
        r#"{"reset_to": -1}"#,
        400,
        "{'error': 'reset_to must be >= 0'}",
    ),
    (
        "/key/sk-first-of-all/reset_spend",
        r#"{"reset_to": 1}"#,
        400,
        "{'error': 'reset_to (1.0) must be <= current spend (0.0)'}",
    ),
];

#[tokio::test]
async fn refusals_of_key_routes_are_litellms() {
    let admin = admin().await;
    let key = "sk-first-of-all";
    admin.key(json!({"key_alias": "taken", "key": key})).await;
    let generate = GENERATE
        .iter()
        .map(|(body, message)| ("/key/generate", *body, 400, *message));
    for (path, body, status, expected) in generate.chain(OTHERS.iter().copied()) {
        let body: Value = serde_json::from_str(body).unwrap();
        let message = admin.refused(path, body.clone(), status).await;
        assert_eq!(message, expected, "{path} {body}");
    }
    let new_key = json!({"key": key, "new_key": "x"});
    let text = admin.refused("/key/regenerate", new_key, 400).await;
    assert!(text.contains("New key must start with 'sk-'"), "{text}");
    let too_many: Vec<String> = (0..501).map(|n| format!("sk-{n}")).collect();
    let keys = json!({"keys": too_many});
    let text = admin.refused("/key/bulk_update", keys, 400).await;
    let expected = "Maximum 500 keys can be updated at once. Found 501 keys.";
    assert_eq!(text, format!("{{'error': '{expected}'}}"));
    assert_eq!(admin.keys.len(), 1);
}

#[tokio::test]
async fn update_reports_auth_errors_and_never_echoes_a_key() {
    let admin = admin().await;
    let body = json!({"key": "sk-canary-canary", "max_budget": 1});
    let answer = admin.post("/key/update", body).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["type"], "auth_error");
    assert!(!answer.text.contains("canary"), "{}", answer.text);
    let key = admin.key(json!({"key_alias": "a"})).await;
    admin.key(json!({"key_alias": "b"})).await;
    let refused = admin
        .post("/key/update", json!({"key": key, "key_alias": "b"}))
        .await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["type"], "bad_request_error");
    assert_eq!(refused.json()["error"]["param"], "key_alias");
    let same = admin
        .post("/key/update", json!({"key": key, "key_alias": "a"}))
        .await;
    assert_eq!(same.status, 200);
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused_as_fastapi_does() {
    let admin = admin().await;
    let send = |body: Body| admin.send("POST", "/key/generate", Some(MASTER), body);
    let bad = send(Body::from("{not json")).await;
    assert_eq!(bad.status, 400);
    assert!(bad.message().starts_with("Invalid JSON payload: "));
    assert_eq!(bad.json()["error"]["param"], "request_body");
    let list = send(Body::from("[]")).await;
    assert_eq!(list.status, 422);
    let wrong = send(Body::from(r#"{"models": "gpt", "rpm_limit": {}}"#)).await;
    assert_eq!(wrong.status, 422);
    let detail = wrong.json()["detail"].as_array().unwrap().clone();
    assert_eq!(detail.len(), 2);
    assert_eq!(detail[0]["loc"], json!(["body", "models"]));
    let large = send(Body::from(vec![b' '; body::BODY_BYTES_MAX + 1])).await;
    assert_eq!(large.status, 413);
    assert_eq!(large.json()["error"]["type"], "request_too_large");
    let deep = send(Body::from("[".repeat(100_000))).await;
    assert_eq!(deep.status, 400);
    let missing = admin.post("/key/update", json!({})).await;
    assert_eq!(missing.status, 422);
    assert_eq!(missing.json()["detail"][0]["loc"], json!(["body", "key"]));
}

#[tokio::test]
async fn unknown_routes_and_methods_have_the_frameworks_bodies() {
    let admin = admin().await;
    for path in [
        "/nope",
        "/key/generate/",
        "/KEY/generate",
        "/key//info",
        "/v1/chat/completions",
    ] {
        let method = if path.contains("chat") { "POST" } else { "GET" };
        let answer = admin.send(method, path, Some(MASTER), Body::empty()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json(), json!({"detail": "Not Found"}));
    }
    let answer = admin.get("/key/generate").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.json(), json!({"detail": "Method Not Allowed"}));
}

#[tokio::test]
async fn queries_that_do_not_fit_are_refused() {
    let admin = admin().await;
    for path in [
        "/key/list?size=101",
        "/key/list?page=0",
        "/spend/keys?limit=x",
    ] {
        assert_eq!(admin.get(path).await.status, 422, "{path}");
    }
    let refused = admin.get("/key/list?sort_by=models").await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("Invalid sort column"));
    let status = admin.get("/key/list?status=x").await;
    let expected = "{'error': \"Invalid status value. Currently only 'deleted' is supported.\"}";
    assert_eq!(status.message(), expected);
    for path in [
        "/global/activity",
        "/global/activity/model",
        "/global/spend/report",
    ] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.message(),
            "{'error': 'Please provide start_date and end_date'}"
        );
    }
    let long = admin
        .get("/global/activity/model?start_date=2000-01-01&end_date=2026-01-01")
        .await;
    assert_eq!(long.status, 400);
}
