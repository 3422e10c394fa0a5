//! `/cache/*` over a cache in memory; over Redis it is tested in `tests/shared`.

use meridian_core::cache::CacheKey;

use super::*;

const CACHED: &str = "
model_list: [{model_name: m, litellm_params: {model: mock/m}}]
general_settings: {master_key: sk-master-key-of-the-tests}
litellm_settings: {cache: true, cache_params: {type: local, ttl: 600}}
";

#[tokio::test]
async fn without_a_cache_every_call_says_so() {
    let admin = admin().await;
    for (method, path) in [
        ("GET", "/cache/ping"),
        ("GET", "/cache/redis/info"),
        ("POST", "/cache/delete"),
        ("POST", "/cache/flushall"),
    ] {
        let answer = admin
            .send(method, path, Some(MASTER), Body::from("{}"))
            .await;
        assert_eq!(answer.status, 503, "{path}");
        let said = "Cache not initialized. litellm.cache is None";
        assert_eq!(answer.message(), said, "{path}");
    }
}

#[tokio::test]
async fn a_ping_has_litellms_shape() {
    let admin = admin_with(CACHED).await;
    let answer = admin
        .send("GET", "/cache/ping", Some(MASTER), Body::empty())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["status"], "healthy");
    assert_eq!(body["cache_type"], "local");
    assert_eq!(body["ping_response"], true);
    assert_eq!(body["set_cache_response"], "success");
    let params = body["litellm_cache_params"].as_str().unwrap();
    let params: Value = serde_json::from_str(params).unwrap();
    assert_eq!(params["ttl"], 600.0);
    let info = admin
        .send("GET", "/cache/redis/info", Some(MASTER), Body::empty())
        .await;
    assert_eq!(info.status, 400);
    assert!(info.message().contains("Cache type local"), "{}", info.text);
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_named() {
    let admin = admin_with(CACHED).await;
    let delete = async |body: Value| {
        let body = Body::from(body.to_string());
        admin
            .send("POST", "/cache/delete", Some(MASTER), body)
            .await
    };
    for body in [
        json!({}),
        json!({"keys": ["short"]}),
        json!({"keys": ["x".repeat(64)]}),
    ] {
        let answer = delete(body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.json()["error"]["param"], "keys");
    }
    let key = CacheKey::from([7; 32]).to_string();
    let answer = delete(json!({"keys": [key, format!("litellm:{key}")]})).await;
    assert_eq!(answer.json(), json!({"status": "success", "deleted": 0}));
}
