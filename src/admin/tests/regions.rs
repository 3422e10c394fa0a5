//! Residency: which regions may serve a key, and where the deployments of a model are.

use super::*;

#[tokio::test]
async fn a_key_is_bound_to_regions_when_it_is_made_or_changed() {
    let admin = admin().await;
    let made = admin
        .done(
            "/key/generate",
            json!({"allowed_regions": ["eu-west-1", "westeurope"]}),
        )
        .await;
    assert_eq!(made["allowed_regions"], json!(["eu-west-1", "westeurope"]));
    let key = made["key"].as_str().unwrap();
    let enforced = |key: &str| {
        let view = admin
            .keys
            .get(&KeyHash::of_secret(key), clock::now())
            .unwrap();
        let regions = view.policy.allowed_regions.as_deref().cloned();
        regions.map(|set| set.into_iter().collect::<Vec<_>>())
    };
    let both = vec!["eu-west-1".to_owned(), "westeurope".to_owned()];
    assert_eq!(enforced(key), Some(both));
    assert_eq!(
        admin.info(key).await["allowed_regions"],
        made["allowed_regions"]
    );
    // Other changes leave it; a rotated key has it too.
    admin
        .done("/key/update", json!({"key": key, "rpm_limit": 5}))
        .await;
    let body = json!({"key": key, "allowed_regions": ["eu-west-1"]});
    admin.done("/key/update", body).await;
    let rotated = admin.done("/key/regenerate", json!({"key": key})).await;
    let key = rotated["key"].as_str().unwrap();
    assert_eq!(rotated["allowed_regions"], json!(["eu-west-1"]));
    assert_eq!(enforced(key), Some(vec!["eu-west-1".to_owned()]));
    let list = admin.get("/key/list?return_full_object=true").await.json();
    assert_eq!(list["keys"][0]["allowed_regions"], json!(["eu-west-1"]));
    for open in [Value::Null, json!([])] {
        let body = json!({"key": key, "allowed_regions": ["a"]});
        admin.done("/key/update", body).await;
        let body = json!({"key": key, "allowed_regions": open});
        let changed = admin.done("/key/update", body).await;
        assert_eq!(changed["allowed_regions"], json!([]));
        assert_eq!(enforced(key), None);
    }
}

#[tokio::test]
async fn what_is_no_region_is_refused_with_the_fields_name() {
    let admin = admin().await;
    let key = admin.key(json!({"allowed_regions": ["eu-west-1"]})).await;
    let many: Vec<String> = (0..65).map(|number| format!("r{number}")).collect();
    for (bad, why) in [
        (
            json!(["eu west"]),
            "expected a region name such as `eu-west-1`",
        ),
        (json!([""]), "expected a region name"),
        (json!(["a", "a"]), "'a' is listed twice"),
        (json!(many), "more than 64 regions"),
    ] {
        for (path, body) in [
            ("/key/generate", json!({"allowed_regions": bad})),
            ("/key/update", json!({"key": key, "allowed_regions": bad})),
            (
                "/key/regenerate",
                json!({"key": key, "allowed_regions": bad}),
            ),
        ] {
            let answer = admin.post(path, body).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text);
            let message = answer.message();
            assert!(message.contains("Invalid allowed_regions: "), "{message}");
            assert!(message.contains(why), "{message}");
            assert_eq!(answer.json()["error"]["param"], "allowed_regions");
        }
    }
    let answer = admin
        .post("/key/generate", json!({"allowed_regions": "eu"}))
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(answer.text.contains("allowed_regions"), "{}", answer.text);
    assert_eq!(
        admin.info(&key).await["allowed_regions"],
        json!(["eu-west-1"])
    );
}

#[tokio::test]
async fn model_info_says_where_deployments_are_and_what_they_are_limited_to() {
    let text = "
model_list:
  - model_name: m
    litellm_params: {model: openai/x, api_key: k, region_name: eu-west-1, rpm: 5, order: 1,
      max_parallel_requests: 3, cooldown_time: 0.5, tags: [paid], allowed_regions: [eu-west-1]}
  - {model_name: n, litellm_params: {model: openai/y, api_key: k}}
general_settings: {master_key: sk-master-key-of-the-tests}
meridian: {default_region: us-east-1}
";
    let admin = admin_with(text).await;
    let listed = admin.get("/model/info").await.json();
    let params = |index: usize| &listed["data"][index]["litellm_params"];
    for (name, value) in [
        ("region_name", json!("eu-west-1")),
        ("allowed_regions", json!(["eu-west-1"])),
        ("rpm", json!(5)),
        ("order", json!(1)),
        ("max_parallel_requests", json!(3)),
        ("cooldown_time", json!(0.5)),
        ("tags", json!(["paid"])),
    ] {
        assert_eq!(params(0)[name], value, "{name}");
    }
    assert_eq!(params(1)["region_name"], "us-east-1");
    assert_eq!(params(1).get("allowed_regions"), None);
}
