//! What `/key/*` does with its fields.

use meridian_core::time::WallMs;

use super::*;

#[tokio::test]
async fn null_clears_and_absent_leaves() {
    let admin = admin().await;
    let body = json!({
        "duration": "1h", "max_budget": 5, "tpm_limit": "10", "budget_duration": "30d",
        "models": ["gpt-4o"], "metadata": {"a": 1}, "unknown_field": {"x": 1},
    });
    let key = admin.key(body).await;
    let before = admin.info(&key).await;
    assert!(!before.contains_key("token") && !before.contains_key("unknown_field"));
    assert_eq!(before["tpm_limit"], 10);
    let changed = admin
        .done("/key/update", json!({"key": key, "tpm_limit": null}))
        .await;
    assert_eq!(changed["key"], key);
    assert_eq!(changed["tpm_limit"], Value::Null);
    let after = admin.info(&key).await;
    for kept in [
        "expires",
        "max_budget",
        "budget_duration",
        "budget_reset_at",
        "models",
        "metadata",
    ] {
        assert_eq!(before[kept], after[kept], "{kept}");
    }
    let body = json!({"key": key, "duration": null, "max_budget": null, "models": null,
        "budget_duration": null, "metadata": null});
    admin.done("/key/update", body).await;
    let cleared = admin.info(&key).await;
    for gone in [
        "expires",
        "max_budget",
        "budget_duration",
        "budget_reset_at",
    ] {
        assert_eq!(cleared[gone], Value::Null, "{gone}");
    }
    assert_eq!(cleared["models"], json!([]));
    assert_eq!(cleared["metadata"], json!({}));
}

#[tokio::test]
async fn durations_become_moments() {
    let admin = admin().await;
    let key = admin.key(json!({"duration": "30m"})).await;
    let moment = |info: &Map<String, Value>, name: &str| {
        WallMs::parse_iso(info[name].as_str().unwrap()).unwrap().0
    };
    let minutes = (moment(&admin.info(&key).await, "expires") - clock::now().0) as f64 / 60_000.0;
    assert!((29.9..=30.0).contains(&minutes), "{minutes}");
    admin
        .done("/key/update", json!({"key": key, "duration": "-1"}))
        .await;
    assert_eq!(admin.info(&key).await["expires"], Value::Null);
    admin
        .done("/key/update", json!({"key": key, "budget_duration": "1mo"}))
        .await;
    let info = admin.info(&key).await;
    assert!(moment(&info, "budget_reset_at") > clock::now().0);
    assert!(
        info["budget_reset_at"]
            .as_str()
            .unwrap()
            .contains("-01T00:00:00")
    );
}

#[tokio::test]
async fn fields_are_folded_into_metadata() {
    let admin = admin().await;
    let body = json!({"metadata": {"mine": 1}, "model_rpm_limit": {"gpt-4o": 5}, "tags": ["a"]});
    let made = admin.done("/key/generate", body).await;
    let folded = json!({"mine": 1, "model_rpm_limit": {"gpt-4o": 5}, "tags": ["a"]});
    assert_eq!(made["metadata"], folded);
    assert_eq!(made["model_rpm_limit"], Value::Null);
    let key = made["key"].as_str().unwrap();
    admin
        .done("/key/update", json!({"key": key, "tags": ["b"]}))
        .await;
    assert_eq!(admin.info(key).await["metadata"]["mine"], 1);
    admin
        .done(
            "/key/update",
            json!({"key": key, "metadata": {"new": 2}, "tags": ["c"]}),
        )
        .await;
    assert_eq!(
        admin.info(key).await["metadata"],
        json!({"new": 2, "tags": ["c"]})
    );
}

#[tokio::test]
async fn key_types_set_routes_and_extra_columns_are_kept() {
    let admin = admin().await;
    for (kind, routes) in [
        ("llm_api", json!(["llm_api_routes"])),
        ("management", json!(["management_routes"])),
        ("read_only", json!(["info_routes"])),
        ("default", json!([])),
    ] {
        let made = admin.done("/key/generate", json!({"key_type": kind})).await;
        assert_eq!(made["allowed_routes"], routes, "{kind}");
    }
    let body = json!({"agent_id": "a", "permissions": {"p": true}, "soft_budget": 2});
    let info = admin.info(&admin.key(body).await).await;
    assert_eq!(
        (&info["agent_id"], &info["permissions"]),
        (&json!("a"), &json!({"p": true}))
    );
    assert_eq!(info["soft_budget"], 2.0);
    for column in [
        "soft_budget_cooldown",
        "router_settings",
        "rotation_count",
        "model_spend",
    ] {
        assert!(info.contains_key(column), "{column}");
    }
}

#[tokio::test]
async fn blocking_is_in_effect_before_the_answer() {
    let admin = admin().await;
    let key = admin.key(json!({})).await;
    let hash = KeyHash::of_secret(&key);
    let row = admin.done("/key/block", json!({"key": key})).await;
    assert_eq!(
        (&row["blocked"], &row["token"]),
        (&json!(true), &json!(hash))
    );
    assert!(admin.keys.get(&hash, clock::now()).unwrap().policy.blocked);
    let refused = admin.get_as(&key, "/key/info").await;
    assert_eq!(refused.status, 401);
    assert!(refused.message().contains("Key is blocked"));
    admin.done("/key/unblock", json!({"key": hash})).await;
    assert_eq!(admin.get_as(&key, "/key/info").await.status, 200);
}

#[tokio::test]
async fn regeneration_keeps_the_old_key_for_its_grace_period() {
    let admin = admin().await;
    let old = admin.key(json!({"key_alias": "r", "max_budget": 3})).await;
    let body = json!({"key": old, "grace_period": "1h", "max_budget": 4});
    let made = admin.done("/key/regenerate", body).await;
    let new = made["key"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(
        (&made["key_alias"], &made["max_budget"]),
        (&json!("r"), &json!(4.0))
    );
    assert_eq!(made["rotation_count"], 1);
    for key in [&old, new] {
        let info = admin.get_as(key, "/key/info").await;
        assert_eq!(info.status, 200, "{}", info.text);
        assert_eq!(info.json()["info"]["max_budget"], 4.0);
    }
    // Revoking the old key by name never hits the one that replaced it.
    let keys = json!({"keys": [old]});
    admin.refused("/key/delete", keys, 404).await;
    let by_old = json!({"key": old});
    admin.refused("/key/block", by_old.clone(), 404).await;
    admin.refused("/key/regenerate", by_old, 404).await;
    // Without a grace period the old one is dead at once, by path as well as by body.
    let path = format!("/key/{new}/regenerate");
    let third = admin
        .done(&path, json!({"new_key": "sk-chosen-by-hand"}))
        .await;
    assert_eq!(third["key"], "sk-chosen-by-hand");
    let refused = admin.get_as(new, "/key/info").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["error"]["type"], "token_not_found_in_db");
    assert_eq!(
        admin.get_as("sk-chosen-by-hand", "/key/info").await.status,
        200
    );
}

#[tokio::test]
async fn spend_is_reset_in_store_and_memory() {
    let admin = admin().await;
    let key = admin.key(json!({"max_budget": 2})).await;
    let hash = KeyHash::of_secret(&key);
    admin
        .done("/key/update", json!({"key": key, "spend": 1.5}))
        .await;
    assert_eq!(admin.info(&key).await["spend"], 1.5);
    let path = format!("/key/{hash}/reset_spend");
    let body = admin.done(&path, json!({"reset_to": 0.5})).await;
    assert_eq!(body["previous_spend"], 1.5);
    assert_eq!(
        (&body["spend"], &body["key_hash"]),
        (&json!(0.5), &json!(hash))
    );
    assert_eq!(admin.info(&key).await["spend"], 0.5);
    let stored = admin.store.get_key(hash).await.unwrap().unwrap();
    assert_eq!(stored.spend.dollars(), 0.5);
    // Changing something else does not bring an older figure back.
    admin
        .done("/key/update", json!({"key": key, "rpm_limit": 1}))
        .await;
    assert_eq!(admin.info(&key).await["spend"], 0.5);
    admin.done("/global/spend/reset", json!({})).await;
    assert_eq!(admin.info(&key).await["spend"], 0.0);
}

#[tokio::test]
async fn lists_filter_sort_and_page() {
    let admin = admin().await;
    for (alias, user) in [("alpha", "u1"), ("beta", "u1"), ("gamma", "u2")] {
        admin
            .key(json!({"key_alias": alias, "user_id": user}))
            .await;
    }
    admin.key(json!({})).await;
    let list = admin.get("/key/list?size=3").await.json();
    assert_eq!(
        (&list["total_count"], &list["total_pages"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(list["keys"].as_array().unwrap().len(), 3);
    assert!(list["keys"][0].is_string());
    let full = "/key/list?user_id=u1&return_full_object=true&sort_by=key_alias&sort_order=asc";
    let list = admin.get(full).await.json();
    let aliases: Vec<&Value> = list["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["key_alias"])
        .collect();
    assert_eq!(aliases, [&json!("alpha"), &json!("beta")]);
    let found = admin.get("/key/aliases?search=MM").await.json();
    assert_eq!(
        (&found["aliases"], &found["total_count"]),
        (&json!(["gamma"]), &json!(1))
    );
    let page = admin.get("/key/aliases?size=2&page=2").await.json();
    assert_eq!(
        (&page["aliases"], &page["total_pages"]),
        (&json!(["gamma"]), &json!(2))
    );
    admin
        .done("/key/delete", json!({"key_aliases": ["alpha", "beta"]}))
        .await;
    let deleted = admin.get("/key/list?status=deleted").await.json();
    assert_eq!(deleted["total_count"], 2);
}

#[tokio::test]
async fn bulk_updates_are_independent_of_each_other() {
    let admin = admin().await;
    let key = admin.key(json!({})).await;
    let body = json!({"keys": [{"key": key, "max_budget": 9}, {"key": "sk-nobody"}, 5]});
    let done = admin.done("/key/bulk_update", body).await;
    assert_eq!(done["total_requested"], 3);
    assert_eq!(done["successful_updates"][0]["key_info"]["max_budget"], 9.0);
    assert_eq!(done["failed_updates"].as_array().unwrap().len(), 2);
    let both = admin
        .done("/v2/key/info", json!({"keys": [key, "sk-nobody"]}))
        .await;
    assert_eq!(both["info"].as_array().unwrap().len(), 1);
}

const BOUNDED: &str = "
litellm_settings:
  default_key_generate_params: {max_budget: 2, models: [gpt-4o], tpm_limit: 7}
  upperbound_key_generate_params: {max_budget: 10, duration: 1d, rpm_limit: 3}
  key_generation_settings: {team_key_generation: {required_params: [tags]}}
";

#[tokio::test]
async fn configured_bounds_hold_for_keys_that_are_changed() {
    let admin = admin_with(&format!("{CONFIG}{BOUNDED}")).await;
    let key = admin.key(json!({})).await;
    let over = "max_budget is over max limit set in config - user_value=11.0; max_value=10.0";
    for path in ["/key/update", "/key/regenerate"] {
        let refused = admin
            .refused(path, json!({"key": key, "max_budget": 11}), 400)
            .await;
        assert!(refused.contains(over), "{path}: {refused}");
        for duration in ["-1", "25h"] {
            let body = json!({"key": key, "duration": duration});
            let refused = admin.refused(path, body, 400).await;
            let over = "duration is over max limit set in config";
            assert!(refused.contains(over), "{path}: {refused}");
        }
    }
    let bulk = json!({"keys": [{"key": key, "rpm_limit": 4}]});
    let bulk = admin.done("/key/bulk_update", bulk).await;
    assert_eq!(
        bulk["failed_updates"].as_array().unwrap().len(),
        1,
        "{bulk}"
    );
    // What is not mentioned stays, and nothing is filled from the defaults.
    let body = json!({"key": key, "tpm_limit": 1_000_000, "models": []});
    admin.done("/key/update", body).await;
    let info = admin.info(&key).await;
    assert_eq!(info["max_budget"], 2.0, "{info:?}");
    assert_eq!(info["tpm_limit"], 1_000_000, "no bound is set for it");
    assert_eq!(info["models"], json!([]), "{info:?}");
    // Nobody gets rid of a limit by clearing it.
    let body = json!({"key": key, "max_budget": null, "rpm_limit": null, "duration": null});
    admin.done("/key/update", body).await;
    let info = admin.info(&key).await;
    assert_eq!(info["max_budget"], 10.0, "{info:?}");
    assert_eq!(info["rpm_limit"], 3, "{info:?}");
    assert_ne!(info["expires"], Value::Null, "{info:?}");
}

#[tokio::test]
async fn configured_defaults_and_bounds_hold() {
    let admin = admin_with(&format!("{CONFIG}{BOUNDED}")).await;
    let made = admin.done("/key/generate", json!({})).await;
    assert_eq!(
        (&made["max_budget"], &made["tpm_limit"]),
        (&json!(2.0), &json!(7))
    );
    assert_eq!(
        (&made["models"], &made["rpm_limit"]),
        (&json!(["gpt-4o"]), &json!(3))
    );
    assert_ne!(made["expires"], Value::Null);
    let refused = admin
        .refused("/key/generate", json!({"max_budget": 11}), 400)
        .await;
    let text = "max_budget is over max limit set in config - user_value=11.0; max_value=10.0";
    assert_eq!(refused, format!("{{'error': '{text}'}}"));
    for duration in ["-1", "25h"] {
        let refused = admin
            .refused("/key/generate", json!({"duration": duration}), 400)
            .await;
        assert!(
            refused.contains("duration is over max limit set in config"),
            "{refused}"
        );
    }
    let refused = admin
        .refused("/key/generate", json!({"team_id": "t"}), 400)
        .await;
    assert_eq!(refused, "Required param tags not in data");
}

#[tokio::test]
async fn many_updates_at_once_lose_none() {
    let admin = admin().await;
    let key = admin.key(json!({})).await;
    let fields = ["tpm_limit", "rpm_limit", "max_parallel_requests"];
    let updates = fields.map(|field| admin.done("/key/update", json!({"key": key, field: 5})));
    let [a, b, c] = updates;
    tokio::join!(a, b, c);
    let info = admin.info(&key).await;
    for field in fields {
        assert_eq!(info[field], 5, "{field}");
    }
}

#[tokio::test]
async fn a_key_has_a_size_and_a_name_may_be_given_twice() {
    let admin = admin().await;
    let large = json!({"metadata": {"text": "x".repeat(65_536)}});
    let text = admin.refused("/key/generate", large, 400).await;
    assert!(text.contains("65536 bytes"), "{text}");
    let key = admin.key(json!({})).await;
    let hash = KeyHash::of_secret(&key);
    admin
        .done("/key/delete", json!({"keys": [key, hash]}))
        .await;
    assert!(admin.keys.is_empty());
}

#[tokio::test]
async fn router_settings_of_a_key_are_kept_and_what_it_cannot_have_is_refused() {
    let admin = admin().await;
    let settings = json!({"num_retries": 1, "fallbacks": [{"gpt-4o": ["claude"]}]});
    let key = admin.key(json!({"router_settings": settings})).await;
    assert_eq!(admin.info(&key).await["router_settings"], settings);
    let view = admin.keys.get(&KeyHash::of_secret(&key), clock::now());
    let own = view.unwrap().policy.overrides.clone().unwrap();
    assert_eq!(own.num_retries, Some(1));
    for (bad, name) in [
        (
            json!({"router_settings": {"allowed_fails": 3}}),
            "router_settings.allowed_fails",
        ),
        (
            json!({"router_settings": {"timeout": "5"}}),
            "router_settings.timeout",
        ),
        (json!({"router_settings": [1]}), "router_settings"),
        (
            json!({"metadata": {"disable_fallbacks": 1}}),
            "metadata.disable_fallbacks",
        ),
    ] {
        let answer = admin.post("/key/generate", bad).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.message().contains(name), "{}", answer.text);
        assert_eq!(answer.json()["error"]["param"], name);
    }
    let body = json!({"key": key, "router_settings": null});
    admin.done("/key/update", body).await;
    let view = admin.keys.get(&KeyHash::of_secret(&key), clock::now());
    assert!(view.unwrap().policy.overrides.is_none());
}
