//! Health, metrics, models and pages.

use super::*;

#[tokio::test]
async fn probes_answer_without_a_key() {
    let admin = admin().await;
    for path in ["/health/liveliness", "/health/liveness"] {
        for method in ["GET", "OPTIONS"] {
            let answer = admin.send(method, path, None, Body::empty()).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text.as_str()),
                (200, "\"I'm alive!\"")
            );
        }
        let head = admin.send("HEAD", path, None, Body::empty()).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    }
    let ready = admin
        .send("GET", "/health/readiness", None, Body::empty())
        .await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        json!({"status": "healthy", "db": "connected"})
    );
    admin.draining.store(true, Ordering::SeqCst);
    let leaving = admin
        .send("GET", "/health/readiness", None, Body::empty())
        .await;
    assert_eq!(leaving.status, 503);
    assert_eq!(leaving.json()["status"], "draining");
    let alive = admin
        .send("GET", "/health/liveliness", None, Body::empty())
        .await;
    assert_eq!(alive.status, 200);
    let details = admin.get("/health/readiness/details").await;
    assert_eq!(details.status, 503);
    assert_eq!(details.json()["litellm_version"], LITELLM_VERSION);
    let backlog = admin.get("/health/backlog").await;
    assert_eq!(backlog.json(), json!({"in_flight_requests": 7}));
}

#[tokio::test]
async fn health_is_passive_and_hides_addresses_from_keys() {
    let admin = admin().await;
    let all = admin.get("/health").await.json();
    assert_eq!(
        (&all["healthy_count"], &all["unhealthy_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(all["probe"], "passive");
    assert_eq!(
        all["healthy_endpoints"][0]["api_base"],
        "https://upstream.example"
    );
    assert_eq!(all["unhealthy_endpoints"][0]["error"], "cooling down");
    assert_eq!(admin.get("/health?model=claude").await.status, 503);
    assert_eq!(admin.get("/health?model=gpt-4o").await.status, 200);
    let key = admin.key(json!({})).await;
    let seen = admin.get_as(&key, "/health").await;
    assert!(!seen.text.contains("upstream.example"));
    assert!(seen.headers.contains_key("litellm-health-field-notice"));
}

#[tokio::test]
async fn metrics_need_a_key_unless_the_setting_says_otherwise() {
    let closed = admin().await;
    let refused = closed.send("GET", "/metrics/", None, Body::empty()).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused
            .json()
            .as_str()
            .unwrap()
            .starts_with("Unauthorized access to metrics")
    );
    let answer = closed.get("/metrics/").await;
    assert!(answer.text.contains("up 1"));
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=")
    );
    let open = format!("{CONFIG}litellm_settings: {{require_auth_for_metrics_endpoint: false}}\n");
    let open = admin_with(&open).await;
    assert_eq!(
        open.send("GET", "/metrics/", None, Body::empty())
            .await
            .status,
        200
    );
    let moved = open.send("GET", "/metrics", None, Body::empty()).await;
    assert_eq!(moved.status, 307);
    assert_eq!(moved.headers["location"], "/metrics/");
}

#[tokio::test]
async fn models_are_shown_without_secrets() {
    let admin = admin().await;
    let list = admin.get("/v1/models").await.json();
    let ids: Vec<&Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(ids, [&json!("gpt-4o"), &json!("claude")]);
    let key = admin.key(json!({"models": ["beta"]})).await;
    let list = admin.get_as(&key, "/models").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        admin.get_as(&key, "/v1/models/gpt-4o").await.json()["id"],
        "gpt-4o"
    );
    assert_eq!(admin.get_as(&key, "/v1/models/claude").await.status, 404);
    for path in [
        "/model/info",
        "/v1/model/info",
        "/v2/model/info",
        "/model_group/info",
    ] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text.contains("canary"), "{path}: {}", answer.text);
        assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2, "{path}");
        let seen = admin.get_as(&key, path).await;
        assert_eq!(seen.json()["data"].as_array().unwrap().len(), 1, "{path}");
    }
    let info = admin.get("/model/info").await.json()["data"][0].clone();
    assert_eq!(info["litellm_params"]["model"], "openai/gpt-4o");
    assert_eq!(info["model_info"]["input_cost_per_token"], 2.5e-6);
    assert_eq!(info["model_info"]["db_model"], false);
    assert!(info["model_info"]["id"].is_string());
    let group = admin
        .get("/model_group/info?model_group=gpt-4o")
        .await
        .json();
    assert_eq!(group["data"][0]["max_input_tokens"], 128_000);
    assert_eq!(group["data"][0]["supports_vision"], true);
    let unknown = admin.get("/model/info?litellm_model_id=x").await;
    assert_eq!(
        unknown.message(),
        "{'error': 'Model id = x not found on litellm proxy'}"
    );
    let reloaded = admin.done("/reload/model_cost_map", json!({})).await;
    assert_eq!(reloaded["models_count"], 3);
}

#[tokio::test]
async fn anthropic_clients_get_their_shape() {
    let admin = admin().await;
    let request = Request::get("/v1/models")
        .header("x-api-key", MASTER)
        .header("anthropic-version", "2023-06-01");
    let answer = admin.answer(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["has_more"], false);
    assert_eq!(answer.json()["data"][0]["type"], "model");
}

#[tokio::test]
async fn pages_come_from_the_route_table() {
    let admin = admin().await;
    let public = async |path: &str| admin.send("GET", path, None, Body::empty()).await;
    let openapi = public("/openapi.json").await.json();
    assert!(openapi["paths"]["/key/generate"]["post"]["security"].is_array());
    assert!(openapi["paths"]["/health/readiness"]["get"]["security"].is_null());
    let rows = meridian_core::routes::ROWS;
    let paths: usize = rows.iter().map(|row| row.paths.len()).sum();
    let listed = public("/routes").await.json()["routes"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(listed, paths);
    assert_eq!(public("/").await.status, 200);
    assert!(public("/docs").await.text.contains("openapi.json"));
    assert_eq!(public("/robots.txt").await.status, 404);
    let blocking = CONFIG.replace(
        "general_settings: {",
        "general_settings: {block_robots: true, ",
    );
    let blocking = admin_with(&blocking).await;
    let robots = blocking
        .send("GET", "/robots.txt", None, Body::empty())
        .await;
    assert_eq!(robots.text, "User-agent: *\nDisallow: /\n");
    let sink = admin
        .post("/api/event_logging/batch", json!({"events": []}))
        .await;
    assert_eq!(sink.status, 200);
}

#[tokio::test]
async fn logging_entries_of_a_key_are_checked_without_sending() {
    let admin = admin().await;
    let plain = admin.key(json!({})).await;
    let health = admin.post_as(&plain, "/key/health", json!({})).await.json();
    assert_eq!(health, json!({"key": "healthy", "logging_callbacks": null}));
    let logging = json!([{"callback_name": "langfuse"}, {}]);
    let broken = admin.key(json!({"metadata": {"logging": logging}})).await;
    let health = admin
        .post_as(&broken, "/key/health", json!({}))
        .await
        .json();
    assert_eq!(health["key"], "unhealthy");
}

#[tokio::test]
async fn further_health_calls_say_what_is_true() {
    let admin = admin().await;
    let slack = admin.get("/health/services?service=slack").await;
    assert_eq!(slack.status, 422);
    assert!(slack.message().contains("Service=slack"));
    assert_eq!(admin.get("/health/services").await.status, 400);
    let latest = admin.get("/health/latest").await.json();
    assert_eq!(latest["total_models"], 2);
    let checks = &latest["latest_health_checks"];
    assert_eq!(checks["d2"]["error_message"], "cooling down");
    assert_eq!(checks["d1"]["status"], "healthy");
    let history = admin.get("/health/history?limit=5").await.json();
    assert_eq!(
        (&history["total_records"], &history["limit"]),
        (&json!(2), &json!(5))
    );
    let down = admin
        .get("/health/history?status_filter=unhealthy")
        .await
        .json();
    assert_eq!(down["health_checks"][0]["model_id"], "d2");
    assert_eq!(down["health_checks"][0]["error_message"], "cooling down");
    assert_eq!(
        admin.get("/health/license").await.json()["has_license"],
        false
    );
    let shared = admin.get("/health/shared-status").await.json();
    assert_eq!(shared["shared_health_check_enabled"], false);
    assert_eq!(shared["coordination"]["state"], "up");
}
