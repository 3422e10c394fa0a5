//! Discounts, margins, callbacks, cache settings, the catalog of providers.

use meridian_core::price::BillingPlace;
use meridian_core::usage::Usage;

use super::*;

/// Dollars that ten input tokens cost at the deployment of the file.
fn cost(admin: &Admin) -> f64 {
    let rules = admin.now.load_full();
    let group = rules.group("file").unwrap();
    let target = &group.targets()[0];
    let usage = Usage {
        prompt: 1_000_000,
        ..Usage::default()
    };
    let place: BillingPlace = target.place.at(clock::now());
    target
        .price
        .as_ref()
        .unwrap()
        .cost(&usage, &place)
        .total
        .dollars()
}

async fn patch(admin: &Admin, path: &str, body: Value) -> (u16, String) {
    let body = Body::from(body.to_string());
    let answer = admin.send("PATCH", path, Some(MASTER), body).await;
    (answer.status.as_u16(), answer.text)
}

#[tokio::test]
async fn discounts_and_margins_change_what_requests_cost() {
    let admin = stored::admin().await;
    let (discount, margin) = ("/config/cost_discount_config", "/config/cost_margin_config");
    let plain = cost(&admin);
    assert_eq!(admin.get(discount).await.json(), json!({"values": {}}));
    let set = admin.did("PATCH", discount, json!({"openai": 0.5})).await;
    assert_eq!(set["values"], json!({"openai": 0.5}));
    assert_eq!(
        set["message"],
        "Cost discount configuration updated successfully"
    );
    assert!((cost(&admin) - plain / 2.0).abs() < 1e-9);
    let usage = json!({"prompt_tokens": 1_000_000});
    let asked = json!({"model": "file", "completion_response": {"usage": usage}});
    let calculated = admin.done("/spend/calculate", asked).await;
    assert!((calculated["cost"].as_f64().unwrap() - plain / 2.0).abs() < 1e-9);
    let margins = json!({"global": {"percentage": 0.1, "fixed_amount": 2}});
    admin.did("PATCH", margin, margins.clone()).await;
    assert_eq!(admin.get(margin).await.json(), json!({"values": margins}));
    assert!((cost(&admin) - (plain / 2.0 * 1.1 + 2.0)).abs() < 1e-9);
    // All of them are replaced.
    admin.did("PATCH", margin, json!({"anthropic": 0.2})).await;
    admin.did("PATCH", discount, json!({})).await;
    assert!((cost(&admin) - plain).abs() < 1e-9);
}

#[tokio::test]
async fn wrong_discounts_and_margins_are_named_and_change_nothing() {
    let admin = stored::admin().await;
    let (discount, margin) = ("/config/cost_discount_config", "/config/cost_margin_config");
    for (path, body, text) in [
        (
            discount,
            json!({"opnai": 0.1}),
            "Invalid provider(s): opnai. Must be valid LiteLLM",
        ),
        (
            discount,
            json!({"global": 0.1}),
            "Invalid provider(s): global",
        ),
        (
            discount,
            json!({"openai": 1.5}),
            "Discount for openai must be between 0 and 1",
        ),
        (
            discount,
            json!({"openai": "much"}),
            "Discount for openai must be a number",
        ),
        (margin, json!({"opnai": 0.1}), "or 'global'"),
        (
            margin,
            json!({"openai": -1}),
            "Margin percentage for openai must be between 0 and 10",
        ),
        (
            margin,
            json!({"openai": {}}),
            "Margin config for openai cannot be empty",
        ),
        (
            margin,
            json!({"openai": {"fixed_amount": -1}}),
            "openai must be non-negative",
        ),
        (
            margin,
            json!({"openai": {"percentage": "x"}}),
            "openai must be a number",
        ),
        (
            margin,
            json!({"openai": [1]}),
            "Margin for openai must be a number (percentage)",
        ),
    ] {
        let (status, said) = patch(&admin, path, body.clone()).await;
        assert_eq!(status, 400, "{body}: {said}");
        assert!(said.contains(text), "{body}: {said}");
    }
    assert_eq!(admin.get(margin).await.json(), json!({"values": {}}));
    // Where stored settings do not count, nothing is stored.
    let off = super::admin().await;
    let (status, said) = patch(&off, discount, json!({"openai": 0.1})).await;
    assert!(
        status == 500 && said.contains("STORE_MODEL_IN_DB"),
        "{said}"
    );
}

#[tokio::test]
async fn a_callback_is_taken_out_of_the_list() {
    let admin = stored::admin().await;
    let settings = json!({"litellm_settings": {"success_callback": ["langfuse", "s3"]}});
    admin.done("/config/update", settings).await;
    let gone = admin
        .done(
            "/config/callback/delete",
            json!({"callback_name": "LangFuse"}),
        )
        .await;
    assert_eq!(gone["removed_callback"], "langfuse");
    assert_eq!(gone["remaining_callbacks"], json!(["s3"]));
    let again = json!({"callback_name": "langfuse"});
    let said = admin.refused("/config/callback/delete", again, 404).await;
    assert!(
        said.contains("Callback 'langfuse' not found in active configuration"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_not_forwarded_is_refused_and_not_stored() {
    let admin = stored::admin().await;
    let path = "/config/pass_through_endpoint";
    assert_eq!(admin.get(path).await.json(), json!({"endpoints": []}));
    let body = json!({"path": "/bria", "target": "https://bria.example"});
    let said = admin.refused(path, body, 501).await;
    assert!(
        said.contains("/bria") && said.contains("/model/new"),
        "{said}"
    );
    let gone = admin
        .send(
            "DELETE",
            "/config/pass_through_endpoint?endpoint_id=x",
            Some(MASTER),
            Body::empty(),
        )
        .await;
    assert_eq!(gone.status, 400);
    assert!(
        gone.text
            .contains("There are no pass-through endpoints setup."),
        "{}",
        gone.text
    );
    assert_eq!(admin.get(path).await.json(), json!({"endpoints": []}));
    let yaml = admin.send("GET", "/config/yaml", None, Body::empty()).await;
    assert_eq!(yaml.json(), json!({"hello": "world"}));
}

#[tokio::test]
async fn cache_settings_are_stored_shown_masked_and_tested() {
    let admin = stored::admin().await;
    let before = admin.get("/cache/settings").await.json();
    assert_eq!(before["current_values"]["type"], "local");
    assert!(!before.to_string().contains("sk-canary-file"), "{before}");
    let clear = json!({"cache_settings": {"type": "redis", "host": "h", "password": "clear"}});
    let said = admin.refused("/cache/settings", clear, 400).await;
    assert!(said.contains("os.environ/NAME"), "{said}");
    assert!(
        admin
            .refused("/cache/settings", json!({}), 400)
            .await
            .contains("cache_settings")
    );
    let settings = json!({"cache_settings": {"type": "local", "ttl": 7, "redis_type": "node"}});
    let set = admin.done("/cache/settings", settings).await;
    assert_eq!(
        (&set["status"], &set["settings"]["ttl"]),
        (&json!("success"), &json!(7))
    );
    assert!(
        set["message"].as_str().unwrap().contains("restart"),
        "{set}"
    );
    let after = admin.get("/cache/settings").await.json();
    assert_eq!(after["current_values"], json!({"type": "local", "ttl": 7}));
    let ttl = after["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["field_name"] == "ttl");
    assert_eq!(ttl.unwrap()["field_value"], 7);
    let test = async |settings: Value| {
        let body = json!({"cache_settings": settings});
        admin.done("/cache/settings/test", body).await
    };
    let local = test(json!({"type": "local"})).await;
    assert_eq!(local["status"], "failed");
    let nowhere = test(json!({"type": "redis", "host": "127.0.0.1", "port": 1})).await;
    assert_eq!(nowhere["status"], "failed", "{nowhere}");
    assert!(nowhere["error"].is_string(), "{nowhere}");
}

#[tokio::test]
async fn a_teams_callbacks_are_shown_masked_refused_and_turned_off() {
    let admin = admin().await;
    let callbacks = json!({"success_callback": ["langfuse"],
        "callback_vars": {"langfuse_secret_key": "sk-canary"}});
    let team = json!({"team_id": "t", "metadata": {"note": 1, "callback_settings": callbacks}});
    admin.done("/team/new", team).await;
    let shown = admin.get("/team/t/callback").await.json();
    assert_eq!(shown["data"]["success_callbacks"], json!(["langfuse"]));
    assert_eq!(
        shown["data"]["callback_vars"],
        json!({"langfuse_secret_key": "*****"})
    );
    let add = json!({"callback_name": "langfuse", "callback_type": "success",
        "callback_vars": {"langfuse_public_key": "pk"}});
    let said = admin.refused("/team/t/callback", add.clone(), 501).await;
    assert!(
        said.contains("callback_name=langfuse") && said.contains("/spend/logs"),
        "{said}"
    );
    let said = admin.refused("/team/none/callback", add, 400).await;
    assert!(said.contains("Team id = none does not exist."), "{said}");
    let wrong = json!({"callback_name": "langfuse", "callback_type": "sometimes"});
    let answer = admin.post("/team/t/callback", wrong).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(answer.text.contains("callback_type"), "{}", answer.text);
    let off = admin.done("/team/t/disable_logging", json!({})).await;
    assert_eq!(off["data"]["success_callbacks"], json!([]));
    let shown = admin.get("/team/t/callback").await.json();
    assert_eq!(shown["data"]["success_callbacks"], json!([]));
    let team = admin.get("/team/info?team_id=t").await.json();
    assert_eq!(team["team_info"]["metadata"]["note"], 1);
    assert_eq!(admin.get("/team/none/callback").await.status, 404);
}

#[tokio::test]
async fn permissions_are_added_to_named_teams_or_to_all() {
    let admin = admin().await;
    for id in ["a", "b"] {
        admin
            .done(
                "/team/new",
                json!({"team_id": id, "team_alias": format!("alias-{id}")}),
            )
            .await;
    }
    let path = "/team/permissions_bulk_update";
    let permissions = async |id: &str| {
        let path = format!("/team/permissions_list?team_id={id}");
        admin.get(&path).await.json()["team_member_permissions"].clone()
    };
    let one = json!({"permissions": ["/key/update", "/key/generate"], "team_ids": ["a"]});
    let done = admin.done(path, one.clone()).await;
    assert_eq!(done["teams_updated"], 1);
    assert_eq!(
        permissions("a").await,
        json!(["/key/generate", "/key/update"])
    );
    assert_eq!(admin.done(path, one).await["teams_updated"], 0);
    let all = json!({"permissions": ["/key/delete"], "apply_to_all_teams": true});
    assert_eq!(admin.done(path, all).await["teams_updated"], 2);
    assert_eq!(permissions("b").await, json!(["/key/delete"]));
    for (body, status, text) in [
        (
            json!({"permissions": ["/key/info"]}),
            400,
            "Must provide team_ids",
        ),
        (
            json!({"permissions": ["/key/info"], "team_ids": ["a"], "apply_to_all_teams": true}),
            400,
            "Cannot set both",
        ),
        (
            json!({"permissions": ["/key/info"], "team_ids": ["a", "z", "y"]}),
            404,
            "Team(s) not found: ['y', 'z']",
        ),
        (
            json!({"permissions": ["/team/new"], "team_ids": ["a"]}),
            400,
            "/team/new",
        ),
    ] {
        let said = admin.refused(path, body, status).await;
        assert!(said.contains(text), "{said}");
    }
    let nothing = admin.done(path, json!({"permissions": []})).await;
    assert_eq!(nothing["teams_updated"], 0);
    let found = admin.get("/team/filter/ui?team_alias=alias-b").await.json();
    assert_eq!(found[0]["team_id"], "b");
    assert_eq!(found.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn providers_and_the_price_map_are_described() {
    let admin = admin().await;
    let providers = admin.get("/model/settings").await.json();
    let named = |name: &str| {
        let all = providers.as_array().unwrap();
        all.iter().find(|one| one["name"] == name).cloned()
    };
    assert_eq!(
        named("openai").unwrap()["fields"][0]["field_name"],
        "api_key"
    );
    assert!(named("groq").is_some() && named("bedrock").is_some());
    let source = admin.get("/model/cost_map/source").await.json();
    assert_eq!(
        (&source["source"], &source["url"]),
        (&json!("local"), &Value::Null)
    );
    assert!(source["model_count"].as_u64().unwrap() > 0);
    let said = admin
        .refused("/schedule/model_cost_map_reload?hours=6", json!({}), 501)
        .await;
    assert!(said.contains("/reload/model_cost_map"), "{said}");
}
